"""The text and the random vector that each noise is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ue_bench.contracts.view import ProtectorView

_FORMS = (
    "a photo of {} {}.",
    "a blurry photo of {} {}.",
    "a black and white photo of {} {}.",
    "a low contrast photo of {} {}.",
    "a high contrast photo of {} {}.",
    "a bad photo of {} {}.",
    "a good photo of {} {}.",
    "a photo of {} small {}.",
    "a photo of {} big {}.",
)
TEMPLATES = tuple(
    form.format(article, "{}") for article in ("a", "the") for form in _FORMS
)  # CLIP's templates for CIFAR


@dataclass(frozen=True)
class Requests:
    """R noises to make, each from a text and a random vector.

    Attributes:
        texts: the distinct texts.
        text: int64 [R], each noise's text.
        latent: int64 [R], each noise's random vector.
        latents: how many random vectors there are.
        rows: int64 [examples], each example's noise.
    """

    texts: tuple[str, ...]
    text: Tensor
    latent: Tensor
    latents: int
    rows: Tensor

    def __len__(self) -> int:
        return len(self.text)


def requests(
    view: ProtectorView, granularity: str, z: str, generator: torch.Generator, shuffled: int | None = None
) -> Requests:
    """The noises that a dataset needs, by its captions or the names of its classes.

    Args:
        view: needs CAPTIONS in contrastive runs, LABELS and CLASS_NAMES in supervised or class-wise ones.
        granularity: pair, image or class; in supervised runs pair means image, because each example is an image.
        z: ``row``: each noise has its own random vector (class-wise: one noise per class); ``shared``: all have one;
            a number n: n vectors, used in turns, for each class in supervised runs (so class-wise has n noises per
            class) or for all pairs in contrastive ones, as T2UE's code does with 32 and 16.
        generator: on the CPU; draws templates.
        shuffled: a seed that gives each class another one's name, and each noise of pairs or their images another
            one's caption; None: its own.
    """
    if granularity == "class" or view.paradigm == "supervised":
        names = view.class_names if shuffled is None else exchanged(view.class_names, shuffled)
        return (
            _of_classes(view, names, z) if granularity == "class" else _of_images(view, names, z, generator)
        )
    texts = view.example_captions if granularity == "pair" else tuple(some[0] for some in view.captions)
    if shuffled is not None:
        texts = exchanged(texts, shuffled)
    text = torch.arange(len(texts))
    return _distinct(texts, text, _in_turns(text, z), view.rows(granularity))


def exchanged(texts: Sequence[str], seed: int) -> tuple[str, ...]:
    """The texts in another order, in which none keeps its place: one random circle passes each on to the next.

    Example: the circle 0, 2, 1 makes ``("c", "a", "b")`` of ``("a", "b", "c")``.
    """
    circle = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    moved = list(texts)
    for place, after in zip(circle, [*circle[1:], *circle[:1]], strict=True):
        moved[place] = texts[after]
    return tuple(moved)


def _of_classes(view: ProtectorView, names: Sequence[str], z: str) -> Requests:
    """Class-wise noises: the first template, and each class's random vectors in turns."""
    labels = view.rows("class")
    texts = tuple(TEMPLATES[0].format(name) for name in names)
    latent = torch.zeros_like(labels) if z == "shared" else labels
    if z.isdecimal():
        latent = labels * int(z) + _rank(labels) % int(z)
    return _distinct(texts, labels, latent, torch.arange(len(labels)))


def _of_images(view: ProtectorView, names: Sequence[str], z: str, generator: torch.Generator) -> Requests:
    """Image-wise noises: templates are drawn per image, or change after every n images of a class (T2UE's code)."""
    labels, count = view.labels, len(TEMPLATES)
    texts = tuple(template.format(name) for name in names for template in TEMPLATES)
    if z.isdecimal():
        rank = _rank(labels)
        template, latent = (rank // int(z) + 1) % count, labels * int(z) + rank % int(z)
    else:
        template = torch.randint(count, (len(labels),), generator=generator)
        latent = _in_turns(torch.arange(len(labels)), z)
    return _distinct(texts, labels * count + template, latent, torch.arange(len(labels)))


def _in_turns(rows: Tensor, z: str) -> Tensor:
    """The random vector of each noise, int64 like ``rows``, which number the noises."""
    if z.isdecimal():
        return rows % int(z)
    return rows if z == "row" else torch.zeros_like(rows)


def _rank(labels: Tensor) -> Tensor:
    """int64 [N]: how many images of the same class came before. Example: labels 0 1 0 0 have ranks 0 0 1 2."""
    order = labels.argsort(stable=True)
    counts = labels.bincount()
    starts = (counts.cumsum(0) - counts)[labels[order]]
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(len(labels)) - starts
    return rank


def _distinct(texts: tuple[str, ...], text: Tensor, latent: Tensor, rows: Tensor) -> Requests:
    """The requests without duplicates, in the order of their random vectors."""
    wishes, noise = torch.stack([latent, text], dim=1).unique(dim=0, return_inverse=True)
    return Requests(
        texts=texts,
        text=wishes[:, 1],
        latent=wishes[:, 0],
        latents=int(latent.max()) + 1,
        rows=noise[rows],
    )
