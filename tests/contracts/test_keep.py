"""What several methods share is made once, and its cost is told in each record and counted once."""

from __future__ import annotations

import pytest
import torch

from ue_bench import Access, ProtectorView, Recipe
from ue_bench.crafting.surrogates import trained_on_clean
from ue_bench.progress import Progress
from ue_bench.trials.making import StoreShelf
from ue_bench.trials.store import Store


@pytest.fixture
def shelved(make_context, tmp_path):
    """(seed, data key) -> a context that keeps things in the test's store."""

    def make(seed: int = 0, data_key: str = "data"):
        context = make_context(seed)
        context.ledger.shelf, context.ledger.data_key = StoreShelf(Store(tmp_path), Progress()), data_key
        return context

    return make


def test_equal_work_is_done_once(shelved):
    made = []

    def make():
        made.append(1)
        return {"weight": torch.arange(3.0)}

    first, second = shelved(), shelved()
    for context in (first, second):
        assert torch.equal(context.keep({"what": 1}, make)["weight"], torch.arange(3.0))
    assert len(made) == 1
    assert first.ledger.prepare_keys == second.ledger.prepare_keys
    assert second.clock.seconds == first.clock.seconds, "who finds it ready tells its cost all the same"
    for context, what in ((shelved(), 2), (shelved(seed=1), 1), (shelved(data_key="other"), 1)):
        context.keep({"what": what}, make)
    assert len(made) == 4, "other work, another seed and other data are made anew"


def test_its_time_is_no_part_of_protect(shelved, monkeypatch):
    context, times = shelved(), iter([(0, 0), (2, 2), (5, 5), (9, 9)])
    monkeypatch.setattr(context.clock, "_now", lambda: next(times))
    with context.clock.phase("protect"):
        context.keep({"what": 1}, lambda: {"x": torch.ones(1)})
    assert context.clock.seconds == {"prepare": 3, "protect": 6}


def test_a_search_that_sees_the_data_is_part_of_protect_and_counted_once(shelved, monkeypatch):
    for times, took in ([(0, 0), (2, 2), (5, 5), (9, 9)], 9), ([(0, 0), (4, 4)], 4 + 3):
        context, now = shelved(), iter(times)
        monkeypatch.setattr(context.clock, "_now", lambda now=now: next(now))
        with context.clock.phase("protect"):
            context.keep({"what": 1}, lambda: {"x": torch.ones(1)}, phase="protect")
        assert context.clock.seconds == {"protect": took}, "who finds it ready tells its cost all the same"
        assert len(context.ledger.protect_keys) == 1 and not context.ledger.prepare_keys


def test_damaged_work_is_named_and_made_again(shelved, tmp_path):
    context = shelved()
    context.keep({"what": 1}, lambda: {"x": torch.ones(9)})
    (path,) = (tmp_path / "prepared").iterdir()
    path.write_bytes(path.read_bytes()[:-4])
    assert torch.equal(shelved().keep({"what": 1}, lambda: {"x": torch.zeros(9)})["x"], torch.zeros(9))


def test_a_clean_surrogate_is_trained_once_and_learns(shelved, make_images):
    data = make_images(64, 2)
    data.images[data.labels == 1] //= 2  # something to learn
    view = ProtectorView(data, Access.IMAGES | Access.LABELS)
    recipe = Recipe(epochs=4, batch_size=16, learning_rate=0.05, crop_padding=0)
    first, second = shelved(), shelved()
    one, two = (trained_on_clean(view, context, "resnet_tiny", recipe) for context in (first, second))
    assert all(torch.equal(one.state_dict()[name], two.state_dict()[name]) for name in one.state_dict())
    assert first.notes["surrogate_train_accuracy_percent"] > 80 and not one.training
    assert second.notes == first.notes, "a record says the same, whoever trained it"
    assert second.clock.seconds == first.clock.seconds, "it was not trained again"
