"""The projected-gradient loop, the frozen model, batch orders and noise in the making, worked by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from ue_bench.crafting.noise import ClassNoise, ImageNoise
from ue_bench.crafting.orders import Endless, in_order, shuffled, stratified
from ue_bench.crafting.pgd import Walk, frozen, project
from ue_bench.crafting.resident import ResidentImages

CPU = torch.device("cpu")
STEP = 1 / 255


def pixels(*values: float) -> torch.Tensor:
    """One image of one line, values in steps of 1/255, the same in all three channels."""
    return (torch.tensor(values) / 255).expand(1, 3, 1, -1).clone()


def steps_of(delta: torch.Tensor) -> list[float]:
    """The first channel of the first image in steps of 1/255, to a thousandth."""
    return [round(value, 3) for value in (delta[0, 0, 0] * 255).tolist()]


def total(shown: torch.Tensor) -> torch.Tensor:
    return shown.sum()


class Brightness:
    """An objective without a model: darker is better."""

    def loss(self, model, images, index):
        return images.sum()

    def errors(self, model, images, index):
        return (images.flatten(1).sum(1) > 0).sum()


class TestProject:
    def test_a_linear_loss_is_walked_down_to_the_radius(self):
        slope = torch.tensor([1.0, -2.0, 1e-20, 0.0])
        walk = Walk(radius=2.5 * STEP, step_size=STEP, steps=2)
        delta = project(pixels(100, 100, 100, 100), pixels(0, 0, 0, 1), lambda z: (z * slope).sum(), walk)
        assert steps_of(delta) == [-2, 2, -2, 1]
        longer = Walk(radius=2.5 * STEP, step_size=STEP, steps=5)
        delta = project(pixels(100, 100, 100, 100), pixels(0, 0, 0, 1), lambda z: (z * slope).sum(), longer)
        assert steps_of(delta) == [-2.5, 2.5, -2.5, 1]

    def test_maximise_walks_up(self):
        walk = Walk(radius=8 * STEP, step_size=STEP, steps=3, maximise=True)
        assert steps_of(project(pixels(100), pixels(0), total, walk)) == [3]

    def test_saturated_pixels_give_up_what_they_cannot_show(self):
        # Black stays black: each step starts again from 0 and ends at -1. 1.5 darkens to 0.5, then to 0.
        walk = Walk(radius=8 * STEP, step_size=STEP, steps=3)
        assert steps_of(project(pixels(0, 1.5, 100), pixels(0, 0, 0), total, walk)) == [-1, -2.5, -3]
        # Noise that a white pixel cannot show is lost before the first step.
        assert steps_of(project(pixels(255), pixels(5), total, walk)) == [-3]

    def test_the_noise_is_kept_as_it_was_before_the_pixels_are_clipped(self):
        delta = project(pixels(0), pixels(0), total, Walk(radius=8 * STEP, step_size=4 * STEP, steps=1))
        assert steps_of(delta) == [-4]

    def test_gradients_flow_through_the_transform_which_is_drawn_anew_in_every_step(self):
        calls = itertools.count()

        def darken_left_then_right(shown):
            side = next(calls) % 2
            return shown[..., side : side + 1]

        walk = Walk(radius=8 * STEP, step_size=STEP, steps=3)
        delta = project(pixels(100, 100), pixels(0, 0), total, walk, darken_left_then_right)
        assert steps_of(delta) == [-2, -1] and next(calls) == 3

    def test_what_depends_on_the_noise_alone_sees_it_unclipped(self):
        """The noise of 5 at a white pixel shows nothing, yet it is that noise whose size is lowered."""
        seen = []

        def size(noise):
            seen.append(steps_of(noise.detach()))
            return (noise * noise).sum()

        walk = Walk(radius=8 * STEP, step_size=STEP, steps=2)
        delta = project(pixels(255, 100), pixels(5, -3), None, walk, of_noise=size)
        assert seen == [[5, -3], [-1, -2]] and steps_of(delta) == [0, -1]

    def test_both_losses_add_up(self):
        walk = Walk(radius=8 * STEP, step_size=STEP, steps=1)
        both = project(pixels(100), pixels(0), total, walk, of_noise=lambda noise: -2 * noise.sum())
        assert steps_of(both) == [1]

    def test_arguments_stay_as_they_are_and_no_steps_change_nothing(self):
        images, delta = pixels(3, 250), pixels(1, -1)
        before = images.clone(), delta.clone()
        project(images, delta, total, Walk(radius=8 * STEP, step_size=STEP, steps=4))
        assert torch.equal(images, before[0]) and torch.equal(delta, before[1])
        assert torch.equal(project(images, delta, total, Walk(8 * STEP, STEP, steps=0)), delta)

    def test_an_image_gets_the_same_noise_alone_and_in_a_batch(self, make_images, make_context):
        model = make_context().surrogate("resnet_tiny", 4, (16, 16))
        data = make_images(count=6, classes=4, size=16)
        images, labels = data.images / 255, data.labels
        walk = Walk(radius=8 * STEP, step_size=STEP, steps=3)

        def walked(part):
            def loss(shown):
                return nn.functional.cross_entropy(model(shown), labels[part], reduction="sum")

            return project(images[part], torch.zeros_like(images[part]), loss, walk)

        with frozen(model):
            together, alone = walked(slice(0, 6)), walked(slice(2, 3))
        assert ((together[2:3] - alone).abs() < 1e-6).float().mean() > 0.99  # a gradient of 1e-9 may flip

    def test_works_where_gradients_are_switched_off(self):
        with torch.no_grad():
            delta = project(pixels(100), pixels(0), total, Walk(8 * STEP, STEP, steps=1))
        assert steps_of(delta) == [-1] and not delta.requires_grad


class TestFrozen:
    def model(self) -> nn.Module:
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4, 2)
        )
        model[0].bias.requires_grad_(False)
        model[2].eval()
        return model.train(True)

    def test_a_walk_leaves_the_model_as_it_was(self):
        model = self.model()
        model[2].eval()
        state = {name: value.clone() for name, value in model.state_dict().items()}
        images = torch.rand(5, 3, 3, 3)
        with frozen(model) as still:
            assert still is model and not any(module.training for module in model.modules())
            assert not any(parameter.requires_grad for parameter in model.parameters())
            project(images, 0 * images, lambda shown: model(shown).sum(), Walk(8 * STEP, STEP, steps=3))
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())
        assert [parameter.requires_grad for parameter in model.parameters()] == [True, False, *[True] * 4]
        assert [module.training for module in model] == [True, True, False, True, True] and model.training

    def test_restores_after_an_error(self):
        model = self.model()
        with pytest.raises(ZeroDivisionError), frozen(model):
            1 / 0  # noqa: B018
        assert model.training and model[0].weight.requires_grad and not model[0].bias.requires_grad


class TestOrders:
    def test_batches_in_order_keep_the_last_one_unless_it_is_a_single_image(self):
        assert in_order(10, 4) == [slice(0, 4), slice(4, 8), slice(8, 10)]
        assert in_order(9, 4) == [slice(0, 4), slice(4, 9)]
        assert in_order(3, 4) == [slice(0, 3)]
        assert in_order(1, 4) == [slice(0, 1)]

    def test_shuffled_batches_drop_the_last_one_and_never_repeat_an_image(self):
        generator = torch.Generator().manual_seed(0)
        indices = torch.arange(100, 110)
        first, second = (list(shuffled(indices, 4, generator)) for _ in range(2))
        assert [len(batch) for batch in first] == [4, 4]
        seen = torch.cat(first).tolist()
        assert len(set(seen)) == 8 and set(seen) <= set(indices.tolist())
        assert seen != sorted(seen) and seen != torch.cat(second).tolist()

    def test_fewer_images_than_a_batch_are_one_batch(self):
        (batch,) = shuffled(torch.arange(3), 512, torch.Generator().manual_seed(0))
        assert sorted(batch.tolist()) == [0, 1, 2]

    def test_an_endless_iterator_goes_on_where_it_stopped(self):
        batches = Endless(lambda: "abc")
        assert list(itertools.islice(batches, 2)) == ["a", "b"]
        assert list(itertools.islice(batches, 4)) == ["c", "a", "b", "c"]

    def test_a_stratified_subset_takes_the_same_share_of_each_class_and_at_least_one(self):
        labels = torch.tensor([0] * 50 + [1] * 20 + [2])
        chosen = stratified(labels, 0.2, torch.Generator().manual_seed(0))
        assert labels[chosen].bincount().tolist() == [10, 4, 1]
        assert chosen.tolist() == sorted(set(chosen.tolist())) and chosen.tolist() != list(range(15))
        again = stratified(labels, 0.2, torch.Generator().manual_seed(0))
        other = stratified(labels, 0.2, torch.Generator().manual_seed(1))
        assert torch.equal(chosen, again) and not torch.equal(chosen, other)


def resident(*rows: tuple[int, ...]) -> ResidentImages:
    """Images of one line each, the same values in all three channels."""
    lines = torch.tensor(rows, dtype=torch.uint8)
    return ResidentImages(lines[:, None, None, :].expand(-1, 3, 1, -1), CPU)


def test_resident_images_are_floats_in_channels_last_order_and_stay_as_they_are(make_images):
    data = make_images(count=5, size=8)
    before = data.images.clone()
    images = ResidentImages(data.images, CPU)
    for index in (slice(1, 4), torch.tensor([4, 0])):
        batch = images.take(index)
        assert torch.equal(batch, before[index].float() / 255)
        assert batch.is_contiguous(memory_format=torch.channels_last)
        batch.zero_()
    assert torch.equal(data.images, before) and torch.equal(images.take(slice(0, 5)) * 255, before.float())
    assert len(images) == 5 and images.size == (8, 8)
    assert images._images is data.images, "what is in main memory already is not copied there"


class TestNoise:
    walk = Walk(radius=8 * STEP, step_size=0.8 * STEP, steps=1)

    def test_image_noise_follows_its_image(self):
        noise = ImageNoise(resident((100, 0), (0, 100), (100, 100)), Brightness(), self.walk, batch_size=2)
        for _ in range(2):
            noise.improve(nn.Identity())
        assert [steps_of(row[None]) for row in noise.delta] == [[-1.6, -0.8], [-0.8, -1.6], [-1.6, -1.6]]
        assert torch.equal(noise.at(torch.tensor([2, 0])), noise.delta[[2, 0]])
        assert float(noise.protected(slice(0, 3)).min()) == 0

    def test_class_noise_is_the_mean_of_what_its_images_would_like(self):
        # Class 0: a grey pixel walks to -1.6 in two updates, a black one starts again and stays at -0.8.
        noise = self.class_noise(resident((100,), (0,), (100,), (100,)), [0, 0, 1, 1])
        noise.improve(nn.Identity())
        assert [steps_of(row[None]) for row in noise.delta] == [[-0.8], [-0.8], [0]]
        noise.improve(nn.Identity())
        assert [steps_of(row[None]) for row in noise.delta] == [[-1.2], [-1.6], [0]]

    def test_class_noise_moves_by_at_most_one_step_an_update(self, make_images):
        data = make_images(count=40, classes=3, size=8)
        noise = self.class_noise(ResidentImages(data.images, CPU), data.labels.tolist(), batch_size=40)
        for _ in range(3):
            before = noise.delta.clone()
            noise.improve(nn.Identity())
            moved = (noise.delta - before).abs().max() * 255
            assert 0.1 < float(moved) <= 0.8 + 1e-4

    def test_class_noise_is_made_and_judged_on_its_subset_only(self):
        noise = self.class_noise(resident(*[(100,)] * 20), [0] * 10 + [1] * 10, share=0.2)
        assert len(noise.subset) == 4 and torch.equal(torch.cat(noise.judged()), noise.subset)
        trained = torch.cat(list(itertools.islice(noise.training_batches(), 5)))
        assert set(trained.tolist()) == set(range(20))

    def test_the_error_counts_the_images_that_are_wrong_with_their_noise(self):
        noise = ImageNoise(resident((5,), (5,), (0,), (200,)), Brightness(), self.walk, batch_size=4)
        assert noise.error(nn.Identity()) == 0.75
        noise.delta.fill_(-5 * STEP)
        assert noise.error(nn.Identity()) == 0.25

    def class_noise(self, images, labels, share=1.0, batch_size=4) -> ClassNoise:
        generator = torch.Generator().manual_seed(0)
        return ClassNoise(
            images,
            Brightness(),
            self.walk,
            batch_size,
            labels=torch.tensor(labels),
            classes=3,
            share=share,
            generator=generator,
        )


def test_l2_steps_follow_the_gradient_and_shrink_to_the_radius():
    # The loss 3 a + 4 b has the gradient (3, 4), of length 5: a step of 0.1 down is (-0.06, -0.08).
    images = torch.tensor([0.5, 0.5, 0.5]).view(1, 3, 1, 1)
    weights = torch.tensor([3.0, 4.0, 0.0]).view(1, 3, 1, 1)

    def walked(pictures, steps):
        walk = Walk(0.25, 0.1, steps, norm="l2")
        return project(pictures, torch.zeros_like(pictures), lambda x: (x * weights).sum(), walk).flatten()

    torch.testing.assert_close(walked(images, 1), torch.tensor([-0.06, -0.08, 0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(walked(images, 9), torch.tensor([-0.15, -0.20, 0]), rtol=0, atol=1e-6)
    # A black pixel shows nothing below zero, so the next step starts from what is shown.
    dark = torch.tensor([0.0, 0.5, 0.5]).view(1, 3, 1, 1)
    torch.testing.assert_close(walked(dark, 2), torch.tensor([-0.06, -0.16, 0]), rtol=0, atol=1e-6)
