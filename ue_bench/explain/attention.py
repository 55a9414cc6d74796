"""What a victim looks at: attention maps over pictures, and each word's part in a caption's similarity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ue_bench.errors import UnavailableError
from ue_bench.explain.canvas import PLAIN, Canvas, Word
from ue_bench.explain.gradients import Place, Reading, attention_maps, captum, find_place, read_caption
from ue_bench.explain.samples import Sample, batches, sample_examples
from ue_bench.explain.subject import Subject
from ue_bench.report.figures.style import Drawn, save
from ue_bench.training.towers import Towers, trim

SIDE, GAP, WORDS = 1.3, 0.35, 6.0  # inches: a picture's side; between parts; the width of a line of words
MAP, BOTH = "inferno", "PuOr_r"  # colour maps: attention; for (orange) and against (purple)
SHARE = 0.6  # share of the map's colours in a blended picture


def draw_attention(subject: Subject, model: nn.Module, folder: Path, count: int) -> Drawn:
    """Writes ``attention.png``: pictures and maps, clean and as published, with coloured words where there are any.

    Raises:
        UnavailableError: without captum, or if a classifier has no part that a map can be read from.
    """
    captum()
    clean, published = sample_examples(subject, model, count)
    states = [clean] if published is None else [clean, published]
    readings: list[list[Reading]] = []
    maps: list[Tensor] = []
    first = next(batches(clean.images[:1], subject.device))
    if isinstance(model, Towers):
        readings = [pair_readings(model, state, subject.device) for state in states]
        try:
            place = find_place(model, model.encode_image, first)
            maps = [pair_maps(model, place, state, subject.device) for state in states]
            foot = f"maps: {place}, for the cosine of picture and caption"
        except UnavailableError as error:
            foot = f"no maps: {error}"
    else:
        place = find_place(model, model, first)
        maps = [class_maps(model, place, state, subject.device) for state in states]
        foot = f"maps: {place}, for the true class"
    words = [
        [token_words(model, state, number, reading) for number, reading in enumerate(each)]
        for state, each in zip(states, readings, strict=False)
    ]
    figure = _figure(f"What the victim looks at: {subject.title}", states, maps, words, readings, foot)
    return Drawn("attention", save(figure, folder, "attention", ("png",)))


def class_maps(model: nn.Module, place: Place, sample: Sample, device: torch.device) -> Tensor:
    """float32 [n, h, w]: the evidence for each image's own class."""
    images = torch.cat(list(batches(sample.images, device)))
    return attention_maps(place, model, images, target=sample.groups.to(device))


def pair_maps(towers: Towers, place: Place, sample: Sample, device: torch.device) -> Tensor:
    """float32 [n, h, w]: the evidence in each picture for its caption, triggers included."""
    assert sample.tokens is not None
    images = torch.cat(list(batches(sample.images, device)))
    with torch.no_grad():
        read = towers.encode_text(trim(sample.tokens).to(device))

    def similarity(images: Tensor, read: Tensor) -> Tensor:
        return (towers.encode_image(images) * read).sum(dim=1)

    return attention_maps(place, similarity, images, read)


def pair_readings(towers: Towers, sample: Sample, device: torch.device) -> list[Reading]:
    """What each caption's tokens add to its similarity with its picture."""
    assert sample.tokens is not None
    found = []
    for image, tokens in zip(sample.images.split(1), sample.tokens.split(1), strict=True):
        with torch.no_grad():
            seen = towers.encode_image(next(batches(image, device)))
        found.append(read_caption(towers, seen, tokens.to(device)))
    return found


def token_words(towers: Any, sample: Sample, number: int, reading: Reading) -> list[Word]:
    """A caption's tokens without start and end, coloured by their share; the trigger's tokens are marked."""
    import matplotlib

    assert sample.tokens is not None and sample.marked is not None
    shares = reading.shares[1:-1]
    top = max(float(shares.abs().max()), 1e-12) if len(shares) else 1.0
    tokens = sample.tokens[number, 1 : len(reading.shares) - 1].tolist()
    colour = matplotlib.colormaps[BOTH]
    fills = [
        colour(0.5 + 0.3 * float(share) / top)[:3] for share in shares
    ]  # never too dark to read black text on
    return [
        Word(towers.decode([token]) or "·", place < int(sample.marked[number]), _hex(fill))
        for place, (token, fill) in enumerate(zip(tokens, fills, strict=True))
    ]


def blend(image: Tensor, attention: Tensor) -> Tensor:
    """uint8 [3, H, W]: a grey picture under its map's colours (float [h, w], at least 0, scaled by its maximum)."""
    import matplotlib

    large = functional.interpolate(attention[None, None], image.shape[1:], mode="bilinear")[0, 0]
    scaled = large / large.max().clamp_min(1e-12)
    colours = torch.from_numpy(matplotlib.colormaps[MAP](scaled.numpy())[..., :3]).permute(2, 0, 1) * 255
    grey = image.to(torch.float64).mean(dim=0, keepdim=True)
    return (SHARE * colours + (1 - SHARE) * grey).round().clamp(0, 255).to(torch.uint8)


def _figure(
    title: str,
    states: Sequence[Sample],
    maps: Sequence[Tensor],
    words: Sequence[Sequence[Sequence[Word]]],
    readings: Sequence[Sequence[Reading]],
    foot: str,
) -> Any:
    """A row for each example: its pictures and maps, with its captions beside them."""
    import matplotlib

    each = (1 + bool(maps)) * len(states)
    across = 1 if words else min(2, len(states[0]))
    down = -(-len(states[0]) // across)
    wide = each * SIDE + GAP + (WORDS if words else 0.0)
    top, high = 0.8, SIDE + (0.2 if words else 0.35)
    with matplotlib.rc_context(PLAIN):
        canvas = Canvas(max(0.2 + across * wide, 6.5), top + down * high + 0.55)
        canvas.heading(title)
        for number in range(len(states[0])):
            row, column = divmod(number, across)
            x, y = 0.2 + column * wide, top + row * high
            for part, state in enumerate(states):
                name = ("clean", "as published")[part]
                left = x + part * (each // len(states)) * SIDE
                canvas.picture(left, y, 0.97 * SIDE, state.images[number])
                if row == 0:
                    canvas.text(left + 0.485 * SIDE, y - 0.11, name, ha="center")
                if maps:
                    canvas.picture(
                        left + SIDE, y, 0.97 * SIDE, blend(state.images[number], maps[part][number])
                    )
                    if row == 0:
                        canvas.text(left + 1.485 * SIDE, y - 0.11, f"{name}, map", ha="center")
                    if not bool(maps[part][number].any()):
                        canvas.text(left + 1.485 * SIDE, y + SIDE / 2, "nothing", ha="center", color="white")
            if words:
                for part in range(len(states)):
                    state_name, reading = ("clean", "as published")[part], readings[part][number]
                    line = f"{state_name}: cosine {reading.similarity:.2f}; {reading.blank:.2f} without the words"
                    at = y + 0.07 + part * SIDE / 2
                    canvas.text(x + each * SIDE + 0.15, at, line, color="#555555", fontsize=7.5)
                    canvas.words(x + each * SIDE + 0.15, at + 0.19, WORDS, 2, words[part][number])
            else:
                canvas.text(x, y + SIDE + 0.09, f"label: {states[0].texts[number]}")
        canvas.text(0.15, canvas.height - 0.32, foot, color="#555555")
        if words:
            triggers = any(word.marked for state in words for caption in state for word in caption)
            more = "words: integrated gradients; orange raises the cosine, purple lowers it"
            if triggers:
                more += "; framed: the trigger"
            canvas.text(0.15, canvas.height - 0.14, more, color="#555555")
    return canvas.figure


def _hex(colour: Sequence[float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)
