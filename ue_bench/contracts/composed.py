"""Several defenses as one. They act in the order of their names."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from ue_bench.canonical import digest
from ue_bench.contracts.defense import Defense
from ue_bench.errors import ConfigError

STAGES = (  # the hooks of the contract as one trial calls them, supervised and contrastive
    ("fit_with_clean", "fit_once", "images_once", "batch", "attack", "loss"),
    ("captions", "pairs", "attack_pairs"),
)


@dataclass(frozen=True)
class Composed(Defense):
    """Defenses that act one after the other. Each works on the images and targets that the one before it returned.

    In every stage of a trial (such as ``images_once``, ``batch``, ``attack``) the parts act in their order. An order
    that the stages contradict is refused. Parts that mix labels can be joined: each mixes the targets that it is given,
    and these stay shares that sum to 1.

    Attributes:
        parts: the defenses in order; at least two, no name twice.
        version: rises with any part's.
        paradigms: where all parts make sense.
        comparable_training: True if it is for all parts.
    """

    parts: tuple[Defense, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        whole, names = self.name, [part.name for part in self.parts]
        if len(names) < 2:
            raise ConfigError(f"a composed defense has at least two parts, not {len(names)}")
        for part in self.parts:
            if names.count(part.name) > 1:
                raise ConfigError(f"defense '{whole}' names '{part.name}' twice: each part acts once")
            if not acting(part) and not part.stops:
                raise ConfigError(f"'{part.name}' does nothing in defense '{whole}': leave it out")
        losses = [part.name for part in self.parts if "loss" in acting(part)]
        if len(losses) > 1:
            raise ConfigError(
                f"{' and '.join(losses)} of defense '{whole}' each replace the loss: keep one of them"
            )
        stops = [part.name for part in self.parts if part.stops]
        if len(stops) > 1:
            raise ConfigError(
                f"{' and '.join(stops)} of defense '{whole}' each choose the epoch: keep one of them"
            )
        for part, later in itertools.combinations(self.parts, 2):
            contradiction = _too_late(part, later)
            if contradiction:
                raise ConfigError(
                    f"defense '{whole}': {later.name} acts before {part.name} wherever it stands "
                    f"({contradiction}), so name '{later.name}' first"
                )
        if not self.paradigms:
            each = "; ".join(f"{part.name}: {' and '.join(sorted(part.paradigms))}" for part in self.parts)
            raise ConfigError(f"the parts of defense '{whole}' share no paradigm: {each}")

    @property
    def name(self) -> str:
        """The parts' names, joined by +."""
        return "+".join(part.name for part in self.parts)

    @property
    def version(self) -> int:  # type: ignore[override]
        """1, plus what each part's version has above 1. Versions only rise, so every change of a part raises it."""
        return 1 + sum(part.version - 1 for part in self.parts)

    @property
    def paradigms(self) -> frozenset[str]:  # type: ignore[override]
        """Those of every part."""
        return frozenset.intersection(*(part.paradigms for part in self.parts))

    @property
    def comparable_training(self) -> bool:  # type: ignore[override]
        """Whether every part leaves training accuracy comparable."""
        return all(part.comparable_training for part in self.parts)

    def edition(self) -> int | str:
        """The version, followed by a hash of the editions of the parts that read files, if any."""
        editions = {part.name: part.edition() for part in self.parts}
        found = {name: edition for name, edition in editions.items() if isinstance(edition, str)}
        return f"{self.version}+{digest(found)}" if found else self.version

    def unavailable(self) -> str:
        reasons = {part.name: part.unavailable() for part in self.parts}
        return "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)

    def parameters(self) -> dict[str, Any]:
        """Each part's parameters under its name."""
        return {part.name: part.parameters() for part in self.parts}

    def recorded(self, paradigm: str = "") -> dict[str, Any]:
        return {part.name: part.recorded(paradigm) for part in self.parts}

    def changed_parameters(self) -> dict[str, Any]:
        """Each part's changed parameters under its name; parts without any are left out."""
        return {part.name: changed for part in self.parts if (changed := part.changed_parameters())}

    def images_once(self, images: Tensor) -> Tensor:
        for part in self.parts:
            images = part.images_once(images)
        return images

    @property
    def fits(self) -> bool:
        """Whether any part learns from the training set."""
        return any(part.fits for part in self.parts)

    @property
    def stops(self) -> bool:
        """Whether a part does; at most one may."""
        return any(part.stops for part in self.parts)

    @property
    def holds_clean(self) -> bool:  # type: ignore[override]
        """As the part that stops."""
        return any(part.holds_clean for part in self.parts if part.stops)

    def held_out(self, count: int) -> int:
        return sum(part.held_out(count) for part in self.parts)

    def clean_images(self, count: int) -> int:
        """As many as the part that needs most; all parts learn from the same ones."""
        return max(part.clean_images(count) for part in self.parts)

    def fit_once(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """``fit_with_clean`` without clean images."""
        return self.fit_with_clean(images, labels, images[:0], generator)

    def fit_with_clean(
        self, images: Tensor, labels: Tensor, clean: Tensor, generator: torch.Generator
    ) -> Tensor:
        """What the parts make of the set one after the other; one that does not fit takes 8-bit images."""
        for part in self.parts:
            if images.dtype != torch.uint8 and "images_once" in acting(part):
                images = images.round().clamp_(0, 255).to(torch.uint8)
            images = part.fit_with_clean(images, labels, clean, generator)
        return images

    def in_epoch(self, epoch: int, epochs: int) -> Self:
        return replace(self, parts=tuple(part.in_epoch(epoch, epochs) for part in self.parts))

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        for part in self.parts:
            images, targets = part.batch(images, targets, generator)
        return images, targets

    def attack(self, model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        for part in self.parts:
            images = part.attack(model, images, targets, generator)
        return images

    def loss(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor,
        cross_entropy: Callable[..., Tensor],
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        own = [part for part in self.parts if "loss" in acting(part)] or self.parts
        return own[0].loss(model, images, targets, cross_entropy, generator)

    def captions(self, captions: list[str], generator: torch.Generator) -> list[str]:
        for part in self.parts:
            captions = part.captions(captions, generator)
        return captions

    def pairs(
        self, images: Tensor, captions: list[str], generator: torch.Generator
    ) -> tuple[Tensor, list[str]]:
        for part in self.parts:
            images, captions = part.pairs(images, captions, generator)
        return images, captions

    def attack_pairs(
        self, loss: Callable[[Tensor], Tensor], images: Tensor, generator: torch.Generator
    ) -> Tensor:
        for part in self.parts:
            images = part.attack_pairs(loss, images, generator)
        return images


def acting(defense: Defense) -> list[str]:
    """The hooks of the contract that a defense overrides."""
    return [
        name
        for name in itertools.chain(*STAGES)
        if getattr(type(defense), name) is not getattr(Defense, name)
    ]


def changes_images_only(defense: Defense) -> bool:
    """True for a defense that changes the published images once, or does nothing."""
    parts = getattr(defense, "parts", (defense,))
    return all(set(acting(part)) <= {"images_once"} and not part.stops for part in parts)


def _too_late(first: Defense, second: Defense) -> str:
    """Why ``second`` acts wholly before ``first``, or ""."""
    for stages in STAGES:
        one, two = ([hook for hook in stages if hook in acting(defense)] for defense in (first, second))
        whole_set = (
            stages.index("images_once") if "images_once" in stages else 0
        )  # all before it are there too
        if one and two and max(stages.index(two[-1]), whole_set) < stages.index(one[0]):
            return f"{two[-1]} comes before {one[0]}"
    return ""
