"""Error-minimizing noise: the invariants of its specification on a small set of pictures without content."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from conftest import fresh_context, run_method
from learnable import blots
from torch import nn
from torch.nn import functional

from ue_bench import Budget, Context, ImageSet, Perturbation, ProtectorView
from ue_bench.crafting.noise import noise_for_labels
from ue_bench.crafting.objectives import Classification
from ue_bench.errors import ConfigError, TrainingError
from ue_bench_methods.em import EM

QUICK = {"surrogate": "resnet_tiny", "batch_size": 128, "noise_steps": 5, "step_size": 3.2}
ONE_STEP = {**QUICK, "max_rounds": 1, "noise_steps": 1, "step_size": 0.8, "stop_error": 0.0}


@dataclass
class Run:
    """One call of ``protect``: what went in, what came out, and the surrogate at its end."""

    data: ImageSet
    noise: Perturbation
    context: Context
    surrogate: nn.Module

    def logits(self, noise: torch.Tensor) -> torch.Tensor:
        """The surrogate's opinion of the published 8-bit images with ``noise`` [examples, 3, H, W]."""
        published = (self.data.images.short() + noise).clamp(0, 255)
        with torch.no_grad():
            return self.surrogate.eval()(published / 255)

    def error(self, noise: torch.Tensor) -> float:
        return float((self.logits(noise).argmax(1) != self.data.labels).float().mean())


def protect(method: EM, data: ImageSet, context: Context) -> Run:
    noise, (surrogate,) = run_method(method, ProtectorView(data, method.access, "supervised", "em"), context)
    return Run(data, noise, context, surrogate)


@pytest.fixture(scope="module")
def pictures() -> ImageSet:
    return blots()


@pytest.fixture(scope="module")
def image_wise(pictures) -> Run:
    return protect(EM(**QUICK), pictures, fresh_context())


@pytest.fixture(scope="module")
def class_wise(pictures) -> Run:
    method = EM(granularity="class", **QUICK | {"noise_steps": None, "batch_size": 32})
    return protect(method, pictures, fresh_context())


class TestImageWise:
    def test_the_surrogate_errs_on_less_than_a_hundredth_within_a_few_rounds(self, image_wise):
        notes = image_wise.context.notes
        assert (
            notes["rounds"] <= 15
            and not notes["reached_max_rounds"]
            and not image_wise.context.ledger.warnings
        )
        assert notes["surrogate_error_percent"] <= 1
        assert len(notes["surrogate_accuracy_percent_by_round"]) == notes["rounds"]
        assert notes["surrogate_accuracy_percent_by_round"][-1] == 100 - notes["surrogate_error_percent"]
        assert all(accuracy < 99 for accuracy in notes["surrogate_accuracy_percent_by_round"][:-1])

    def test_the_published_images_are_solved_and_the_clean_ones_are_not(self, image_wise):
        run, labels = image_wise, image_wise.data.labels
        noise = run.noise.noise[run.noise.rows]
        assert run.error(noise) <= 0.02 and run.error(0 * noise) > 0.2
        with_noise, clean = (functional.cross_entropy(run.logits(n), labels) for n in (noise, 0 * noise))
        assert with_noise < 0.2 * clean

    def test_noise_of_another_image_does_not_help(self, image_wise):
        """Trap T1: noise looked up by anything else than the image's index."""
        noise = image_wise.noise.noise[image_wise.noise.rows]
        assert image_wise.error(noise.roll(1, dims=0)) > 0.2

    def test_every_image_has_its_own_row(self, image_wise):
        assert torch.equal(image_wise.noise.rows, torch.arange(256))
        assert len(image_wise.noise.noise.flatten(1).unique(dim=0)) == 256

    def test_the_noise_fills_its_budget_with_both_signs(self, image_wise):
        noise = image_wise.noise.noise
        assert noise.dtype == torch.int8 and int(noise.abs().max()) == 8
        assert float((noise.abs() >= 7).float().mean()) > 0.3
        assert float((noise > 0).float().mean()) > 0.3 and float((noise < 0).float().mean()) > 0.3


class TestClassWise:
    def test_images_of_a_class_share_their_noise(self, class_wise):
        noise = class_wise.noise
        assert torch.equal(noise.rows, class_wise.data.labels)
        assert len(noise.noise) == 4 == len(noise.noise.flatten(1).unique(dim=0))

    def test_the_surrogate_errs_on_less_than_a_hundredth_of_the_subset(self, class_wise):
        notes = class_wise.context.notes
        assert notes["surrogate_error_percent"] <= 1 and not notes["reached_max_rounds"]
        noise = class_wise.noise.noise[class_wise.noise.rows]
        assert class_wise.error(noise) <= 0.05 and class_wise.error(0 * noise) > 0.2

    def test_the_budget_is_kept_with_both_signs(self, class_wise):
        noise = class_wise.noise.noise
        assert noise.dtype == torch.int8 and 3 <= int(noise.abs().max()) <= 8
        assert float((noise > 0).float().mean()) > 0.3 and float((noise < 0).float().mean()) > 0.3

    def test_one_update_moves_by_at_most_one_step(self, pictures, make_context):
        method = EM(granularity="class", **ONE_STEP | {"batch_size": 512, "step_size": 2.4})
        assert int(protect(method, pictures, make_context()).noise.noise.abs().max()) <= 2


class TestSaving:
    """Two steps of 0.8 from zero lead to -1.6, 0 or 1.6, and at saturated pixels to -0.8 or 0.8."""

    def noise(self, make_images, context: Context, **options) -> torch.Tensor:
        run = protect(EM(**ONE_STEP | {"noise_steps": 2} | options), make_images(count=32, size=16), context)
        assert run.noise.budget.signs == ("positive" if options.get("official_one_sided") else "both")
        return run.noise.noise

    def test_values_are_rounded_by_default_and_truncated_on_request(self, make_images, make_context):
        rounded = self.noise(make_images, make_context())
        floored = self.noise(make_images, make_context(), official_floor=True)
        assert {-2, 2} <= set(rounded.unique().tolist()) <= {-2, -1, 0, 1, 2}
        for value, truncated in ((-2, -2), (-1, -1), (1, 0), (2, 1)):  # -1.6, -0.8, 0.8, 1.6
            assert bool((floored[rounded == value] == truncated).all())

    def test_both_signs_stay_by_default_and_negative_noise_goes_on_request(self, make_images, make_context):
        both = self.noise(make_images, make_context())
        one = self.noise(make_images, make_context(), official_one_sided=True)
        assert {-2, 2} <= set(both.unique().tolist()) <= {-2, -1, 0, 1, 2}
        assert torch.equal(one, both.clamp_min(0))

    def test_the_official_pipeline_is_both_options_together(self, make_images, make_context):
        both = self.noise(make_images, make_context())
        official = self.noise(make_images, make_context(), official_one_sided=True, official_floor=True)
        assert torch.equal(official, (both == 2).to(torch.int8))  # of 1.6


class TestSearch:
    def test_reaching_the_cap_on_rounds_is_reported(self, make_images, make_context):
        method = EM(**QUICK | {"max_rounds": 2, "stop_error": 0.0, "noise_steps": 1, "step_size": 0.6})
        context = protect(method, make_images(count=32, size=16), make_context()).context
        assert context.notes["rounds"] == 2 and context.notes["reached_max_rounds"]
        (warning,) = context.ledger.warnings
        assert "cap of 2 rounds" in warning and f"{context.notes['surrogate_error_percent']:.1f} %" in warning

    def test_an_easy_goal_ends_the_search_after_one_round(self, make_images, make_context):
        context = protect(EM(**QUICK, stop_error=1.0), make_images(count=32, size=16), make_context()).context
        assert context.notes["rounds"] == 1 and not context.notes["reached_max_rounds"]

    def test_training_goes_on_where_it_stopped_and_noise_sees_a_frozen_model(
        self, make_images, make_context, monkeypatch
    ):
        seen = {True: [], False: []}
        loss = Classification.loss

        def record(self, model, images, index):
            training = model.training
            assert all(module.training == training for module in model.modules())
            assert all(parameter.requires_grad == training for parameter in model.parameters())
            assert images.min() >= 0 and images.max() <= 1
            seen[training].append((index.start, index.stop))
            return loss(self, model, images, index)

        monkeypatch.setattr(Classification, "loss", record)
        settings = QUICK | {"batch_size": 16, "model_steps": 2, "noise_steps": 2, "max_rounds": 2}
        protect(EM(**settings, stop_error=0.0), make_images(count=40, size=16), make_context())
        batches = [(0, 16), (16, 32), (32, 40)]
        assert seen[True] == [*batches, batches[0]]
        assert seen[False] == [batch for batch in batches for _ in range(2)] * 2

    def test_the_surrogates_steps_are_sgds_by_hand(self, make_images, make_context):
        """Three steps of a linear surrogate on clean images: clipped gradient, weight decay, momentum."""
        data, context = make_images(count=12, size=2), make_context()
        torch.manual_seed(0)
        linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 4, bias=False))
        weights, velocity = linear[1].weight.detach().clone(), torch.zeros(4, 12)
        pixels = data.images.flatten(1) / 255
        for _ in range(3):
            wrong = (pixels @ weights.T).softmax(1) - functional.one_hot(data.labels, 4)
            gradient = wrong.T @ pixels / 12
            assert float(gradient.norm()) > 0.05
            clipped = 0.05 * gradient / gradient.norm()
            velocity = 0.9 * velocity + clipped + 0.02 * weights
            weights = weights - 0.5 * velocity
        context.ledger.build_victim = lambda *what: linear
        method = EM(model_steps=3, max_rounds=1, learning_rate=0.5, weight_decay=0.02, gradient_clip=0.05)
        protect(method, data, context)
        assert torch.allclose(linear[1].weight.detach(), weights, atol=1e-6)

    @pytest.mark.parametrize("granularity", ["image", "class"])
    def test_sets_smaller_than_a_batch_are_protected_too(self, make_images, make_context, granularity):
        method = EM(surrogate="resnet_tiny", granularity=granularity, noise_steps=2, max_rounds=2)
        run = protect(method, make_images(count=20, size=16), make_context())
        assert len(run.noise.noise) == (20 if granularity == "image" else 4)

    @pytest.mark.parametrize("granularity", ["image", "class"])
    def test_seed_and_labels_decide(self, make_images, make_context, granularity):
        method = EM(**QUICK | {"granularity": granularity, "max_rounds": 2, "batch_size": 16})
        data = make_images(count=40, size=16)
        shuffled = replace(data, labels=data.labels.roll(1))
        torch.manual_seed(1)
        first = protect(method, data, make_context(1)).noise.noise
        torch.manual_seed(2)
        assert torch.equal(first, protect(method, data, make_context(1)).noise.noise)
        assert not torch.equal(first, protect(method, data, make_context(2)).noise.noise)
        assert not torch.equal(first, protect(method, shuffled, make_context(1)).noise.noise)

    def test_the_images_stay_as_they_are(self, image_wise):
        assert image_wise.data.fingerprint == image_wise.data.hash_content()

    def test_a_surrogate_that_diverges_is_an_error(self, make_images, make_context):
        method = EM(**QUICK, learning_rate=1e30, gradient_clip=0.0)
        with pytest.raises(TrainingError, match="learning_rate"):
            protect(method, make_images(count=32, size=16), make_context())


class TestParameters:
    def test_defaults_are_the_papers(self):
        method = EM.for_paradigm("supervised")
        assert method.budget == Budget("linf", 8) and method.step_size == 0.8 and method.noise_steps is None
        assert method.max_rounds == 50
        assert (method.surrogate, method.model_steps, method.batch_size) == ("resnet18", None, 512)
        assert (method.learning_rate, method.momentum, method.weight_decay) == (0.1, 0.9, None)
        assert (method.gradient_clip, method.stop_error, method.subset_share) == (5.0, 0.01, 0.2)
        assert not method.official_one_sided and not method.official_floor

    @pytest.mark.parametrize(("classes", "steps", "decay"), [(99, 10, 5e-4), (100, 20, 5e-5)])
    def test_from_100_classes_on_the_settings_are_those_of_cifar100(
        self, make_images, make_context, classes, steps, decay
    ):
        data = make_images(count=classes, classes=classes, size=8)
        notes = protect(EM(**ONE_STEP), data, make_context()).context.notes
        assert (notes["model_steps"], notes["weight_decay"]) == (steps, decay)
        method = EM(**ONE_STEP, model_steps=3, weight_decay=0.1)
        notes = protect(method, data, make_context()).context.notes
        assert (notes["model_steps"], notes["weight_decay"]) == (3, 0.1)

    @pytest.mark.parametrize(("granularity", "steps"), [("image", 20), ("class", 1)])
    def test_noise_steps_follow_the_granularity(self, make_images, make_context, granularity, steps):
        method = EM(granularity=granularity)
        data = make_images(count=8)
        view = ProtectorView(data, method.access, "supervised", "em")
        walk = noise_for_labels(method, view, make_context()).walk
        assert walk.steps == steps and walk.radius == 8 / 255 and walk.step_size == 0.8 / 255
        assert noise_for_labels(replace(method, noise_steps=7), view, make_context()).walk.steps == 7

    @pytest.mark.parametrize(
        ("values", "word"),
        [
            ({"budget": Budget("l2", 1.0)}, "linf"),
            ({"budget": Budget("linf", 8, "positive")}, "both signs"),
            ({"budget": Budget("linf", 0)}, "linf"),
            ({"granularity": "cluster"}, "cluster"),
            ({"noise_steps": 0}, "noise_steps"),
            ({"max_rounds": 0}, "max_rounds"),
            ({"step_size": 0.0}, "step_size"),
            ({"subset_share": 1.5}, "subset_share"),
        ],
    )
    def test_values_that_do_not_fit_are_refused(self, values, word):
        with pytest.raises(ConfigError, match=word):
            EM(**values)
