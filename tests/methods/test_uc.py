"""Unlearnable clusters: what features do, whose noise it is, and that labels never matter."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
from conftest import CPU, build_victim, fresh_context
from torch import nn
from torch.nn import functional

from ue_bench import Access, Budget, Context, ImageSet, Perturbation, ProtectorView
from ue_bench.conformance import Subject, noise_follows_the_image, sample
from ue_bench.crafting.resident import ResidentImages
from ue_bench.errors import AccessError, ConfigError, TrainingError, UnavailableError
from ue_bench.trials.environment import Environment
from ue_bench_methods._uc import features as features_room
from ue_bench_methods._uc.clusters import Clusters, kmeans, nearest
from ue_bench_methods._uc.crops import resize, shaken
from ue_bench_methods._uc.features import Features, Rotations, headless, loaded
from ue_bench_methods._uc.generator import Mirror, NoiseGenerator, seeded_generator
from ue_bench_methods.uc import UC, divergence, goals_of

SMOKE = UC.presets["smoke"]
QUICK = {
    **SMOKE,
    "clusters": 2,  # features hardly differ but along one axis: of more clusters, some lie on the same side
    "epochs": 20,
    "batch_size": 16,
    "surrogate_epochs": 12,
    "surrogate_batch_size": 32,
    "learning_rate": 1e-3,
}


@dataclass
class Run:
    """One call of ``protect``: what went in and what came out, and the surrogate that was asked."""

    data: ImageSet
    noise: Perturbation
    context: Context
    model: Features

    def features(self, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Of the clean images, or of those published with ``noise`` [N, 3, H, W], computed here."""
        shown = self.data.images.short() + (0 if noise is None else noise)
        with torch.no_grad():
            return self.model(shown.clamp(0, 255) / 255)

    def centres(self) -> torch.Tensor:
        clean, rows = self.features(), self.noise.rows
        return torch.stack([clean[rows == number].mean(dim=0) for number in range(int(rows.max()) + 1)])


def protect(method: UC, data: ImageSet, seed: int = 0, paradigm: str = "supervised") -> Run:
    context = fresh_context(seed)
    view, made = ProtectorView(data, UC.access, paradigm, "uc"), []
    build = UC._surrogate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UC, "_surrogate", lambda *given: made.append(build(*given)) or made[0])
        noise = method.protect(view, context)
    noise.check(len(view), view.image_size)
    return Run(data, noise, context, made[0])


@pytest.fixture(scope="module")
def pictures() -> ImageSet:
    """160 grainy pictures, 16 pixels square, striped in four directions; the labels say nothing about them."""
    generator = torch.Generator().manual_seed(0)
    place = torch.arange(16.0)
    across, down = place.expand(16, 16), place[:, None].expand(16, 16)
    waves = torch.stack([across, down, across + down, 2 * (across - down)]).mul(1.1).sin() * 0.2
    phase = torch.randint(16, (160,), generator=generator).tolist()
    stripes = torch.stack([waves[i // 40].roll((phase[i],) * 2, (0, 1)) for i in range(160)])
    grain = torch.rand(160, 3, 16, 16, generator=generator).mul(0.4) - 0.2
    colour = torch.rand(160, 3, 1, 1, generator=generator).mul(0.2) + 0.4
    images = (colour + stripes[:, None] + grain).clamp(0, 1).mul(255).to(torch.uint8)
    return ImageSet(images, torch.randint(0, 4, (160,), generator=generator), None, tuple("abcd"))


@pytest.fixture(scope="module")
def run(pictures) -> Run:
    return protect(UC(**QUICK), pictures)


class TestNoise:
    def test_features_come_nearer_to_the_next_centre(self, run):
        """Distances on published 8-bit images; the other cluster's noise leads away."""
        rows, centres = run.noise.rows, run.centres()
        target = centres[(rows + 1) % len(centres)]
        clean, moved, wrong = (
            (run.features(noise) - target).norm(dim=1).mean()
            for noise in (None, run.noise.noise[rows], run.noise.noise[1 - rows])
        )
        assert moved < 0.8 * clean and clean < wrong

    def test_the_record_tells_how_far(self, run):
        notes, rows, centres = run.context.notes, run.noise.rows, run.centres()
        wanted = (rows + 1) % len(centres)
        moved = run.features(run.noise.noise[rows])
        share = 100 * float((nearest(moved, centres) == wanted).float().mean())
        goal = centres[wanted].softmax(dim=1)
        assert notes["nearest_to_target_percent"] == pytest.approx(share, abs=2)
        assert notes["nearest_to_target_percent_before"] == 0 < share
        assert notes["divergence_after"] == pytest.approx(float(divergence(moved, goal)), rel=0.02)
        assert notes["divergence_before"] == pytest.approx(float(divergence(run.features(), goal)), rel=0.02)
        assert notes["divergence_after"] < 0.7 * notes["divergence_before"]
        assert notes["surrogate"] == "rotation:resnet_tiny"

    def test_one_noise_a_cluster_of_images_that_are_alike(self, run):
        rows, noise = run.noise.rows, run.noise.noise
        assert len(noise) == 2 == len(noise.flatten(1).unique(dim=0)) and rows.shape == (160,)
        assert run.context.notes["cluster_sizes"] == rows.bincount().tolist()
        assert bool((nearest(run.features(), run.centres()) == rows).float().mean() > 0.97)

    def test_the_budget_is_used_with_both_signs(self, run):
        noise = run.noise.noise
        assert run.noise.budget == Budget("linf", 16) and noise.dtype == torch.int8
        assert int(noise.abs().max()) == 16 and float((noise != 0).float().mean()) > 0.5
        assert min(float((noise > 0).float().mean()), float((noise < 0).float().mean())) > 0.1

    def test_labels_are_never_read(self, run, pictures):
        for labels in (pictures.labels.roll(1), None):
            again = protect(UC(**QUICK), replace(pictures, labels=labels, _memo={})).noise
            assert torch.equal(again.noise, run.noise.noise) and torch.equal(again.rows, run.noise.rows)
        with pytest.raises(AccessError):
            _ = ProtectorView(pictures, UC.access, "supervised", "uc").labels

    def test_the_seed_decides_and_nothing_else(self, pictures):
        torch.manual_seed(1)
        first = protect(UC(**SMOKE), pictures, seed=1).noise
        torch.manual_seed(2)
        again, other = (protect(UC(**SMOKE), pictures, seed=seed).noise for seed in (1, 2))
        assert torch.equal(first.noise, again.noise) and torch.equal(first.rows, again.rows)
        assert not torch.equal(first.noise, other.noise)

    def test_pairs_get_the_noise_of_their_image(self, make_images):
        noise = protect(UC(**SMOKE), make_images(40), paradigm="contrastive").noise
        assert noise.rows.shape == (80,) and torch.equal(noise.rows[::2], noise.rows[1::2])

    def test_options_change_the_noise_and_keep_the_budget(self, pictures):
        plain = protect(UC(**SMOKE), pictures).noise.noise
        for name in ("official_all_images", "official_order", "scaled_tanh"):
            changed = protect(UC(**SMOKE, **{name: True}), pictures).noise.noise
            assert not torch.equal(plain, changed), name
        assert float((plain.abs() == 16).float().mean()) > 0.7 > float((changed.abs() == 16).float().mean())

    def test_all_images_or_the_clusters_own(self, pictures):
        for every in (False, True):
            notes = protect(UC(**SMOKE, official_all_images=every), pictures).context.notes
            counts = [160] * 3 if every else notes["cluster_sizes"]
            assert notes["generator_steps"] == [2 * -(-count // 64) for count in counts]

    def test_the_cap_on_steps_is_reported(self, pictures):
        context = protect(UC(**SMOKE, max_steps=1), pictures).context
        assert context.notes["generator_steps"] == [1, 1, 1] and context.notes["reached_max_steps"]
        assert any("cap of 1 steps" in warning for warning in context.ledger.warnings)
        assert not protect(UC(**SMOKE), pictures).context.notes["reached_max_steps"]

    def test_a_generator_that_diverges_is_an_error(self, pictures, monkeypatch):
        monkeypatch.setattr("ue_bench_methods.uc.divergence", lambda f, goal: f.sum() * float("nan"))
        with pytest.raises(TrainingError, match="learning_rate"):
            protect(UC(**SMOKE), pictures)

    def test_a_generator_that_says_one_thing_everywhere_is_an_error(self, pictures, monkeypatch):
        monkeypatch.setattr(
            NoiseGenerator, "forward", lambda self, code: self.layers[-2].bias.sum() + 0 * code
        )
        with pytest.raises(TrainingError, match="scaled_tanh"):
            protect(UC(**SMOKE), pictures)


class TestGenerator:
    @pytest.mark.parametrize("size", [(32, 32), (30, 17), (8, 8)])
    def test_output_has_the_size_of_its_input_and_stays_between_minus_one_and_one(self, size):
        out = NoiseGenerator(4, 1)(torch.rand(1, 3, *size))
        assert out.shape == (1, 3, *size) and float(out.detach().abs().max()) <= 1

    def test_the_papers_network_has_as_many_weights(self):
        assert sum(weight.numel() for weight in NoiseGenerator().parameters()) == 7_841_411

    def test_weights_depend_on_the_seed_alone(self):
        torch.manual_seed(3)
        one, two, other = (seeded_generator(4, 1, seed, CPU).state_dict() for seed in (5, 5, 6))
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert not all(torch.equal(one[name], other[name]) for name in one)
        assert torch.equal(torch.rand(2), torch.rand(2, generator=torch.Generator().manual_seed(3)))

    def test_mirroring_is_torchs(self):
        images = torch.rand(2, 3, 9, 8)
        assert torch.equal(Mirror(3)(images), functional.pad(images, (3,) * 4, mode="reflect"))

    def test_too_small_images_are_refused(self):
        with pytest.raises(ConfigError, match="too small"):
            NoiseGenerator(4, 1)(torch.rand(1, 3, 6, 6))


class TestSteps:
    def test_resizing_is_torchs_and_passes_gradients(self):
        images = torch.rand(2, 3, 12, 10, requires_grad=True)
        for size in ((24, 31), (5, 7), (12, 10)):
            wanted = functional.interpolate(images, size, mode="bilinear", antialias=True)
            torch.testing.assert_close(resize(images, size), wanted, rtol=0, atol=1e-6)
        (gradient,) = torch.autograd.grad(resize(images, (24, 20)).sum(), images)
        assert bool((gradient != 0).all())

    def test_crops_are_windows_of_the_enlarged_image(self):
        images, draw = torch.rand(6, 3, 14, 14), torch.Generator().manual_seed(0)
        grown = resize(images, (16, 16))
        windows = [grown[:, :, y : y + 14, x : x + 14] for y in range(3) for x in range(3)]
        for image, crop in enumerate(shaken(images, 0.875, False, draw)):
            assert any(torch.equal(crop, window[image]) for window in windows)
        turned = shaken(images, 1.0, True, draw)
        flipped = [torch.equal(new, old.flip(2)) for new, old in zip(turned, images, strict=True)]
        assert any(flipped) and not all(flipped)

    def test_the_goal_is_the_softmax_of_the_next_centre(self):
        centres = torch.tensor([[0.0, 1.0], [2.0, 0.0], [5.0, 5.0]])
        goals = goals_of(Clusters(torch.arange(3), centres, 1))
        assert torch.equal(goals, centres[[1, 2, 0]].softmax(dim=1))
        assert float(divergence(centres[[1]], goals[0])) == pytest.approx(0, abs=1e-6)
        assert float(divergence(torch.zeros(1, 2), torch.tensor([1.0, 0.0]))) == pytest.approx(
            0.6931, abs=1e-4
        )

    def test_clusters_are_found_and_repeat(self):
        draw = torch.Generator().manual_seed(0)
        points = torch.randn(60, 5, generator=draw) * 0.1 + torch.eye(5)[:3].repeat_interleave(20, 0) * 9
        found, again = (kmeans(points, 3, 2, 7) for _ in range(2))
        assert torch.equal(found.members, again.members) and torch.equal(found.centres, again.centres)
        assert [len(part.unique()) for part in found.members.split(20)] == [1, 1, 1] and len(found) == 3
        assert torch.equal(nearest(points, found.centres), found.members)

    def test_too_few_or_equal_images_are_refused(self):
        with pytest.raises(ConfigError, match="3 images cannot make 4 clusters"):
            kmeans(torch.rand(3, 2), 4, 1, 0)
        with pytest.raises(ConfigError, match="only one cluster"):
            kmeans(torch.ones(9, 2), 3, 1, 0)
        assert len(kmeans(torch.eye(2).repeat(4, 1), 3, 1, 0)) == 2

    def test_the_target_of_a_rotation_is_its_turn(self):
        images = torch.rand(32, 3, 8, 8)
        turned, targets = Rotations().batch(images, torch.zeros(32, 4), torch.Generator().manual_seed(0))
        for new, old, turn in zip(turned, images, targets.argmax(dim=1).tolist(), strict=True):
            assert torch.equal(new, old.rot90(turn, (1, 2)))
        assert bool((targets.sum(dim=0) > 0).all())


class TestSurrogates:
    def test_a_checkpoint_that_was_saved_here_is_loaded(self, tmp_path):
        torch.manual_seed(0)
        model = timm.create_model("resnet10t").eval()
        path = str(tmp_path / "weights.safetensors")
        safetensors.torch.save_file(model.state_dict(), path)
        features, images = loaded("timm:resnet10t", path, 64), torch.rand(2, 3, 32, 32)
        mean, std = (torch.tensor(model.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
        seen = functional.interpolate(images, (64, 64), mode="bilinear")
        with torch.no_grad():
            wanted = model.forward_head(model.forward_features((seen - mean) / std), pre_logits=True)
        assert wanted.shape == (2, 512)
        torch.testing.assert_close(features(images), wanted, rtol=1e-4, atol=1e-5)
        method = UC(**{**SMOKE, "surrogate": "timm:resnet10t", "checkpoint": path, "surrogate_size": 32})
        assert protect(method, sample(24)).context.notes["surrogate"] == f"timm:resnet10t ({path})"
        with pytest.raises(UnavailableError, match="architecture"):
            loaded("timm:resnet18", path, 64)

    def test_code_in_a_checkpoint_is_not_run(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return (tmp_path / "sprung").touch, ()

        path = tmp_path / "weights.pt"
        torch.save({"conv1.weight": Trap()}, path)
        with pytest.raises(UnavailableError, match="does not hold the weights"):
            loaded("timm:resnet10t", str(path), 32)
        assert not (tmp_path / "sprung").exists()

    def test_a_timm_that_runs_code_in_checkpoints_is_refused_before_any_work(self, monkeypatch):
        method = UC(surrogate="timm:resnet10t", checkpoint="weights.pt")
        assert method.unavailable() == ""
        monkeypatch.setattr(features_room, "version", lambda package: "1.0.15")
        assert "pip install 'timm>=1.0.26'" in method.unavailable()
        assert (
            UC(surrogate="timm:resnet10t").unavailable() == ""
        )  # its weights are downloaded as weights only

    def test_missing_weights_say_what_to_do(self, tmp_path, monkeypatch):
        with pytest.raises(UnavailableError, match=r"nowhere\.pt' is no file: set checkpoint=FILE"):
            loaded("timm:resnet10t", str(tmp_path / "nowhere.pt"), 32)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(UnavailableError, match=r"Go online once.*checkpoint=FILE.*rotation:VICTIM"):
            loaded("timm:resnet10t", "", 32)

    def test_clip_is_asked_for_its_image_embedding(self, tmp_path, monkeypatch):
        asked = []

        def create_model(name, pretrained):
            asked.append((name, pretrained))
            clip = nn.Module()
            clip.visual = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            return clip

        monkeypatch.setattr("open_clip.create_model", create_model)
        path = tmp_path / "clip.pt"
        path.touch()
        features = loaded("clip:RN50:openai", "", 16)
        loaded("clip:RN50-quickgelu", str(path), 16)
        assert asked == [("RN50", "openai"), ("RN50-quickgelu", str(path))]
        means = (torch.tensor([0.5]) - features.mean[:, 0, 0]) / features.std[:, 0, 0]
        torch.testing.assert_close(features(torch.full((1, 3, 8, 8), 0.5))[0], means)

    def test_a_head_goes_and_gradients_reach_the_images(self):
        model = build_victim("resnet_tiny", 4, (32, 32), 0)
        features = Features(headless(copy.deepcopy(model)))
        images = torch.rand(3, 3, 32, 32, requires_grad=True)
        out = features(images)
        torch.testing.assert_close(model.eval().get_classifier()(out), model(images))
        (gradient,) = torch.autograd.grad(out.square().sum(), images)
        assert bool(gradient.any()) and not any(weight.requires_grad for weight in features.parameters())

    def test_published_features_are_those_of_clipped_images(self):
        images, noise = sample(5).images, torch.full((2, 3, 32, 32), 90, dtype=torch.int8)
        features, rows = Features(nn.Flatten()), torch.tensor([0, 1, 1, 0, 1])
        shown = (images.short() + noise[rows]).clamp(0, 255).flatten(1) / 255
        torch.testing.assert_close(features.of(ResidentImages(images, CPU), noise, rows), shown)


class TestParameters:
    def test_defaults_are_the_papers(self):
        method = UC()
        assert method.budget == Budget("linf", 16) and method.granularity == "cluster"
        assert (method.clusters, method.filters, method.blocks, method.epochs) == (10, 64, 6, 50)
        assert (method.batch_size, method.learning_rate, method.weight_decay) == (256, 1e-4, 5e-4)
        assert (method.surrogate, method.surrogate_size) == ("timm:resnet50.tv_in1k", 224)
        assert UC.access == Access.IMAGES and UC.published_names == ("UC",)

    @pytest.mark.parametrize(
        ("values", "word"),
        [
            ({"budget": Budget("l2", 1.0)}, "linf"),
            ({"granularity": "class"}, "cluster"),
            ({"surrogate": "resnet18"}, "rotation:VICTIM"),
            ({"surrogate": "rotation:resnet18", "checkpoint": "x.pt"}, "labels"),
            ({"clusters": 1}, "clusters"),
            ({"max_steps": 0}, "max_steps"),
            ({"crop_share": 1.5}, "crop_share"),
            ({"learning_rate": 1e-7}, "learning_rate"),
        ],
    )
    def test_values_that_do_not_fit_are_refused(self, values, word):
        with pytest.raises(ConfigError, match=word):
            UC(**values)


class TestGranularity:
    """What the harness asks of cluster-wise noise."""

    def test_conformance_sees_noise_that_follows_the_place_instead_of_the_image(self):
        class ByPlace(UC):
            def protect(self, view, context):
                rows = torch.arange(view.examples) % 3
                noise = torch.randint(-16, 17, (self.clusters, 3, 32, 32), dtype=torch.int8)
                return Perturbation(noise, rows, self.budget)

        class OneForAll(ByPlace):
            def protect(self, view, context):
                noise = super().protect(view, context)
                return Perturbation(noise.noise, 0 * noise.rows, noise.budget)

        for kind, word in ((ByPlace, "equal images get different"), (OneForAll, "make 1 clusters")):
            with pytest.raises(AssertionError, match=word):
                noise_follows_the_image(Subject("broken", kind(clusters=3), Environment("", "cpu")))

    def test_the_data_knows_no_clusters(self, make_images):
        with pytest.raises(ConfigError, match="must make rows from its own"):
            ProtectorView(make_images(), Access.LABELS, "supervised", "uc").rows("cluster")

    def test_a_run_can_ask_for_clusters(self, command):
        words = (
            "run",
            "suite=supervised",
            "profile=smoke",
            "method=[uc,random]",
            "--dry-run",
            "--no-calibrate",
        )
        ended = command(*words, "granularity=cluster")
        assert ended.status == 0 and "uc (cluster)" in " ".join(ended.out.split())
        assert "random" in ended.out and "not cluster-wise" in ended.out + ended.err
