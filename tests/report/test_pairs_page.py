"""The table of pairs.md: each noise beside the clean and random arms of its own recipe, by hand and as committed."""

from __future__ import annotations

from ue_bench_results.pages import TOP, refresh
from ue_bench_results.pairs import pairs_table

PLAIN = {
    "dataset": {"parameters": {"train_images": 1500}},
    "image_size": 48,
    "seed": 0,
    "test_fingerprint": "t",
}


def record(method, hit, loss, radius=8, epochs=5, init="fresh", seed=0, **parameters):
    parameters = (
        {"granularity": "pair", "budget": {"radius": radius}, **parameters} if method != "clean" else {}
    )
    recipe = {"epochs": epochs, "batch_size": 64}
    victim = {"parameters": {"init": init} if init != "fresh" else {}}
    config = PLAIN | {"recipe": recipe, "victim": victim, "method": {"parameters": parameters}, "seed": seed}
    metrics = {"i2t_hit@10": hit - 1, "t2i_hit@10": hit + 1}
    return {
        "method": method,
        "seed": seed,
        "config": config,
        "metrics": metrics,
        "curves": {"train_loss": [9.0, loss]},
    }


def cells(records):
    lines = pairs_table(records).splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_row_stands_beside_the_controls_of_its_own_recipe_and_budget():
    world = [
        record("clean", 5.0, 0.9),
        record("random", 4.8, 1.0),
        record("random", 4.0, 2.0, radius=32),
        record("em", 4.4, 0.8),
        record("em", 1.0, 0.1, radius=32),
        record("clean", 7.0, 0.5, epochs=20),
        record("random", 6.0, 0.6, epochs=20),
        record("em", 3.0, 0.4, epochs=20, redraw=True),
    ]
    assert cells(world) == [
        ["em", "fresh", "5.0", "4.8", "4.4", "0.90", "1.00", "0.80", "1"],
        ["em, radius 32/255", "fresh", "5.0", "4.0", "1.0", "0.90", "2.00", "0.10", "1"],
        ["em, surrogate redrawn each round, 20 epochs", "fresh", "7.0", "6.0", "3.0", "0.50", "0.60", "0.40", "1"],
    ]  # fmt: skip


def test_seeds_are_paired_and_averaged_and_starts_are_kept_apart():
    world = [record("clean", 5.0 + seed, 0.9, seed=seed) for seed in (0, 1)]
    world += [record("random", 4.0 + seed, 1.0, seed=seed) for seed in (0, 1)]
    world += [record("em", 2.0 + 3 * seed, 0.4 + 0.2 * seed, seed=seed) for seed in (0, 1)]
    world += [record(name, 6.0, 0.3, init="surrogate") for name in ("clean", "random", "em")]
    assert cells(world) == [
        ["em", "fresh", "5.5", "4.5", "3.5", "0.90", "1.00", "0.50", "2"],
        ["em", "as the surrogate", "6.0", "6.0", "6.0", "0.30", "0.30", "0.30", "1"],
    ]


def test_a_row_without_its_controls_and_a_failed_one_are_left_out():
    failed = record("em", 2.0, 0.5) | {"metrics": None}
    assert (
        cells(
            [record("clean", 5.0, 0.9), record("random", 4.0, 1.0, radius=16), record("em", 2.0, 0.5), failed]
        )
        == []
    )


def test_mem_is_named_by_its_trigger():
    controls = [record("clean", 5.0, 0.9), record("random", 4.0, 1.0)]
    shown = [record("mem", 2.0, 0.5, trigger_length=3, publish_trigger=publish) for publish in (True, False)]
    assert [row[0] for row in cells(controls + shown)] == ["mem-3", "mem-3 noise only"]


def test_the_committed_page_is_what_the_records_give_today():
    page = (TOP / "results" / "pairs.md").read_text(encoding="utf-8")
    assert refresh(page) == page, "run python results/pages.py"
    assert "| em, radius 32/255 " in page
