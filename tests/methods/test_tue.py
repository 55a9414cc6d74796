"""TUE: the invariants of its specification on a small set of pictures without content."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from conftest import fresh_context
from learnable import blots

from ue_bench import Budget, Context, ImageSet, Perturbation, ProtectorView
from ue_bench.crafting.views import Augmentation
from ue_bench.errors import ConfigError, TrainingError
from ue_bench_methods import tue as module
from ue_bench_methods._tue.separability import class_separability, sign_agreement
from ue_bench_methods.tue import TUE

QUICK = {"surrogate": "resnet_tiny", "rounds": 8, "batch_size": 128}
MOCO = QUICK | {"framework": "moco", "rounds": 3, "model_steps": 3, "queue": 256}


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


def protect(method: TUE, data: ImageSet, context: Context | None = None) -> Run:
    context = context or fresh_context()
    view = ProtectorView(data, method.access, "supervised", "tue")
    result = method.protect(view, context)
    result.check(len(view), view.image_size)
    return Run(data, result, context)


@pytest.fixture(scope="module")
def pictures() -> ImageSet:
    return blots()


@pytest.fixture(scope="module")
def plain(pictures) -> Run:
    return protect(TUE(**QUICK), pictures)


@pytest.fixture(scope="module")
def moco(pictures) -> Run:
    return protect(TUE(**MOCO), pictures)


def no_surrogate(*what):
    raise AssertionError("a surrogate was built")


class TestWithoutSurrogate:
    def test_the_discriminant_falls_to_less_than_a_tenth(self, plain):
        labels = plain.data.labels
        start = torch.empty(plain.noise.shape).uniform_(-8, 8, generator=torch.Generator().manual_seed(0))
        first, last = (float(class_separability(noise, labels, 4)) for noise in (start, plain.noise))
        assert last < first / 10
        assert plain.context.notes["discriminant_by_round"][-1] == pytest.approx(last, rel=0.3)

    def test_noise_is_nearest_to_its_own_class(self, plain):
        centres = torch.stack([plain.noise[plain.data.labels == k].mean(0) for k in range(4)])
        assert torch.equal(torch.cdist(plain.noise, centres).argmin(1), plain.data.labels)

    def test_images_of_a_class_share_their_signs_and_fill_the_budget(self, plain):
        assert sign_agreement(plain.result.noise, plain.data.labels, 4) > 0.95
        assert plain.context.notes["sign_agreement_percent"] > 95
        assert int(plain.result.noise.abs().max()) == 8
        assert float((plain.noise.abs() == 8).float().mean()) > 0.85
        assert float((plain.noise > 0).float().mean()) > 0.3 and float((plain.noise < 0).float().mean()) > 0.3

    def test_unsaturated_pixels_of_a_class_get_the_very_same_noise(self, plain):
        images = plain.data.images.flatten(1)
        free = ((images >= 8) & (images <= 247)).all(0)
        assert int(free.sum()) >= 3
        for label in range(4):
            members = plain.noise[plain.data.labels == label][:, free]
            assert torch.equal(members, members[:1].expand_as(members))
        assert len(plain.noise[:, free].unique(dim=0)) == 4

    def test_black_pixels_keep_a_single_step_below_themselves(self, pictures):
        """The loop starts each step from clipped pixels: noise there is 8 up or one step of 0.8 down."""
        black = replace(pictures, images=torch.zeros_like(pictures.images))
        noise = protect(TUE(**QUICK), black).noise
        assert set(noise.unique().tolist()) <= {-1.0, *map(float, range(9))}
        assert float((noise == -1).float().mean()) > 0.2 and float((noise == 8).float().mean()) > 0.2

    def test_the_surrogate_is_left_out_and_the_record_says_so(self, pictures):
        context = fresh_context()
        context.ledger.build_victim = no_surrogate
        for framework in ("simclr", "simsiam"):
            protect(TUE(**QUICK | {"rounds": 1, "framework": framework}), pictures, context)
            assert "cannot influence" in context.notes["surrogate"]

    def test_the_number_of_sign_steps_is_reported(self, plain):
        assert plain.context.notes["rounds"] == 8 and plain.context.notes["sign_steps_per_image"] == 160

    def test_labels_decide(self, pictures, plain):
        other = protect(TUE(**QUICK), replace(pictures, labels=pictures.labels.roll(1)))
        assert float((other.noise != plain.noise).float().mean()) > 0.2

    def test_the_discriminant_is_one_of_noise_that_pixels_may_hide(self, pictures, monkeypatch):
        """Black pixels hide all noise below zero, and the discriminant counts it."""
        lowest = []

        def record(noise, *rest):
            lowest.append(float(noise.detach().min()))
            return class_separability(noise, *rest)

        monkeypatch.setattr(module, "class_separability", record)
        black = replace(pictures, images=torch.zeros_like(pictures.images))
        protect(TUE(**QUICK | {"rounds": 1, "noise_steps": 2, "batch_size": 256}), black)
        assert lowest[0] < -7.9 / 255 and lowest[1:] == pytest.approx([-0.8 / 255] * 2, rel=1e-3)

    def test_batches_are_of_equal_size_and_hold_every_image(self, pictures, monkeypatch):
        seen = []

        def record(noise, labels, *rest):
            seen.append(len(noise))
            return class_separability(noise, labels, *rest)

        monkeypatch.setattr(module, "class_separability", record)
        protect(TUE(**QUICK | {"rounds": 1, "noise_steps": 2, "batch_size": 100}), pictures)
        assert seen == [86, 86, 85, 85, 85, 85, 85]  # two steps each, and the last one's discriminant

    def test_the_full_gradient_is_another(self, pictures, plain):
        full = protect(TUE(**QUICK, detach_spread=False), pictures)
        assert float((full.noise != plain.noise).float().mean()) > 0.1


class TestMoCo:
    def test_the_surrogate_is_trained_and_shapes_the_noise(self, pictures, moco):
        notes = moco.context.notes
        assert len(notes["surrogate_loss_by_round"]) == 3 and "surrogate" not in notes
        assert notes["sign_steps_per_image"] == 15
        alone = protect(TUE(**MOCO | {"csd_weight": 0.0}), pictures)
        assert float(moco.noise.ne(alone.noise).float().mean()) > 0.1
        spread = sign_agreement(alone.result.noise, pictures.labels, 4)
        assert spread < 0.7 < sign_agreement(moco.result.noise, pictures.labels, 4)

    def test_images_of_a_class_differ_but_stay_in_budget_with_both_signs(self, moco):
        assert len(moco.noise.unique(dim=0)) == 256
        assert int(moco.result.noise.abs().max()) <= 8
        assert float((moco.noise > 0).float().mean()) > 0.3 and float((moco.noise < 0).float().mean()) > 0.3

    def test_every_value_in_sight_moves_away_from_zero(self, pictures, monkeypatch):
        """One step from zero is 0.8 up or down: a gradient that underflows would leave zeros."""
        whole = Augmentation(smallest_area=1.0, narrowest=1.0)
        monkeypatch.setattr(module, "Augmentation", lambda shared: whole)
        run = protect(TUE(**MOCO | {"rounds": 1, "noise_steps": 1}), pictures)
        assert float((run.noise == 0).float().mean()) < 0.01 and int(run.noise.abs().max()) == 1

    def test_the_head_is_linear_and_the_queue_moves_in_noise_steps(self, pictures, moco):
        learner = TUE(**MOCO)._learner(fresh_context(), (16, 16))
        assert isinstance(learner.model.encoder.projection, torch.nn.Linear) and learner.model.scale == 1
        assert learner.moving_queue and not learner.moving_target
        still = protect(TUE(**MOCO, moving_queue=False), pictures)
        assert not torch.equal(still.noise, moco.noise)

    def test_one_view_for_all_is_an_option(self, pictures, moco):
        shared = protect(TUE(**MOCO, official_shared_views=True), pictures)
        assert not torch.equal(shared.noise, moco.noise)

    @pytest.mark.parametrize("framework", ["simclr", "simsiam"])
    def test_other_frameworks_have_a_surrogate_on_request(self, make_images, framework):
        method = TUE(**MOCO | {"framework": framework, "rounds": 1, "batch_size": 16}, ssl_weight=1.0)
        run = protect(method, make_images(count=32, size=16))
        assert len(run.context.notes["surrogate_loss_by_round"]) == 1

    def test_a_surrogate_that_diverges_is_an_error(self, make_images):
        with pytest.raises(TrainingError, match="learning_rate"):
            protect(TUE(**MOCO, learning_rate=1e30), make_images(count=32, size=16))


@pytest.mark.parametrize("settings", [QUICK | {"rounds": 1}, MOCO | {"rounds": 1}])
def test_the_seed_decides_alone(make_images, settings):
    data = make_images(count=40, size=16)
    torch.manual_seed(1)
    first = protect(TUE(**settings), data, fresh_context(1)).noise
    torch.manual_seed(2)
    assert torch.equal(first, protect(TUE(**settings), data, fresh_context(1)).noise)
    assert not torch.equal(first, protect(TUE(**settings), data, fresh_context(2)).noise)
    assert data.fingerprint == data.hash_content()


class TestParameters:
    @pytest.mark.parametrize(
        ("framework", "wanted"),
        [
            ("simclr", (20, 20, 0.0, 0.1, "uniform", "adam", 1e-3, 1e-6, 0.5)),
            ("simsiam", (25, 20, 0.0, 0.1, "uniform", "sgd", 0.06, 5e-4, 0.5)),
            ("moco", (100, 5, 1.0, 1.0, "zero", "sgd", 0.3, 1e-4, 0.2)),
        ],
    )
    def test_defaults_are_what_was_released_for_the_framework(self, framework, wanted):
        method = TUE(framework=framework)
        settings = method.settings()
        names = ("model_steps", "noise_steps", "ssl_weight", "csd_weight", "start")
        names += ("optimizer", "learning_rate", "weight_decay", "temperature")
        assert tuple(getattr(settings, name) for name in names) == wanted
        assert method.rounds * settings.noise_steps == (1000 if framework == "moco" else 4000)
        assert (method.budget, method.step_size, method.batch_size) == (Budget("linf", 8), 0.8, 512)
        assert (method.surrogate, method.queue, method.encoder_momentum) == ("resnet18", 4096, 0.99)
        assert method.detach_spread and method.both_branches and not method.official_shared_views

    def test_what_is_set_goes_before_what_was_released(self):
        settings = TUE(framework="moco", ssl_weight=0.5, noise_steps=7).settings()
        assert settings.ssl_weight == 0.5 and settings.noise_steps == 7 and settings.csd_weight == 1.0

    @pytest.mark.parametrize(
        ("values", "word"),
        [
            ({"budget": Budget("l2", 1.0)}, "linf"),
            ({"budget": Budget("linf", 0)}, "linf"),
            ({"granularity": "class"}, "class"),
            ({"framework": "simcrl"}, "simclr"),
            ({"rounds": 0}, "rounds"),
            ({"noise_steps": 0}, "noise_steps"),
            ({"ssl_weight": -1.0}, "ssl_weight"),
            ({"start": "zero"}, "never move"),
            ({"csd_weight": 0.0}, "never move"),
            ({"start": "ones"}, "start"),
            ({"optimizer": "lion"}, "optimizer"),
            ({"step_size": 0.0}, "step_size"),
        ],
    )
    def test_values_that_do_not_fit_are_refused(self, values, word):
        with pytest.raises(ConfigError, match=word):
            TUE(**values)
