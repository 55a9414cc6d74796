"""The two controls: no noise, and random noise of the same budget."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ue_bench import Budget, ImageSet, Perturbation, ProtectorView
from ue_bench.errors import AccessError, ConfigError
from ue_bench_methods.clean import Clean
from ue_bench_methods.random import CHUNK, Random


def protect(method, data: ImageSet, context, paradigm: str = "supervised") -> Perturbation:
    view = ProtectorView(data, method.access, paradigm, type(method).__name__.lower())
    perturbation = method.protect(view, context)
    perturbation.check(len(view), view.image_size)
    return perturbation


class TestRandom:
    def test_signs_spend_the_whole_budget_at_every_value(self, make_images, make_context):
        noise = protect(Random(), make_images(), make_context()).noise
        assert noise.dtype == torch.int8 and noise.unique().tolist() == [-8, 8]
        assert abs(float((noise > 0).float().mean()) - 0.5) < 0.01

    def test_uniform_noise_fills_the_budget_evenly(self, make_images, make_context):
        noise = protect(Random(distribution="uniform"), make_images(), make_context()).noise.float()
        assert noise.unique().tolist() == list(range(-8, 9))
        assert abs(float(noise.mean())) < 0.1
        assert abs(float(noise.std()) - 8 / 3**0.5) < 0.1  # the standard deviation of U(-8, 8)
        # Rounding gives whole steps a sixteenth each, and the two ends half of that.
        assert abs(float((noise == 0).float().mean()) - 1 / 16) < 0.005
        assert abs(float((noise == 8).float().mean()) - 1 / 32) < 0.005

    def test_l2_noise_lies_on_its_sphere_in_every_direction_alike(self, make_images, make_context):
        """The control of methods whose noise is bounded so (AR's 1.0, SynPer's 1.304)."""
        perturbation = protect(Random(budget=Budget("l2", 1.0)), make_images(count=400), make_context())
        noise = perturbation.noise.float() / 255
        sizes = noise.flatten(1).norm(dim=1)
        assert float(sizes.max()) <= 1.0 + 1e-6 and float(sizes.min()) > 0.98
        assert abs(float(noise.mean())) < 0.002
        assert len(perturbation.noise.flatten(1).unique(dim=0)) == 400

    @pytest.mark.parametrize("distribution", ["sign", "uniform"])
    def test_each_image_has_its_own_noise(self, make_images, make_context, distribution):
        perturbation = protect(Random(distribution=distribution), make_images(count=9), make_context())
        assert perturbation.rows.tolist() == list(range(9))
        assert len(perturbation.noise.flatten(1).unique(dim=0)) == 9

    def test_l0_noise_sets_as_many_random_pixels_to_corners_of_the_colour_cube(
        self, make_images, make_context
    ):
        """The control of OPS."""
        data = make_images(count=200, size=8)
        noise = protect(Random(budget=Budget("l0", 3)), data, make_context())
        assert noise.noise.dtype == torch.int16 and noise.noise.unique().tolist() == [-255, 0, 255]
        changed = noise.noise.any(dim=1)
        assert changed.flatten(1).sum(1).tolist() == [3] * 200
        assert int(changed.sum(0).min()) > 0  # 600 draws leave none of 64 places out
        colours = noise.apply(data.images).permute(0, 2, 3, 1)[changed]
        assert len(colours.unique(dim=0)) == 8 and colours.unique().tolist() == [0, 255]

    def test_class_wise_noise_is_shared_within_a_class_and_differs_between(self, make_images, make_context):
        data = make_images(count=10, classes=3)
        perturbation = protect(Random(granularity="class"), data, make_context())
        assert torch.equal(perturbation.rows, data.labels)
        assert len(perturbation.noise) == 3 == len(perturbation.noise.flatten(1).unique(dim=0))

    def test_pairs_of_one_image_differ_pair_wise_and_share_image_wise(self, make_images, make_context):
        data = make_images(count=5)  # two captions each
        pairs = protect(Random(granularity="pair"), data, make_context(), "contrastive")
        assert len(pairs.noise) == 10 and pairs.rows.tolist() == list(range(10))
        images = protect(Random(), data, make_context(), "contrastive")
        assert len(images.noise) == 5 and images.rows.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]

    def test_labels_are_needed_for_class_wise_noise_only(self, make_images, make_context):
        data = replace(make_images(), labels=None)
        protect(Random(), data, make_context(), "contrastive")
        with pytest.raises(AccessError, match="labels"):
            protect(Random(granularity="class"), data, make_context(), "contrastive")

    @pytest.mark.parametrize("distribution", ["sign", "uniform"])
    def test_the_seed_decides(self, make_images, make_context, distribution):
        method, data = Random(distribution=distribution), make_images()
        first, again, other = (protect(method, data, make_context(seed)).noise for seed in (1, 1, 2))
        assert torch.equal(first, again) and not torch.equal(first, other)

    @pytest.mark.parametrize("distribution", ["sign", "uniform"])
    def test_large_sets_are_drawn_in_chunks_that_differ(self, make_images, make_context, distribution):
        data = make_images(count=CHUNK + 50, size=4)
        noise = protect(Random(distribution=distribution), data, make_context()).noise
        assert not torch.equal(noise[:50], noise[CHUNK:]) and int(noise[CHUNK:].abs().max()) == 8

    def test_the_radius_follows_the_budget(self, make_images, make_context):
        noise = protect(Random().with_epsilon(16), make_images(), make_context()).noise
        assert noise.unique().tolist() == [-16, 16]
        wide = protect(Random(budget=Budget("linf", 200)), make_images(), make_context()).noise
        assert wide.dtype == torch.int16 and wide.unique().tolist() == [-200, 200]

    @pytest.mark.parametrize("budget", [Budget("none"), Budget("linf", 8, "positive")])
    def test_other_budgets_are_refused(self, budget):
        with pytest.raises(ConfigError, match="linf"):
            Random(budget=budget)

    def test_an_unknown_distribution_names_the_nearest(self):
        with pytest.raises(ConfigError, match="did you mean 'uniform'"):
            Random(distribution="unifrom")


class TestClean:
    @pytest.mark.parametrize("paradigm", ["supervised", "contrastive"])
    def test_adds_nothing_and_sees_nothing(self, make_images, make_context, paradigm):
        data = make_images(count=6)
        perturbation = protect(Clean(), data, make_context(), paradigm)
        assert perturbation.noise.shape == (1, 3, 32, 32) and not perturbation.noise.any()
        assert perturbation.rows.tolist() == [0] * (12 if paradigm == "contrastive" else 6)
        assert perturbation.budget.empty and Clean.access.words() == []

    def test_stays_clean_at_every_epsilon_and_granularity(self):
        assert Clean().with_epsilon(16) == Clean()
        assert [Clean(granularity=name).budget.empty for name in ("class", "image", "pair")] == [True] * 3

    def test_a_budget_is_refused(self):
        with pytest.raises(ConfigError, match="linf:0"):
            Clean(budget=Budget("linf", 8))
