"""How a victim is trained, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ue_bench.bounds import Count, NotNegative, Positive, Range, Whole, check_fields
from ue_bench.canonical import LATER

BelowOne = Annotated[float, Range(0, below=1)]


@dataclass(frozen=True)
class Recipe:
    """A training recipe. Defaults: the field's CIFAR recipe ("em_t2ue": Huang et al. 2021, T2UE section 4.1).

    All arms of a comparison have the same recipe.
    """

    epochs: Count = 100  # T2UE: 100; EM: 60
    batch_size: Count = 128
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"  # sgd, adam or adamw
    learning_rate: Positive = 0.1
    momentum: BelowOne = 0.9  # sgd only
    nesterov: bool = False
    weight_decay: NotNegative = 5e-4
    schedule: Literal["cosine", "constant", "multistep"] = (
        "cosine"  # cosine to 0; multistep: x0.1 at milestones
    )
    milestones: tuple[float, ...] = (0.5, 0.75)  # shares of the epochs, multistep only
    warmup_epochs: NotNegative = 0.0  # linear, stepped per batch
    crop_padding: Whole = 4  # pixels of zeros around the image before a random crop; 0: no crop
    flip: bool = True  # horizontal, with probability 0.5
    label_smoothing: BelowOne = 0.0
    gradient_clip: NotNegative = 0.0  # global norm; 0: none
    bf16: bool = True  # on GPUs that have it, on CPUs that gain by it
    compile: bool = field(
        default=False, metadata=LATER
    )  # torch.compile, which rounds otherwise; needs a C++ compiler

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        check_fields(self, "recipe")


PRESETS = {
    "standard": Recipe(),
    # T2UE's clean accuracies (90.34 on CIFAR-10) are closer to training without augmentation: report both.
    "no_augmentation": Recipe(crop_padding=0, flip=False),
    # For small victims on a CPU, some 1,000 to 1,500 steps. Without crops, because so short a training does not learn
    # noise at fixed pixels through random shifts: with crops every noise looks harmless.
    "tiny": Recipe(epochs=16, batch_size=64, warmup_epochs=1.0, crop_padding=0),
}


@dataclass(frozen=True)
class ContrastiveRecipe:
    """How a CLIP victim is trained. Defaults: the recipe of MEM's code (Liu et al. 2024), which T2UE took over.

    AdamW, batches shuffled over all pairs, no augmentation, a linear warm-up, then half a cosine to 0. All arms of a
    comparison have the same recipe.
    """

    epochs: Count = 32
    batch_size: Annotated[int, Range(2)] = 128
    learning_rate: Positive = 5e-4
    beta1: BelowOne = 0.9
    beta2: BelowOne = 0.999
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.2  # not on normalisations, biases and the temperature
    warmup_steps: Whole = 10_000  # as in the code; trainings on small datasets end earlier
    off_by_one: bool = False  # True: the authors' schedule, one epoch ahead and past its end
    max_scale: Annotated[float, Range(1)] = 100.0  # of the inverse temperature, after every step
    gradient_clip: NotNegative = 0.0  # global norm; 0: none
    bf16: bool = True  # on GPUs that have it, on CPUs that gain by it; losses and evaluation stay float32

    def __post_init__(self) -> None:
        check_fields(self, "recipe")


CONTRASTIVE_PRESETS = {
    "standard": ContrastiveRecipe(),
    # For pretrained weights, as in MEM's study of faces, except the warm-up: over the code's 10,000 steps, the learning
    # rate would stay far below 1e-5 on so few pictures.
    "fine_tune": ContrastiveRecipe(epochs=10, learning_rate=1e-5, warmup_steps=0),
    # For small victims on a CPU.
    "tiny": ContrastiveRecipe(epochs=12, batch_size=64, learning_rate=1e-3, warmup_steps=100),
}
