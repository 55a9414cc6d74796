"""Neural tangent generalization attack: noise with which an infinitely wide network learns nothing of other images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from ue_bench import (
    Access,
    Budget,
    Context,
    Count,
    Method,
    Norms,
    Perturbation,
    Positive,
    ProtectorView,
    Range,
)
from ue_bench.contracts.perturbation import quantise
from ue_bench.crafting.pgd import Walk, project
from ue_bench.crafting.resident import ResidentImages
from ue_bench.crafting.whole_noise import new_noise
from ue_bench.errors import ConfigError

from ._ntga import kernels
from ._ntga.flow import Block

TIMES = {"fnn": 4096.0, "cnn": 8.0}  # the strongest on CIFAR-10; the authors' readme


@dataclass(frozen=True)
class NTGA(Method):
    """NTGA, neural tangent generalization attack (Yuan & Wu, ICML 2021), written from a sheet on paper and code.

    What an infinitely wide network predicts after some time of gradient descent has a closed form, so the loss of other
    images has a gradient by the training images, which noise climbs. Every block of training images is a problem of its
    own. Two networks: fully connected with erf, or convolutional with ReLU (``surrogate``). All is in 64-bit floats.

    The authors' program takes one step in effect: each of its iterations starts from the clean images and goes the
    whole budget (``official_one_step``). The default is projected gradient ascent, as the paper says.

    The authors hold a fifth of the images back, ask the networks about these and leave them out of what they publish.
    Here these images are protected, too, against as many of the others. Blocks have equal sizes.
    """

    budget: Annotated[Budget, Norms("linf")] = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = "image"  # each image has its own noise
    surrogate: Literal["fnn", "cnn"] = "fnn"  # fnn: 5 layers with erf; cnn: 2 with ReLU, then 3 linear; paper
    time: Positive | None = (
        None  # of gradient descent; None: fnn 4,096, cnn 8 (readme). Default of the code: 64
    )
    official_one_step: bool = False  # one sign step of the whole budget, as in the authors' code
    iterations: Count = 10  # sign steps per image, from zero; paper
    step_size: Positive | None = None  # steps of 1/255; None: 1.1 budgets / iterations, 0.88 of 8; code
    block_size: Count = 512  # images, at most; code
    held_share: Annotated[float, Range(above=0, below=1)] = 0.2  # of the images, asked about; code

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image",)
    variants: ClassVar[frozenset[str]] = frozenset({"surrogate", "official_one_step"})
    cost: ClassVar[str] = (
        "10 times per block of 512 images, its kernel to 10,000 others and their gradients, in 64 bits"
    )
    published_names: ClassVar[tuple[str, ...]] = ("NTGA",)
    usual: ClassVar[Mapping[str, Any]] = {"time": 4096.0, "step_size": 0.88}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"iterations": 2, "step_size": 8.0, "block_size": 128},
        "quick": {"iterations": 4, "block_size": 256, "held_share": 0.1},
    }

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        if len(view) < 2:
            raise ConfigError("ntga needs at least two images: networks are asked about some of them")
        device = torch.device("cpu") if context.device.type == "mps" else context.device  # mps has no float64
        images, labels = ResidentImages(view.images, device), view.labels.to(device)
        targets = functional.one_hot(labels, view.classes).to(torch.float64)
        parts = self._parts(len(view), context.generator)
        noise = new_noise(len(images), images.size, self.budget.most_steps)
        right = torch.zeros(
            2, dtype=torch.int64
        )  # of held images, by networks of clean and of protected blocks
        asked = sum(len(held) for _, held in parts)
        for number in context.resumable(range(len(parts)), "block", noise=noise, right=right):
            mine, held = parts[number]
            clean = images.take(mine).double()
            block = Block(
                kernels.fnn if self.surrogate == "fnn" else kernels.cnn,
                self.time or TIMES[self.surrogate],
                targets[mine],
                images.take(held).double(),
                labels[held],
            )
            steps = quantise(self._climbed(clean, block), self.budget)
            noise[mine] = steps
            shown = (clean + steps.to(device) / 255).clamp_(0, 1)
            right += torch.tensor([block.right(clean), block.right(shown)])
        accuracies = (100 * right / asked).tolist()
        context.notes |= {
            "surrogate_clean_held_accuracy_percent": accuracies[0],
            "surrogate_held_accuracy_percent": accuracies[1],
        }
        return Perturbation(noise, view.rows(self.granularity), self.budget)

    def _climbed(self, clean: Tensor, block: Block) -> Tensor:
        """float64 [N, 3, H, W]: a block's noise, in [0, 1] pixel units."""
        radius, steps = self.budget.radius / 255, self.iterations
        size = 1.1 * radius / steps if self.step_size is None else self.step_size / 255
        if self.official_one_step:
            size, steps = radius, 1
        walk = Walk(radius, size, steps, maximise=True)

        def loss(shown: Tensor) -> Tensor:  # linear, with the gradient that was found
            return (shown * block.gradient(shown.detach())).sum()

        return project(clean, torch.zeros_like(clean), loss, walk)

    def _parts(self, count: int, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
        """(a block's images, the images that its network is asked about) for all blocks, each image in one block."""
        order = torch.randperm(count, generator=generator)
        held_count = min(max(1, round(self.held_share * count)), count - 1)
        rest, held = order[:-held_count], order[-held_count:]
        parts = []
        for members, others in ((rest, held), (held, rest[:held_count])):
            blocks = members.tensor_split(math.ceil(len(members) / self.block_size))
            parts += [(block, others) for block in blocks]
        return parts
