"""What each supervised defense does to a picture, by hand, and the invariants of all of them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate, one_hot

from ue_bench.clock import Clock
from ue_bench.defenses.adversarial_training import AdversarialTraining
from ue_bench.defenses.autoaugment import AutoAugment
from ue_bench.defenses.bit_depth import BitDepth
from ue_bench.defenses.cutmix import CutMix
from ue_bench.defenses.cutout import Cutout
from ue_bench.defenses.gaussian_blur import GaussianBlur
from ue_bench.defenses.gaussian_noise import GaussianNoise
from ue_bench.defenses.grayscale import Grayscale
from ue_bench.defenses.jpeg import Jpeg
from ue_bench.defenses.mixup import Mixup
from ue_bench.defenses.randaugment import RandAugment
from ue_bench.errors import ConfigError
from ue_bench.registry import Registry
from ue_bench.training.recipe import Recipe
from ue_bench.training.supervised import train

CPU = torch.device("cpu")
REGISTRY = Registry()
ONCE = [Grayscale(), GaussianBlur(), Jpeg(), BitDepth()]
BATCH = [Cutout(), Mixup(), CutMix(probability=1.0), AutoAugment(), RandAugment(), GaussianNoise()]
ATTACK = [AdversarialTraining(steps=3)]


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 8, side: int = 32, seed: int = 0) -> torch.Tensor:
    """uint8 [count, 3, side, side], smooth as photographs are, away from black and white."""
    coarse = torch.rand((count, 3, 5, 5), generator=dice(seed))
    return (30 + 190 * interpolate(coarse, size=(side, side), mode="bilinear")).to(torch.uint8)


def batch(count: int = 8, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Float images and one-hot targets, as the trainer makes them."""
    images = pictures(count).to(torch.float32).div(255).contiguous(memory_format=torch.channels_last)
    return images, one_hot(torch.arange(count) % classes, classes).float()


def small_net(classes: int = 4) -> nn.Module:
    """With batch statistics and dropout, which an attack must neither move nor roll."""
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    return nn.Sequential(*body, nn.Dropout(0.5), nn.Linear(128, classes))


def act(defense, model: nn.Module, seed: int = 0, count: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    images, targets = batch(count)
    generator = dice(seed)
    images, targets = defense.batch(images, targets, generator)
    return defense.attack(model, images, targets, generator), targets


# What each does to a picture


def test_grayscale_by_hand():
    image = torch.tensor([100, 200, 60], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert Grayscale().images_once(image).flatten().tolist() == [154] * 3  # 29.9 + 117.4 + 6.84, cut off
    gray = Grayscale().images_once(pictures())
    assert torch.equal(gray[:, 0], gray[:, 1]) and torch.equal(gray[:, 0], gray[:, 2])


@pytest.mark.parametrize(
    ("bits", "wanted"), [(1, [0, 0, 128, 128]), (2, [0, 64, 128, 192]), (8, [63, 100, 130, 255])]
)
def test_bit_depth_by_hand(bits, wanted):
    image = torch.tensor([63, 100, 130, 255], dtype=torch.uint8).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert BitDepth(bits).images_once(image)[0, 0].flatten().tolist() == wanted


def test_blur_by_hand():
    """One white pixel spreads as the product of two kernels of exp(-1/2), 1, exp(-1/2) over their sum."""
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    image[:, :, 3, 3] = 255
    side = np.exp(-0.5)
    kernel = np.array([side, 1, side]) / (1 + 2 * side)
    spread = GaussianBlur(sigma=1.0, kernel=3).images_once(image)
    assert spread[0, 1, 2:5, 2:5].tolist() == np.round(255 * np.outer(kernel, kernel)).tolist()
    assert not spread[0, 1, :2].any() and not spread[0, 1, :, 5:].any()


def test_blur_changes_pixels_and_a_blur_that_does_not_is_refused():
    """The field's kernel of 3 with sigma 0.1 leaves every picture as it is."""
    noisy = torch.randint(0, 256, (4, 3, 32, 32), generator=dice(), dtype=torch.uint8)
    assert (GaussianBlur().images_once(noisy) != noisy).float().mean() > 0.9
    with pytest.raises(ConfigError, match="changes no 8-bit image"):
        GaussianBlur(sigma=0.1, kernel=3)
    with pytest.raises(ConfigError, match="does not fit images of 32 x 32 pixels"):
        GaussianBlur(kernel=65).images_once(noisy)
    with pytest.raises(ConfigError, match=r"is 0\.25 pixels in images of 8 x 16.*say 2 or more"):
        GaussianBlur().images_once(noisy[:, :, :8, :16])


def test_blur_and_cutout_grow_with_the_image():
    """Half of the shorter side, and the kernel of sigma 7 at 224 pixels; the longer side does not count."""
    image = torch.zeros(1, 3, 224, 300, dtype=torch.uint8)
    image[:, :, 112, 150] = 255
    spread = GaussianBlur(sigma=0.5, kernel=5).images_once(image)[0, 0] > 0
    assert bool(spread[112, 150 - 5 : 150 + 6].all()) and not spread[:98].any() and not spread[:, 165:].any()
    shown, _ = Cutout().batch(torch.ones(200, 3, 64, 80), torch.ones(200, 1), dice())
    black = (shown[:, 0] == 0).flatten(1).sum(1)
    assert int(black.min()) >= 256 and int(black.max()) == 32 * 32
    tiny, _ = Cutout(side=1).batch(torch.ones(3, 3, 8, 8), torch.ones(3, 1), dice())
    assert (tiny[:, 0] == 0).flatten(1).sum(1).tolist() == [1, 1, 1]


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
@pytest.mark.parametrize("quality", [1, 10, 50, 75, 95, 100])
def test_jpeg_is_libjpegs_whoever_calls_it(quality):
    """Another binding of it, for sides that are no multiple of a block too; one level may differ by its version."""
    torchvision_io = pytest.importorskip("torchvision.io")
    if not hasattr(torchvision_io, "encode_jpeg"):
        pytest.skip("this torchvision has no JPEG any more")
    for side in (32, 21):
        images = pictures(2, side)
        images = torch.cat([images, torch.randint(0, 256, images.shape, generator=dice(), dtype=torch.uint8)])
        for ours, image in zip(Jpeg(quality).images_once(images), images, strict=True):
            theirs = torchvision_io.decode_jpeg(torchvision_io.encode_jpeg(image, quality=quality))
            assert (ours.int() - theirs.int()).abs().max() <= 1


def test_jpeg_halves_the_resolution_of_colour_only():
    """Columns in turn reddish and bluish of one brightness run together; those in turn dark and bright stay."""
    colour, light = torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    colour[..., ::2] = torch.tensor([170.0, 110.0, 110.0]).reshape(3, 1, 1)
    colour[..., 1::2] = torch.tensor([110.0, 127.0, 180.0]).reshape(3, 1, 1)
    light[..., ::2], light[..., 1::2] = 100.0, 160.0
    for image, spread in ((colour, 8), (light, 56)):
        shown = Jpeg(100).images_once(image.to(torch.uint8)).float()
        step = (shown[..., ::2] - shown[..., 1::2]).abs().mean((0, 2, 3))
        assert (step.max() < spread) if image is colour else (step.min() > spread), step


def test_jpeg_10_kills_noise_and_jpeg_100_keeps_it():
    clean = pictures(16)
    noise = torch.randint(0, 2, clean.shape, generator=dice(1)) * 16 - 8
    noisy = (clean.int() + noise).to(torch.uint8)
    left = {}
    for quality in (10, 100):
        squeeze = Jpeg(quality).images_once
        rest = (squeeze(noisy).int() - squeeze(clean).int()).flatten().numpy()
        left[quality] = float(np.corrcoef(rest, noise.flatten().numpy())[0, 1])
    assert abs(left[10]) < 0.25 and left[100] > 0.5, left  # colour noise is lost even at 100


def test_large_sets_are_squeezed_in_pieces_and_in_order():
    images = pictures(4, 16).repeat(301, 1, 1, 1)
    for defense in (Jpeg(), GaussianBlur()):
        assert torch.equal(defense.images_once(images), defense.images_once(images[:4]).repeat(301, 1, 1, 1))


def test_cutout_blackens_one_square_cut_at_the_border():
    images = torch.ones(2000, 3, 32, 32)
    shown, _ = Cutout().batch(images, torch.ones(2000, 1), dice())
    black = (shown[:, 0] == 0).flatten(1).sum(1)
    assert int(black.min()) == 64 and int(black.max()) == 256  # 8 x 8 in a corner, 16 x 16 inside
    assert abs(float(black.float().mean()) - 196) < 4  # a side is 14 long on average
    assert torch.equal(shown[:, 0], shown[:, 2])


def test_mixup_by_hand():
    """Pictures of one colour: their level says how much of which was mixed in."""
    images = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 3, 4, 4)
    seen = []
    for seed in range(40):
        shown, goals = Mixup().batch(images, torch.eye(2), dice(seed))
        assert torch.allclose(goals[:, 1], shown[:, 0, 0, 0]), "labels are shared as pixels are"
        assert torch.allclose(goals.sum(1), torch.ones(2))
        if float(goals[0, 1]) > 0:
            seen.append(float(goals[0, 1]))
            assert torch.allclose(goals[0, 1], goals[1, 0]), "one share for the batch"
    assert len(seen) > 10 and min(seen) < 0.3 and max(seen) > 0.7


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_follow_beta(alpha):
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)) of Beta(alpha, alpha)."""
    images, targets = torch.zeros(2, 3, 1, 1), torch.eye(2)
    generator, shares = dice(), []
    while len(shares) < 1500:
        _, goals = Mixup(alpha).batch(images, targets, generator)
        if goals[0, 1] > 0:  # else it met itself
            shares.append(float(goals[0, 1]))
    assert abs(np.mean(shares) - 0.5) < 0.04
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


def test_cutmix_label_share_is_the_box_that_was_cut():
    images = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 3, 9, 12).div(5)
    shares = set()
    for seed in range(60):
        shown, goals = CutMix(probability=1.0).batch(images, torch.eye(5), dice(seed))
        assert torch.allclose(goals.sum(1), torch.ones(5))
        for index in range(5):
            foreign = shown[index, 0] != images[index, 0]
            partner = (goals[index] * (torch.arange(5) != index)).argmax()
            if foreign.any():
                assert torch.allclose(goals[index, partner], foreign.float().mean(), atol=1e-6)
                assert (shown[index, 0][foreign] == images[partner, 0, 0, 0]).all()
                rows, columns = foreign.any(1), foreign.any(0)
                assert torch.equal(foreign, rows[:, None] & columns), "one box"
                shares.add(round(float(foreign.float().mean()), 4))
            else:
                assert float(goals[index, index]) == pytest.approx(1)
    assert len(shares) > 15


def test_cutmix_leaves_batches_alone_as_often_as_asked():
    images, targets = batch(32)
    untouched = 0
    for seed in range(200):
        shown, goals = CutMix(probability=0.3).batch(images, targets, dice(seed))
        if torch.equal(goals, targets):
            assert torch.equal(shown, images)
            untouched += 1
    assert 120 < untouched < 165  # 140, and some boxes of no pixel


def test_gaussian_noise_is_fresh_and_as_large_as_said():
    images, targets = torch.full((64, 3, 32, 32), 0.5), torch.ones(64, 1)
    generator = dice()
    one, two = (GaussianNoise(8.0).batch(images, targets, generator)[0] - images for _ in range(2))
    assert float(one.std()) * 255 == pytest.approx(8.0, rel=0.02) and abs(float(one.mean())) < 1e-3
    assert not torch.equal(one, two)
    edge, _ = GaussianNoise().batch(torch.ones(4, 3, 8, 8), targets[:4], generator)
    assert float(edge.max()) == 1.0 and float(edge.min()) > 0.7


# Adversarial training


def test_attack_by_hand():
    """A linear model: against the first class, the steps go down where its weights are positive."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    model[1].weight.data = torch.tensor([[1.0, -1.0, 2.0], [0.0, 0.0, 0.0]])
    images = torch.tensor([0.5, 0.5, 1 / 255]).reshape(1, 3, 1, 1)
    worst = AdversarialTraining(radius=8, step_size=3, steps=2, random_start=False).attack(
        model, images, torch.eye(2)[:1], dice()
    )
    assert torch.allclose((worst - images).flatten() * 255, torch.tensor([-6.0, 6.0, -1.0]), atol=1e-4)
    capped = AdversarialTraining(radius=4, step_size=3, steps=2, random_start=False).attack(
        model, images, torch.eye(2)[:1], dice()
    )
    assert torch.allclose((capped - images).flatten() * 255, torch.tensor([-4.0, 4.0, -1.0]), atol=1e-4)


def test_attack_stays_in_the_ball_raises_the_loss_and_leaves_the_model_alone():
    model = small_net().train()
    model[1].eval()  # a part that was frozen on purpose stays so
    images, targets = batch()
    cross_entropy(model(images), targets).backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    before = copy.deepcopy(model.state_dict())
    worst = AdversarialTraining().attack(model, images, targets, dice())
    assert not worst.requires_grad
    assert float((worst - images).abs().max()) <= 8 / 255 + 1e-6
    assert float(worst.min()) >= 0 and float(worst.max()) <= 1
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} moved"
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert model.training and not model[1].training and model[5].training
    assert all(p.requires_grad for p in model.parameters())
    model.eval()
    with torch.no_grad():
        losses = [float(cross_entropy(model(shown), targets)) for shown in (images, worst)]
        near = AdversarialTraining(steps=1, step_size=1e-6).attack(model, images, targets, dice())
        losses.append(float(cross_entropy(model(near), targets)))
    assert losses[1] > losses[0] and losses[1] > losses[2], "better than its random start"


def test_more_steps_hurt_more_and_the_start_is_random():
    model, (images, targets) = small_net().eval(), batch(16)

    def loss(**changes) -> float:
        worst = AdversarialTraining(**changes).attack(model, images, targets, dice())
        with torch.no_grad():
            return float(cross_entropy(model(worst), targets))

    assert loss(steps=10) > loss(steps=1)
    assert loss(radius=8) > loss(radius=2)
    plain = AdversarialTraining(random_start=False)
    starts = [plain.attack(model, images, targets, dice(seed)) for seed in (0, 1)]
    assert torch.equal(*starts)


def test_contrastive_training_has_the_same_attack_and_noise():
    """There the loss comes as a function of the images, and labels are captions."""
    model, (images, targets) = small_net().eval(), batch()
    attack = AdversarialTraining(steps=3)
    worst = attack.attack_pairs(lambda shown: cross_entropy(model(shown), targets), images, dice())
    assert torch.allclose(worst, attack.attack(model, images, targets, dice()), atol=1e-6)
    shown, texts = GaussianNoise().pairs(images, ["a"] * 8, dice())
    assert texts == ["a"] * 8 and torch.equal(shown, GaussianNoise().batch(images, targets, dice())[0])


# What holds for all


@pytest.mark.parametrize("defense", [*BATCH, *ATTACK], ids=lambda d: type(d).__name__)
def test_the_seed_alone_decides(defense):
    model, state = small_net().eval(), torch.get_rng_state()
    one, again, other = (act(defense, model, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn from torch's own generator"
    assert torch.equal(one[0], again[0]) and torch.equal(one[1], again[1])
    assert not torch.equal(one[0], other[0])


@pytest.mark.parametrize("defense", [*ONCE, *BATCH, *ATTACK], ids=lambda d: type(d).__name__)
def test_form_is_kept_for_one_image_too(defense):
    model = small_net().eval()
    for count in (1, 8):
        images, targets = batch(count)
        shown, goals = act(defense, model, count=count)
        assert shown.shape == images.shape and shown.dtype == torch.float32
        assert goals.shape == targets.shape and torch.allclose(goals.sum(1), torch.ones(count))
        assert float(shown.min()) >= 0 and float(shown.max()) <= 1
        squeezed = defense.images_once(pictures(count))
        assert squeezed.shape == (count, 3, 32, 32) and squeezed.dtype == torch.uint8


@pytest.mark.parametrize("defense", ONCE, ids=lambda d: type(d).__name__)
def test_squeezes_act_once_and_change_what_they_squeeze(defense):
    images = pictures()
    before = images.clone()
    squeezed = defense.images_once(images)
    assert torch.equal(images, before) and not torch.equal(squeezed, images)
    assert torch.equal(defense.images_once(images), squeezed)
    floats, targets = batch()
    assert defense.batch(floats, targets, dice())[0] is floats, "nothing is left to do for batches"


@pytest.mark.parametrize("defense", [*ONCE, *BATCH, *ATTACK], ids=lambda d: type(d).__name__)
def test_training_works_and_test_data_stays_as_it_is(defense, make_images):
    data, test = make_images(24, 4), make_images(8, 4, seed=1)
    before = data.hash_content(), test.hash_content()
    recipe = Recipe(epochs=1, batch_size=8, learning_rate=0.01)
    curves = train(
        small_net(), data, recipe, device=CPU, seed=0, clock=Clock(CPU), test=test, defense=defense
    )
    assert len(curves.test_accuracy) == 1
    assert (data.hash_content(), test.hash_content()) == before


def test_where_training_accuracy_says_nothing_it_is_declared():
    names = REGISTRY.names("defenses")
    silent = {name for name in names if not REGISTRY.load("defenses", name).comparable_training}
    assert {"mixup", "cutmix", "adversarial_training"} <= silent
    assert not silent & {"none", "cutout", "jpeg", "grayscale", "autoaugment", "randaugment"}


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("jpeg", {"quality": 0}, r"jpeg\.quality must be in the range 1 to 100, not 0"),
        ("jpeg", {"quality": 101}, "1 to 100, not 101"),
        ("jpeg", {"quality": 10.5}, r"jpeg\.quality must be a whole number"),
        ("jpeg", {"qality": 10}, "did you mean 'quality'"),
        ("bit_depth", {"bits": 9}, "1 to 8, not 9"),
        ("cutout", {"side": 0}, "side must be at least 1"),
        ("mixup", {"alpha": 0}, "must be above 0"),
        ("mixup", {"alpha": float("inf")}, "must be a finite number above 0"),
        ("cutmix", {"alpha": -1}, "must be above 0"),
        ("cutmix", {"probability": 1.5}, "above 0 and at most 1"),
        ("gaussian_noise", {"sigma": 0}, "above 0"),
        ("gaussian_blur", {"sigma": -1}, "above 0"),
        ("gaussian_blur", {"kernel": 4}, "odd number"),
        ("autoaugment", {"policy": "cifar"}, "did you mean 'cifar10'"),
        ("randaugment", {"operations": 0}, "at least 1"),
        ("randaugment", {"magnitude": 31}, "0 to 30, not 31"),
        ("adversarial_training", {"steps": 0}, "at least 1"),
        ("adversarial_training", {"radius": 0}, "above 0"),
        ("adversarial_training", {"step_size": float("nan")}, "above 0"),
    ],
)
def test_parameters_that_do_not_fit_are_named(name, values, message):
    with pytest.raises(ConfigError, match=message):
        REGISTRY.create("defenses", name, values)
