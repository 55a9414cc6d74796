"""Multi-step error minimization: noise and triggers, the words before captions, and what is published of both."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import CPU
from paired import Memory, described, fresh_context, protect, small_clip, view_of

from ue_bench import Budget, ImageSet
from ue_bench.crafting.pgd import frozen
from ue_bench.errors import ConfigError, UnavailableError
from ue_bench.training.towers import Towers, contrastive_loss
from ue_bench_methods._mem.triggers import (
    OpenWords,
    TriggeredCaptions,
    TriggerStep,
    decoded,
    first_triggers,
    mean_losses,
    surviving,
    survivors,
)
from ue_bench_methods.em import EM
from ue_bench_methods.mem import MEM

QUICK = {
    "rounds": 2,
    "model_steps": 5,
    "trigger_rounds": 1,
    "noise_steps": 4,
    "step_size": 2.0,
    "batch_size": 16,
    "candidates": 4,
    "learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def towers() -> Towers:
    return small_clip()


@pytest.fixture(scope="module")
def mem():
    return protect(MEM(**QUICK), described())


def triggered(model: Towers, words: list[str], triggers: list[list[int]], seed: int | None = None):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    tokens = model.tokenize(words)
    return tokens, TriggeredCaptions(tokens, torch.tensor(triggers), model.end_token, CPU, True, generator)


class TestCaptions:
    def test_words_move_back_and_only_the_places_behind_the_start_are_the_triggers(self, towers):
        tokens, captions = triggered(towers, ["a dog", "a red horse runs"], [[7, 8], [9, 10]])
        found = captions.at(torch.tensor([0, 1]))
        start, end = towers.start_token, towers.end_token
        assert found[0].tolist() == [start, 7, 8, *tokens[0, 1:3].tolist(), end, 0, 0]
        assert found[1].tolist() == [start, 9, 10, *tokens[1, 1:5].tolist(), end]
        assert captions.at(torch.tensor([0])).shape == (1, 6)

    def test_a_caption_that_gets_too_long_keeps_its_end(self, towers):
        tokens, captions = triggered(towers, ["dog " * 90], [[7, 8, 9]])
        (found,) = captions.at(torch.tensor([0]))
        assert len(found) == towers.context_length and found[-1] == towers.end_token
        assert found[:5].tolist() == [towers.start_token, 7, 8, 9, int(tokens[0, 1])]

    def test_in_each_noise_step_triggers_stay_with_their_image_and_captions_do_not(self, towers, monkeypatch):
        words = [f"{word} and a dog" for word in ("red", "blue", "pale", "dark", "green", "golden")]
        tokens, captions = triggered(towers, words, [[100 + n, 200 + n] for n in range(6)], seed=0)
        seen = []
        monkeypatch.setattr(TriggeredCaptions, "read", lambda self, m, t: seen.append(t) or t)
        index = torch.tensor([4, 2, 0, 5])
        step = captions.each_step(towers, index)
        for _ in range(5):
            step()
        orders = set()
        for shown in seen:
            assert shown[:, 1].tolist() == [104, 102, 100, 105] and shown[:, 2].tolist() == [
                204,
                202,
                200,
                205,
            ]
            behind = shown[:, 3].tolist()
            assert sorted(behind) == sorted(tokens[index, 1].tolist())
            orders.add(tuple(behind))
        assert len(seen) == 5 and len(orders) > 1

    def test_without_shuffling_each_trigger_keeps_its_caption(self, towers):
        _, captions = triggered(towers, ["a dog", "a horse"], [[7], [8]])
        index = torch.tensor([1, 0])
        with frozen(towers):
            wanted = captions.read(towers, captions.at(index))
            step = captions.each_step(towers, index)
            assert torch.equal(step(), wanted) and torch.equal(step(), wanted)


class TestTriggerStep:
    @pytest.mark.parametrize("seed", range(3))
    def test_the_batch_loss_never_rises_and_only_the_batch_changes(self, seed):
        method, data = MEM(**QUICK), described(12)
        model, context = small_clip(seed), fresh_context(seed)
        view = view_of(method, data)
        tokens = model.tokenize(view.example_captions)
        start = first_triggers(model, 24, 3, "random", None, torch.Generator().manual_seed(seed))
        captions = TriggeredCaptions(tokens, start.clone(), model.end_token, CPU)
        noise = _noise(view, context, captions)
        step = TriggerStep(noise, captions, OpenWords(model, 5, None), [])
        index = torch.arange(3, 19)
        with frozen(model), torch.no_grad():
            seen = model.encode_image(noise.clean(index))
            losses = [contrastive_loss(seen, model.encode_text(captions.at(index)), model.scale)]
            step(model, index)
            losses.append(contrastive_loss(seen, model.encode_text(captions.at(index)), model.scale))
        assert losses[1] < losses[0] - 1e-3
        assert mean_losses(step.losses) == pytest.approx((float(losses[0]), float(losses[1])), abs=1e-4)
        others = torch.cat([torch.arange(3), torch.arange(19, 24)])
        assert torch.equal(captions.triggers[others], start[others])
        assert not torch.equal(captions.triggers[index], start[index])

    def test_it_leaves_noise_and_weights_alone(self):
        model, data = small_clip(), described(8)
        view = view_of(MEM(), data)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        triggers = torch.full((16, 2), 500)
        captions = TriggeredCaptions(model.tokenize(view.example_captions), triggers, model.end_token, CPU)
        noise = _noise(view, fresh_context(), captions)
        with frozen(model):
            TriggerStep(noise, captions, OpenWords(model, 3, None), [])(model, torch.arange(16))
        assert not noise.noise.steps.any()
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(weight.grad is None for weight in model.parameters())


def _noise(view, context, captions):
    from ue_bench.crafting.pairs import PairNoise
    from ue_bench.crafting.pgd import Walk

    walk = Walk(8 / 255, 1 / 255, 1)
    return PairNoise(view, context, captions, walk, rows=view.rows("pair"), batch_size=16)


class TestWords:
    def test_words_survive_that_are_one_token_by_themselves(self, towers):
        def token(text):
            return int(towers.tokenize([text])[0, 1])

        ids = torch.tensor([[token("dog"), token("red")], [0, token("dog")], [towers.end_token, 5]])
        assert surviving(towers, ids).tolist() == [True, False, False]  # 0 is "!" inside a word
        assert decoded(towers, ids[:1]) == ["dog red"]

    def test_the_words_that_survive_are_many_and_no_marks(self, towers):
        allowed = survivors(towers)
        assert 20_000 < int(allowed.sum()) < towers.vocabulary
        assert not allowed[towers.start_token] and not allowed[towers.end_token] and not allowed[0]
        assert allowed[int(towers.tokenize(["dog"])[0, 1])]

    def test_starts(self, towers):
        the = first_triggers(towers, 4, 3, "the", None, torch.Generator())
        assert decoded(towers, the) == ["the the the"] * 4
        chance = first_triggers(towers, 9000, 3, "random", None, torch.Generator().manual_seed(0))
        assert int(chance.max()) < towers.start_token and int(chance.max()) > 45_000
        official = first_triggers(towers, 9000, 3, "official", None, torch.Generator().manual_seed(0))
        assert 30_000 < int(official.max()) < 30_522
        few = torch.zeros(towers.vocabulary, dtype=torch.bool)
        few[[11, 13]] = True
        assert set(first_triggers(towers, 20, 3, "random", few, torch.Generator()).unique().tolist()) == {
            11,
            13,
        }


class TestMEM:
    def test_published_pairs_match_better_and_every_pair_has_noise_within_the_budget(self, mem):
        assert mem.loss(protected=True) < mem.loss(protected=False) - 0.1 and not mem.context.ledger.warnings
        noise = mem.noise.noise
        assert torch.equal(mem.noise.rows, torch.arange(40)) and noise.dtype == torch.int8
        assert bool(noise.flatten(1).any(dim=1).all()) and int(noise.abs().max()) == 8
        notes = mem.context.notes
        assert notes["rounds"] == 2 == len(notes["last_step_loss_by_round"])
        (before,), (after,) = notes["trigger_loss_before_by_round"], notes["trigger_loss_after_by_round"]
        assert after < before

    def test_triggers_are_given_as_ids_and_as_words(self, mem):
        tokens = mem.noise.trigger_tokens
        assert tokens.shape == (40, 3) and tokens.dtype == torch.int64
        assert list(mem.noise.triggers) == [mem.surrogate.decode(ids) for ids in tokens.tolist()]
        again = mem.surrogate.tokenize(mem.noise.triggers)
        survive = (again[:, 1:4] == tokens).all(dim=1) & (again[:, 4] == mem.surrogate.end_token)
        assert mem.context.notes["surviving_triggers_percent"] == pytest.approx(
            100 * float(survive.float().mean())
        )

    def test_noise_alone_is_the_same_noise_made_once(self):
        shelf, data, built = Memory(), described(10), []
        runs = []
        for publish in (True, False):
            context = fresh_context(shelf=shelf)
            runs.append(protect(MEM(**QUICK, publish_trigger=publish), data, context))
            built.append(context.clock.seconds)
        (with_words, words), (without, more) = ((run.noise, run.context.notes) for run in runs)
        assert torch.equal(with_words.noise, without.noise) and len(shelf.kept) == 1
        assert built[0] == built[1] and list(built[0]) == ["protect"], "it saw the data"
        assert without.triggers is None and without.trigger_tokens is None and with_words.triggers is not None
        assert words == more and words["rounds"] == 2

    @pytest.mark.parametrize("granularity", ["pair", "image"])
    def test_without_triggers_it_is_em_bit_for_bit(self, granularity):
        shared = {
            "batch_size": 16,
            "model_steps": 3,
            "noise_steps": 3,
            "learning_rate": 1e-3,
            "granularity": granularity,
        }
        data = described(11)
        em = protect(EM.for_paradigm("contrastive", max_rounds=2, **shared), data, fresh_context(3))
        for shuffle in (True, False):
            method = MEM(trigger_length=0, rounds=2, caption_shuffle=shuffle, **shared)
            none = protect(method, data, fresh_context(3))
            assert torch.equal(em.noise.noise, none.noise.noise) and torch.equal(
                em.noise.rows, none.noise.rows
            )
            assert none.noise.triggers is None and none.noise.trigger_tokens is None
            assert none.context.notes == em.context.notes
        assert not torch.equal(
            em.noise.noise, protect(MEM(rounds=2, **shared), data, fresh_context(3)).noise.noise
        )

    def test_the_seed_decides_and_global_chance_does_not(self):
        method, data = MEM(**QUICK | {"model_steps": 2}), described(9)
        torch.manual_seed(1)
        first = protect(method, data, fresh_context(1)).noise
        torch.manual_seed(2)
        second, other = (protect(method, data, fresh_context(seed)).noise for seed in (1, 2))
        assert torch.equal(first.noise, second.noise)
        assert torch.equal(first.trigger_tokens, second.trigger_tokens)
        assert not torch.equal(first.trigger_tokens, other.trigger_tokens)
        unshuffled = protect(replace(method, caption_shuffle=False), data, fresh_context(1)).noise
        assert not torch.equal(first.noise, unshuffled.noise)

    def test_triggers_change_in_the_first_rounds_only(self, monkeypatch):
        steps, call = [], TriggerStep.__call__
        monkeypatch.setattr(TriggerStep, "__call__", lambda self, m, i: steps.append(i) or call(self, m, i))
        run = protect(MEM(**QUICK | {"rounds": 3, "trigger_rounds": 2, "model_steps": 1}), described(9))
        assert len(steps) == 2 * 2 and len(run.context.notes["trigger_loss_after_by_round"]) == 2  # 18 pairs
        for rounds, changed in ((9, 2), (3, 1)):
            unset = {"rounds": rounds, "trigger_rounds": None, "model_steps": 1, "noise_steps": 4}
            run = protect(MEM(**QUICK | unset), described(9))
            assert len(run.context.notes["trigger_loss_after_by_round"]) == changed, "a quarter, as 5 of 20"
        fixed = protect(MEM(**QUICK | {"trigger_rounds": 0}), described(9))
        assert set(fixed.noise.triggers) == {"the the the"}
        assert fixed.context.notes["surviving_triggers_percent"] == 100

    def test_it_may_stop_at_a_loss_and_says_so_where_it_did_not(self):
        never, at_once = (
            protect(MEM(**QUICK | {"rounds": 3, "model_steps": 1, "stop_loss": goal}), described(9))
            for goal in (1e-9, 1e9)
        )
        assert never.context.notes["rounds"] == 3 and at_once.context.notes["rounds"] == 1
        assert not at_once.context.ledger.warnings
        assert any("cap of 3 rounds" in line for line in never.context.ledger.warnings)
        assert "stop_loss" not in MEM().recorded("contrastive"), "ids of before stay"
        assert MEM(stop_loss=0.01).recorded("contrastive")["stop_loss"] == 0.01

    def test_words_that_survive_as_text(self):
        run = protect(MEM(**QUICK, vocabulary="roundtrip"), described(9))
        model, tokens = run.surrogate, run.noise.trigger_tokens
        assert bool(surviving(model, tokens.reshape(-1, 1)).all())
        assert run.context.notes["surviving_triggers_percent"] > 90

    def test_noise_may_be_image_wise_and_triggers_belong_to_pairs_all_the_same(self):
        run = protect(MEM(**QUICK, granularity="image"), described(9, captions=3))
        assert len(run.noise.noise) == 9 and torch.equal(run.noise.rows, run.data.pairs)
        assert run.noise.trigger_tokens.shape == (27, 3)

    def test_captions_and_images_stay_as_they_are(self, mem):
        assert mem.data.fingerprint == mem.data.hash_content() == described().fingerprint


class TestParameters:
    def test_defaults_are_the_papers(self):
        method = MEM()
        assert (method.surrogate, method.granularity) == ("clip_rn50", "pair")
        assert (method.trigger_length, method.rounds, method.model_steps) == (3, 20, 200)
        assert (method.noise_steps, method.step_size, method.batch_size) == (8, 1.0, 128)
        assert (method.learning_rate, method.weight_decay) == (1e-4, 0.2)
        assert method.caption_shuffle and method.publish_trigger and method.vocabulary == "free"
        assert method.trigger_start == "the" and method.stop_loss == 0
        assert method.budget == Budget("linf", 8)

    def test_its_name_in_tables_tells_the_length(self):
        assert MEM().published_names == ("MEM-3",) and MEM(trigger_length=7).published_names == ("MEM-7",)
        assert MEM(vocabulary="bert", bert="x").published_names == ("MEM-3(BERT)",)
        assert MEM(publish_trigger=False).published_names == ("MEM-3 (noise only)",)
        assert MEM(trigger_length=0).published_names == ()

    @pytest.mark.parametrize(
        ("values", "word"),
        [
            ({"budget": Budget("l2", 1.0)}, "linf"),
            ({"granularity": "class"}, "class"),
            ({"rounds": 0}, "rounds"),
            ({"trigger_length": -1}, "trigger_length"),
            ({"batch_size": 1}, "batch_size"),
            ({"step_size": 0.5}, "step_size"),
            ({"step_size": 0.0}, "step_size"),
            ({"vocabulary": "round"}, "roundtrip"),
            ({"trigger_start": "teh"}, "the"),
            ({"vocabulary": "bert"}, "bert=FOLDER"),
        ],
    )
    def test_values_that_do_not_fit_are_refused(self, values, word):
        with pytest.raises((ConfigError, UnavailableError), match=word):
            MEM(**values)

    def test_a_trigger_that_leaves_no_room_is_refused(self):
        with pytest.raises(ConfigError, match="no room"):
            protect(MEM(**QUICK, trigger_length=76), described(6))

    def test_smoke_keeps_the_structure(self):
        smoke, laptop = (MEM(**MEM.presets[name]) for name in ("smoke", "laptop"))
        assert smoke.rounds > smoke.trigger_rounds > 0 and laptop.rounds == 4 * laptop.trigger_rounds


def test_the_data_of_these_tests_has_captions_of_different_lengths():
    data = described()
    assert isinstance(data, ImageSet) and len({len(text.split()) for text in data.captions[3]}) == 2
