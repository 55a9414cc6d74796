"""Example cards: a picture, its noise amplified, what is published, and the words that go with it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ue_bench.explain.canvas import PLAIN, Canvas, Word
from ue_bench.explain.samples import Sample, first_examples, sample_examples
from ue_bench.explain.subject import Subject
from ue_bench.gallery import amplify
from ue_bench.report.figures.style import Drawn, save

SIDE, GAP = 1.35, 0.35  # inches: a picture's side; between cards
LINES = 3  # lines of a caption
ACROSS = 2  # cards side by side


def draw_cards(subject: Subject, model: nn.Module, folder: Path, count: int) -> Drawn:
    """Writes ``cards.png`` with ``count`` protected training examples."""
    clean, published = sample_examples(subject, model, count)
    if published is None:
        return Drawn(
            "cards", problem="this trial publishes its pictures as they are: there is no noise to show"
        )
    perturbation = subject.perturbation
    noise = perturbation.noise[perturbation.rows[first_examples(subject, count)]]
    budget = perturbation.budget
    full = budget.radius if budget.norm == "linf" else float(noise.abs().max())
    shown = amplify(noise, full)
    foot = "noise: grey is none; black and white are " + (
        f"the budget's radius, {budget.radius:g}/255" if budget.norm == "linf" else "the largest change shown"
    )
    figure = _figure(f"As published: {subject.title}, {budget}", clean, published, shown, foot)
    return Drawn("cards", save(figure, folder, "cards", ("png",)))


def psnr(clean: Tensor, published: Tensor) -> float:
    """Decibels between two pictures, uint8 of one shape; infinite if they are equal."""
    square = (clean.to(torch.float64) - published.to(torch.float64)).square().mean()
    return 20 * math.log10(255) - 10 * math.log10(float(square)) if square > 0 else math.inf


def caption_words(sample: Sample, number: int) -> list[Word]:
    """A caption as published, its trigger in front and marked."""
    trigger = sample.triggers[number].split() if sample.triggers else []
    return [
        *(Word(word, marked=True) for word in trigger),
        *(Word(word) for word in sample.texts[number].split()),
    ]


def _figure(title: str, clean: Sample, published: Sample, noise: Tensor, foot: str) -> Any:
    import matplotlib

    captions = published.tokens is not None
    top, below = 0.8, 0.3 + (0.2 * LINES if captions else 0.25)
    across = min(ACROSS, len(clean))
    down = -(-len(clean) // across)
    with matplotlib.rc_context(PLAIN):
        canvas = Canvas(0.2 + across * (3 * SIDE + GAP), top + down * (SIDE + below) + 0.35)
        canvas.heading(title)
        for number in range(len(clean)):
            row, column = divmod(number, across)
            x, y = 0.2 + column * (3 * SIDE + GAP), top + row * (SIDE + below)
            for part, image in enumerate((clean.images[number], noise[number], published.images[number])):
                canvas.picture(x + part * SIDE, y, 0.97 * SIDE, image)
                if row == 0:
                    heading = ("picture", "noise", "published")[part]
                    canvas.text(x + (part + 0.485) * SIDE, y - 0.11, heading, ha="center")
            decibels = psnr(clean.images[number], published.images[number])
            caption = (
                f"PSNR {decibels:.1f} dB"
                if math.isfinite(decibels)
                else "unchanged: saturated where the noise is"
            )
            canvas.text(x + 2.97 * SIDE, y + SIDE + 0.09, caption, ha="right", color="#555555", fontsize=7.5)
            words = (
                caption_words(published, number) if captions else [Word(f"label: {published.texts[number]}")]
            )
            canvas.words(
                x, y + SIDE + (0.27 if captions else 0.09), 3 * SIDE if captions else 2 * SIDE, LINES, words
            )
        if captions and any(published.triggers):
            foot += "; bold: the trigger"
        canvas.text(0.15, canvas.height - 0.15, foot, color="#555555")
    return canvas.figure
