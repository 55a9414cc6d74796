"""Adversarial examples of a frozen, clean-trained surrogate, used as noise; methods differ in their targets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ue_bench import Count, Norms, NotNegative, Positive, Share, Whole
from ue_bench.contracts.access import Access
from ue_bench.contracts.budget import Budget
from ue_bench.contracts.context import Context
from ue_bench.contracts.method import Method
from ue_bench.contracts.perturbation import Perturbation
from ue_bench.contracts.view import ProtectorView
from ue_bench.crafting.objectives import Classification
from ue_bench.crafting.orders import in_order
from ue_bench.crafting.pairs import Captions, PairNoise, warn_without_effect
from ue_bench.crafting.paradigms import check_paradigm, find_conflict
from ue_bench.crafting.pgd import Walk, frozen, project
from ue_bench.crafting.resident import ResidentImages, zero_noise
from ue_bench.crafting.surrogates import falls_after, trained_on_clean, trained_on_clean_pairs
from ue_bench.seeds import derive
from ue_bench.training.recipe import ContrastiveRecipe, Recipe

from .transforms import ShiftFlip, mean_colour

FITS = 0.05  # a surrogate that gets more of its clean training images wrong has not learned them
MISLEADS = 0.9  # share of the protected images that must mislead the surrogate as intended
DECAYS = (2.667, 1.6, 1.142)  # the learning rate falls at epochs // each: after 14, 24 and 35 of 40


@dataclass(frozen=True)
class AdversarialNoise(Method):
    """Noise that makes the surrogate err in the wanted way on each image, even if the image is shifted or mirrored.

    The authors go through the data once per iteration. Here each batch does all its iterations in a row, which
    gives the same result, because the surrogate is frozen and no image depends on another. They normalise images
    by mean and standard deviation; here the mean colour only fills the border of shifted images. Images larger than 32
    pixels are shifted farther in proportion.

    A subclass defines the error that is wanted: ``aim``, ``aim_of_pairs`` and ``away``.

    Attributes:
        away: whether the noise leads away from the aim (untargeted) instead of towards it (targeted).
    """

    budget: Annotated[Budget, Norms("linf")] = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = "image"  # one noise per image; contrastive: pair (MEM's paper) or image
    surrogate: str = "resnet18"  # a victim, trained on clean data; papers
    surrogate_start: Literal["pytorch", "torchvision", "own"] = (
        "torchvision"  # supervised only: first weights; code
    )
    surrogate_epochs: Count = (
        40  # learning rate x0.1 after 14, 24, 35 of 40, scaled; contrastive: cosine; codes
    )
    surrogate_batch_size: Count = 128  # images or pairs; authors' codes
    learning_rate: Positive = 0.1  # SGD, contrastive AdamW; authors' codes
    momentum: float = 0.9  # supervised only: SGD with Nesterov's momentum; authors' code
    weight_decay: NotNegative = 5e-4  # authors' codes
    warmup_epochs: float = 0.0  # supervised only: linear; authors' code has none, short trainings need one
    warmup_steps: Whole = 10_000  # contrastive only: linear; MEM's code
    shift: NotNegative = 4.0  # supervised only: pixels of 32, farthest shift; code (its "8" spans both ways)
    flip: Share = 0.5  # supervised only: share of images mirrored, for surrogate and noise; code
    iterations: Count = 250  # sign steps, each on a new shift and flip; paper
    step_size: Positive | None = None  # steps of 1/255; None: a twentieth of the budget, 0.4 of 8; codes
    batch_size: Count = 512  # images or pairs, for noise; authors' codes
    restarts: Count = 8  # supervised only: from new random noise; the one of lowest mean loss is kept; code
    bf16: bool = True  # where the device gains by it; False: float32, as the authors' code

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS | Access.CAPTIONS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})
    granularities: ClassVar[tuple[str, ...]] = ("image", "pair")
    usual: ClassVar[Mapping[str, Any]] = {"step_size": 0.4}
    away: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "contrastive": {
            "granularity": "pair",
            "surrogate": "clip_rn50",
            "surrogate_epochs": 32,
            "learning_rate": 5e-4,
            "weight_decay": 0.2,
            "iterations": 250,
            "step_size": 1.0,
            "batch_size": 128,
        },
    }

    @abstractmethod
    def aim(self, labels: Tensor, classes: int) -> Tensor:
        """int64 [N]: for each label, the label that the surrogate must predict or, with ``away``, must not predict."""

    def aim_of_pairs(self, image_of: Tensor) -> Tensor:
        """int64 [pairs]: for each pair, the pair whose caption its image is moved towards or, with ``away``, away from.

        Args:
            image_of: int64 [pairs], ascending: the image of each pair.
        """
        return torch.arange(len(image_of))

    def conflict(self, paradigm: str) -> str:
        """Why these settings make no sense in the paradigm; "" if they do."""
        return find_conflict(self, paradigm)

    def left_out(self, paradigm: str = "") -> frozenset[str]:
        """In contrastive runs, CLIP starts as OpenCLIP draws it."""
        return frozenset({"surrogate_start"} if paradigm == "contrastive" else ())

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        check_paradigm(self, view.paradigm)
        if view.paradigm == "contrastive":
            return self._pairs(view, context)
        return self._images(view, context)

    def _pairs(self, view: ProtectorView, context: Context) -> Perturbation:
        """Noise for contrastive runs: one pass from zero, without shifts, flips or restarts."""
        name = type(self).__name__.lower()
        aim = self.aim_of_pairs(view.image_of_example)
        recipe = ContrastiveRecipe(
            epochs=self.surrogate_epochs,
            batch_size=self.surrogate_batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            bf16=self.bf16,
        )
        model = trained_on_clean_pairs(view, context, self.surrogate, recipe)
        tokens = model.tokenize(view.example_captions)
        own, wanted = (Captions(ids, context.device, self.bf16) for ids in (tokens, tokens[aim]))
        walk = Walk(self.budget.radius / 255, self.step_size / 255, self.iterations, maximise=self.away)
        rows = view.rows(self.granularity)
        noise = PairNoise(view, context, wanted, walk, rows=rows, batch_size=self.batch_size)
        with frozen(model):
            noise.improve(model)
            clean, missed = noise.judge(model, own, protected=False)
            before, _ = noise.judge(model, wanted, protected=False)
            after, _ = noise.judge(model, wanted, protected=True)
            truth, missed_now = noise.judge(model, own, protected=True)
        context.notes |= {
            "surrogate_clean_loss": clean,
            "surrogate_protected_loss": truth,
            "surrogate_clean_error_percent": 100 * missed,
            "surrogate_error_percent": 100 * missed_now,
            "aim_loss_before": before,
            "aim_loss_after": after,
        }
        warn_without_effect(context, name, before, after, rise=self.away)
        return Perturbation(noise.noise.steps.cpu(), rows, self.budget)

    def _images(self, view: ProtectorView, context: Context) -> Perturbation:
        """Noise for supervised runs."""
        farthest = self.shift * max(1.0, max(view.image_size) / 32)
        moves = ShiftFlip(mean_colour(view.images), farthest, self.flip)
        model = trained_on_clean(
            view, context, self.surrogate, self._recipe(), moves, start=self.surrogate_start
        )
        images, labels = ResidentImages(view.images, context.device), view.labels.to(context.device)
        goal = Classification(self.aim(labels, view.classes), self.bf16)
        losses: list[float] = []
        best: dict[str, Tensor] = {}
        with frozen(model):
            for restart in context.resumable(range(self.restarts), "restart", best=best, losses=losses):
                seed = derive(context.seed, "restart", restart)
                delta, loss = self._attempt(model, images, goal, moves, context, seed)
                if not losses or loss < min(losses):
                    best["noise"] = delta
                losses.append(loss)
                del delta  # a restart's noise is as large as the data in float32
            noise = Perturbation.from_float(best["noise"], view.rows(self.granularity), self.budget)
            truth = Classification(labels, self.bf16)
            missed = _error(model, images, goal, noise.noise)
            success = missed if self.away else 1 - missed
            clean_error = _error(model, images, truth)
            context.notes |= {
                "restart_losses": losses,
                "kept_restart": losses.index(min(losses)) + 1,
                "surrogate_clean_error_percent": 100 * clean_error,
                "surrogate_error_percent": 100 * _error(model, images, truth, noise.noise),
                "success_percent": 100 * success,
            }
        judge(type(self).__name__.lower(), clean_error, success, context)
        return noise

    def _recipe(self) -> Recipe:
        """The surrogate's recipe, without crops and flips, which ``ShiftFlip`` does."""
        epochs = self.surrogate_epochs
        ends = [int(epochs // divisor) for divisor in DECAYS if epochs >= divisor]
        return Recipe(
            epochs=epochs,
            batch_size=self.surrogate_batch_size,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            nesterov=True,
            weight_decay=self.weight_decay,
            schedule="multistep",
            milestones=falls_after(ends, epochs),
            warmup_epochs=self.warmup_epochs,
            crop_padding=0,
            flip=False,
            bf16=self.bf16,
        )

    def _attempt(
        self,
        model: nn.Module,
        images: ResidentImages,
        goal: Classification,
        moves: ShiftFlip,
        context: Context,
        seed: int,
    ) -> tuple[Tensor, float]:
        """One restart: (float32 [N, 3, H, W] noise, its images' mean loss in the last iteration).

        The loss is the value that the method lowers; with ``away`` it is the negative cross-entropy.
        """
        radius = self.budget.radius / 255
        size = radius / 20 if self.step_size is None else self.step_size / 255
        walk = Walk(radius, size, self.iterations, maximise=self.away)
        generator = torch.Generator(context.device).manual_seed(seed)
        delta = zero_noise((len(images), 3, *images.size), context.device)
        last: list[Tensor] = []
        batches, parts = in_order(len(images), self.batch_size), {"delta": delta, "draws": generator}
        for index in context.resumable(batches, "batch", last=last, **parts):
            clean = images.take(index)
            start = torch.randn(clean.shape, generator=generator, device=context.device)
            watched = _Watched(goal, model, index)
            delta[index] = project(
                clean,
                start.mul_(radius).clamp_(-radius, radius),
                watched,
                walk,
                lambda shown: moves(shown, generator),
            ).to(delta.device)
            last.append(watched.last)
        mean = float(torch.stack(last).sum()) / len(images)
        return delta, -mean if self.away else mean


def judge(name: str, clean_error: float, success: float, context: Context) -> None:
    """Warns, and marks the row, where the surrogate does not fit or is not misled, as both are in the paper."""
    if clean_error >= FITS:
        context.warn(
            f"{name}'s surrogate gets {100 * clean_error:.1f} % of its clean training images wrong, so the noise says "
            f"little about the method: it should be below {100 * FITS:g} % (raise surrogate_epochs)"
        )
    if success < MISLEADS:
        context.warn(
            f"{name} misleads its own surrogate as intended on only {100 * success:.1f} % of the protected images: "
            f"it should be {100 * MISLEADS:g} % at least (raise iterations)"
        )
    if clean_error >= FITS or success < MISLEADS:
        context.notes.setdefault("remarks", []).append(
            f"{name}: its surrogate does not fit its clean images, or is not misled as intended, on as many as a "
            "judgement of the method takes; the record's warnings have the numbers"
        )


class _Watched:
    """An objective over the images at ``index`` that remembers its last value."""

    def __init__(self, goal: Classification, model: nn.Module, index: slice):
        self._goal, self._model, self._index = goal, model, index
        self.last = torch.zeros(())

    def __call__(self, shown: Tensor) -> Tensor:
        value = self._goal.loss(self._model, shown, self._index)
        self.last = value.detach()
        return value


@torch.no_grad()
def _error(
    model: nn.Module, images: ResidentImages, goal: Classification, noise: Tensor | None = None
) -> float:
    """The share of images whose prediction is not ``goal``, published with noise, int8 [N, 3, H, W]."""
    wrong = torch.zeros((), dtype=torch.int64, device=images.device)
    for index in in_order(len(images), 1000):
        shown = images.take(index)
        if noise is not None:
            shown = shown.add_(noise[index].to(images.device) / 255).clamp_(0, 1)
        wrong += goal.errors(model, shown, index)
    return int(wrong) / len(images)
