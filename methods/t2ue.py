"""T2UE: noise from text alone, by a generator that was trained with a frozen CLIP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

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
    ProtectorView,
    Range,
    Whole,
)
from ue_bench.contracts.perturbation import quantise
from ue_bench.crafting.whole_noise import new_noise
from ue_bench.errors import ConfigError
from ue_bench.seeds import derive

from ._t2ue.ablations import with_random_phases
from ._t2ue.generator import LATENT, bounded, channel_plan, load_generator, resized, seeded_ssagan, untrained
from ._t2ue.prompts import Requests, requests
from ._t2ue.public import (
    Surrogate,
    frozen,
    load_pairs,
    restore_text_tower,
    short_recipe,
    text_features,
    text_tower,
)
from ._t2ue.synthesis import Synthesiser
from ._t2ue.training import Lessons, Training

PIXELS_AT_ONCE = {
    "cpu": 2**18,
    "cuda": 2**22,
}  # of noise, which bounds the memory: on a CPU 4 noises of 256 pixels
PADDED = (
    112  # numbers drawn for each random vector of 100: in whole 16s, a row does not depend on how many follow
)
TEXT_PER_FILTER = (
    8  # values of a text's features for each channel of the generator's last block; authors' code
)
DEAF = 0.01  # steps of 1/255: if noises of two texts differ by less, the text hardly matters
PAPER_NAMES = {  # names in the paper's tables, by surrogate
    "clip_vit_b_16": ("T2UE(ViT/B-16)",),
    "clip_vit_b_32": ("T2UE", "T2UE(ViT/B-32)"),
}


@dataclass(frozen=True)
class T2UE(Method):
    """T2UE, text-to-unlearnable examples (arXiv 2508.03091, 2025), written from the paper and a specification.

    SSA-GAN's generator turns a text's features and a random vector into noise; for ViT-B/32's 512 features it has
    31,329,281 weights. It is trained on public pairs, so that a frozen CLIP matches any image with this noise to the
    text. To protect data it needs only their texts and never reads an image. In contrastive runs the text is each
    pair's own caption (with one noise per image, the first caption). In supervised runs it is a template with the
    class's name: class-wise, the first of CLIP's 18 and one random vector per class; otherwise a template and a vector
    for each image.

    The generator is trained once for all data, granularities and values of z. The record names the public data, and
    warns if they overlap with the data to protect.

    Where paper and authors' code differ, defaults follow the paper. The code clips the output at the radius, which is
    16 there (``bound=clamp``), lets the learning rate rise (``official_schedule``), keeps the epoch of the lowest
    loss (``official_best``), augments more (``augmentation=official``), and uses only a few random vectors: ``z=32``
    in supervised runs, also class-wise, ``z=16`` in contrastive ones. Our choices: half of the public images are
    mirrored, each epoch draws one of an image's captions, and there is no weight decay.
    """

    budget: Annotated[Budget, Norms("linf", most=127)] = Budget(
        "linf", 8
    )  # steps of 1/255; paper. Authors' code: 16
    granularity: str = (
        "pair"  # pair, image or class. Supervised: pair and image are the paper's "sample-wise"
    )
    size: int = 256  # pixels per side of the generator's noise, resized (nearest) to the images; paper
    filters: Count | None = (
        None  # channels of the last block (ngf); None: an eighth of the text's width, code
    )
    bound: Literal["scale", "clamp"] = "scale"  # radius x output (equation 1), or clipped (code)
    z: str = "row"  # random vectors: one per noise (row), one for all (shared), or a number, as 32 (code)
    public: str = (
        "mscoco"  # dataset with captions that the generator learns from (paper); "captions path=FILE"
    )
    public_images: Whole = 0  # of its training images, drawn by the dataset's train_images; 0: all
    surrogate: str = "clip_vit_b_32"  # a contrastive victim's name; paper. Or clip_vit_b_16 with 300 epochs
    surrogate_pretrained: str = (
        "openai"  # OpenCLIP's tag of weights (paper); here: trained on the public pairs
    )
    surrogate_checkpoint: str = ""  # local file with those weights; "": they are downloaded
    surrogate_quickgelu: bool = True  # as OpenAI's weights need it; loaded weights only
    surrogate_size: Count = 224  # pixels per side of public images and of a surrogate trained here
    surrogate_epochs: Count = 32  # trained here only: over the public pairs; victims' recipe
    surrogate_batch_size: Count = 128  # trained here only: pairs; victims' recipe
    surrogate_learning_rate: Positive = 5e-4  # trained here only: AdamW, a tenth of the steps warm-up
    epochs: Count = 500  # of the generator, over the public images; paper. 300 with clip_vit_b_16
    batch_size: Annotated[int, Range(2)] = 128  # pairs; paper
    learning_rate: Positive = 1e-4  # Adam with betas 0 and 0.9 (SSA-GAN's), along half a cosine to 0; paper
    weight_decay: NotNegative = 0.0  # decoupled; authors' code. T2UE's text has some, without a number
    augmentation: Literal["flip", "none", "official"] = "flip"  # of public images; flip: ours
    official_schedule: bool = False  # learning rate rises to 1e-3, as in the authors' code
    official_best: bool = False  # the epoch of the lowest loss, as in the authors' code, instead of the last
    snapshots: tuple[Count, ...] = ()  # epochs after which the generator is kept, too; for appendix A.1
    checkpoint: Whole = 0  # the epoch of the snapshot that makes the noise; 0: the generator after all epochs
    checkpoint_epochs: Count = (
        10  # has no effect any more, see checkpoint_minutes; kept because older trials name it
    )
    ablation: Literal["none", "untrained", "shuffled", "spectrum"] = (
        "none"  # control, no method: a generator as drawn, another one's text, or random phases; ours
    )
    bf16: bool = True  # training, where the device gains by it; False: float32, as the authors' code

    access: ClassVar[Access] = Access.CAPTIONS | Access.LABELS | Access.CLASS_NAMES
    files: ClassVar[frozenset[str]] = frozenset({"surrogate_checkpoint"})
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})
    granularities: ClassVar[tuple[str, ...]] = ("pair", "image", "class")
    variants: ClassVar[frozenset[str]] = frozenset({"bound", "z", "surrogate_checkpoint", "ablation"})
    usual: ClassVar[Mapping[str, Any]] = {"filters": 64}  # with ViT-B/32 and ViT-B/16
    protect_only: ClassVar[frozenset[str]] = frozenset(
        {"granularity", "z", "checkpoint", "checkpoint_epochs", "ablation"}
    )
    cost: ClassVar[str] = (
        "67 GFLOP a noise at 256 pixels; once, 500 epochs over the public images, 230 GFLOP an image (A100-days)"
    )
    preparations: ClassVar[Mapping[str, str]] = {
        "quick": "a demonstration: minutes on a CPU, with drawn pictures; it will most likely not protect photographs",
        "laptop": "a demonstration, too: about 17 core-minutes, with flickr8k/ under UE_BENCH_DATA",
        "paper": "days on a GPU, with mscoco/ under UE_BENCH_DATA and OpenAI's CLIP, which is downloaded (350 MB)",
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "size": 32,
            "filters": 8,
            "public": "shapes",
            "public_images": 64,
            "surrogate": "clip_tiny",
            "surrogate_pretrained": "here",
            "surrogate_size": 32,
            "surrogate_epochs": 1,
            "surrogate_batch_size": 64,
            "epochs": 2,
            "batch_size": 32,
            "learning_rate": 1e-3,
        },
        "laptop": {
            "size": 32,
            "filters": 16,
            "public": "flickr8k",
            "surrogate": "clip_tiny",
            "surrogate_pretrained": "here",
            "surrogate_size": 32,
            "surrogate_epochs": 6,
            "surrogate_learning_rate": 1e-3,
            "epochs": 20,
            "batch_size": 64,
            "learning_rate": 3e-3,
            "checkpoint_epochs": 2,
        },
        # With the snapshots that generator_duration needs, all suites of a store share one generator.
        "quick": {
            "size": 32,
            "filters": 8,
            "public": "drawings",
            "surrogate": "clip_tiny",
            "surrogate_pretrained": "here",
            "surrogate_size": 32,
            "surrogate_epochs": 4,
            "surrogate_batch_size": 64,
            "surrogate_learning_rate": 1e-3,
            "epochs": 8,
            "batch_size": 32,
            "learning_rate": 3e-3,
            "snapshots": (1, 3),
            "checkpoint_epochs": 4,
        },
    }

    @property
    def published_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Its name in the paper's tables; other surrogates are compared with the paper's rows for ViT-B/32."""
        if self.is_control:
            return ()
        return PAPER_NAMES.get(self.surrogate, PAPER_NAMES["clip_vit_b_32"])

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.z not in ("row", "shared") and not (self.z.isdecimal() and int(self.z) > 0):
            raise ConfigError(f"t2ue's z must be row, shared or a number such as 32, not '{self.z}'")
        channel_plan(self.size)  # this and the next two lines raise ConfigError for invalid settings
        self._surrogate()
        self._lessons()
        if self.checkpoint and self.checkpoint not in self.snapshots:
            raise ConfigError(
                f"t2ue's checkpoint {self.checkpoint} is none of its snapshots: set snapshots=[{self.checkpoint},...]"
            )

    @property
    def is_control(self) -> bool:
        return self.ablation != "none"

    @property
    def prepares(self) -> bool:
        return self.ablation != "untrained"

    def left_out(self, paradigm: str = "") -> frozenset[str]:
        """The method as it is was the only one once."""
        return frozenset({"ablation"} if self.ablation == "none" else ())

    def prepare(self, context: Context) -> Mapping[str, Tensor]:
        surrogate = self._surrogate()
        towers = surrogate.build(context)
        public = load_pairs(context, self.public, towers.tower_size[0], self.public_images)
        if surrogate.trained_here:
            recipe = short_recipe(
                public,
                self.surrogate_epochs,
                self.surrogate_batch_size,
                self.surrogate_learning_rate,
                self.bf16,
            )
            surrogate.learn(towers, public, recipe, context)
        towers = frozen(towers)
        width = text_features(towers, ["a"]).shape[1]
        seed = derive(context.seed, "generator")
        network = seeded_ssagan(self._channels(width), width, self.size, seed, context.device)
        training = Training(network, towers, public, self._lessons(), context)
        training.run()
        self._report(training, context)
        kept = {f"generator.{name}": value for name, value in training.result().items()}
        kept |= {f"snapshot.{name}": value for name, value in training.kept.items()}
        if surrogate.trained_here:
            kept |= {f"text.{name}": value for name, value in text_tower(towers).items()}
        return kept

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        shuffled = derive(context.seed, "shuffled names") if self.ablation == "shuffled" else None
        wanted = requests(view, self.granularity, self.z, context.generator, shuffled)
        towers = self._reader(context)
        texts = text_features(towers, wanted.texts)
        if self.ablation == "untrained":
            seed = derive(context.seed, "generator")
            network = untrained(
                self._channels(texts.shape[1]), texts.shape[1], self.size, seed, context.device
            )
        else:
            which = f"snapshot.{self.checkpoint}." if self.checkpoint else "generator."
            network = load_generator(_part(context.prepared, which), context.device)
        return Perturbation(
            self._noise(network, texts, wanted, view.image_size, context), wanted.rows, self.budget
        )

    def _noise(
        self, network: nn.Module, texts: Tensor, wanted: Requests, size: tuple[int, int], context: Context
    ) -> Tensor:
        """int8 [R, 3, H, W]: the noises, made a few at a time."""
        make, device = Synthesiser(network), context.device
        draws = torch.randn(wanted.latents, PADDED, generator=context.generator)[:, :LATENT]
        noise = new_noise(len(wanted), size)
        phases = torch.Generator().manual_seed(derive(context.seed, "phases"))
        step = max(1, PIXELS_AT_ONCE.get(device.type, 2**18) // self.size**2)
        for start in context.progress.track(range(0, len(wanted), step), "noise"):
            part = slice(start, start + step)
            raw = make(draws[wanted.latent[part]].to(device), texts[wanted.text[part]].to(device))
            delta = bounded(resized(raw, size), self.budget.radius / 255, self.bound)
            if self.ablation == "spectrum":
                delta = with_random_phases(delta, phases)
            noise[part] = quantise(delta, self.budget)
        return noise

    def _channels(self, text_width: int) -> int:
        """Of the generator's last block."""
        return self.filters or max(1, text_width // TEXT_PER_FILTER)

    def _surrogate(self) -> Surrogate:
        return Surrogate(
            name=self.surrogate,
            pretrained=self.surrogate_pretrained,
            checkpoint=self.surrogate_checkpoint,
            quickgelu=self.surrogate_quickgelu,
            size=self.surrogate_size,
        )

    def _lessons(self) -> Lessons:
        return Lessons(
            radius=self.budget.radius / 255,
            bound=self.bound,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            augmentation=self.augmentation,
            official_schedule=self.official_schedule,
            official_best=self.official_best,
            bf16=self.bf16,
            snapshots=tuple(self.snapshots),
        )

    def _reader(self, context: Context):
        """The surrogate with the text tower that the generator was trained with."""
        surrogate = self._surrogate()
        towers = surrogate.build(context)
        if surrogate.trained_here and self.prepares:
            restore_text_tower(towers, _part(context.prepared, "text."))
        return frozen(towers)

    def _report(self, training: Training, context: Context) -> None:
        curves, clean = training.curves, training.loss_without_noise()
        loss, sensitivity = curves["loss"][-1], curves["text_sensitivity_steps"][-1]
        context.notes |= {
            "generator_parameters": sum(weight.numel() for weight in training.network.parameters()),
            "generator_loss_by_epoch": curves["loss"],
            "generator_loss_without_noise": clean,
            "generator_learning_rate_by_epoch": curves["learning_rate"],
            "text_sensitivity_steps_by_epoch": curves["text_sensitivity_steps"],
        }
        if loss >= clean:
            context.warn(
                f"t2ue's generator does not help the surrogate: its loss is {loss:.3g} with noise and {clean:.3g} "
                "without; train it longer"
            )
        if sensitivity < DEAF:
            context.warn(
                f"t2ue's generator hardly uses the text: two texts' noises differ by {sensitivity:.2g} steps of 1/255 "
                "on average; train it longer"
            )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
