"""Error-minimizing noise, image-wise, class-wise and pair-wise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from torch import nn

from ue_bench import (
    Access,
    Budget,
    Context,
    Count,
    Method,
    Norms,
    NotNegative,
    Perturbation,
    Positive,
    PositiveShare,
    ProtectorView,
)
from ue_bench.crafting.noise import Noise, as_saved, chosen, noise_for_labels, one_sided_budget
from ue_bench.crafting.pairs import (
    Captions,
    PairNoise,
    alternate,
    search_notes,
    warn_without_effect,
    whole_walk,
)
from ue_bench.crafting.paradigms import check_paradigm, find_conflict
from ue_bench.crafting.pgd import frozen
from ue_bench.crafting.surrogates import clip_surrogate, sgd, training_step
from ue_bench.errors import ConfigError, TrainingError


@dataclass(frozen=True)
class EM(Method):
    """EM, error-minimizing noise (Huang et al., ICLR 2021, "Unlearnable Examples"), written from the paper.

    A surrogate takes a few training steps on the protected images, then sign-gradient steps on the noise
    lower its loss; the two alternate until the surrogate errs on at most ``stop_error`` of the images.
    Nothing is augmented, and the learning rate is constant.

    The authors' code drops all negative noise when it saves (they call it a bug) and truncates instead of
    rounding: ``official_one_sided`` and ``official_floor`` do the same. It also trains the surrogate on
    images that noise has pushed out of [0, 1], which are clipped here, and has no cap on rounds.

    In contrastive runs it is EM as MEM's paper extends it (Liu et al., ACM MM 2024): CLIP's loss, one noise per
    pair, a fixed number of rounds, everything in whole steps of 1/255. MEM's code leaves up to a batch of pairs
    without noise in each pass and lets victims see images outside [0, 1]; neither happens here.
    """

    budget: Annotated[Budget, Norms("linf")] = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = (
        "image"  # image (the paper's "sample-wise") or class; contrastive: pair (MEM's) or image
    )
    surrogate: str = "resnet18"  # a victim, trained from scratch; papers
    surrogate_start: Literal["pytorch", "torchvision", "own"] = (
        "pytorch"  # supervised only: first weights; authors' code
    )
    model_steps: Count | None = None  # training steps per round; None: 10, from 100 classes on 20; papers
    noise_steps: Count | None = None  # sign steps per batch and round; None: 20, class-wise 1; papers
    step_size: Positive = 0.8  # steps of 1/255; papers. Does not follow the budget
    batch_size: Count = 512  # images or pairs, for training and noise; authors' codes
    learning_rate: Positive = 0.1  # constant; SGD, contrastive AdamW; authors' codes
    momentum: float = 0.9  # SGD, supervised only; authors' code
    weight_decay: NotNegative | None = None  # None: 5e-4, from 100 classes on 5e-5; authors' codes
    gradient_clip: float = 5.0  # supervised only: largest global norm of the gradient, 0: none; authors' code
    stop_error: float = 0.01  # supervised only: share of images that the surrogate may get wrong; paper
    max_rounds: Count = 50  # our cap (EM needs about 10); contrastive: the number of rounds (MEM's code)
    subset_share: PositiveShare = 0.2  # class-wise only: share of each class to make noise on; authors' code
    official_one_sided: bool = False  # supervised only: drop negative noise, as the authors' code does
    official_floor: bool = False  # supervised only: truncate to whole steps (0.8 to 0, -0.8 to -1); code
    bf16: bool = True  # where the device gains by it; False: float32, as the authors' code
    redraw: bool = False  # contrastive only: the surrogate starts anew from other weights in each round; ours

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS | Access.CAPTIONS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})
    granularities: ClassVar[tuple[str, ...]] = ("image", "class", "pair")
    cost: ClassVar[str] = (
        "200 forward and backward passes an image in 10 rounds (image-wise), 0.3 a round (class-wise); 40 a pair"
    )
    published_names: ClassVar[tuple[str, ...]] = ("EM",)
    usual: ClassVar[Mapping[str, Any]] = {"model_steps": 10, "weight_decay": 5e-4}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"surrogate": "resnet_tiny", "batch_size": 64, "max_rounds": 2},
        "laptop": {
            "surrogate": "resnet_tiny",
            "batch_size": 128,
        },  # few images: batches of 512 would be two updates per round
        "quick": {  # a quarter of the noise steps, three times as large, and few rounds
            "surrogate": "resnet_tiny",
            "batch_size": 128,
            "noise_steps": 5,
            "step_size": 2.4,
            "max_rounds": 8,
        },
        "contrastive smoke": {
            "surrogate": "clip_tiny",
            "batch_size": 32,
            "model_steps": 2,
            "max_rounds": 2,
            "noise_steps": 2,
            "step_size": 4.0,
        },
        # Half the steps, twice as large; so small a CLIP learns slowly with a rate of 1e-4.
        "contrastive laptop": {
            "surrogate": "clip_tiny",
            "learning_rate": 1e-3,
            "noise_steps": 4,
            "step_size": 2.0,
        },
        "contrastive quick": {
            "surrogate": "clip_tiny",
            "learning_rate": 1e-3,
            "batch_size": 64,
            "model_steps": 20,
            "noise_steps": 3,
            "step_size": 3.0,
            "max_rounds": 4,
        },
    }
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "contrastive": {
            "granularity": "pair",
            "surrogate": "clip_rn50",
            "model_steps": 50,
            "noise_steps": 8,
            "step_size": 1.0,
            "batch_size": 128,
            "learning_rate": 1e-4,
            "weight_decay": 0.2,
            "max_rounds": 5,
        },
    }

    def conflict(self, paradigm: str) -> str:
        """Why these settings make no sense in the paradigm; "" if they do."""
        return find_conflict(self, paradigm)

    def left_out(self, paradigm: str = "") -> frozenset[str]:
        """In contrastive runs, CLIP starts as OpenCLIP draws it; without redraws, the search is as it always was."""
        start = {"surrogate_start"} if paradigm == "contrastive" else set()
        return frozenset(start | (set() if self.redraw else {"redraw"}))

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        check_paradigm(self, view.paradigm)
        if view.paradigm == "contrastive":
            return self._pairs(view, context)
        return self._images(view, context)

    def _pairs(self, view: ProtectorView, context: Context) -> Perturbation:
        """Noise for contrastive runs."""
        if self.official_one_sided or self.official_floor:
            raise ConfigError(
                "em's official_one_sided and official_floor are for supervised runs: leave them out"
            )
        model = clip_surrogate(view, context, self.surrogate)
        captions = Captions(model.tokenize(view.example_captions), context.device, self.bf16)
        rows = view.rows(self.granularity)
        walk = whole_walk("em", self.budget, self.step_size, self.noise_steps)
        noise = PairNoise(view, context, captions, walk, rows=rows, batch_size=self.batch_size)
        history = alternate(
            model,
            noise,
            context,
            rounds=self.max_rounds,
            model_steps=self.model_steps,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            redraw=(lambda number: clip_surrogate(view, context, self.surrogate, draw=number - 1))
            if self.redraw
            else None,
        )
        clean, protected = (noise.judge(model, captions, shown)[0] for shown in (False, True))
        context.notes |= search_notes(history, clean, protected)
        warn_without_effect(context, "em", clean, protected)
        return Perturbation(noise.noise.steps.cpu(), rows, self.budget)

    def _images(self, view: ProtectorView, context: Context) -> Perturbation:
        """Noise for supervised runs."""
        if self.redraw:
            raise ConfigError("em's redraw is for contrastive runs: leave it out")
        model = context.surrogate(self.surrogate, view.classes, view.image_size, start=self.surrogate_start)
        noise = noise_for_labels(self, view, context)
        self._search(model, noise, view.classes, context)
        return as_saved(self, noise, view)

    def promised_budget(self, image_size: tuple[int, int]) -> Budget:
        """The budget, one-sided if negative noise is dropped as in the authors' code."""
        return one_sided_budget(self)

    def _search(self, model: nn.Module, noise: Noise, classes: int, context: Context) -> None:
        """Alternates between training the surrogate and improving the noise; reports it in ``context.notes``."""
        model_steps = chosen(self.model_steps, classes, few=10, many=20)
        decay = chosen(self.weight_decay, classes, few=5e-4, many=5e-5)
        optimizer = sgd(model, self.learning_rate, self.momentum, decay)
        batches = noise.training_batches()
        errors: list[float] = []
        parts = {"model": model, "optimizer": optimizer, "batches": batches, "delta": noise.delta}
        rounds = range(1, self.max_rounds + 1)
        for number in context.resumable(rounds, "round", errors=errors, **parts):
            model.train()
            for _ in range(model_steps):
                loss = noise.mean_loss(model, next(batches))
                training_step(model, optimizer, loss, self.gradient_clip)
            if not bool(loss.isfinite()):
                raise TrainingError(
                    f"em's surrogate '{self.surrogate}' diverged in round {number}: "
                    f"lower learning_rate (now {self.learning_rate:g})"
                )
            with frozen(model):
                noise.improve(model)
                errors.append(noise.error(model))
            if errors[-1] <= self.stop_error:
                break
        capped = errors[-1] > self.stop_error
        context.notes |= {
            "rounds": len(errors),
            "model_steps": model_steps,
            "weight_decay": decay,
            "reached_max_rounds": capped,
            "surrogate_error_percent": 100 * errors[-1],
            "surrogate_accuracy_percent_by_round": [100 * (1 - error) for error in errors],
        }
        if capped:
            context.warn(
                f"em stopped at its cap of {self.max_rounds} rounds: its surrogate still gets "
                f"{100 * errors[-1]:.1f} % of the protected images wrong (goal: {100 * self.stop_error:g} %)"
            )
