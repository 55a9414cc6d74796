"""Features of clean and published examples in the clean control's and the trial's victim, drawn by t-SNE."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ue_bench.errors import UnavailableError
from ue_bench.explain.canvas import PLAIN
from ue_bench.explain.samples import Sample, batches, image_samples, pair_samples
from ue_bench.explain.subject import Subject
from ue_bench.report.figures.style import COLOURS, GREY, MARKERS, Drawn, save
from ue_bench.training.towers import Towers, trim

PICTURES, CAPTIONS = 40, 5  # pictures in a panel; captions of each picture
CLASSES, EACH = 10, 30  # classes in a panel; images of each class
SEED = 0  # the seed of t-SNE, the same in every figure
PALETTE = (*COLOURS, GREY)
PALE = "#C9C9C9"


@dataclass(frozen=True, eq=False)
class Panel:
    """A sample, and a victim's features of it.

    Attributes:
        title: the examples and the victim, in words.
        sample: the examples.
        points: float32 [n, D]: the images' features, for pairs also the captions'.
    """

    title: str
    sample: Sample
    points: tuple[Tensor, ...]


def draw_features(
    subject: Subject, model: nn.Module, folder: Path, clean: nn.Module | None = None, lack: str = ""
) -> Drawn:
    """Writes ``features.png``: clean training data in the clean control's victim, then the trial's victim.

    The trial's victim is shown on test data, on clean training data and on the same as published. Every panel is a
    t-SNE of its own, so positions cannot be compared between panels.

    Args:
        subject: the trial.
        model: its victim.
        folder: where to write.
        clean: the clean control's victim; with None the first panel is left out.
        lack: why there is no clean victim, for the caption.
    """
    panels = panels_of(subject, model, clean)
    classes = len(panels[-1].sample.groups.unique())
    what = f"{classes} classes" if subject.trial.paradigm == "supervised" else "pictures and captions"
    whose = (
        "First panel: the clean control's victim on the same training examples. Others: this trial's victim."
        if clean
        else f"All panels show this trial's victim{f': {lack}' if lack else ''}."
    )
    lines = [f"What trained victims make of {what}: {subject.title}", whose]
    return Drawn("features", save(draw_panels(lines, panels), folder, "features", ("png",)))


def panels_of(subject: Subject, model: nn.Module, clean: nn.Module | None = None) -> list[Panel]:
    """The figure's panels; the clean control's, if there is one, shows the same training examples as the trial's."""
    images = subject.trial.paradigm == "supervised"
    if images:
        samples = image_samples(subject, CLASSES, EACH)
    else:
        assert isinstance(model, Towers)
        samples = pair_samples(subject, model, PICTURES, CAPTIONS)

    def panel(title: str, sample: Sample, victim: nn.Module) -> Panel:
        if images:
            return Panel(title, sample, (penultimate(victim, sample.images, subject.device),))
        assert isinstance(victim, Towers)
        return Panel(title, sample, pair_features(victim, sample, subject.device))

    own = [panel(f"{sample.name},\nthis trial's victim", sample, model) for sample in samples]
    if clean is None:
        return own
    return [panel(f"clean {'images' if images else 'pairs'}, clean victim", samples[1], clean), *own]


@torch.no_grad()
def pair_features(towers: Towers, sample: Sample, device: torch.device) -> tuple[Tensor, Tensor]:
    """(image features, text features) of a sample of pairs: float32 [n, D] each, on the CPU."""
    assert sample.tokens is not None
    seen = [towers.encode_image(images).cpu() for images in batches(sample.images, device)]
    read = [towers.encode_text(trim(tokens).to(device)).cpu() for tokens in sample.tokens.split(64)]
    return torch.cat(seen), torch.cat(read)


@torch.no_grad()
def penultimate(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """float32 [n, D] on the CPU: the input of the last linear layer, or without one timm's features before the head.

    Args:
        images: uint8 [n, 3, H, W].
    """
    caught: dict[str, Tensor] = {}

    def catch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught["last"] = inputs[0]

    hooks = [
        layer.register_forward_pre_hook(catch) for layer in model.modules() if isinstance(layer, nn.Linear)
    ]
    found, body = [], model  # timm's models share methods but no class
    try:
        for batch in batches(images, device):
            caught.clear()
            body(batch)
            found.append(caught["last"] if caught else _before_head(body, batch))
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat([part.flatten(1).to("cpu", torch.float32) for part in found])


def embed(points: Tensor) -> Tensor | None:
    """float32 [n, 2]: t-SNE of float [n, D] with a fixed seed; None if points are not finite or all equal."""
    if len(points) < 4 or not bool(points.isfinite().all()) or float(points.std(dim=0).max()) < 1e-7:
        return None
    from sklearn.manifold import TSNE

    # The exact method: its sums do not depend on how many threads share them.
    perplexity = min(30.0, (len(points) - 1) / 3)
    mapped = TSNE(perplexity=perplexity, init="pca", method="exact", random_state=SEED).fit_transform(
        points.numpy()
    )
    return torch.from_numpy(mapped).to(torch.float32)


def _before_head(model: Any, batch: Tensor) -> Tensor:
    if not hasattr(model, "forward_features") or not hasattr(model, "forward_head"):
        raise UnavailableError(
            f"{type(model).__name__} has neither a linear layer nor timm's forward_head, so its features are not known"
        )
    return model.forward_head(model.forward_features(batch), pre_logits=True)


def draw_panels(lines: Sequence[str], panels: Sequence[Panel]) -> Any:
    """The figure: the lines of its title above panels side by side."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(PLAIN):
        figure = Figure(figsize=(4.2 * len(panels), 5.4), layout="constrained")
        handles: dict[str, Any] = {}
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            sample, parts = panel.sample, panel.points
            axis.set_title(f"{panel.title}\nn = {len(sample)}")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[["top", "right"]].set_visible(True)
            places = embed(torch.cat(parts))
            if places is None:
                axis.text(
                    0.5,
                    0.5,
                    "features are not finite,\nor all one point",
                    ha="center",
                    transform=axis.transAxes,
                )
                continue
            drawn = _classes(axis, sample, places) if len(parts) == 1 else _pairs(axis, sample, places)
            handles = {**drawn, **handles}
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=5,
            frameon=False,
            markerscale=1.4,
        )
        width = int(18 * len(panels) * 1.9)
        figure.suptitle("\n".join(part for line in lines for part in textwrap.wrap(line, width)))
    return figure


def _classes(axis: Any, sample: Sample, places: Tensor) -> dict[str, Any]:
    """Draws each image as a dot in its class's colour and shape; returns the legend's handles by name."""
    handles = {}
    for number, kind in enumerate(sample.groups.unique().tolist()):
        x, y = places[sample.groups == kind].T.numpy()
        style = {"color": PALETTE[number % len(PALETTE)], "marker": (*MARKERS, "*")[number % len(PALETTE)]}
        name = sample.texts[(sample.groups == kind).nonzero()[0, 0]]
        handles[name] = axis.scatter(x, y, s=16, linewidths=0, **style)
    return handles


def _pairs(axis: Any, sample: Sample, places: Tensor) -> dict[str, Any]:
    """Draws a line from each picture to its caption, in colour for some pictures; returns the legend's handles."""
    count = len(sample)
    images, texts = places[:count], places[count:]
    pictures = int(sample.groups.max()) + 1
    coloured = [round(i * (pictures - 1) / max(1, len(COLOURS) - 1)) for i in range(len(COLOURS))]
    colour = {picture: COLOURS[number] for number, picture in enumerate(dict.fromkeys(coloured))}
    handles = {}
    for kind in sorted(range(count), key=lambda pair: int(sample.groups[pair]) in colour):
        shade = colour.get(int(sample.groups[kind]), PALE)
        front = 3 if shade != PALE else 1
        (x0, y0), (x1, y1) = images[kind].tolist(), texts[kind].tolist()
        axis.plot([x0, x1], [y0, y1], color=shade, linewidth=0.5, zorder=front)
        edge = {"linewidths": 0.3, "edgecolors": "white", "zorder": front + 1, "color": shade}
        seen = axis.scatter([x0], [y0], s=30, marker="^", **edge)
        read = axis.scatter([x1], [y1], s=20, marker="o", **edge)
        if shade == COLOURS[0]:
            handles = {"image": seen, "caption": read}
    line = axis.plot([], [], color=GREY, linewidth=1.0)[0]
    return {**handles, f"a pair; a colour: one picture with its captions ({len(colour)} of {pictures})": line}
