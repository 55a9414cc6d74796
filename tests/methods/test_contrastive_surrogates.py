"""Augmented views and contrastive surrogates: losses, momentum and queues worked by hand or by brute force."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2 import functional as vision

from ue_bench.crafting import views
from ue_bench.crafting.contrastive import (
    BYOL,
    Blueprint,
    Learner,
    MoCo,
    SimCLR,
    SimSiam,
    info_nce,
    negative_cosine,
    nt_xent,
)
from ue_bench.crafting.pgd import frozen
from ue_bench.crafting.views import Augmentation, recolour, resizing, view
from ue_bench.errors import ConfigError

STILL = Augmentation(smallest_area=1.0, narrowest=1.0, flip=0.0, jitter=0.0, grey=0.0)


def random_images(count: int = 6, size: int = 16, seed: int = 0) -> Tensor:
    """Smooth colours well inside [0, 1], so that no colour change clips them."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(coarse, size=size, mode="bilinear") * 0.3 + 0.3


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def directions(*angles: float) -> Tensor:
    """Unit vectors of the plane at these angles, in degrees."""
    radians = torch.tensor(angles) * math.pi / 180
    return torch.stack([radians.cos(), radians.sin()], dim=1)


class TestViews:
    def test_two_views_differ_and_one_seed_gives_the_same_again(self):
        images, generator = random_images(), drawn()
        one, two = (view(images, Augmentation(), generator) for _ in range(2))
        assert one.shape == images.shape and one.min() >= 0 and one.max() <= 1
        assert bool(((one - two).abs().flatten(1).amax(1) > 0.02).all())
        assert torch.equal(one, view(images, Augmentation(), drawn()))

    def test_every_image_has_its_own_parameters_unless_they_are_shared(self):
        same = random_images(1).expand(8, -1, -1, -1)
        own = view(same, Augmentation(), drawn())
        assert len(own.flatten(1).unique(dim=0)) == 8
        shared = view(same, Augmentation(shared=True), drawn())
        assert torch.equal(shared, shared[:1].expand_as(shared))
        assert not torch.allclose(shared, same, atol=0.02)

    def test_gradients_reach_the_pixels_of_both_views(self):
        images, generator = random_images().requires_grad_(), drawn()
        for _ in range(2):
            (gradient,) = torch.autograd.grad(view(images, Augmentation(), generator).sum(), images)
            assert bool(gradient.isfinite().all())
            assert bool((gradient.abs().flatten(1).amax(1) > 1e-3).all())

    def test_gradients_are_those_of_small_changes(self):
        images = random_images(2, size=6).double().requires_grad_()
        rows, columns = (part.double() for part in views.crops(2, 6, 6, Augmentation(), drawn()))
        factors = [part.float() for part in views.colours(2, Augmentation(jitter=1.0), drawn())]

        def both(images):
            return recolour((rows[:, None] @ images @ columns[:, None].transpose(2, 3)).float(), *factors)

        (gradient,) = torch.autograd.grad(both(images)[:, 0].sum(), images)
        nudge = torch.zeros_like(images)
        nudge[1, 2, 3, 3] = 0.05
        with torch.no_grad():
            slope = (both(images + nudge)[:, 0].sum() - both(images)[:, 0].sum()) / 0.05
        assert float(gradient[1, 2, 3, 3]) == pytest.approx(float(slope), abs=1e-3)

    def test_no_augmentation_leaves_images_alone(self):
        images = random_images()
        assert torch.allclose(view(images, STILL, drawn()), images, atol=1e-6)

    def test_crops_are_torchvisions(self):
        images = random_images(2, size=32)
        rows = resizing(torch.tensor([3.0, 0.0]), torch.tensor([17.0, 32.0]), 32)
        columns = resizing(torch.tensor([5.0, 12.0]), torch.tensor([20.0, 20.0]), 32)
        cropped = rows[:, None] @ images @ columns[:, None].transpose(2, 3)
        for image, box, got in zip(images, ((3, 5, 17, 20), (0, 12, 32, 20)), cropped, strict=True):
            wanted = vision.resized_crop(image, *box, [32, 32], antialias=True)
            assert torch.allclose(got, wanted, atol=1e-5)

    def test_windows_stay_inside_and_have_the_area_asked_for(self):
        rows, columns = views.crops(500, 32, 24, Augmentation(flip=0.0), drawn())
        for weights in (rows, columns):
            assert torch.allclose(weights.sum(2), torch.ones(()), atol=1e-5)  # nothing from outside
        heights, widths = ((weights.sum(1) > 0).sum(1) for weights in (rows, columns))
        shares = heights * widths / (32 * 24)
        assert shares.min() > 0.17 and shares.max() <= 1 and 0.45 < shares.mean() < 0.65
        assert bool((widths / heights > 0.68).all()) and bool((widths / heights < 1.45).all())
        assert len(rows.argmax(2)[:, 0].unique()) > 10  # windows begin in many places

    def test_half_of_the_images_are_mirrored(self):
        images = random_images(400, size=8)
        flipped = view(images, Augmentation(1.0, 1.0, jitter=0.0, grey=0.0), drawn())
        mirrored = (flipped - images.flip(3)).abs().flatten(1).amax(1) < 1e-5
        same = (flipped - images).abs().flatten(1).amax(1) < 1e-5
        assert bool((mirrored ^ same).all()) and 150 < int(mirrored.sum()) < 250

    @pytest.mark.parametrize(
        ("place", "factor", "change"),
        [
            (0, 1.4, vision.adjust_brightness),
            (1, 0.6, vision.adjust_contrast),
            (1, 1.4, vision.adjust_contrast),
            (2, 0.6, vision.adjust_saturation),
            (2, 0.0, vision.adjust_saturation),
        ],
    )
    def test_colours_change_as_torchvisions_do(self, place, factor, change):
        images = random_images()
        factors = [torch.ones(6), torch.ones(6), torch.ones(6), torch.zeros(6)]
        factors[place] = torch.full((6,), factor)
        assert torch.allclose(recolour(images, *factors), change(images, factor), atol=1e-4)

    def test_a_third_of_a_turn_of_hue_moves_red_to_green_and_small_turns_go_the_same_way(self):
        images, one = random_images(), torch.ones(1)
        third = recolour(images, one, one, one, torch.tensor([1 / 3]))
        assert torch.allclose(third, images.roll(1, dims=1), atol=1e-5)
        wanted = vision.adjust_hue(images, 0.1) - images
        got = recolour(images, one, one, one, torch.tensor([0.1])) - images
        assert functional.cosine_similarity(got.flatten(), wanted.flatten(), dim=0) > 0.7

    def test_a_fifth_is_grey_and_a_fifth_untouched(self):
        generator = drawn()
        brightness, contrast, saturation, hue = views.colours(2000, Augmentation(), generator)
        assert 0.16 < float((saturation == 0).float().mean()) < 0.24
        untouched = (brightness == 1) & (contrast == 1) & (hue == 0)
        assert 0.16 < float(untouched.float().mean()) < 0.24
        for factor in (brightness, contrast):
            assert 0.6 <= factor.min() < 0.62 and 1.38 < factor.max() <= 1.4
        assert -0.1 <= hue.min() < -0.09 and 0.09 < hue.max() <= 0.1


class TestLosses:
    def test_nt_xent_is_the_sum_over_pairs(self):
        one, two = (functional.normalize(torch.randn(5, 3, generator=drawn(seed)), dim=1) for seed in (0, 1))
        every, total = torch.cat([one, two]).tolist(), 0.0
        for i in range(10):
            likeness = [math.exp(sum(a * b for a, b in zip(every[i], z, strict=True)) / 0.5) for z in every]
            total -= math.log(likeness[(i + 5) % 10] / (sum(likeness) - likeness[i]))
        assert float(nt_xent(one, two, 0.5)) == pytest.approx(total / 10, rel=1e-5)

    def test_nt_xent_of_equal_views_is_that_of_guessing(self):
        alike = directions(30).expand(4, 2)
        assert float(nt_xent(alike, alike, 0.2)) == pytest.approx(math.log(7))

    def test_info_nce_by_hand(self):
        """One key at 60 degrees, a queue at 0 and 90: likenesses 0.5, 1 and 0, temperature 0.5."""
        loss = info_nce(directions(0), directions(60), directions(0, 90), 0.5)
        assert float(loss) == pytest.approx(-1 + math.log(math.exp(1) + math.exp(2) + 1), rel=1e-5)

    def test_negative_cosine_by_hand(self):
        loss = negative_cosine(3 * directions(0, 10), directions(60, 10))
        assert float(loss) == pytest.approx(-(0.5 + 1) / 2, rel=1e-5)


def linear(seed: int = 0, features: int = 12, out: int = 4) -> nn.Module:
    """Images [B, 3, 2, 2] -> [B, out]."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(features, out, bias=False))


def small(framework: str) -> nn.Module:
    torch.manual_seed(0)
    return {
        "simclr": lambda: SimCLR(linear(), 0.5, scale=7.0),
        "simsiam": lambda: SimSiam(linear(), linear(1, 4)),
        "moco": lambda: MoCo(linear(), 0.9, 0.2, queue=5, width=4, scale=3.0),
        "byol": lambda: BYOL(linear(), linear(1, 4), 0.9),
    }[framework]()


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    return tuple(torch.rand(3, 3, 2, 2, generator=drawn(seed)).requires_grad_() for seed in (0, 1))


class TestModels:
    def test_simclr_scales_the_loss_of_normalised_codes(self, pair):
        model = small("simclr")
        one, two = (functional.normalize(model.encoder(images), dim=1) for images in pair)
        assert model.loss(*pair).item() == pytest.approx(7 * nt_xent(one, two, 0.5).item(), rel=1e-5)

    @pytest.mark.parametrize("framework", ["simsiam", "byol"])
    def test_each_view_predicts_the_other(self, pair, framework):
        model = small(framework)
        target = model.encoder if framework == "simsiam" else model.target
        if framework == "byol":
            target.load_state_dict(linear(9).state_dict())
        guesses = [model.predictor(model.encoder(images)) for images in pair]
        wanted = [target(images) for images in pair]
        crossed = negative_cosine(guesses[0], wanted[1]) + negative_cosine(guesses[1], wanted[0])
        assert model.loss(*pair).item() == pytest.approx(float(crossed.detach()) / 2, rel=1e-5)

    def test_moco_asks_with_one_view_answers_with_the_other_and_scales_the_loss(self, pair):
        model = small("moco")
        model.target.load_state_dict(linear(9).state_dict())
        query = functional.normalize(model.encoder(pair[0]), dim=1)
        key = functional.normalize(model.target(pair[1]), dim=1)
        wanted = info_nce(query, key, model.queue, 0.2)
        assert model.loss(*pair).item() == pytest.approx(3 * float(wanted), rel=1e-5)

    def test_training_stops_gradients_at_targets_and_noise_lets_them_through(self, pair):
        model = small("moco")
        model.loss(*pair).backward()
        assert pair[0].grad is not None and pair[1].grad is None
        assert all(weight.grad is None for weight in model.target.parameters())
        model.loss(*pair, both_branches=True).backward()
        assert float(pair[1].grad.abs().max()) > 0
        assert all(weight.grad is None for weight in model.target.parameters())

    @pytest.mark.parametrize("framework", ["simsiam", "byol"])
    def test_the_gradient_of_both_branches_is_another(self, pair, framework):
        model = small(framework)
        one = torch.autograd.grad(model.loss(*pair), pair[0])[0]
        both = torch.autograd.grad(model.loss(*pair, both_branches=True), pair[0])[0]
        assert not torch.allclose(one, both, rtol=0.01)

    @pytest.mark.parametrize("framework", ["moco", "byol"])
    def test_the_second_encoder_keeps_its_share(self, framework):
        model = small(framework)
        own, other = model.target[1].weight.clone(), linear(5)[1].weight
        assert torch.equal(own, model.encoder[1].weight)  # they start alike
        model.encoder[1].weight.data.copy_(other)
        model.follow()
        assert torch.allclose(model.target[1].weight, 0.9 * own + 0.1 * other, atol=1e-6)
        assert torch.equal(model.encoder[1].weight, other)

    def test_the_queue_is_a_ring(self, pair):
        model = small("moco")
        assert torch.allclose(model.queue.norm(dim=1), torch.ones(5))
        before = model.queue.clone()
        keys = []
        for shift in (0.0, 0.5):
            model.loss(pair[0], pair[1] + shift)
            assert torch.equal(model.queue, before) or keys  # a loss alone changes nothing
            keys.append(functional.normalize(model.target(pair[1] + shift), dim=1).detach())
            model.remember()
        wanted = torch.stack([keys[1][2], keys[0][1], keys[0][2], keys[1][0], keys[1][1]])
        assert torch.allclose(model.queue, wanted) and model.position == 1

    def test_a_batch_larger_than_the_queue_leaves_its_end(self):
        model, many = small("moco"), torch.rand(8, 3, 2, 2, generator=drawn())
        model.loss(many, many)
        model.remember()
        assert torch.allclose(model.queue, functional.normalize(model.target(many), dim=1)[3:])


def learner(framework: str, context, **options) -> Learner:
    model = small(framework)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Learner(model, optimizer, context, **options)


class TestLearner:
    def test_training_moves_weights_then_target_and_queue(self, make_context):
        subject, images = learner("moco", make_context()), random_images(4, size=2)
        weights, queue = subject.model.encoder[1].weight.clone(), subject.model.queue.clone()
        subject.learn(images)
        assert not torch.equal(subject.model.encoder[1].weight, weights)
        assert torch.equal(subject.model.target[1].weight, weights)  # it followed before the step
        assert int((subject.model.queue != queue).any(dim=1).sum()) == 4
        moved = subject.model.encoder[1].weight.clone()
        subject.learn(images)
        assert torch.allclose(subject.model.target[1].weight, 0.9 * weights + 0.1 * moved, atol=1e-6)

    @pytest.mark.parametrize(
        ("moving", "moved"),
        [
            ({}, []),
            ({"moving_target": True}, ["queue", "target.1.weight"]),
            ({"moving_queue": True}, ["queue"]),
        ],
    )
    def test_judging_moves_target_and_queue_only_on_request(self, make_context, moving, moved):
        subject, images = learner("moco", make_context(), **moving), random_images(4, size=2)
        subject.model.encoder[1].weight.data.copy_(linear(5)[1].weight)
        before = [part.clone() for part in subject.model.state_dict().values()]
        with frozen(subject.model):
            subject.judge(images.requires_grad_()).backward()  # what moves is not needed any more
        names = [
            name
            for was, (name, part) in zip(before, subject.model.state_dict().items(), strict=True)
            if not torch.equal(was, part)
        ]
        assert names == moved

    def test_judging_reaches_the_pixels_through_both_views(self, make_context):
        images = random_images(4, size=2).requires_grad_()
        gradients = []
        for both in (False, True):
            subject = learner("moco", make_context(), both_branches=both)
            gradients.append(torch.autograd.grad(subject.judge(images), images)[0])
        assert not torch.allclose(gradients[0], gradients[1], rtol=0.01)

    def test_noise_steps_may_have_views_of_their_own(self, make_context):
        subject = learner("simclr", make_context(), noise_augmentation=STILL)
        images = random_images(4, size=2)
        assert float(subject.judge(images)) == pytest.approx(float(subject.model.loss(images, images)))

    @pytest.mark.parametrize("framework", ["simclr", "simsiam", "moco", "byol"])
    def test_a_real_surrogate_learns_and_stays_in_float32(self, make_context, framework):
        context, images = make_context(), random_images(32, size=16)
        model = Blueprint(framework, "resnet_tiny", queue=8).build(context, (16, 16))
        assert model.encoder(images).dtype == torch.float32
        optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], 0.03, momentum=0.9)
        subject = Learner(model, optimizer, context)
        subject.augmentation = Augmentation(smallest_area=0.8, jitter=0.0, grey=0.0)
        losses = [float(subject.learn(images)) for _ in range(31)]
        assert sum(losses[-10:]) < sum(losses[1:11]) - 0.5  # moco's queue holds noise at first


class TestBlueprint:
    def weights(self, context) -> Tensor:
        model = Blueprint("moco", "resnet_tiny", queue=8).build(context, (16, 16))
        return torch.cat([part.flatten().float() for part in model.state_dict().values()])

    def test_the_seed_decides_all_weights_and_the_global_one_nothing(self, make_context):
        torch.manual_seed(1)
        first = self.weights(make_context(1))
        state = torch.get_rng_state()
        assert torch.equal(first, self.weights(make_context(1)))
        assert torch.equal(state, torch.get_rng_state())
        assert not torch.equal(first, self.weights(make_context(2)))

    def test_the_classifier_is_gone(self, make_context):
        model = Blueprint("simclr", "resnet_tiny").build(make_context(), (16, 16))
        assert model.encoder.backbone(random_images(2)).shape == (2, 128)
        assert model.encoder(random_images(2)).shape == (2, 128)

    @pytest.mark.parametrize(
        ("head", "layers"),
        [
            ("linear", [nn.Linear]),
            ("mlp", [nn.Linear, nn.ReLU, nn.Linear]),
            ("normed", [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]),
        ],
    )
    def test_the_projection_is_the_one_asked_for(self, make_context, head, layers):
        projection = (
            Blueprint("moco", "resnet_tiny", head=head).build(make_context(), (16, 16)).encoder.projection
        )
        parts = list(projection) if isinstance(projection, nn.Sequential) else [projection]
        assert [type(part) for part in parts] == layers and parts[-1].out_features == 128

    def test_unfit_surrogates_and_frameworks_are_named(self, make_context):
        context = make_context()
        with pytest.raises(ConfigError, match="simclr"):
            Blueprint("simclrr", "resnet_tiny").build(context, (16, 16))
        context.ledger.build_victim = lambda *what: linear()
        with pytest.raises(ConfigError, match="timm"):
            Blueprint("simclr", "linear").build(context, (16, 16))
