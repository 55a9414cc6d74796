"""What noise looks like: for each method a few images, clean and as published, and their noise, amplified.

This module is not part of ``report``, which imports neither torch nor content: a gallery needs images and noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ue_bench.contracts.access import Access
from ue_bench.contracts.perturbation import Perturbation
from ue_bench.contracts.view import ProtectorView
from ue_bench.errors import StoreError, UEBenchError
from ue_bench.measures import number
from ue_bench.report.figures.style import SETTINGS, Drawn, save
from ue_bench.report.layout import make_layout
from ue_bench.trials.artefacts import load_perturbation
from ue_bench.trials.environment import Environment
from ue_bench.trials.noise import check_noise
from ue_bench.trials.poison import publish
from ue_bench.trials.trial import read_trial

PICTURES = 3  # pictures of a method
GREY = 127.5  # the grey that stands for zero noise
SCALE = 16.0  # of thumbnails: this many steps of 1/255 are black or white
SIDE, SPACE = 64, 4  # pixels: the largest side of a thumbnail's pictures, between noise and pictures


@dataclass(frozen=True)
class Exhibit:
    """One method's row in the gallery.

    Attributes:
        label: method, granularity, budget and PSNR in words.
        clean: uint8 [n, 3, H, W].
        published: uint8 [n, 3, H, W].
        noise: uint8 [n, 3, H, W]: grey where there is none, full contrast at ``full`` steps of 1/255.
        full: the budget's radius if it bounds every pixel, else the largest change shown.
        entry: the planned trial whose noise it is.
    """

    label: str
    clean: Tensor
    published: Tensor
    noise: Tensor
    full: float
    entry: Mapping[str, Any]


def draw_gallery(
    plan: Mapping[str, Any],
    records: Mapping[str, Mapping[str, Any]],
    environment: Environment,
    folder: Path,
) -> list[Drawn]:
    """Writes ``gallery.png`` with one row for each noise of the plan whose file is in the store.

    Returns:
        The figure that was drawn, then each method that could not be drawn, with the reason.
    """
    exhibits, lost = collect(plan, records, environment)
    reasons: dict[str, list[str]] = {}
    for name, why in lost:
        reasons.setdefault(why, []).append(name)
    problems = [Drawn(f"gallery of {', '.join(names)}", problem=why) for why, names in reasons.items()]
    if not exhibits:
        return problems or [Drawn("gallery", problem="no finished trial has noise")]
    return [Drawn("gallery", save(_figure(plan, exhibits), folder, "gallery", ("png",))), *problems]


def collect(
    plan: Mapping[str, Any],
    records: Mapping[str, Mapping[str, Any]],
    environment: Environment,
    pictures: int = PICTURES,
) -> tuple[list[Exhibit], list[tuple[str, str]]]:
    """(what can be shown, (name, reason) of what cannot): one noise for each method, budget and dataset."""
    layout, store = make_layout(plan), environment.open_store()
    exhibits: dict[Any, Exhibit] = {}
    lost: dict[Any, tuple[str, str]] = {}
    several = len({entry.get("dataset") for entry in plan["trials"]}) > 1
    for entry in sorted(plan["trials"], key=lambda entry: -float(entry.get("poison_ratio") or 0)):
        record = records.get(entry["id"]) or {}
        noise, parts = record.get("noise"), ("dataset", "method", "granularity", "budget", "variant")
        key = tuple(layout.value(entry, part) for part in parts)
        if key in exhibits or not noise or record.get("status") != "done":
            continue
        name = _name(entry, key[-1], several)
        try:
            kept = load_perturbation(store, noise["key"])
            if kept is None:
                raise StoreError(f"the noise is not in {store.address}")
            exhibits[key] = _exhibit(name, entry, record, kept[0], environment, pictures)
            lost.pop(key, None)
        except UEBenchError as error:
            lost.setdefault(key, (name, str(error)))
    return list(exhibits.values()), list(lost.values())


def thumbnails(
    plan: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]], environment: Environment
) -> dict[str, bytes]:
    """Noise key -> WebP of the noise (left) and of protected pictures (right), without loss.

    A picture that the store keeps as ``pictures/KEY.webp`` is taken from there: a store may have lost its noise.
    """
    store = environment.open_store()
    keys = {(record.get("noise") or {}).get("key") for record in records.values()}
    kept = {
        key: store.read("pictures", f"{key}.webp") for key in store.names("pictures", ".webp") if key in keys
    }
    found = {key: content for key, content in kept.items() if content is not None}
    if not store.names("noise", ".safetensors"):
        return found
    missing = {
        key: record for key, record in records.items() if (record.get("noise") or {}).get("key") not in found
    }
    exhibits, _ = collect(plan, missing, environment)
    return found | {records[one.entry["id"]]["noise"]["key"]: thumbnail(one) for one in exhibits}


def thumbnail(exhibit: Exhibit) -> bytes:
    """The noise at one scale for all methods, and the protected pictures, as one WebP."""
    import io

    from PIL import Image

    change = exhibit.published.to(torch.int16) - exhibit.clean.to(torch.int16)
    tiles = [*amplify(change, SCALE), *exhibit.published]
    side = min(SIDE, *exhibit.clean.shape[-2:])
    sheet = Image.new("RGBA", (len(tiles) * side + SPACE, side))
    for place, tile in enumerate(tiles):
        picture = Image.fromarray(tile.permute(1, 2, 0).numpy()).resize(
            (side, side), Image.Resampling.NEAREST
        )
        sheet.paste(picture, (place * side + (SPACE if place >= len(tiles) // 2 else 0), 0))
    content = io.BytesIO()
    sheet.save(content, "WEBP", lossless=True, quality=100, method=6)
    return content.getvalue()


def amplify(noise: Tensor, full: float) -> Tensor:
    """Noise int [n, 3, H, W] as uint8 pictures: zero is grey, ``full`` steps of 1/255 are black or white."""
    return (GREY + noise.to(torch.float32) * GREY / full).round().clamp(0, 255).to(torch.uint8)


def _exhibit(
    name: str,
    entry: Mapping[str, Any],
    record: Mapping[str, Any],
    perturbation: Perturbation,
    environment: Environment,
    pictures: int,
) -> Exhibit:
    trial = read_trial(record["config"])
    train = environment.load(trial).train
    check_noise(perturbation, trial, environment)
    images = _pictures(train.labels, len(train), pictures)
    owners = ProtectorView(train, Access.NOTHING, trial.paradigm).image_of_example
    examples = torch.stack([(owners == image).nonzero()[0, 0] for image in images])
    few = Perturbation(perturbation.noise, perturbation.rows[examples], perturbation.budget)
    clean = train.images[images]
    noise, budget = perturbation.noise[few.rows], perturbation.budget
    full = budget.radius if budget.norm == "linf" else float(noise.abs().max())
    psnr = number((record.get("noise") or {}).get("psnr_db"))
    label = f"{name}\n{entry.get('budget')}" + (f"\nPSNR {psnr:.1f} dB" if psnr is not None else "")
    published = publish(clean, few, torch.ones(len(clean), dtype=torch.bool))
    return Exhibit(label, clean, published, amplify(noise, full), full, entry)


def _pictures(labels: Tensor | None, count: int, pictures: int) -> Tensor:
    """int64 [n]: the first image of each of the first classes, or the first images."""
    if labels is None:
        return torch.arange(min(pictures, count))
    firsts = [(labels == label).nonzero()[0, 0] for label in labels.unique()[:pictures]]
    return torch.stack(firsts)


def _name(entry: Mapping[str, Any], variant: str, several: bool) -> str:
    words = [str(entry[key]) for key in ("granularity",) if entry.get(key)]
    words += [str(entry["dataset"])] if several else []
    words += [variant] if variant else []
    return f"{entry['method']} ({', '.join(words)})" if words else str(entry["method"])


def _figure(plan: Mapping[str, Any], exhibits: Sequence[Exhibit]) -> Any:
    """A row of (clean, published, noise) triples for each exhibit, every pixel drawn as a square."""
    import matplotlib
    from matplotlib.figure import Figure

    inch, gap, left, top = 0.85, 0.12, 1.9, 1.0  # inches: a picture's side, between triples, labels, headings
    most = max(len(exhibit.clean) for exhibit in exhibits)
    width = left + most * (3 * inch + gap) + 0.1
    height = top + len(exhibits) * (inch + gap) + 0.35
    with matplotlib.rc_context({**SETTINGS, "axes.grid": False}):
        figure = Figure(figsize=(width, height))

        def at(x: float, y: float, text: str, **style: Any) -> None:
            figure.text(x / width, 1 - y / height, text, **style)

        title = str(plan.get("title") or plan.get("suite") or "")
        at(0.1, 0.28, title, fontsize=11, va="center")
        for number, exhibit in enumerate(exhibits):
            y = top + number * (inch + gap)
            at(left - 0.12, y + inch / 2, exhibit.label, ha="right", va="center", fontsize=8)
            for picture in range(len(exhibit.clean)):
                for part, images in enumerate((exhibit.clean, exhibit.published, exhibit.noise)):
                    x = left + picture * (3 * inch + gap) + part * inch
                    box = (x / width, 1 - (y + inch) / height, 0.97 * inch / width, 0.97 * inch / height)
                    axis = figure.add_axes(box)
                    axis.imshow(images[picture].permute(1, 2, 0).numpy(), interpolation="nearest")
                    axis.set_axis_off()
                    if number == 0:
                        heading = ("clean", "published", "noise")[part]
                        at(x + inch / 2, top - 0.12, heading, ha="center", va="center", fontsize=8)
        foot = "noise: grey is none; black and white are the budget's radius (L2: the largest change shown)"
        at(0.1, height - 0.15, foot, fontsize=8, va="center", color="#555555")
    return figure
