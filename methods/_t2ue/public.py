"""What a method needs for public pairs of images and captions: a frozen CLIP, and the features of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ue_bench.contracts.context import Context
from ue_bench.data.imageset import ImageSet
from ue_bench.errors import ConfigError, DataError
from ue_bench.seeds import derive
from ue_bench.training.contrastive import train_contrastive
from ue_bench.training.pairs import Pairs
from ue_bench.training.recipe import ContrastiveRecipe
from ue_bench.training.towers import Towers, trim

HERE = "here"  # instead of a tag of weights: the CLIP is trained on the public pairs
AT_ONCE = 256  # captions per batch
IMAGE_TOWER = "clip.visual."  # the names of the image tower's weights start with this


@dataclass(frozen=True)
class Surrogate:
    """A CLIP that a method loads, or trains on public pairs.

    Attributes:
        name: a contrastive victim's name.
        pretrained: OpenCLIP's tag of weights, or ``here``: trained from scratch on the public pairs.
        checkpoint: a file with those weights, instead of a download; or "".
        quickgelu: QuickGELU, which OpenAI's weights need.
        size: pixels per side at which the images are decoded.
    """

    name: str
    pretrained: str
    checkpoint: str
    quickgelu: bool
    size: int

    def __post_init__(self) -> None:
        if self.trained_here and self.checkpoint:
            raise ConfigError(
                f"surrogate_checkpoint '{self.checkpoint}' has no use with surrogate_pretrained={HERE}: leave one out"
            )
        if not self.pretrained and not self.checkpoint:
            raise ConfigError(
                "a surrogate with random weights knows nothing: set surrogate_pretrained to OpenCLIP's tag, such as "
                f"openai, or to {HERE}"
            )

    @property
    def trained_here(self) -> bool:
        """Whether its weights come from the public pairs."""
        return self.pretrained == HERE

    def build(self, context: Context) -> Towers:
        """The model on the device: with its weights, or fresh if it is trained here.

        Raises:
            ConfigError: if the victim is not a CLIP model.
            UnavailableError: if the weights cannot be loaded.
        """
        parameters: dict[str, Any] = {}
        if not self.trained_here:
            weights = {"checkpoint": self.checkpoint} if self.checkpoint else {"pretrained": self.pretrained}
            parameters = {**weights, "quickgelu": self.quickgelu}
        towers = context.surrogate(self.name, 0, (self.size, self.size), parameters)
        if not isinstance(towers, Towers):
            raise ConfigError(f"surrogate '{self.name}' reads no captions: take a contrastive victim")
        return towers

    def learn(self, towers: Towers, public: ImageSet, recipe: ContrastiveRecipe, context: Context) -> None:
        """Trains ``towers`` on the public pairs; the store keeps them for all methods that need the same ones."""

        def make() -> dict[str, Tensor]:
            curves = train_contrastive(
                towers,
                Pairs.of(public),
                recipe,
                device=context.device,
                seed=derive(context.seed, "surrogate order", self.name),
                progress=context.progress,
                checkpoints=context.ledger.checkpoints,
            )
            context.notes["surrogate_train_accuracy_percent"] = curves.train_accuracy[-1]
            return {name: tensor.clone() for name, tensor in towers.state_dict().items()}

        what = {"surrogate": self.name, "public": public.fingerprint, "size": self.size, "recipe": recipe}
        state = context.keep(what, make)
        towers.load_state_dict({name: tensor.to(context.device) for name, tensor in state.items()})


def load_pairs(context: Context, words: str, size: int, images: int) -> ImageSet:
    """The training images of a public dataset with captions.

    Args:
        words: its name in the datasets registry and its parameters: ``captions path=/data/mine.csv``.
        size: side in pixels.
        images: the dataset's ``train_images``; 0: all.

    Raises:
        ConfigError: if the words cannot be parsed, or name no dataset or parameter.
        DataError: if the dataset is absent or has no captions.
    """
    public = context.load_public(words, size, {"train_images": images} if images else {}).train
    if public.captions is None:
        raise DataError(
            f"the public dataset '{words}' has no captions: take one with captions, such as mscoco"
        )
    return public


def short_recipe(
    public: ImageSet, epochs: int, batch_size: int, learning_rate: float, bf16: bool
) -> ContrastiveRecipe:
    """The victims' recipe with a warm-up of a tenth of the steps, because their 10,000 steps would not end."""
    steps = epochs * max(1, len(public.pairs) // batch_size)
    return ContrastiveRecipe(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, warmup_steps=steps // 10, bf16=bf16
    )


def frozen(towers: Towers) -> Towers:
    """The model in evaluation mode, without gradients for its weights."""
    return towers.eval().requires_grad_(False)  # type: ignore[return-value]


@torch.no_grad()
def text_features(towers: Towers, captions: Sequence[str]) -> Tensor:
    """float32 [N, D] on the CPU: the text tower's features of each caption, not normalised.

    Args:
        towers: in evaluation mode.
    """
    device = next(towers.parameters()).device
    parts = []
    for start in range(0, len(captions), AT_ONCE):
        tokens = trim(towers.tokenize(captions[start : start + AT_ONCE]))
        parts.append(towers.clip.encode_text(tokens.to(device)).to("cpu", torch.float32))
    return torch.cat(parts)


def text_tower(towers: Towers) -> dict[str, Tensor]:
    """The weights that ``text_features`` needs, by name."""
    return {name: tensor for name, tensor in towers.state_dict().items() if not name.startswith(IMAGE_TOWER)}


def restore_text_tower(towers: Towers, tensors: Mapping[str, Tensor]) -> None:
    """Restores the weights that ``text_tower`` returned."""
    wanted = text_tower(towers)
    if set(wanted) != set(tensors):
        raise ConfigError("the kept text tower is another model's: was the surrogate's architecture changed?")
    for name, tensor in wanted.items():
        tensor.copy_(tensors[name])
