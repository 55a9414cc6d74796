"""How a victim is trained, as data."""

from __future__ import annotations

from dataclasses import dataclass

from ue_bench.errors import ConfigError, unknown

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("cosine", "constant", "multistep")


def _not_negative(recipe: object, names: tuple[str, ...]) -> None:
    for name in names:
        if not getattr(recipe, name) >= 0:
            raise ConfigError(f"recipe.{name} must be at least 0, not {getattr(recipe, name)}")


def _below_one(recipe: object, names: tuple[str, ...]) -> None:
    for name in names:
        if not 0 <= getattr(recipe, name) < 1:
            raise ConfigError(f"recipe.{name} must be at least 0 and below 1, not {getattr(recipe, name)}")


@dataclass(frozen=True)
class Recipe:
    """A training recipe. Defaults: the field's CIFAR recipe ("em_t2ue": Huang et al. 2021, T2UE section 4.1).

    Every arm of a comparison gets the same one.
    """

    epochs: int = 100  # T2UE: 100; EM: 60
    batch_size: int = 128
    optimizer: str = "sgd"  # sgd, adam or adamw
    learning_rate: float = 0.1
    momentum: float = 0.9  # sgd only
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: str = "cosine"  # cosine to 0 or constant, stepped per epoch; multistep: x0.1 at milestones
    milestones: tuple[float, ...] = (0.5, 0.75)  # shares of the epochs, multistep only
    warmup_epochs: float = 0.0  # linear, stepped per batch
    crop_padding: int = 4  # pixels of zeros around a random crop; 0: no crop
    flip: bool = True  # horizontal, with probability 0.5
    label_smoothing: float = 0.0
    gradient_clip: float = 0.0  # global norm; 0: none
    bf16: bool = True  # only on accelerators that have it

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"recipe.{name} must be at least 1, not {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ConfigError(f"recipe.learning_rate must be above 0, not {self.learning_rate}")
        _not_negative(self, ("weight_decay", "warmup_epochs", "crop_padding", "gradient_clip"))
        _below_one(self, ("momentum", "label_smoothing"))


PRESETS = {
    "standard": Recipe(),
    # T2UE's clean accuracies (90.34 on CIFAR-10) are closer to training without augmentation: report both.
    "no_augmentation": Recipe(crop_padding=0, flip=False),
    # For small victims on a CPU, some 1,000 to 1,500 steps. No crops: so short a training does not find noise that
    # sits at fixed pixels through random shifts, with crops every noise looks harmless (results/ has the measurements).
    "tiny": Recipe(epochs=16, batch_size=64, warmup_epochs=1.0, crop_padding=0),
}


@dataclass(frozen=True)
class ContrastiveRecipe:
    """How a CLIP victim is trained. Defaults: the recipe of MEM's code (Liu et al. 2024), which T2UE took over.

    AdamW, batches shuffled over all pairs, no augmentation, a linear warm-up, then half a cosine to 0. Every arm of
    a comparison gets the same one.
    """

    epochs: int = 32
    batch_size: int = 128
    learning_rate: float = 5e-4
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.2  # not on normalisations, biases and the temperature
    warmup_steps: int = 10_000  # as in the code: small datasets end before it does
    off_by_one: bool = False  # True: the authors' schedule, one epoch late and past its end
    max_scale: float = 100.0  # of the inverse temperature, after every step
    gradient_clip: float = 0.0  # global norm; 0: none
    bf16: bool = True  # only on accelerators that have it; losses and evaluation stay float32

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 2), ("warmup_steps", 0), ("max_scale", 1)):
            if not getattr(self, name) >= least:
                raise ConfigError(f"recipe.{name} must be at least {least}, not {getattr(self, name)}")
        for name in ("learning_rate", "eps"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"recipe.{name} must be above 0, not {getattr(self, name)}")
        _not_negative(self, ("weight_decay", "gradient_clip"))
        _below_one(self, ("beta1", "beta2"))


CONTRASTIVE_PRESETS = {
    "standard": ContrastiveRecipe(),
    # Pretrained weights, as in MEM's study of faces, but for the warm-up: with the code's 10,000 steps, so few
    # pictures would end far below 1e-5.
    "fine_tune": ContrastiveRecipe(epochs=10, learning_rate=1e-5, warmup_steps=0),
    # For small victims on a CPU.
    "tiny": ContrastiveRecipe(epochs=12, batch_size=64, learning_rate=1e-3, warmup_steps=100),
}
