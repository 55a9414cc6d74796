"""CP: the invariants of its specification on a small set of pictures without content."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from conftest import CPU, Memory, fresh_context
from learnable import blots

from ue_bench import Access, Budget, Context, ImageSet, Perturbation, ProtectorView
from ue_bench.crafting.contrastive import BYOL, Learner, MoCo, SimCLR
from ue_bench.crafting.resident import ResidentImages
from ue_bench.crafting.views import Augmentation
from ue_bench.errors import ConfigError, TrainingError
from ue_bench_methods.cp import CP, ClassSearch, ImageSearch

QUICK = {"surrogate": "resnet_tiny", "batch_size": 64, "class_rounds": 4, "image_rounds": 2, "queue": 128}
SHORT = QUICK | {"class_rounds": 1, "image_rounds": 1}


@dataclass
class Run:
    """One call of ``protect``: what went in and what came out."""

    data: ImageSet
    result: Perturbation
    context: Context

    @property
    def noise(self) -> torch.Tensor:
        """float32 [examples, values], steps of 1/255."""
        return self.result.noise[self.result.rows].flatten(1).float()


def protect(method: CP, data: ImageSet, context: Context | None = None, access: Access = CP.access) -> Run:
    context = context or fresh_context()
    view = ProtectorView(data, access, "supervised", "cp")
    result = method.protect(view, context)
    result.check(len(view), view.image_size)
    return Run(data, result, context)


@pytest.fixture(scope="module")
def pictures() -> ImageSet:
    return blots()


@pytest.fixture(scope="module")
def shelf() -> Memory:
    return Memory()


@pytest.fixture(scope="module")
def class_wise(pictures) -> Run:
    return protect(CP(**QUICK), pictures)


@pytest.fixture(scope="module")
def image_wise(pictures, shelf) -> Run:
    return protect(CP(granularity="image", **QUICK), pictures, fresh_context(shelf=shelf))


class TestClassWise:
    def test_images_of_a_class_share_their_noise(self, class_wise):
        assert torch.equal(class_wise.result.rows, class_wise.data.labels)
        assert len(class_wise.result.noise) == 4 == len(class_wise.result.noise.flatten(1).unique(dim=0))

    def test_the_budget_is_filled_with_both_signs(self, class_wise):
        noise = class_wise.result.noise
        assert int(noise.abs().max()) == 8
        assert float((noise.abs() == 8).float().mean()) > 0.1  # where it starts: a sixteenth
        assert float((noise > 0).float().mean()) > 0.3 and float((noise < 0).float().mean()) > 0.3

    def test_the_loss_of_protected_images_is_less_than_half_of_that_of_clean_ones(
        self, pictures, monkeypatch
    ):
        """With one image a class, four times the budget and gentle views, so that a few seconds tell.

        Noise that stays as it was drawn ends at the loss of clean images, noise that climbs at four times theirs.
        """
        gentle = Augmentation(smallest_area=0.7, jitter=0.0, grey=0.0)
        monkeypatch.setattr("ue_bench.crafting.contrastive.Augmentation", lambda: gentle)
        names = tuple(map(str, range(32)))
        few = ImageSet(pictures.images[:32], torch.arange(32), class_names=names)
        settings = QUICK | {"class_rounds": 3, "batch_size": 32}
        loud = CP(**settings, temperature=0.1, learning_rate=0.1, budget=Budget("linf", 32))
        notes = protect(loud, few).context.notes
        losses = notes["surrogate_loss_by_round"]
        assert notes["rounds"] == 3 == len(losses) and losses[2] < 0.5 * losses[0]
        assert notes["surrogate_loss_protected"] < 0.5 * notes["surrogate_loss_clean"]

    def test_what_it_adds_is_told_apart_from_its_random_start(self, class_wise):
        """Four short rounds leave most signs as they were drawn, and random noise per class protects by itself."""
        start = 255 * CP(**QUICK).random((4, 3, 16, 16), fresh_context())
        notes = class_wise.context.notes
        kept = float((class_wise.result.noise.sign() == start.sign()).float().mean())
        assert notes["class_start_signs_percent"] == pytest.approx(100 * kept, abs=5)
        moved = float((class_wise.result.noise - start).abs().mean())
        assert notes["class_moved_steps"] == pytest.approx(moved, abs=0.3)
        marked = "random noise per class" in "".join(notes.get("remarks", []))
        assert marked == (notes["class_start_signs_percent"] > 75)

    def test_labels_decide(self, pictures, class_wise):
        other = protect(CP(**QUICK), replace(pictures, labels=pictures.labels.roll(1)))
        assert float((other.result.noise != class_wise.result.noise).float().mean()) > 0.2

    @pytest.mark.parametrize("framework", ["moco", "byol"])
    def test_other_frameworks_make_noise_too(self, pictures, framework):
        method = CP(framework=framework, **SHORT, learning_rate=0.1)
        run = protect(method, pictures)
        moved = run.result.noise - 255 * method.random((4, 3, 16, 16), fresh_context())
        assert float((moved.abs() > 0.5).float().mean()) > 0.7
        assert 4 < float(moved.abs().max()) <= 0.8 * 20 + 0.5


class TestImageWise:
    def test_every_image_has_its_own_noise_near_that_of_its_class(self, image_wise, shelf):
        assert torch.equal(image_wise.result.rows, torch.arange(256))
        assert len(image_wise.noise.unique(dim=0)) == 256
        ((tensors, _),) = shelf.kept.values()
        started = 255 * tensors["noise"].flatten(1)
        assert torch.equal(torch.cdist(image_wise.noise, started).argmin(1), image_wise.data.labels)

    def test_no_value_moves_further_than_its_steps(self, image_wise, shelf):
        ((tensors, _),) = shelf.kept.values()
        moved = image_wise.noise - 255 * tensors["noise"].flatten(1)[image_wise.data.labels]
        steps = 5 * image_wise.context.notes["rounds"]
        assert 4 < float(moved.abs().max()) <= 0.8 * steps + 0.5
        assert int(image_wise.result.noise.abs().max()) == 8

    def test_how_far_it_went_from_the_class_wise_start_is_told(self, image_wise, shelf):
        ((tensors, _),) = shelf.kept.values()
        moved = image_wise.noise - 255 * tensors["noise"].flatten(1)[image_wise.data.labels]
        notes = image_wise.context.notes
        assert notes["image_moved_steps"] == pytest.approx(float(moved.abs().mean()), abs=0.3)
        assert notes["class_start_signs_percent"] > 50

    def test_class_wise_noise_is_made_once_and_keeping_it_changes_nothing(self, pictures, image_wise, shelf):
        again = protect(CP(granularity="image", **QUICK), pictures, fresh_context(shelf=shelf))
        assert torch.equal(again.noise, image_wise.noise) and len(shelf.kept) == 1
        assert again.context.ledger.prepare_keys == image_wise.context.ledger.prepare_keys == list(shelf.kept)
        assert again.context.clock.spent("prepare") == image_wise.context.clock.spent("prepare")

    def test_it_starts_from_what_class_wise_noise_is_made_of(self, class_wise, image_wise, shelf):
        ((tensors, _),) = shelf.kept.values()
        rounded = (255 * tensors["noise"]).round().to(torch.int8)
        assert torch.equal(rounded, class_wise.result.noise)

    def test_settings_of_the_image_wise_turns_leave_the_class_wise_ones_alone(self):
        method = CP(granularity="image", noise_steps=3, step_share=0.5, model_steps=2, kept_share=0.5)
        assert method.turns().noise_steps == 3 and method.class_wise().turns() == CP().turns()
        assert method.class_wise() == CP(granularity="image").class_wise()

    def test_random_noise_needs_no_labels(self, pictures):
        method = CP(granularity="image", start="random", **SHORT)
        unlabelled = replace(pictures, labels=None)
        run = protect(method, unlabelled, access=Access.IMAGES)
        other = protect(method, replace(pictures, labels=pictures.labels.roll(1)))
        assert torch.equal(run.noise, other.noise) and len(run.noise.unique(dim=0)) == 256


def search(method: CP, data: ImageSet, monkeypatch, noise: torch.Tensor | None = None):
    """A search over ``data`` whose surrogate likes dark images: the loss is the mean brightness."""
    seen = []

    def judge(self, images):
        seen.append(images.detach().clone())
        return images.mean()

    monkeypatch.setattr(Learner, "judge", judge)
    images = ResidentImages(data.images, CPU)
    if method.granularity == "class":
        noise = torch.zeros(4, 3, 16, 16) if noise is None else noise
        return ClassSearch(method, images, noise, fresh_context(), data.labels), seen
    noise = torch.zeros(len(data), 3, 16, 16) if noise is None else noise
    return ImageSearch(method, images, noise, fresh_context()), seen


class TestSteps:
    def test_a_class_takes_one_step_a_batch_and_absent_classes_none(self, pictures, monkeypatch):
        subject, seen = search(CP(**SHORT), pictures, monkeypatch)
        subject.improve((pictures.labels == 2).nonzero().flatten())
        steps = 255 * subject.noise
        assert torch.allclose(steps[2], torch.tensor(-0.8), atol=1e-4) and len(seen) == 1
        assert not steps[[0, 1, 3]].any()

    def test_the_surrogate_sees_each_image_with_its_noise_clipped_to_pixels(self, pictures, monkeypatch):
        noise = torch.rand(4, 3, 16, 16) * 16 / 255 - 8 / 255
        subject, seen = search(CP(**SHORT), pictures, monkeypatch, noise)
        index = torch.tensor([5, 3, 200])
        wanted = (pictures.images[index] / 255 + noise[pictures.labels[index]]).clamp(0, 1)
        subject.improve(index)  # changes the noise in place
        assert torch.allclose(seen[0], wanted, atol=1e-6)

    def test_image_wise_noise_takes_five_steps_and_follows_its_image(self, pictures, monkeypatch):
        subject, seen = search(CP(granularity="image", **SHORT), pictures, monkeypatch)
        subject.improve(torch.tensor([7, 2]))
        bright = pictures.images[[7, 2]] >= 8
        assert len(seen) == 5
        assert torch.allclose(255 * subject.noise[[7, 2]][bright], torch.tensor(-4.0), atol=1e-3)
        untouched = [row for row in range(256) if row not in (7, 2)]
        assert not subject.noise[untouched].any()

    def test_noise_stays_at_its_bound_and_where_pixels_hide_it(self, pictures, monkeypatch):
        """Black pixels show no darker noise, so it has no gradient there; elsewhere it ends at -8."""
        noise = torch.full((256, 3, 16, 16), -7.9 / 255)
        subject, _ = search(CP(granularity="image", **SHORT), pictures, monkeypatch, noise)
        images = pictures.images.clone()
        images[0, :, :8] = 0
        subject.images = ResidentImages(images, CPU)
        subject.improve(torch.tensor([0]))
        hidden, shown = 255 * subject.noise[0, :, :8], 255 * subject.noise[0, :, 8:]
        assert torch.allclose(hidden, torch.tensor(-7.9), atol=1e-3)
        assert torch.allclose(shown[images[0, :, 8:] > 8], torch.tensor(-8.0), atol=1e-3)

    def test_a_pass_shows_every_image_once(self, pictures, monkeypatch):
        subject, _ = search(CP(granularity="image", **SHORT | {"batch_size": 100}), pictures, monkeypatch)
        batches = list(subject.noise_batches())
        assert [len(index) for index in batches] == [86, 85, 85] and subject.pass_steps == 2
        assert torch.equal(torch.cat(batches).sort().values, torch.arange(256))

    def test_the_learning_rate_follows_a_cosine_to_a_thousandth(self, pictures, monkeypatch):
        subject, _ = search(CP(**SHORT), pictures, monkeypatch)
        rates = []
        for share in (0.0, 0.5, 1.0):
            subject._set_rate(share)
            rates.append(subject.learner.optimizer.param_groups[0]["lr"])
        assert rates == pytest.approx([0.5, 0.25025, 0.0005])

    @pytest.mark.parametrize(("share", "rounds"), [(None, 4), (0.4, 2)])
    def test_rounds_end_at_the_share_that_is_kept(self, make_images, share, rounds):
        method = CP(granularity="image", start="random", **QUICK | {"image_rounds": 5}, kept_share=share)
        context = protect(method, make_images(count=24, size=16)).context
        assert context.notes["rounds"] == rounds


class TestSurrogates:
    @pytest.mark.parametrize(("framework", "kind"), [("simclr", SimCLR), ("moco", MoCo), ("byol", BYOL)])
    def test_each_framework_has_its_own(self, framework, kind):
        learner = CP(framework=framework, **SHORT).learner(fresh_context(), (16, 16))
        assert isinstance(learner.model, kind) and learner.both_branches and not learner.moving_target
        if framework == "simclr":
            assert learner.model.scale == pytest.approx(0.5 / 0.07) and learner.model.temperature == 0.5
        if framework == "moco":
            assert learner.model.scale == pytest.approx(0.2 / 0.07), "2.857 times the loss of other MoCos"
            assert learner.model.temperature == 0.2 and len(learner.model.queue) == 128
            assert learner.model.momentum == 0.99
        if framework == "byol":
            assert learner.model.momentum == 0.998

    def test_both_branches_and_the_moving_target_reach_the_noise(self, pictures):
        settings = SHORT | {"framework": "moco", "model_steps": 4, "learning_rate": 0.1}
        runs = [
            protect(CP(**settings, **options), pictures).noise
            for options in ({}, {"both_branches": False}, {"official_moving_target": True})
        ]
        for other in runs[1:]:
            assert float((other != runs[0]).float().mean()) > 0.01

    def test_byols_targets_are_detached_as_in_the_authors_code_on_request(self, pictures):
        """No gradient passes through the momentum encoder: its weights could as well be constants."""
        images = (pictures.images[:8] / 255).requires_grad_()
        gradients = []
        for both in (True, False):
            learner = CP(framework="byol", both_branches=both, **SHORT).learner(fresh_context(), (16, 16))
            reached = []
            learner.model.target.register_forward_hook(
                lambda module, given, out, reached=reached: reached.append(out.requires_grad)
            )
            gradients.append(torch.autograd.grad(learner.judge(images), images)[0])
            assert reached == [both, both]
        assert not torch.allclose(*gradients, rtol=0.01)

    def test_one_that_diverges_is_an_error(self, make_images):
        with pytest.raises(TrainingError, match="learning_rate"):
            protect(CP(**SHORT, learning_rate=1e30), make_images(count=32, size=16))


@pytest.mark.parametrize("granularity", ["class", "image"])
def test_the_seed_decides_alone(make_images, granularity):
    data, method = make_images(count=40, size=16), CP(granularity=granularity, **SHORT)
    torch.manual_seed(1)
    first = protect(method, data, fresh_context(1)).noise
    torch.manual_seed(2)
    assert torch.equal(first, protect(method, data, fresh_context(1)).noise)
    assert not torch.equal(first, protect(method, data, fresh_context(2)).noise)
    assert data.fingerprint == data.hash_content()


class TestParameters:
    @pytest.mark.parametrize(
        ("granularity", "framework", "turns"),
        [
            ("class", "simclr", (20, 20, 1, 0.1, 1.0)),
            ("class", "byol", (20, 20, 1, 0.1, 1.0)),
            ("image", "simclr", (0, 0, 5, 0.1, 0.8)),
            ("image", "moco", (0, 0, 5, 0.1, 1.0)),
            ("image", "byol", (0, 0, 1, 0.02, 1.0)),
        ],
    )
    def test_turns_are_the_authors(self, granularity, framework, turns):
        given = CP(granularity=granularity, framework=framework).turns()
        names = ("model_steps", "noise_batches", "noise_steps", "step_share", "kept_share")
        assert tuple(getattr(given, name) for name in names) == turns

    def test_defaults_are_the_authors(self):
        method = CP()
        rates = [CP(framework=name).settings().learning_rate for name in ("simclr", "moco", "byol")]
        assert rates == [0.5, 0.3, 1.0] and (method.momentum, method.weight_decay) == (0.9, 1e-4)
        assert (method.class_rounds, method.image_rounds, method.batch_size) == (1000, 200, 512)
        assert (method.surrogate, method.queue, method.start) == ("resnet18", 4096, "class")
        assert method.budget == Budget("linf", 8) and math.isclose(method.final_rate_share, 1e-3)

    @pytest.mark.parametrize(
        ("values", "word"),
        [
            ({"budget": Budget("l2", 1.0)}, "linf"),
            ({"budget": Budget("linf", 0)}, "linf"),
            ({"budget": Budget("linf", 128)}, "linf"),
            ({"granularity": "pair"}, "pair"),
            ({"framework": "simsiam"}, "framework"),
            ({"start": "zero"}, "start"),
            ({"class_rounds": 0}, "class_rounds"),
            ({"noise_steps": 0}, "noise_steps"),
            ({"noise_batches": -1}, "noise_batches"),
            ({"step_share": 0.0}, "step_share"),
            ({"kept_share": 1.5}, "kept_share"),
        ],
    )
    def test_values_that_do_not_fit_are_refused(self, values, word):
        with pytest.raises(ConfigError, match=word):
            CP(**values)
