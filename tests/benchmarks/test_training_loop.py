"""The training loop against the loop that a user would otherwise write, in one run."""

from __future__ import annotations

import time

import torch
from torch import nn
from torchvision.transforms import v2

from ue_bench import ImageSet, Recipe
from ue_bench.clock import Clock
from ue_bench.training.supervised import train
from ue_bench_victims.resnet_tiny import ResNetTiny

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
COUNT = 5120
BATCH = 128


class Samples(torch.utils.data.Dataset):
    """One image at a time, augmented in Python, as tutorials do it."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor):
        self.images, self.labels = images.permute(0, 2, 3, 1).numpy(), labels.tolist()
        self.transform = v2.Compose(
            [
                v2.ToPILImage(),
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        return self.transform(self.images[index]), self.labels[index]


def ordinary_epochs(model: nn.Module, data: ImageSet, epochs: int) -> None:
    """DataLoader with two workers, contiguous tensors, SGD."""
    assert data.labels is not None
    loader = torch.utils.data.DataLoader(
        Samples(data.images, data.labels),
        batch_size=BATCH,
        shuffle=True,
        num_workers=2,
        drop_last=True,
        persistent_workers=True,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for _ in range(epochs):
        for images, labels in loader:
            loss = nn.functional.cross_entropy(model(images.to(DEVICE)), labels.to(DEVICE))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def test_training_loop(benchmark):
    """Images a second of both loops with resnet_tiny, the first epoch of each left out."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (COUNT, 3, 32, 32), generator=generator, dtype=torch.uint8)
    data = ImageSet(images, torch.arange(COUNT) % 10)

    def ours(epochs: int) -> None:
        model = ResNetTiny().build(10, (32, 32)).to(DEVICE)
        recipe = Recipe(epochs=epochs, batch_size=BATCH)
        train(model, data, recipe, device=DEVICE, seed=0, clock=Clock(DEVICE))

    def ordinary(epochs: int) -> None:
        ordinary_epochs(ResNetTiny().build(10, (32, 32)).to(DEVICE).train(), data, epochs)

    def images_per_second(loop) -> float:
        """The slope between one epoch and four, so that starting up does not count."""
        times = []
        for epochs in (1, 4):
            start = time.perf_counter()
            loop(epochs)
            times.append(time.perf_counter() - start)
        return 3 * COUNT / (times[1] - times[0])

    ours(1)
    rates = {"ours": images_per_second(ours), "ordinary": images_per_second(ordinary)}
    benchmark.extra_info["images_per_second"] = {name: round(rate) for name, rate in rates.items()}
    benchmark.extra_info["ratio"] = round(rates["ours"] / rates["ordinary"], 2)
    print(benchmark.extra_info)
    benchmark.pedantic(ours, args=(1,), rounds=1)
