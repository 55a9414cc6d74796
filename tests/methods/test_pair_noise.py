"""Noise for (image, caption) pairs: EM, UAP and TAP in contrastive runs, and what they are made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import CPU, build_victim
from paired import Memory, described, fresh_context, protect, small_clip, view_of

from ue_bench import Budget, ProtectorView
from ue_bench.crafting import surrogates
from ue_bench.crafting.orders import sweep
from ue_bench.crafting.pairs import Captions, PairNoise, alternate, warn_without_effect
from ue_bench.crafting.pgd import Walk, frozen
from ue_bench.crafting.whole_noise import WholeNoise, new_noise
from ue_bench.data import room
from ue_bench.errors import ConfigError, TrainingError
from ue_bench.training.optim import make_contrastive_optimizer
from ue_bench.training.recipe import ContrastiveRecipe
from ue_bench.training.towers import contrastive_loss
from ue_bench_methods._adversarial import noise as adversarial
from ue_bench_methods.em import EM
from ue_bench_methods.tap import TAP
from ue_bench_methods.uap import UAP

EM_QUICK = {"batch_size": 16, "model_steps": 6, "max_rounds": 2, "learning_rate": 1e-3, "granularity": "pair"}
LED_QUICK = {
    "surrogate_epochs": 3,
    "surrogate_batch_size": 16,
    "learning_rate": 1e-3,
    "warmup_steps": 2,
    "batch_size": 16,
    "granularity": "pair",
}


@pytest.fixture(scope="module")
def em():
    return protect(EM.for_paradigm("contrastive", **EM_QUICK), described())


def pair_noise(data, steps=2, step_size=1.0, batch_size=64, rows=None, maximise=False, model=None):
    """(noise to improve, its surrogate)."""
    view, model = ProtectorView(data, EM.access, "contrastive"), model or small_clip()
    captions = Captions(model.tokenize(view.example_captions), CPU)
    walk = Walk(8 / 255, step_size / 255, steps, maximise)
    rows = view.rows("pair") if rows is None else rows
    return PairNoise(view, fresh_context(), captions, walk, rows=rows, batch_size=batch_size), model


class TestSweep:
    def test_nine_examples_make_three_even_batches_and_each_comes_once(self):
        batches = sweep(torch.arange(9), 4, torch.Generator().manual_seed(0))
        assert [len(batch) for batch in batches] == [3, 3, 3]
        assert sorted(torch.cat(batches).tolist()) == list(range(9))
        assert [len(batch) for batch in sweep(torch.arange(129), 128, torch.Generator())] == [65, 64]

    @pytest.mark.parametrize("size", [2, 4, 100])
    def test_examples_that_share_a_noise_are_never_in_one_batch(self, size):
        rows = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 5])
        batches = sweep(rows, size, torch.Generator().manual_seed(1))
        assert sorted(torch.cat(batches).tolist()) == list(range(12))
        assert all(len(rows[batch].unique()) == len(batch) <= size for batch in batches)

    def test_the_order_is_new_each_time_and_follows_the_generator(self):
        generator = torch.Generator().manual_seed(0)
        one, two = (torch.cat(sweep(torch.arange(40), 8, generator)) for _ in range(2))
        assert not torch.equal(one, two)
        assert torch.equal(one, torch.cat(sweep(torch.arange(40), 8, torch.Generator().manual_seed(0))))


class TestWholeNoise:
    def test_whole_steps_come_back_exactly_and_others_are_rounded(self):
        noise = WholeNoise(3, (2, 2), 8, CPU)
        assert noise.steps.dtype == torch.int8 and not noise.steps.any()
        steps = torch.tensor([-8.0, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0]).view(1, 3, 2, 2)
        noise.put(torch.tensor([1]), steps / 255)
        assert torch.equal(
            noise.take(torch.tensor([1, 0])), torch.cat([steps / 255, torch.zeros(1, 3, 2, 2)])
        )
        noise.put(torch.tensor([2]), (steps + 0.4) / 255)
        assert torch.equal(noise.steps[1], noise.steps[2]) and not noise.steps[0].any()

    def test_more_than_a_byte_is_refused(self):
        with pytest.raises(ConfigError, match="127"):
            WholeNoise(1, (2, 2), 128, CPU)

    def test_large_noise_lies_in_a_file_without_a_name(self, monkeypatch, tmp_path):
        monkeypatch.setenv("UE_BENCH_CACHE", str(tmp_path))
        monkeypatch.setattr(room, "IN_MEMORY", 10)
        noise = WholeNoise(4, (5, 5), 8, CPU)
        noise.put(torch.tensor([3]), torch.full((1, 3, 5, 5), 3 / 255))
        assert noise.steps.sum() == 3 * 75 and not noise.steps[:3].any()
        assert (tmp_path / "decoded").is_dir() and not list((tmp_path / "decoded").iterdir())

    @pytest.mark.parametrize(("most_steps", "dtype"), [(127, torch.int8), (128, torch.int16)])
    @pytest.mark.parametrize("in_memory", [10, 10**6])
    def test_room_for_noise_has_room_for_its_values(
        self, most_steps, dtype, in_memory, monkeypatch, tmp_path
    ):
        monkeypatch.setenv("UE_BENCH_CACHE", str(tmp_path))
        monkeypatch.setattr(room, "IN_MEMORY", in_memory)
        noise = new_noise(4, (5, 7), most_steps)
        assert noise.shape == (4, 3, 5, 7) and noise.dtype == dtype and noise.is_contiguous()
        assert (tmp_path / "decoded").is_dir() == (in_memory == 10)


class TestPass:
    def test_two_steps_are_what_the_formula_says(self):
        data = described(6)
        noise, model = pair_noise(data)
        with frozen(model):
            first, last = noise.improve(model)
        clean = data.images[data.pairs].float() / 255
        read = model.eval().encode_text(noise.captions.tokens).detach()
        delta, losses = torch.zeros_like(clean), []
        for _ in range(2):
            shown = (clean + delta).clamp(0, 1).requires_grad_()
            loss = contrastive_loss(model.encode_image(shown), read, model.scale)
            losses.append(float(loss.detach()))
            (gradient,) = torch.autograd.grad(loss, shown)
            moved = (shown.detach() - gradient.sign() / 255).clamp(clean - 8 / 255, clean + 8 / 255)
            delta = moved - clean
        wanted = (delta * 255).round()
        assert (
            float((noise.noise.steps == wanted).float().mean()) > 0.99
        )  # near-zero gradients have either sign
        assert (first, last) == (pytest.approx(losses[0], abs=1e-4), pytest.approx(losses[1], abs=1e-3))

    @pytest.mark.parametrize("maximise", [False, True])
    def test_the_batch_loss_falls_or_rises(self, maximise):
        noise, model = pair_noise(described(), steps=8, batch_size=16, maximise=maximise)
        before, _ = noise.judge(model, noise.captions, True)
        with frozen(model):
            noise.improve(model)
        after, _ = noise.judge(model, noise.captions, True)
        assert after > before + 0.1 if maximise else after < before - 0.1
        assert noise.judge(model, noise.captions, False)[0] == pytest.approx(before)

    def test_eight_steps_from_zero_reach_the_bound_and_no_pair_is_left_out(self):
        noise, model = pair_noise(described(17, captions=3), steps=8, batch_size=10)  # 51 pairs
        with frozen(model):
            noise.improve(model)
        steps = noise.noise.steps
        assert int(steps.max()) == 8 and int(steps.min()) == -8
        assert bool(steps.flatten(1).any(dim=1).all()) and len(steps.flatten(1).unique(dim=0)) > 45

    def test_a_lone_pair_in_the_last_batch_would_have_no_gradient_so_there_is_none(self):
        noise, model = pair_noise(described(17, captions=1), steps=1, batch_size=16)
        with frozen(model):
            noise.improve(model)
        assert bool(noise.noise.steps.flatten(1).any(dim=1).all())

    def test_images_are_clipped_before_the_model_sees_them(self, monkeypatch):
        data = described(8)
        data = replace(data, images=(data.images > 127).to(torch.uint8) * 255, _memo={})
        noise, model = pair_noise(data, steps=3)
        seen = []
        encode = model.encode_image
        monkeypatch.setattr(model, "encode_image", lambda x: seen.append(x.detach().clone()) or encode(x))
        with frozen(model):
            noise.improve(model)
        noise.mean_loss(model, torch.arange(8))
        assert len(seen) == 4 and all(x.min() >= 0 and x.max() <= 1 for x in seen)

    def test_pairs_of_one_image_share_image_wise_noise(self):
        data = described(9, captions=3)
        noise, model = pair_noise(data, steps=2, rows=data.pairs)
        with frozen(model):
            noise.improve(model)
        assert len(noise.noise) == 9 and int(noise.noise.steps.abs().max()) == 6  # three turns of two steps
        shown = noise.protected(torch.tensor([0, 1, 2, 3]))
        assert torch.equal(shown[0], shown[1]) and not torch.equal(shown[0], shown[3])


class TestAlternation:
    def test_each_training_step_starts_from_fresh_gradients(self):
        """Trap: the authors' loop clears gradients once a round, and relies on its gradient scaler."""
        data = described(8)
        noise, model = pair_noise(data, batch_size=8)
        twin = pair_noise(data, batch_size=8)[0]
        reference = small_clip()
        optimizer = make_contrastive_optimizer(
            reference, ContrastiveRecipe(learning_rate=1e-3, weight_decay=0.2)
        )
        reference.train()
        batches = twin.training_batches()
        for _ in range(3):
            loss = twin.mean_loss(reference, next(batches))
            reference.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        settings = {"rounds": 1, "model_steps": 3, "learning_rate": 1e-3, "weight_decay": 0.2}
        history = alternate(model, noise, fresh_context(), **settings)
        for (name, one), two in zip(model.named_parameters(), reference.parameters(), strict=True):
            assert torch.equal(one, two), name
        assert history["surrogate_loss"] == [pytest.approx(float(loss.detach()))]

    def test_batches_go_on_where_they_stopped_and_noise_sees_a_frozen_model(self, monkeypatch):
        noise, model = pair_noise(described(10), batch_size=8)
        trained, improve = [], PairNoise.improve
        mean_loss = PairNoise.mean_loss
        monkeypatch.setattr(
            PairNoise, "mean_loss", lambda self, m, i: trained.append(i) or mean_loss(self, m, i)
        )

        def watched(self, model, before):
            assert not any(module.training for module in model.modules())
            assert not any(weight.requires_grad for weight in model.parameters())
            return improve(self, model, before)

        monkeypatch.setattr(PairNoise, "improve", watched)
        alternate(
            model, noise, fresh_context(), rounds=2, model_steps=1, learning_rate=1e-3, weight_decay=0.0
        )
        assert len(trained) == 2 and len(torch.cat(trained).unique()) == 16  # of 20: one order, two batches
        assert all(weight.requires_grad for weight in model.parameters())

    def test_a_surrogate_that_diverges_is_an_error(self):
        with pytest.raises(TrainingError, match="learning_rate"):
            protect(EM.for_paradigm("contrastive", **EM_QUICK | {"learning_rate": 1e30}), described())

    def test_a_search_without_effect_is_reported(self):
        context = fresh_context()
        warn_without_effect(context, "m", before=2.0, after=1.9)
        warn_without_effect(context, "m", before=2.0, after=2.1, rise=True)
        assert not context.ledger.warnings
        warn_without_effect(context, "m", before=2.0, after=2.0)
        warn_without_effect(context, "m", before=2.0, after=float("nan"))
        assert len(context.ledger.warnings) == 2 and "without effect" in context.ledger.warnings[0]


class TestEM:
    def test_published_pairs_match_better_and_every_pair_has_noise_within_the_budget(self, em):
        assert em.loss(protected=True) < em.loss(protected=False) - 0.1 and not em.context.ledger.warnings
        noise = em.noise.noise
        assert torch.equal(em.noise.rows, torch.arange(40)) and len(noise.flatten(1).unique(dim=0)) == 40
        assert noise.dtype == torch.int8 and int(noise.abs().max()) == 8
        notes = em.context.notes
        assert notes["rounds"] == 2 == len(notes["surrogate_loss_by_round"])
        assert notes["surrogate_protected_loss"] < notes["surrogate_clean_loss"]
        falls = zip(notes["first_step_loss_by_round"], notes["last_step_loss_by_round"], strict=True)
        assert all(last < first for first, last in falls)

    def test_noise_belongs_to_its_pair(self, em):
        mixed = replace(em.noise, rows=em.noise.rows.roll(7))
        assert replace(em, noise=mixed).loss(protected=True) > em.loss(protected=True) + 0.1

    @pytest.mark.parametrize("granularity", ["pair", "image"])
    def test_seed_and_captions_decide_and_global_chance_does_not(self, granularity):
        method, data = (
            EM.for_paradigm("contrastive", **EM_QUICK | {"granularity": granularity, "model_steps": 2}),
            described(9),
        )
        torch.manual_seed(1)
        first = protect(method, data, fresh_context(1)).noise.noise
        torch.manual_seed(2)
        assert torch.equal(first, protect(method, data, fresh_context(1)).noise.noise)
        assert not torch.equal(first, protect(method, data, fresh_context(2)).noise.noise)
        other = replace(data, captions=data.captions[1:] + data.captions[:1], _memo={})
        assert not torch.equal(first, protect(method, other, fresh_context(1)).noise.noise)
        assert len(first) == (18 if granularity == "pair" else 9)

    def test_defaults_are_the_papers(self):
        method = EM.for_paradigm("contrastive", granularity="pair")
        assert (method.surrogate, method.max_rounds, method.model_steps) == ("clip_rn50", 5, 50)
        assert (method.noise_steps, method.step_size, method.batch_size) == (8, 1.0, 128)
        assert (method.learning_rate, method.weight_decay) == (1e-4, 0.2)
        assert EM.for_paradigm("contrastive", granularity="pair", noise_steps=3).noise_steps == 3

    @pytest.mark.parametrize(
        ("values", "word"),
        [
            ({"granularity": "class"}, "granularity=image or pair"),
            ({"step_size": 0.8}, "step_size"),
            ({"official_floor": True}, "official_floor"),
            ({"budget": Budget("linf", 200)}, "127"),
        ],
    )
    def test_what_makes_no_sense_for_pairs_is_refused(self, values, word):
        with pytest.raises(ConfigError, match=word):
            protect(EM.for_paradigm("contrastive", **EM_QUICK | values), described(6))

    def test_pairs_make_no_sense_in_supervised_runs(self, make_images, make_context):
        method = EM(granularity="pair", surrogate="resnet_tiny")
        with pytest.raises(ConfigError, match="supervised.*image or class"):
            method.protect(ProtectorView(make_images(8), method.access, "supervised"), make_context())
        assert "supervised" in method.conflict("supervised") and not method.conflict("contrastive")

    def test_a_surrogate_that_is_no_clip_is_refused(self):
        context = fresh_context()
        context.ledger.build_victim = lambda *what: build_victim("resnet_tiny", 4, (16, 16), 0)
        method = EM.for_paradigm("contrastive", **EM_QUICK, surrogate="resnet_tiny")
        with pytest.raises(ConfigError, match="resnet_tiny.*no CLIP"):
            method.protect(view_of(method, described(6)), context)

    def test_labels_are_not_needed(self):
        assert described(6).labels is None
        assert (
            len(
                protect(
                    EM.for_paradigm("contrastive", **EM_QUICK | {"max_rounds": 1}), described(6)
                ).noise.noise
            )
            == 12
        )


class TestLed:
    def test_untargeted_noise_raises_the_loss_of_a_clean_trained_surrogate(self):
        run = protect(UAP.for_paradigm("contrastive", **LED_QUICK), described())
        assert run.loss(protected=True) > run.loss(protected=False) + 0.1 and not run.context.ledger.warnings
        notes = run.context.notes
        assert notes["surrogate_protected_loss"] == notes["aim_loss_after"] > notes["aim_loss_before"]

    def test_targeted_noise_leads_each_image_to_the_next_images_captions(self):
        method, data = TAP.for_paradigm("contrastive", **LED_QUICK, iterations=8), described()
        run, aim = protect(method, data), method.aim_of_pairs(data.pairs)
        assert run.loss(True, aim) < run.loss(False, aim) - 0.1
        assert run.context.notes["aim_loss_after"] < run.context.notes["aim_loss_before"]

    def test_the_next_image_is_always_the_same_and_never_the_own(self):
        image_of = torch.tensor([0, 0, 1, 2, 2, 2])
        assert TAP().aim_of_pairs(image_of).tolist() == [2, 2, 3, 0, 1, 0]
        assert TAP(target_offset=2).aim_of_pairs(image_of).tolist() == [3, 4, 0, 2, 2, 2]
        assert UAP().aim_of_pairs(image_of).tolist() == list(range(6))
        with pytest.raises(ConfigError, match="target_offset"):
            TAP(target_offset=3).aim_of_pairs(image_of)

    def test_one_surrogate_serves_both_and_is_trained_as_a_victim_is(self, monkeypatch):
        seen, train = [], surrogates.train_contrastive

        def record(model, pairs, recipe, **rest):
            seen.append((pairs, recipe))
            return train(model, pairs, replace(recipe, epochs=1, warmup_steps=0), **rest)

        monkeypatch.setattr(surrogates, "train_contrastive", record)
        shelf, data, noises = Memory(), described(10), []
        for kind in (UAP, TAP):
            method = kind.for_paradigm("contrastive", granularity="pair", iterations=1)
            noises.append(protect(method, data, fresh_context(shelf=shelf)).noise.noise)
        ((pairs, recipe),) = seen
        assert recipe == ContrastiveRecipe() and pairs.noise is None and pairs.triggers is None
        assert not torch.equal(*noises)
        shared = ("surrogate", "surrogate_epochs", "surrogate_batch_size", "learning_rate", "warmup_steps")
        for preset in ("contrastive smoke", "contrastive laptop"):
            assert all(TAP.presets[preset].get(n) == UAP.presets[preset].get(n) for n in shared)

    @pytest.mark.parametrize(("kind", "steps"), [(UAP, 8), (TAP, 250)])
    def test_steps_are_the_papers(self, kind, steps, monkeypatch):
        walks = []
        model = small_clip()
        monkeypatch.setattr(adversarial, "trained_on_clean_pairs", lambda *a: model)
        monkeypatch.setattr(PairNoise, "improve", lambda self, m: walks.append(self.walk))
        method = kind.for_paradigm("contrastive", granularity="pair")
        method.protect(view_of(method, described(6)), fresh_context())
        (walk,) = walks
        assert (walk.steps, walk.maximise) == (steps, kind is UAP)
        assert (walk.radius, walk.step_size) == (8 / 255, 1 / 255)

    def test_the_surrogate_stays_as_it_was_trained(self, monkeypatch):
        model = small_clip()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        monkeypatch.setattr(adversarial, "trained_on_clean_pairs", lambda *a: model)
        method = UAP.for_paradigm("contrastive", granularity="image")
        noise = method.protect(view_of(method, described(6)), fresh_context())
        assert len(noise.noise) == 6 and torch.equal(noise.rows, described(6).pairs)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
