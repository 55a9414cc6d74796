"""Adversarial poisons, to the next class and away from the own one, and the shifts that they survive."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conftest import Memory, build_victim
from learnable import Run, fresh_context, pictures, protect
from torch.nn import functional

from ue_bench import Budget, Context, ProtectorView
from ue_bench.crafting import surrogates
from ue_bench.errors import ConfigError
from ue_bench.training.optim import learning_rate
from ue_bench_methods._adversarial.noise import AdversarialNoise, judge
from ue_bench_methods._adversarial.transforms import ShiftFlip, mean_colour, moved
from ue_bench_methods.tap import TAP
from ue_bench_methods.uap import UAP

LEARNS = {
    "surrogate": "resnet_tiny",
    "surrogate_epochs": 12,
    "surrogate_batch_size": 16,
    "learning_rate": 0.05,
    "shift": 1.0,
    "iterations": 30,
    "step_size": 1.0,
    "restarts": 2,
}
BARELY = {**LEARNS, "surrogate_epochs": 1, "iterations": 2, "restarts": 1}
NO_COLOUR = (0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def targeted() -> Run:
    return protect(TAP(**LEARNS), pictures())


@pytest.fixture(scope="module")
def untargeted() -> Run:
    return protect(UAP(**LEARNS), pictures())


@pytest.fixture
def trainings(monkeypatch):
    """The recipes and augmentations that surrogates are trained with."""
    seen, train = [], surrogates.train

    def record(model, data, recipe, **rest):
        seen.append((recipe, rest["defense"]))
        return train(model, data, replace(recipe, epochs=1), **rest)

    monkeypatch.setattr(surrogates, "train", record)
    return seen


@pytest.fixture
def untrained(monkeypatch):
    """Surrogates that cost nothing, always the same one."""
    surrogate = build_victim("resnet_tiny", 4, (16, 16), 0)
    monkeypatch.setattr("ue_bench_methods._adversarial.noise.trained_on_clean", lambda *a, **b: surrogate)


def noise_of(method: AdversarialNoise, data=None, context: Context | None = None) -> torch.Tensor:
    data = data or pictures(48)
    return method.protect(ProtectorView(data, method.access), context or fresh_context()).noise


class TestTargeted:
    def test_the_surrogate_sees_the_next_class_in_what_is_published(self, targeted):
        assert targeted.accuracy(protected=False) > 98
        logits, following = targeted.logits(protected=True), (targeted.data.labels + 1) % 4
        success = float((logits.argmax(1) == following).float().mean())
        assert success > 0.95 and functional.cross_entropy(logits, following) < 0.15
        assert targeted.context.notes["success_percent"] == pytest.approx(100 * success)
        assert not targeted.context.ledger.warnings

    def test_published_noise_still_points_there_when_it_is_shifted_and_mirrored(self, targeted):
        shown = (targeted.data.images.short() + targeted.noise.noise).clamp(0, 255) / 255
        again = ShiftFlip(mean_colour(targeted.data.images), 1.0)(shown, torch.Generator().manual_seed(0))
        guesses = targeted.surrogate(again).argmax(1)
        assert float((guesses == (targeted.data.labels + 1) % 4).float().mean()) > 0.95

    def test_another_offset_is_another_class(self):
        run = protect(TAP(**LEARNS | {"restarts": 1}, target_offset=2), pictures())
        assert float((run.logits(True).argmax(1) == (run.data.labels + 2) % 4).float().mean()) > 0.95

    def test_an_offset_to_the_same_class_is_refused(self, untrained):
        with pytest.raises(ConfigError, match="target_offset"):
            noise_of(TAP(**BARELY, target_offset=4))


class TestUntargeted:
    def test_the_surrogate_misses_what_is_published(self, untargeted):
        assert untargeted.accuracy(protected=False) > 98 and untargeted.accuracy(protected=True) < 5
        notes = untargeted.context.notes
        assert notes["success_percent"] == notes["surrogate_error_percent"] > 95
        assert notes["surrogate_error_percent"] == pytest.approx(100 - untargeted.accuracy(True))

    def test_the_loss_rises_for_almost_every_image(self, untargeted):
        rose = untargeted.losses(protected=True) > untargeted.losses(protected=False)
        assert float(rose.float().mean()) > 0.99


class TestBoth:
    @pytest.mark.parametrize("kind", ["targeted", "untargeted"])
    def test_every_image_has_its_own_noise_of_both_signs_within_the_budget(self, kind, request):
        run = request.getfixturevalue(kind)
        noise = run.noise.noise
        assert torch.equal(run.noise.rows, torch.arange(240)) and len(noise.unique(dim=0)) == 240
        assert noise.dtype == torch.int8 and int(noise.abs().max()) == 8
        assert float((noise > 0).float().mean()) > 0.3 and float((noise < 0).float().mean()) > 0.3

    def test_one_surrogate_serves_both(self, trainings):
        shelf, noises = Memory(), []
        for kind in (TAP, UAP):
            context = fresh_context()
            context.ledger.shelf = shelf
            noises.append(noise_of(kind(**LEARNS | {"iterations": 3}), context=context))
        assert len(trainings) == 1 == len(shelf.kept)
        assert not torch.equal(*noises)
        for preset in ("smoke", "laptop"):
            assert TAP.presets[preset] == UAP.presets[preset], "other surrogates would be trained"

    @pytest.mark.parametrize("kind", [TAP, UAP])
    def test_seed_and_labels_decide(self, kind, untrained):
        method, data = kind(**BARELY), pictures(48)
        torch.manual_seed(1)
        first = noise_of(method, data, fresh_context(1))
        torch.manual_seed(2)
        assert torch.equal(first, noise_of(method, data, fresh_context(1)))
        assert not torch.equal(first, noise_of(method, data, fresh_context(2)))
        shuffled = replace(data, labels=data.labels.roll(1))
        assert not torch.equal(first, noise_of(method, shuffled, fresh_context(1)))

    @pytest.mark.parametrize(("size", "farthest"), [(16, 4.0), (32, 4.0), (64, 8.0)])
    def test_images_above_32_pixels_are_shifted_farther_in_proportion(
        self, make_images, monkeypatch, size, farthest
    ):
        seen = []

        def trained(*given, **more):
            seen.append(given[4].pixels)
            raise KeyboardInterrupt

        monkeypatch.setattr("ue_bench_methods._adversarial.noise.trained_on_clean", trained)
        with pytest.raises(KeyboardInterrupt):
            noise_of(TAP(surrogate="resnet_tiny"), make_images(count=8, size=size))
        assert seen == [farthest]

    def test_noise_starts_at_random_with_a_third_of_its_values_at_the_bound(self, untrained):
        """Half of them stay there after one step of a tenth of a unit, away from it or not."""
        noise = noise_of(TAP(**BARELY | {"iterations": 1, "step_size": 0.1}))
        at_bound = float((noise.abs() == 8).float().mean())
        assert at_bound == pytest.approx(math.erfc(1 / math.sqrt(2)), abs=0.05)  # beyond one deviation

    def test_the_surrogate_is_frozen_and_sees_moved_images_that_change_each_time(self, monkeypatch):
        surrogate = build_victim("resnet_tiny", 4, (16, 16), 0)
        before = {name: value.clone() for name, value in surrogate.state_dict().items()}
        monkeypatch.setattr("ue_bench_methods._adversarial.noise.trained_on_clean", lambda *a, **b: surrogate)
        moves, call = [], ShiftFlip.__call__

        def record(self, images, generator):
            assert not any(module.training for module in surrogate.modules())
            moves.append(generator.get_state())
            return call(self, images, generator)

        monkeypatch.setattr(ShiftFlip, "__call__", record)
        noise_of(TAP(**BARELY | {"iterations": 3, "restarts": 2}, batch_size=20))
        assert len(moves) == 3 * 2 * 3 == len({state.numpy().tobytes() for state in moves})
        assert all(torch.equal(value, before[name]) for name, value in surrogate.state_dict().items())

    def test_noise_that_misleads_few_is_reported(self):
        run = protect(TAP(**LEARNS | {"iterations": 1, "step_size": 0.1, "restarts": 1}), pictures())
        (warning,) = run.context.ledger.warnings
        assert warning.startswith("tap") and f"{run.context.notes['success_percent']:.1f} %" in warning
        (remark,) = run.context.notes["remarks"]
        assert "misled" in remark, "it marks the row"

    @pytest.mark.parametrize(
        ("clean_error", "success", "warned"),
        [
            (0.049, 0.9, []),
            (0.05, 0.9, ["5.0 %"]),
            (0.049, 0.899, ["89.9 %"]),
            (0.3, 0.5, ["30.0 %", "50.0 %"]),
        ],
    )
    def test_a_surrogate_must_fit_and_be_misled(self, clean_error, success, warned):
        context = fresh_context()
        judge("tap", clean_error, success, context)
        warnings = context.ledger.warnings
        assert len(warnings) == len(warned) and all(map(str.__contains__, warnings, warned))
        assert len(context.notes.get("remarks", [])) == bool(warned)

    def test_one_that_fits_marks_nothing(self, targeted, untargeted):
        for run in (targeted, untargeted):
            assert "remarks" not in run.context.notes and not run.context.ledger.warnings


class TestRestarts:
    @pytest.mark.parametrize(("losses", "best"), [([2.0, 1.0, 3.0], 1), ([-5.0, -1.0], 0), ([1.0, 1.0], 0)])
    def test_the_whole_noise_of_the_lowest_loss_is_kept(self, monkeypatch, untrained, losses, best):
        noises = [torch.randn(48, 3, 16, 16).clamp(-1, 1) * 8 / 255 for _ in losses]
        told = iter(zip(noises, losses, strict=True))
        monkeypatch.setattr(AdversarialNoise, "_attempt", lambda self, *rest: next(told))
        context = fresh_context()
        noise = noise_of(TAP(**BARELY | {"restarts": len(losses)}), context=context)
        assert torch.equal(noise, (noises[best] * 255).round().to(torch.int8))
        assert context.notes["restart_losses"] == losses and context.notes["kept_restart"] == best + 1

    @pytest.mark.parametrize(("kind", "sign"), [(TAP, 1), (UAP, -1)])
    def test_each_has_its_own_start_and_what_counts_is_the_mean_loss_of_the_last_iteration(
        self, monkeypatch, untrained, kind, sign
    ):
        values, loss = [], AdversarialNoise._attempt.__globals__["Classification"].loss

        def record(self, *rest):
            values.append(loss(self, *rest))
            return values[-1]

        monkeypatch.setattr("ue_bench_methods._adversarial.noise.Classification.loss", record)
        context = fresh_context()
        noise_of(kind(**BARELY | {"iterations": 2, "restarts": 2}, batch_size=24), context=context)
        sums = torch.stack(values).detach().view(2, 2, 2)  # restarts, batches, iterations
        wanted = sign * sums[:, :, -1].sum(1) / 48
        assert context.notes["restart_losses"] == pytest.approx(wanted.tolist(), rel=1e-5)
        assert wanted[0] != wanted[1]


class TestParameters:
    @pytest.mark.parametrize("kind", [TAP, UAP])
    def test_defaults_are_the_papers(self, kind, monkeypatch, untrained):
        walks = []
        monkeypatch.setattr(
            "ue_bench_methods._adversarial.noise.project",
            lambda images, delta, loss, walk, transform: walks.append(walk) or delta,
        )
        method = kind.for_paradigm("supervised")
        assert (method.surrogate, method.batch_size, method.shift, method.flip) == ("resnet18", 512, 4.0, 0.5)
        noise_of(method)
        assert len(walks) == 8 and walks[0].steps == 250 and walks[0].maximise == (kind is UAP)
        assert walks[0].radius == 8 / 255 and walks[0].step_size == pytest.approx(0.4 / 255)

    def test_the_surrogate_is_trained_as_published_with_the_same_moves(self, trainings):
        data = pictures(48)
        protect(TAP(surrogate="resnet_tiny", iterations=1, restarts=1), data)
        ((recipe, moves),) = trainings
        assert (recipe.epochs, recipe.batch_size, recipe.optimizer, recipe.nesterov) == (40, 128, "sgd", True)
        assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (0.1, 0.9, 5e-4)
        assert recipe.crop_padding == 0 and not recipe.flip, "moved twice"
        assert moves == ShiftFlip(mean_colour(data.images), 4.0, 0.5)

    @pytest.mark.parametrize(
        ("epochs", "falls"), [(40, [14, 24, 35]), (80, [29, 49, 70]), (3, [1, 1, 2]), (1, [])]
    )
    def test_the_learning_rate_falls_exactly_there(self, epochs, falls):
        recipe = TAP(surrogate_epochs=epochs)._recipe()
        for epoch in range(epochs):
            wanted = 0.1 * 0.1 ** sum(epoch >= fall for fall in falls)
            assert learning_rate(recipe, epoch, 0, 10) == pytest.approx(wanted)

    @pytest.mark.parametrize(
        ("values", "word"),
        [
            ({"budget": Budget("l2", 1.0)}, "linf"),
            ({"budget": Budget("linf", 0)}, "linf"),
            ({"granularity": "class"}, "class"),
            ({"iterations": 0}, "iterations"),
            ({"restarts": 0}, "restarts"),
            ({"step_size": 0.0}, "step_size"),
            ({"shift": -1.0}, "shift"),
            ({"flip": 1.5}, "flip"),
        ],
    )
    def test_values_that_do_not_fit_are_refused(self, values, word):
        with pytest.raises(ConfigError, match=f"uap.*{word}|UAP.*{word}"):
            UAP(**values)

    def test_what_papers_call_them_depends_on_the_paradigm(self):
        assert TAP().published_as("supervised") == ("TAP",) and UAP().published_as("supervised") == ("UAP",)
        assert TAP().published_as("contrastive") == (), "no paper has it"
        assert UAP().published_as("contrastive") == ("UAP", "TAP")  # MEM's name, T2UE's name


class TestMoves:
    """The differentiable shift and flip."""

    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    zero, never = torch.zeros(6), torch.zeros(6, dtype=torch.bool)

    def test_no_shift_is_the_image_itself_and_a_mirrored_one_its_mirror_image(self):
        mean = (0.3, 0.5, 0.7)
        assert torch.allclose(moved(self.images, self.zero, self.zero, self.never, mean), self.images)
        mirrored = moved(self.images, self.zero, self.zero, ~self.never, mean)
        assert torch.allclose(mirrored, self.images.flip(3))

    def test_whole_pixels_shift_exactly_and_the_mean_colour_comes_in(self):
        mean = (0.3, 0.5, 0.7)
        shifted = moved(self.images, self.zero + 2, self.zero - 1, self.never, mean)
        assert torch.allclose(shifted[:, :, 2:, :-1], self.images[:, :, :-2, 1:])
        for border in (shifted[:, :, :2], shifted[:, :, :, -1:]):
            assert torch.allclose(border, torch.tensor(mean)[:, None, None].expand_as(border))

    def test_each_image_has_its_own_shift(self):
        right = torch.arange(6.0)
        shifted = moved(self.images, self.zero, right, self.never, NO_COLOUR)
        for number in range(1, 6):
            assert torch.allclose(shifted[number, :, :, number:], self.images[number, :, :, :-number])

    def test_parts_of_pixels_are_those_of_a_bilinear_grid(self):
        down, right = torch.rand(2, 6, generator=torch.Generator().manual_seed(1)) * 6 - 3
        turns = torch.zeros(6, 2, 3)
        turns[:, 0, 0] = turns[:, 1, 1] = 1
        turns[:, 0, 2], turns[:, 1, 2] = -right * 2 / 7, -down * 2 / 7  # of a grid from -1 to 1
        grid = functional.affine_grid(turns, [6, 3, 8, 8], align_corners=True)
        wanted = functional.grid_sample(self.images, grid, align_corners=True)
        assert torch.allclose(moved(self.images, down, right, self.never, NO_COLOUR), wanted, atol=1e-5)

    def test_it_is_differentiable(self):
        images = self.images[:2, :, :4, :4].double().requires_grad_()
        down, right, mirror = (
            torch.tensor([0.3, -1.2]),
            torch.tensor([-0.6, 0.9]),
            torch.tensor([True, False]),
        )
        assert torch.autograd.gradcheck(lambda x: moved(x, down, right, mirror, (0.1, 0.2, 0.3)), (images,))

    def test_half_of_the_images_are_mirrored(self):
        images = self.images[:1].expand(400, -1, -1, -1)
        same = (ShiftFlip(NO_COLOUR, 0.0)(images, torch.Generator().manual_seed(0)) - images).abs()
        assert 160 < int((same.amax(dim=(1, 2, 3)) < 1e-5).sum()) < 240

    def test_shifts_are_uniform_up_to_the_farthest_along_both_axes(self):
        images = torch.zeros(1000, 3, 17, 17)
        images[:, :, 8, 8] = 1
        shifted = ShiftFlip(NO_COLOUR, 4.0, 0.0)(images, torch.Generator().manual_seed(0))
        position = torch.arange(17.0) - 8
        for axis in (1, 2):
            place = (shifted[:, 0].sum(dim=axis) * position).sum(dim=1)  # where the dot went
            assert float(place.abs().max()) <= 4 + 1e-4
            counts = place.histc(4, -4, 4)
            assert counts.sum() == 1000 and bool((counts > 200).all())
            assert float((place - place.round()).abs().mean()) > 0.2, "whole pixels only"

    def test_the_colours_stay_exact_where_the_trainer_computes_in_bf16(self):
        with torch.autocast("cpu", torch.bfloat16):
            still = moved(self.images, self.zero, self.zero, self.never, NO_COLOUR)
        assert still.dtype == torch.float32 and torch.allclose(still, self.images)

    def test_as_an_augmentation_it_leaves_labels_and_inputs_alone(self):
        before, targets = self.images.clone(), torch.eye(6)
        one, goals = ShiftFlip(NO_COLOUR).batch(self.images, targets, torch.Generator().manual_seed(0))
        two = ShiftFlip(NO_COLOUR)(self.images, torch.Generator().manual_seed(0))
        assert goals is targets and torch.equal(one, two) and not torch.equal(one, self.images)
        assert torch.equal(self.images, before)

    def test_the_mean_colour_is_each_channels(self):
        images = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
        images[0, 0], images[:, 1], images[1, 2, 0, 0] = 255, 51, 255
        assert mean_colour(images) == pytest.approx((0.5, 0.2, 1 / 8))
