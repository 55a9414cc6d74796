"""TUE's discriminant and the agreement of signs, worked by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ue_bench_methods._tue.separability import class_separability, sign_agreement


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestSeparability:
    """Two classes on a line: -2 and 0 (centre -1, spread 1), 3 and 3 (spread 0), so 1 / 4."""

    labels = torch.tensor([0, 2, 0, 2])

    def noise(self) -> Tensor:
        return torch.tensor([-2.0, 3.0, 0.0, 3.0]).view(4, 1).requires_grad_()

    def test_by_hand_with_a_class_missing(self):
        assert float(class_separability(self.noise(), self.labels, 3)) == pytest.approx(1 / 4, rel=1e-4)

    def test_detached_spreads_only_push_centres_apart(self):
        noise = self.noise()
        (gradient,) = torch.autograd.grad(class_separability(noise, self.labels, 3), noise)
        assert gradient.flatten().tolist() == pytest.approx([1 / 32, -1 / 32, 1 / 32, -1 / 32], rel=1e-3)

    def test_the_full_gradient_pulls_classes_together_too(self):
        noise = self.noise()
        value = class_separability(noise, self.labels, 3, detach_spread=False)
        (gradient,) = torch.autograd.grad(value, noise)
        assert gradient[0].item() == pytest.approx(1 / 32 - 1 / 8, rel=1e-3)
        assert gradient[2].item() == pytest.approx(1 / 32 + 1 / 8, rel=1e-3)

    def test_three_classes_are_the_mean_over_ordered_pairs(self):
        noise, labels = torch.randn(30, 3, 4, 4, generator=drawn()), torch.arange(30) % 3
        flat = noise.flatten(1).double()
        centres = [flat[labels == k].mean(0) for k in range(3)]
        spreads = [float((flat[labels == k] - centres[k]).norm(dim=1).mean()) for k in range(3)]
        ratios = [
            (spreads[i] + spreads[j]) / float((centres[i] - centres[j]).norm())
            for i in range(3)
            for j in range(3)
            if i != j
        ]
        assert float(class_separability(noise, labels, 3)) == pytest.approx(sum(ratios) / 6, rel=1e-4)

    def test_one_class_and_equal_centres_give_no_gradient_and_no_nan(self):
        noise = torch.zeros(4, 2, requires_grad=True)
        alone = class_separability(noise, torch.zeros(4, dtype=torch.int64), 3)
        assert float(alone) == 0
        for value in (alone, class_separability(noise, self.labels, 3)):
            assert not torch.autograd.grad(value, noise)[0].any()

    def test_sign_agreement_by_hand(self):
        noise = torch.tensor([[1, -1], [8, 1], [-3, -2], [2, 2]], dtype=torch.int8)
        assert sign_agreement(noise[:2], torch.tensor([0, 0]), 1, chunk=1) == (1 + 0.5) / 2
        assert sign_agreement(noise, torch.tensor([0, 1, 2, 3]), 4) == 1
