"""AutoAugment and RandAugment do to every image what torchvision's classes do to one, draw for draw."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import v2

from ue_bench.defenses._operations import OPERATIONS, Move, apply_moves
from ue_bench.defenses._policies import POLICIES
from ue_bench.defenses.autoaugment import AutoAugment
from ue_bench.defenses.randaugment import NAMES, STRONGEST, RandAugment

TORCHVISION = {"cifar10": v2.AutoAugmentPolicy.CIFAR10, "imagenet": v2.AutoAugmentPolicy.IMAGENET}


def picture(side: int = 24, seed: int = 0) -> torch.Tensor:
    """uint8 [3, side, side]: smooth, dim and low in contrast, so that every operation shows."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((1, 3, 5, 5), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")[0].clamp(0, 1)
    return (20 + 180 * smooth).to(torch.uint8)


def repeated(image: torch.Tensor, count: int) -> torch.Tensor:
    """float [count, 3, H, W] in [0, 1], as training makes it."""
    return image.expand(count, -1, -1, -1).to(torch.float32).div(255)


def as_bytes(images: torch.Tensor) -> torch.Tensor:
    scaled = images * 255
    assert torch.equal(scaled.round().div(255), images), "results are 8-bit values over 255"
    return scaled.round().to(torch.uint8)


def loaded(monkeypatch, number: int, share: float) -> None:
    """From here on torch draws this number and this share, whoever asks."""
    monkeypatch.setattr(torch, "randint", lambda *a, **k: torch.tensor(number))
    monkeypatch.setattr(torch, "rand", lambda *a, **k: torch.tensor(share))


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("side", [24, 33])
def test_autoaugment_is_torchvisions(policy, side, monkeypatch):
    """Every pair of operations, with loaded dice: all probabilities, magnitudes, signs and the order are theirs."""
    image, pairs = picture(side), len(POLICIES[policy])
    theirs = v2.AutoAugment(TORCHVISION[policy])
    shares = [
        0.04 + 0.1 * step for step in range(10)
    ]  # on either side of each probability, and of the sign's
    wanted = []
    for share in shares:
        for number in range(pairs):
            loaded(monkeypatch, number, share)
            wanted.append(theirs(image))
    monkeypatch.undo()
    chance = torch.tensor(shares).repeat_interleave(pairs).expand(2, -1)
    draws = torch.arange(pairs).repeat(len(shares))
    ours = AutoAugment(policy).augment(repeated(image, len(draws)), draws, chance, chance)
    assert torch.equal(as_bytes(ours), torch.stack(wanted))
    assert len(torch.stack(wanted).unique(dim=0)) > pairs, "the dice did something"


@pytest.mark.parametrize("magnitude", [0, 9, 30])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_randaugment_is_torchvisions(magnitude, share, monkeypatch):
    image = picture()
    theirs = v2.RandAugment(num_ops=2, magnitude=magnitude)
    wanted = []
    for number in range(len(NAMES)):
        loaded(monkeypatch, number, share)
        wanted.append(theirs(image))
    monkeypatch.undo()
    draws = torch.arange(len(NAMES)).expand(2, -1)
    ours = RandAugment(2, magnitude).augment(
        repeated(image, len(NAMES)), draws, torch.full((2, len(NAMES)), share)
    )
    assert torch.equal(as_bytes(ours), torch.stack(wanted))


def test_torchvision_knows_no_operation_beyond_these(monkeypatch):
    """A fifteenth operation of RandAugment would be drawn by number 14."""
    image = picture()
    loaded(monkeypatch, len(NAMES), 0.7)
    with pytest.raises(IndexError):
        v2.RandAugment()(image)
    loaded(monkeypatch, len(POLICIES["cifar10"]), 0.7)
    with pytest.raises(IndexError):
        v2.AutoAugment(TORCHVISION["cifar10"])(image)


def test_the_policies_are_well_formed():
    for policy in POLICIES.values():
        assert len(policy) == 25
        for step in (step for pair in policy for step in pair):
            assert step.operation in OPERATIONS and 0 <= step.probability <= 1 and 0 <= step.magnitude <= 9
    assert len(NAMES) == 14 and "Invert" not in NAMES


def test_operations_by_hand():
    ramp = torch.arange(16, dtype=torch.uint8).mul(10).reshape(1, 1, 4, 4).expand(1, 3, 4, 4).contiguous()
    assert Move("TranslateX", 1)(ramp, False)[0, 0, 0].tolist() == [0, 0, 10, 20]
    assert Move("TranslateX", 1)(ramp, True)[0, 0, 0].tolist() == [10, 20, 30, 0]
    assert Move("TranslateY", 1)(ramp, False)[0, 0, :, 0].tolist() == [0, 0, 40, 80]
    assert Move("Brightness", 1)(ramp, False)[0, 0, 1].tolist() == [76, 95, 114, 133]  # 40 50 60 70 by 1.9
    assert Move("Posterize", 1)(ramp, False)[0, 0, 3].tolist() == [112, 128, 128, 144]  # 4 bits of 120..150
    assert Move("Solarize", 1, 2)(ramp, False)[0, 0, 3].tolist() == [
        120,
        125,
        115,
        105,
    ]  # from 127.5 on inverted
    assert Move("Invert")(ramp, False)[0, 0, 0].tolist() == [255, 245, 235, 225]
    stretched = Move("AutoContrast")(ramp, False)[0, 0, 3]  # 0..150 onto 0..255, fractions cut off
    assert (stretched - torch.tensor([204, 221, 238, 255])).abs().max() <= 1
    assert torch.equal(Move("Identity")(ramp, True), ramp)


def test_every_image_has_draws_of_its_own_and_keeps_its_place():
    """Groups are formed and taken apart again: each image as if it were alone."""
    images = torch.stack([picture(seed=seed) for seed in range(40)]).to(torch.float32).div(255)
    images = images.contiguous(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(4)
    chosen = torch.randint(14, (2, 40), generator=generator)
    sign = torch.rand((2, 40), generator=generator)
    together = RandAugment().augment(images, chosen, sign)
    for index in range(40):
        here = slice(index, index + 1)
        alone = RandAugment().augment(images[here], chosen[:, here], sign[:, here])
        assert torch.equal(alone, together[here]), index
    assert together.is_contiguous(memory_format=torch.channels_last)


def test_one_batch_gets_many_operations():
    image = picture()
    for defense, kinds in ((AutoAugment(), 30), (RandAugment(), 60)):
        images = repeated(image, 200)
        mixed, _ = defense.batch(images, torch.zeros(200, 2), torch.Generator().manual_seed(0))
        assert len(mixed.unique(dim=0)) > kinds


def test_untouched_images_come_back_bit_for_bit():
    images = torch.stack([picture(seed=seed) for seed in range(6)]).to(torch.float32).div(255)
    moves = [Move("Identity"), Move("Invert")]
    chosen = torch.tensor([[0, 1, 0, 1, 0, 0]])
    shown = apply_moves(images, moves, chosen, torch.ones(1, 6, dtype=torch.bool))
    kept = chosen[0] == 0
    assert torch.equal(shown[kept], images[kept])
    assert torch.allclose(shown[~kept], 1 - images[~kept], atol=1e-6)


@pytest.mark.parametrize("defense", [AutoAugment(), RandAugment()])
def test_half_precision_around_it_changes_nothing(defense):
    """Training may run in bf16, whose 8 bits of precision would move pixels."""
    images = torch.stack([picture(seed=seed) for seed in range(64)]).to(torch.float32).div(255)
    results = []
    for wanted in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=wanted):
            results.append(defense.batch(images, torch.zeros(64, 2), torch.Generator().manual_seed(1))[0])
    assert torch.equal(*results) and results[1].dtype == torch.float32


def test_magnitudes_reach_the_ends_of_their_ranges():
    assert STRONGEST == 30
    image = repeated(picture(), 2)
    solarize = torch.full((1, 1), NAMES.index("Solarize"))
    weakest, strongest = (
        RandAugment(1, magnitude).augment(image[:1], solarize, torch.zeros(1, 1)) for magnitude in (0, 30)
    )
    assert torch.equal(weakest, image[:1]) and torch.allclose(strongest, 1 - image[:1], atol=1e-6)
