"""The generator, worked a second time: in NumPy, from SSA-GAN's description and not from the module."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from ue_bench_methods._t2ue.generator import SSAGAN
from ue_bench_methods._t2ue.synthesis import Synthesiser

FILTERS, TEXT, SIDE = 2, 5, 32


def trained() -> SSAGAN:
    """No weight is 0 and no statistic fresh, so that every part takes part; in double precision."""
    torch.manual_seed(0)
    network = SSAGAN(FILTERS, TEXT, SIDE)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.2 * torch.randn(weight.shape))
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape))
            if name.endswith("running_var"):
                buffer.copy_(0.2 + torch.rand(buffer.shape))
    return network.double()


def convolved(maps: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    edge = weight.shape[2] // 2
    padded = np.pad(maps, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    windows = sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    return np.einsum("bchwij,dcij->bdhw", windows, weight) + bias[:, None, None]


def stretched(maps: np.ndarray) -> np.ndarray:
    """Twice as large, bilinear, corners kept."""
    for axis in (2, 3):
        side = maps.shape[axis]
        old, new = np.arange(side), np.linspace(0, side - 1, 2 * side)
        maps = np.apply_along_axis(lambda line, new=new, old=old: np.interp(new, old, line), axis, maps)
    return maps


class Reference:
    """The forward pass in evaluation mode, or with ``fresh`` statistics of the batch as in training."""

    def __init__(self, network: SSAGAN, fresh: bool):
        self.weights = {name: value.numpy() for name, value in network.state_dict().items()}
        self.fresh = fresh

    def linear(self, name: str, values: np.ndarray) -> np.ndarray:
        return values @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def conv(self, name: str, maps: np.ndarray) -> np.ndarray:
        return convolved(maps, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, name: str, maps: np.ndarray) -> np.ndarray:
        mean, variance = self.weights[f"{name}.running_mean"], self.weights[f"{name}.running_var"]
        if self.fresh:
            mean, variance = maps.mean((0, 2, 3)), maps.var((0, 2, 3))
        found = (maps - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5)
        if f"{name}.weight" in self.weights:
            found = found * self.weights[f"{name}.weight"][:, None, None]
            found = found + self.weights[f"{name}.bias"][:, None, None]
        return found

    def spoken(self, name: str, maps: np.ndarray, mask: np.ndarray, text: np.ndarray) -> np.ndarray:
        gain, shift = (
            self.linear(f"{name}.{part}.2", np.maximum(self.linear(f"{name}.{part}.0", text), 0))
            for part in ("gain", "shift")
        )
        mask = 1 / (1 + np.exp(-mask))
        normal = self.norm(f"{name}.norm", maps)
        return np.maximum((1 + mask * gain[:, :, None, None]) * normal + mask * shift[:, :, None, None], 0)

    def mask(self, name: str, maps: np.ndarray) -> np.ndarray:
        return self.conv(f"{name}.3", np.maximum(self.norm(f"{name}.1", self.conv(f"{name}.0", maps)), 0))

    def __call__(self, latent: np.ndarray, text: np.ndarray) -> np.ndarray:
        maps = self.linear("stem", latent).reshape(len(latent), 8 * FILTERS, 4, 4)
        mask = self.mask("first_mask", maps)
        for number in range(4):  # 4, 8, 16 and 32 pixels
            if number:
                maps, mask = maps.repeat(2, 2).repeat(2, 3), stretched(mask)
            name = f"blocks.{number}"
            found = self.conv(f"{name}.conv1", self.spoken(f"{name}.norm1", maps, mask, text))
            found = self.conv(f"{name}.conv2", self.spoken(f"{name}.norm2", found, mask, text))
            if f"{name}.shortcut.weight" in self.weights:
                maps = self.conv(f"{name}.shortcut", maps)
            maps = maps + self.weights[f"{name}.strength"] * found
            if number < 3:
                mask = self.mask(f"{name}.mask", maps)
        maps = self.norm("head.0", maps)
        return np.tanh(self.conv("head.2", np.where(maps < 0, 0.2 * maps, maps)))


@pytest.mark.parametrize("fresh", [False, True])
def test_the_network_agrees_with_a_second_working_of_it(fresh):
    network = trained().train(fresh)
    draw = torch.Generator().manual_seed(1)
    latent, text = (torch.randn(3, width, generator=draw, dtype=torch.float64) for width in (100, TEXT))
    wanted = Reference(network, fresh)(latent.numpy(), text.numpy())
    with torch.no_grad():
        found = network(latent, text)
    assert found.shape == (3, 3, SIDE, SIDE) and 0.2 < float(found.std()) < 0.9
    # The shares of old rows in new ones are single precision, so not closer.
    assert float(np.abs(found.numpy() - wanted).max()) < 2e-5
    if not fresh:
        fast = Synthesiser(network.float())(latent.float(), text.float())
        assert float(np.abs(fast.numpy() - wanted).max()) < 1e-3
