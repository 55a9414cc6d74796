"""A generator's training: what it learns, how it goes on after it was killed, its augmentation."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from captioned import build_victim, make_context, pictures
from interrupted import Interrupted, each_step, in_pieces
from torch.nn import functional

from ue_bench.errors import ConfigError, TrainingError
from ue_bench.progress import Progress
from ue_bench.training.towers import contrastive_loss
from ue_bench_methods._t2ue.augmentation import augmented, jiggled, turned
from ue_bench_methods._t2ue.generator import SSAGAN, seeded_ssagan
from ue_bench_methods._t2ue.public import frozen
from ue_bench_methods._t2ue.training import Lessons, Training

LESSONS = Lessons(
    radius=16 / 255,
    bound="scale",
    epochs=4,
    batch_size=8,
    learning_rate=2e-3,
    weight_decay=0.0,
    augmentation="none",
    official_schedule=False,
    official_best=False,
    bf16=False,
)


def teach(lessons=LESSONS, seed=0, place=None, progress=None, public=None, towers=None):
    """(training, context) after a training with a random CLIP."""
    context = make_context(seed)
    if place is not None:
        context.ledger.checkpoints = each_step(place, context.clock)
    context.progress = progress or Progress()
    towers = towers or frozen(build_victim("", 0, (32, 32), 7))
    network = seeded_ssagan(4, 32, 32, seed)
    training = Training(network, towers, public or pictures(), lessons, context)
    training.run()
    return training, context


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr("ue_bench.checkpoints.SHARE", 0)


class Killed(Progress):
    """Ends the loop over epochs after so many: by Ctrl-C, or, if quiet, as if it were over."""

    def __init__(self, after: int, quiet: bool = False):
        self.after, self.quiet = after, quiet

    def track(self, items, label):
        for number, item in enumerate(items):
            if label == "epoch" and number == self.after:
                if self.quiet:
                    return
                raise KeyboardInterrupt
            yield item


class TestTraining:
    def test_it_aligns_noise_with_text(self):
        """Eight pairs and a random CLIP, as sure of itself as a trained one: noise tells the captions apart."""
        words = (
            "red",
            "a dog runs on grass",
            "9 8 7",
            "snow, snow, snow and ice",
            "no",
            "two men",
            "blue sky",
            "x y z",
        )
        public = dataclasses.replace(pictures(8), captions=tuple((text,) for text in words), _memo={})
        towers = frozen(build_victim("", 0, (32, 32), 7))
        towers.clip.logit_scale.fill_(math.log(100))
        training, _ = teach(
            dataclasses.replace(LESSONS, epochs=60, learning_rate=4e-3, radius=64 / 255),
            public=public,
            towers=towers,
        )
        texts = functional.normalize(training.texts, dim=1)
        with torch.no_grad():
            clean = contrastive_loss(towers.encode_image(public.images / 255), texts, towers.scale)
        assert training.curves["loss"][-1] < 0.5 * float(clean)
        assert training.loss_without_noise() == pytest.approx(float(clean), rel=1e-4)
        sensitivity = training.curves["text_sensitivity_steps"]
        assert sensitivity[0] < 0.1 and sensitivity[-1] > 1, "it starts deaf"

    def test_the_loss_is_clips_at_its_own_temperature(self):
        """Worked again: cosines times the inverse temperature, cross-entropy along rows and columns."""
        towers = frozen(build_victim("", 0, (32, 32), 7))
        network = seeded_ssagan(4, 32, 32, 0)
        training = Training(network, towers, pictures(), LESSONS, make_context())
        images, texts = pictures(6).images / 255, training.texts[::2][:6]
        draw = torch.Generator().manual_seed(5)
        latent = torch.randn(6, 100, generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            noise = 16 / 255 * network(latent, texts)
            seen = towers.encode_image((images + noise).clamp(0, 1))
            cosines = seen @ (texts / texts.norm(dim=1, keepdim=True)).T
        for scale in (100.0, 1.0, 7.0):
            towers.clip.logit_scale.fill_(math.log(scale))
            logits = scale * cosines
            own = logits.diagonal()
            wanted = (logits.logsumexp(1) - own).mean() / 2 + (logits.logsumexp(0) - own).mean() / 2
            found = training.loss(images, texts, draw.manual_seed(5)).detach()
            assert float(found) == pytest.approx(float(wanted), rel=1e-4), scale
        assert float(found) != pytest.approx(math.log(6), abs=1e-3), "features are not all alike"

    def test_batches_normalise_by_their_own_statistics_while_it_learns(self, monkeypatch):
        """In evaluation mode a fresh network would see means of 0 and variances of 1 for ever."""
        modes, forward = [], SSAGAN.forward
        monkeypatch.setattr(
            SSAGAN, "forward", lambda self, *given: modes.append(self.training) or forward(self, *given)
        )
        training, _ = teach(dataclasses.replace(LESSONS, epochs=2))
        learning, judging = [True] * 3, [False] * 2  # batches of an epoch; then two texts are compared
        assert modes == [*learning, *judging] * 2
        for name, buffer in training.network.named_buffers():
            if name.endswith("num_batches_tracked"):
                assert int(buffer) == 6, name
            elif name.endswith("running_mean"):
                assert bool(buffer.any()), name

    def test_only_the_generator_learns(self):
        towers = frozen(build_victim("", 0, (32, 32), 7))
        before = {name: value.clone() for name, value in towers.state_dict().items()}
        training, _ = teach(dataclasses.replace(LESSONS, epochs=2), towers=towers)
        assert all(torch.equal(before[name], value) for name, value in towers.state_dict().items())
        assert all(weight.grad is None for weight in towers.parameters())
        assert all(weight.grad is not None for weight in training.network.parameters())

    @pytest.mark.parametrize("best", [False, True])
    def test_a_killed_training_goes_on_as_if_it_had_not_been(self, best, tmp_path, no_pause):
        lessons = dataclasses.replace(
            LESSONS, epochs=3, official_best=best, augmentation="official", weight_decay=0.01
        )
        whole, _ = teach(lessons)
        (resumed, context), times = in_pieces(tmp_path, lambda place: teach(lessons, place=place), after=2)
        assert times == 4, "in the middle of an epoch, and between two"
        assert resumed.curves == whole.curves
        assert all(torch.equal(value, resumed.result()[name]) for name, value in whole.result().items())
        assert context.ledger.checkpoints.resumed

    def test_snapshots_are_the_generator_as_it_was_and_survive_a_kill(self, tmp_path, no_pause):
        lessons = dataclasses.replace(LESSONS, epochs=4, snapshots=(1, 4))
        whole, _ = teach(lessons)
        early, _ = teach(lessons, progress=Killed(1, quiet=True))
        for name, value in early.network.state_dict().items():
            assert torch.equal(value, whole.kept[f"1.{name}"])
        assert all(torch.equal(value, whole.kept[f"4.{name}"]) for name, value in whole.result().items())
        with pytest.raises(KeyboardInterrupt):
            teach(lessons, place=Interrupted(tmp_path), progress=Killed(after=3))
        resumed, context = teach(lessons, place=Interrupted(tmp_path))
        assert context.ledger.checkpoints.resumed
        assert whole.kept.keys() == resumed.kept.keys()
        assert all(torch.equal(value, resumed.kept[name]) for name, value in whole.kept.items())
        with pytest.raises(ConfigError, match="between 1 and 4 epochs"):
            dataclasses.replace(LESSONS, epochs=4, snapshots=(5,))

    def test_a_training_with_another_surrogate_does_not_go_on_from_there(self, tmp_path, no_pause):
        with pytest.raises(KeyboardInterrupt):
            teach(LESSONS, place=Interrupted(tmp_path, after=4))
        other = frozen(build_victim("", 0, (32, 32), 8))
        _, context = teach(LESSONS, place=Interrupted(tmp_path), towers=other)
        assert not context.ledger.checkpoints.resumed, "though it is called the same"

    def test_the_best_epoch_is_kept_if_asked_for(self):
        training, _ = teach(dataclasses.replace(LESSONS, official_best=True, epochs=3))
        number = training.curves["loss"].index(min(training.curves["loss"]))
        alone, _ = teach(
            dataclasses.replace(LESSONS, official_best=True, epochs=3),
            progress=Killed(number + 1, quiet=True),
        )
        assert all(torch.equal(value, alone.result()[name]) for name, value in training.result().items())

    def test_learning_rates(self):
        falls = dataclasses.replace(LESSONS, epochs=10, learning_rate=1e-4)
        assert falls.rate(0, 0, 5) == 1e-4 and falls.rate(5, 0, 5) == pytest.approx(5e-5)
        assert 0 < falls.rate(9, 4, 5) < 1e-6
        rises = dataclasses.replace(falls, official_schedule=True)
        assert rises.rate(0, 0, 5) == pytest.approx(1e-4) == rises.rate(0, 4, 5)
        assert rises.rate(5, 0, 5) == pytest.approx(5.5e-4) and 9e-4 < rises.rate(9, 0, 5) < 1e-3

    def test_a_loss_that_is_not_finite_ends_it(self):
        with pytest.raises(TrainingError, match="lower learning_rate"):
            teach(dataclasses.replace(LESSONS, learning_rate=1e30, epochs=2))

    def test_every_caption_has_its_turn(self):
        training, _ = teach(dataclasses.replace(LESSONS, epochs=1))
        drawn = [
            c
            for e in range(20)
            for _, part in training._batches(torch.Generator().manual_seed(e))
            for c in part
        ]
        assert {int(caption) for caption in drawn} == set(range(48))
        index, captions = next(training._batches(torch.Generator().manual_seed(0)))
        assert torch.equal(captions // 2, index), "of the image's own two"


class TestAugmentation:
    @pytest.mark.parametrize("kind", ["none", "flip", "official"])
    def test_it_keeps_the_form_and_repeats(self, kind):
        images = pictures(6, size=18).images.float() / 255
        before = images.clone()
        one, two = (augmented(images, kind, torch.Generator().manual_seed(3)) for _ in range(2))
        assert torch.equal(one, two) and one.shape == images.shape and torch.equal(images, before)
        assert float(one.min()) >= 0 and float(one.max()) <= 1
        assert torch.equal(one, images) == (kind == "none")

    def test_turning(self):
        images = torch.rand(2, 3, 8, 8)
        assert torch.allclose(turned(images, torch.zeros(2)), images, atol=1e-5)
        assert torch.allclose(turned(images, torch.full((2,), 90.0)), images.rot90(1, (2, 3)), atol=1e-5)

    def test_quarters_get_colours_of_their_own(self):
        images = torch.full((1, 3, 8, 8), 0.5)
        shown = jiggled(images, torch.Generator().manual_seed(0))[0, 0]
        assert len({float(shown[row, column]) for row in (0, 7) for column in (0, 7)}) > 1
        assert len(shown[:4, :4].unique()) == 1
