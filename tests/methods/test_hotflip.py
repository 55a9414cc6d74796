"""HotFlip on a vocabulary of fifty words: candidates, gradients by token, and the search among candidates."""

from __future__ import annotations

import pytest
import torch
from conftest import CPU
from paired import described, fresh_context, small_clip, view_of
from torch import nn
from torch.nn import functional

from ue_bench.crafting.pairs import PairNoise
from ue_bench.crafting.pgd import Walk, frozen
from ue_bench.training.towers import contrastive_loss
from ue_bench_methods._mem.hotflip import candidates, search, token_gradients
from ue_bench_methods._mem.triggers import TriggeredCaptions, TriggerStep, first_triggers
from ue_bench_methods.mem import MEM

WORDS, WIDTH = 50, 6


class Reader(nn.Module):
    """The part of Towers that HotFlip needs: words weighted by their place, bent, scaled to length 1."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.token_embedding = nn.Embedding(WORDS, WIDTH)
        self.token_embedding.weight.data = torch.randn(WORDS, WIDTH, generator=generator)
        self.bend = nn.Linear(WIDTH, WIDTH)
        self.bend.weight.data = torch.randn(WIDTH, WIDTH, generator=generator)

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.mix(self.token_embedding(tokens))

    def mix(self, embedded: torch.Tensor) -> torch.Tensor:
        states = (embedded * torch.linspace(1, 2, embedded.shape[1])[None, :, None]).sum(dim=1)
        return functional.normalize(torch.tanh(self.bend(states / 4)), dim=1)


@pytest.fixture
def reader() -> Reader:
    return Reader().requires_grad_(False)


TOKENS = torch.randint(0, WORDS, (4, 5), generator=torch.Generator().manual_seed(1))
AIM = functional.normalize(torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(2)), dim=1)


def distance(features: torch.Tensor) -> torch.Tensor:
    return -(features * AIM.to(features)).sum()


class TestGradients:
    def test_they_are_those_of_the_embedding_at_each_place(self, reader):
        found = token_gradients(reader, TOKENS, distance)
        assert found.shape == (4, 5, WIDTH)
        embedded = reader.token_embedding(TOKENS).requires_grad_()
        (wanted,) = torch.autograd.grad(distance(reader.mix(embedded)), embedded)
        assert torch.allclose(found, wanted, atol=1e-6)

    def test_one_word_at_two_places_has_two_gradients(self, reader):
        found = token_gradients(reader, torch.full((4, 5), 7), distance)
        assert torch.allclose(found[:, 4], 2 * found[:, 0], atol=1e-6) and bool(found.any())

    def test_the_model_stays_as_it_is(self, reader):
        reader.requires_grad_(True)
        token_gradients(reader, TOKENS, distance)
        assert not reader.token_embedding._forward_hooks
        assert all(weight.grad is None for weight in reader.parameters())

        def broken(features):
            raise ArithmeticError

        with pytest.raises(ArithmeticError):
            token_gradients(reader, TOKENS, broken)
        assert not reader.token_embedding._forward_hooks

    def test_the_first_order_prediction_has_the_sign_of_the_true_change_for_small_moves(self, reader):
        """Each place is moved a hundredth of the way to each word of the vocabulary."""
        reader.double()
        gradients, table = token_gradients(reader, TOKENS, distance).double(), reader.token_embedding.weight
        embedded = reader.token_embedding(TOKENS)
        before = distance(reader.mix(embedded))
        agreed = []
        for row in range(4):
            for word in range(WORDS):
                moved = embedded.clone()
                moved[row, 2] += 0.01 * (table[word] - embedded[row, 2])
                predicted = float((moved - embedded).flatten() @ gradients.flatten())
                if abs(predicted) > 1e-4:
                    agreed.append((predicted > 0) == (float(distance(reader.mix(moved)) - before) > 0))
        assert len(agreed) > 100 and all(agreed)


class TestCandidates:
    gradients = torch.randn(3, 2, WIDTH, generator=torch.Generator().manual_seed(3))
    table = torch.randn(WORDS, WIDTH, generator=torch.Generator().manual_seed(4))

    @pytest.mark.parametrize("count", [1, 7, WORDS])
    def test_they_are_the_brute_force_order(self, count):
        found = candidates(self.gradients, self.table, count)
        assert found.shape == (3, 2, count)
        for row in range(3):
            for place in range(2):
                products = [float(self.table[word] @ self.gradients[row, place]) for word in range(WORDS)]
                order = sorted(range(WORDS), key=products.__getitem__)
                assert found[row, place].tolist() == order[:count]

    def test_forbidden_words_are_left_out_and_the_order_of_the_others_stays(self):
        allowed = torch.arange(WORDS) % 3 == 0
        found = candidates(self.gradients, self.table, 9, allowed)
        everything = candidates(self.gradients, self.table, WORDS)
        for row in range(3):
            wanted = [word for word in everything[row, 1].tolist() if word % 3 == 0]
            assert found[row, 1].tolist() == wanted[:9]


class TestSearch:
    def test_all_rows_change_at_once_and_positions_follow_each_other(self):
        """Loss: the sum of all tokens, but 100 more where a row's two tokens are equal."""
        asked = []

        def loss(triggers):
            return (triggers.sum() + 100 * (triggers[:, 0] == triggers[:, 1]).sum()).float()

        def options(position, triggers):
            asked.append((position, triggers.clone()))
            return torch.tensor([[[9, 1], [8, 3]], [[1, 2], [3, 3]]])[position]

        start = torch.tensor([[5, 6], [7, 8]])
        found, before, after = search(start, loss, options)
        # Position 0: keeping 26, first options 9 and 8: 31, second options 1 and 3: 18.
        # Position 1: keeping 18, first options 1 and 3 would equal position 0, second 2 and 3 equal in one row.
        assert found.tolist() == [[1, 6], [3, 8]] and (float(before), float(after)) == (26, 18)
        assert asked[0][0] == 0 and torch.equal(asked[0][1], start)
        assert asked[1][0] == 1 and asked[1][1].tolist() == [[1, 6], [3, 8]]
        assert start.tolist() == [[5, 6], [7, 8]]

    def test_what_is_there_stays_where_nothing_is_lower(self):
        start = torch.zeros(2, 3, dtype=torch.int64)
        for value in (lambda t: t.float().sum(), lambda t: t.float().sum() * float("nan")):
            found, _, _ = search(start, value, lambda p, t: torch.tensor([[1, 2], [1, 2]]))
            assert torch.equal(found, start)
        found, before, after = search(start, lambda t: torch.tensor(1.0), lambda p, t: t[:, :1] + 5)
        assert torch.equal(found, start) and before == after == 1

    def test_the_loss_never_rises_and_equals_the_best_of_a_full_search_by_hand(self, reader):
        start = TOKENS[:, :2].clone()

        def loss(triggers):
            return distance(reader.encode_text(torch.cat([triggers, TOKENS[:, 2:]], dim=1)))

        gradients = token_gradients(reader, TOKENS, distance)[:, :2]
        table = candidates(gradients, reader.token_embedding.weight, 6)
        found, before, after = search(start, loss, lambda place, _: table[:, place])
        best, low = start, float(loss(start))
        for place in range(2):
            trials = [best]
            for rank in range(6):
                trials.append(best.clone())
                trials[-1][:, place] = table[:, place, rank]
            best = min(trials, key=lambda trial: float(loss(trial)))
            assert float(loss(best)) <= low
            low = float(loss(best))
        assert torch.equal(found, best) and float(before) == float(loss(start))
        assert float(after) == low < float(before)


def test_words_are_judged_by_the_gradient_at_the_places_of_the_trigger():
    """What it promises is what the loss does when one word's embedding, at its place alone, moves a little."""
    model, data = small_clip().double(), described(6)
    view = view_of(MEM(), data)
    start = first_triggers(model, 12, 2, "random", None, torch.Generator().manual_seed(1))
    captions = TriggeredCaptions(
        model.tokenize(view.example_captions), start, model.end_token, CPU, bf16=False
    )
    noise = PairNoise(
        view, fresh_context(), captions, Walk(8 / 255, 1 / 255, 1), rows=view.rows("pair"), batch_size=12
    )
    index, given = torch.arange(12), []
    shown = noise.clean(index).double()
    noise.protected = lambda index: shown
    draw = torch.Generator().manual_seed(2)
    toward = torch.randn(model.token_embedding.embedding_dim, generator=draw, dtype=torch.float64)

    class Listening:
        def options(self, index, gradients):
            given.append(gradients.double())
            return lambda position, triggers: triggers[:, position, None]

    def loss(place: int, distance: float) -> float:
        def move(module, inputs, embedded):
            embedded = embedded.clone()
            embedded[3, place] += distance * toward
            return embedded

        handle = model.token_embedding.register_forward_hook(move)
        read = model.encode_text(captions.at(index))
        handle.remove()
        return float(contrastive_loss(model.encode_image(shown), read, model.scale))

    with frozen(model), torch.no_grad():
        TriggerStep(noise, captions, Listening(), [])(model, index)
        (gradients,) = given
        assert gradients.shape[:2] == (12, 2)
        for number, place in enumerate((1, 2)):  # place 0 is the start token
            slope = (loss(place, 1e-3) - loss(place, -1e-3)) / 2e-3
            assert float(gradients[3, number] @ toward) == pytest.approx(slope, rel=0.05), place
