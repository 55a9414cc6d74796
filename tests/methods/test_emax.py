"""Error-maximizing noise: the invariants of its specification on pictures that a small surrogate learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import build_victim
from learnable import Run, fresh_context, pictures, protect

from ue_bench import Budget, ProtectorView
from ue_bench.crafting import surrogates
from ue_bench.errors import ConfigError
from ue_bench_methods.emax import Emax

LEARNS = {
    "surrogate": "resnet_tiny",
    "surrogate_epochs": 12,
    "surrogate_batch_size": 16,
    "crop_padding": 0,
    "flip": False,
    "learning_rate": 0.05,
}
BARELY = {**LEARNS, "surrogate_epochs": 1, "max_sweeps": 1}  # where the noise's strength does not matter


@pytest.fixture(scope="module")
def image_wise() -> Run:
    return protect(Emax(**LEARNS), pictures())


@pytest.fixture(scope="module")
def class_wise() -> Run:
    settings = LEARNS | {"surrogate_batch_size": 8, "batch_size": 16, "subset_share": 0.5}
    return protect(Emax(granularity="class", **settings), pictures())


@pytest.fixture
def trainings(monkeypatch):
    """What surrogates are trained on: [(data, recipe)]."""
    seen, train = [], surrogates.train

    def record(model, data, recipe, **rest):
        seen.append((data, recipe))
        return train(model, data, replace(recipe, epochs=1), **rest)

    monkeypatch.setattr(surrogates, "train", record)
    return seen


class TestImageWise:
    def test_the_surrogate_knows_clean_images_and_misses_protected_ones(self, image_wise):
        assert image_wise.accuracy(protected=False) > 95 and image_wise.accuracy(protected=True) <= 10
        notes = image_wise.context.notes
        assert notes["surrogate_clean_error_percent"] == pytest.approx(100 - image_wise.accuracy(False))
        assert notes["surrogate_error_percent"] >= 90 and not notes["reached_max_sweeps"]
        assert not image_wise.context.ledger.warnings

    def test_the_loss_rises_for_almost_every_image(self, image_wise):
        rose = image_wise.losses(protected=True) > image_wise.losses(protected=False)
        assert float(rose.float().mean()) > 0.99

    def test_every_image_has_its_own_noise_of_both_signs_within_the_budget(self, image_wise):
        noise = image_wise.noise.noise
        assert torch.equal(image_wise.noise.rows, torch.arange(240)) and len(noise.unique(dim=0)) == 240
        assert noise.dtype == torch.int8 and int(noise.abs().max()) == 8
        assert float((noise > 0).float().mean()) > 0.3 and float((noise < 0).float().mean()) > 0.3

    def test_the_surrogate_stays_as_it_was_trained(self, monkeypatch):
        kept, trained = [], surrogates.train

        def record(model, *rest, **more):
            curves = trained(model, *rest, **more)
            kept.append({name: value.clone() for name, value in model.state_dict().items()})
            return curves

        monkeypatch.setattr(surrogates, "train", record)
        run = protect(Emax(**BARELY | {"max_sweeps": 3}), pictures(48))
        assert all(torch.equal(value, kept[0][name]) for name, value in run.surrogate.state_dict().items())


class TestClassWise:
    def test_images_of_a_class_share_their_noise(self, class_wise):
        assert torch.equal(class_wise.noise.rows, class_wise.data.labels)
        assert len(class_wise.noise.noise) == 4 == len(class_wise.noise.noise.unique(dim=0))

    def test_noise_makes_the_loss_rise_for_most_images(self, class_wise):
        rose = class_wise.losses(protected=True) > class_wise.losses(protected=False)
        assert float(rose.float().mean()) > 0.8
        notes = class_wise.context.notes
        assert notes["surrogate_error_percent"] > notes["surrogate_clean_error_percent"] + 30

    def test_the_goal_is_lower_than_image_wise(self):
        for granularity, goal in (("image", 0.9), ("class", 0.8)):
            assert _sweeps_until(granularity, errors=[0.1, 0.5, goal - 0.01, goal, 1.0]) == 4

    def test_the_surrogate_is_trained_on_the_share_alone(self, trainings):
        data = pictures()
        protect(Emax(granularity="class", **BARELY), data)
        protect(Emax(**BARELY), data)
        (subset, _), (everything, _) = trainings
        assert subset.labels.bincount().tolist() == [12] * 4
        whole = {image.numpy().tobytes() for image in data.images}
        assert all(image.numpy().tobytes() in whole for image in subset.images)
        assert torch.equal(everything.images, data.images)

    def test_the_share_depends_on_the_seed(self, trainings):
        for seed in (1, 2, 1):
            protect(Emax(granularity="class", **BARELY), pictures(), fresh_context(seed))
        one, two, again = (data.images for data, _ in trainings)
        assert torch.equal(one, again) and not torch.equal(one, two)

    def test_one_sweep_of_one_batch_moves_by_at_most_one_step(self):
        run = protect(Emax(granularity="class", **BARELY, step_size=2.4), pictures(80))
        assert int(run.noise.noise.abs().max()) <= 2


def _sweeps_until(granularity: str, errors: list[float]) -> int:
    """How many sweeps ``_search`` makes if the surrogate errs like this, before and after each."""

    class Told:
        def __init__(self):
            self.left = list(errors)
            self.delta = torch.zeros(1)

        def improve(self, model):
            pass

        def error(self, model):
            return self.left.pop(0)

    context = fresh_context()
    Emax(granularity=granularity)._search(None, Told(), context)
    return context.notes["sweeps"] + 1


class TestSweeps:
    def test_they_go_on_from_the_noise_of_the_last_one(self):
        settings = BARELY | {"noise_steps": 2, "step_size": 1.0, "stop_error": 1.0}
        data = pictures(48)
        reach = [
            int(protect(Emax(**settings | {"max_sweeps": n}), data).noise.noise.abs().max()) for n in (1, 3)
        ]
        assert reach == [2, 6]

    def test_reaching_the_cap_is_reported(self):
        run = protect(Emax(**LEARNS, max_sweeps=2, noise_steps=1, step_size=0.6), pictures(120))
        notes = run.context.notes
        assert notes["sweeps"] == 2 and notes["reached_max_sweeps"]
        assert len(notes["surrogate_error_percent_by_sweep"]) == 2
        (warning,) = run.context.ledger.warnings
        assert "cap of 2 sweeps" in warning and f"{notes['surrogate_error_percent']:.1f} %" in warning

    def test_an_easy_goal_ends_them_after_the_first(self):
        run = protect(Emax(**BARELY | {"max_sweeps": 5}, stop_error=0.0), pictures(48))
        assert run.context.notes["sweeps"] == 1 and not run.context.ledger.warnings

    @pytest.mark.parametrize("granularity", ["image", "class"])
    def test_seed_and_labels_decide(self, granularity):
        method = Emax(granularity=granularity, **BARELY, batch_size=16, noise_steps=2)
        data = pictures(80)
        torch.manual_seed(1)
        first = protect(method, data, fresh_context(1)).noise.noise
        torch.manual_seed(2)
        assert torch.equal(first, protect(method, data, fresh_context(1)).noise.noise)
        assert not torch.equal(first, protect(method, data, fresh_context(2)).noise.noise)
        shuffled = replace(data, labels=data.labels.roll(1))
        assert not torch.equal(first, protect(method, shuffled, fresh_context(1)).noise.noise)

    def test_labels_decide_for_the_same_surrogate(self, monkeypatch):
        surrogate = build_victim("resnet_tiny", 4, (16, 16), 0)
        monkeypatch.setattr("ue_bench_methods.emax.trained_on_clean", lambda *a, **b: surrogate)
        data, method = pictures(48), Emax(max_sweeps=1)
        shuffled = replace(data, labels=data.labels.roll(1))
        first, other = (
            method.protect(ProtectorView(d, method.access), fresh_context()).noise for d in (data, shuffled)
        )
        assert not torch.equal(first, other)


class TestSaving:
    """Two steps of 0.8 from zero lead to -1.6, 0 or 1.6."""

    def noise(self, **options) -> torch.Tensor:
        run = protect(Emax(**BARELY, noise_steps=2, step_size=0.8, **options), pictures(48))
        assert run.noise.budget.signs == ("positive" if options.get("official_one_sided") else "both")
        return run.noise.noise

    def test_rounding_and_both_signs_by_default_and_the_official_pipeline_on_request(self):
        both = self.noise()
        assert {-2, 2} <= set(both.unique().tolist()) <= {-2, 0, 2}
        floored = self.noise(official_floor=True)
        assert bool((floored[both == -2] == -2).all()) and bool((floored[both == 2] == 1).all())
        assert torch.equal(self.noise(official_one_sided=True), both.clamp_min(0))
        official = self.noise(official_one_sided=True, official_floor=True)
        assert torch.equal(official, (both == 2).to(torch.int8))


class TestParameters:
    def test_defaults_are_the_papers(self, trainings):
        method = Emax()
        assert method.budget == Budget("linf", 8) and method.surrogate == "resnet18"
        protect(Emax(surrogate="resnet_tiny", max_sweeps=1), pictures(48))
        ((_, recipe),) = trainings
        assert (recipe.epochs, recipe.batch_size, recipe.schedule) == (60, 512, "cosine")
        assert (recipe.optimizer, recipe.learning_rate, recipe.momentum) == ("sgd", 0.1, 0.9)
        assert (recipe.weight_decay, recipe.gradient_clip, recipe.warmup_epochs) == (5e-4, 5.0, 0)
        assert recipe.crop_padding == 4 and recipe.flip and not recipe.nesterov

    def test_from_100_classes_on_the_settings_are_those_of_cifar100(self):
        few, many = Emax()._recipe(99), Emax()._recipe(100)
        assert (few.epochs, few.weight_decay, many.epochs, many.weight_decay) == (60, 5e-4, 100, 5e-5)
        own = Emax(surrogate_epochs=7, weight_decay=0.0)._recipe(100)
        assert (own.epochs, own.weight_decay) == (7, 0.0)

    @pytest.mark.parametrize(("granularity", "steps"), [("image", 20), ("class", 1)])
    def test_the_walk_climbs_with_the_papers_steps(self, monkeypatch, granularity, steps):
        walks = []
        monkeypatch.setattr(Emax, "_search", lambda self, model, noise, context: walks.append(noise.walk))
        monkeypatch.setattr("ue_bench_methods.emax.Perturbation.from_float", lambda *a, **b: None)
        with pytest.raises(AttributeError):
            protect(Emax(granularity=granularity, surrogate="resnet_tiny", surrogate_epochs=1), pictures(48))
        (walk,) = walks
        assert walk.steps == steps and walk.maximise
        assert walk.radius == 8 / 255 and walk.step_size == 0.8 / 255

    @pytest.mark.parametrize(
        ("values", "word"),
        [
            ({"budget": Budget("l2", 1.0)}, "linf"),
            ({"budget": Budget("linf", 8, "positive")}, "both signs"),
            ({"budget": Budget("linf", 0)}, "linf"),
            ({"granularity": "pair"}, "pair"),
            ({"noise_steps": 0}, "noise_steps"),
            ({"max_sweeps": 0}, "max_sweeps"),
            ({"surrogate_epochs": 0}, "surrogate_epochs"),
            ({"step_size": 0.0}, "step_size"),
            ({"stop_error": 1.5}, "stop_error"),
            ({"subset_share": 1.5}, "subset_share"),
            ({"subset_share": 0.0}, "subset_share"),
        ],
    )
    def test_values_that_do_not_fit_are_refused(self, values, word):
        with pytest.raises(ConfigError, match=word):
            Emax(**values)
