"""The table of pairs.md: when noise on pairs moves a CLIP that was not its surrogate.

A row is one noise on one victim, beside clean data and random noise of the same size under the same recipe.
``python results/pages.py`` puts it between the page's marks.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ue_bench_results.who_says_what import table

CONTROLS = ("clean", "random")
# What a row is told apart by: where the record has it, the value of the plain case, and the words for another one.
FACTS: tuple[tuple[str, Any, Callable[[Any], str]], ...] = (
    ("method.parameters.granularity", "pair", lambda kind: f"one noise {'an' if kind == 'image' else 'a'} {kind}"),
    ("method.parameters.redraw", False, lambda _: "surrogate redrawn each round"),
    ("method.parameters.budget.radius", 8, lambda radius: f"radius {radius:g}/255"),
    ("dataset.parameters.train_images", 1500, lambda count: f"{count:,} images"),
    ("image_size", 48, lambda size: f"{size} pixels"),
    ("recipe.epochs", 5, lambda count: f"{count} epochs"),
    ("recipe.batch_size", 64, lambda size: f"batches of {size}"),
)  # fmt: skip
HEADINGS = (
    "noise", "victim starts", "Hit@10 clean", "random", "this", "loss clean", "random", "this", "n",
)  # fmt: skip
STARTS = {"fresh": "fresh", "surrogate": "as the surrogate"}


def pairs_table(records: Iterable[Mapping[str, Any]]) -> str:
    """The Markdown table of every protected row whose two controls are among the records, mean over seeds.

    Hit@10 is the mean of both directions in percent; the loss is CLIP's on the published pairs in the last epoch.
    """
    done = [record for record in records if record.get("metrics")]
    groups: dict[tuple[str, str], list[Sequence[Mapping[str, Any]]]] = {}
    for record in sorted(done, key=_order):
        if record["method"] in CONTROLS:
            continue
        beside = [_control(record, done, name) for name in CONTROLS]
        if None not in beside:
            groups.setdefault((_name(record), _start(record)), []).append([*beside, record])
    rows = [
        [name, STARTS[start], *_cells(arms, hit, "{:.1f}"), *_cells(arms, loss, "{:.2f}"), str(len(arms))]
        for (name, start), arms in groups.items()
    ]
    return table(HEADINGS, rows)


def hit(record: Mapping[str, Any]) -> float:
    """Hit@10 in percent, the mean of image to text and text to image, after the last epoch."""
    return (record["metrics"]["i2t_hit@10"] + record["metrics"]["t2i_hit@10"]) / 2


def loss(record: Mapping[str, Any]) -> float:
    """CLIP's loss on the published pairs, the mean over the last epoch."""
    return record["curves"]["train_loss"][-1]


def _cells(arms: Sequence[Sequence[Mapping[str, Any]]], value: Callable, form: str) -> list[str]:
    """One cell each for clean, random and the method: the mean over seeds."""
    return [form.format(statistics.mean(value(records[place]) for records in arms)) for place in range(3)]


def _control(
    record: Mapping[str, Any], done: Iterable[Mapping[str, Any]], name: str
) -> Mapping[str, Any] | None:
    """The control of a record's own recipe, victim, data and seed; random noise of its own radius."""
    same = ("dataset", "image_size", "recipe", "victim", "seed", "test_fingerprint")
    radius = "method.parameters.budget.radius"
    for other in done:
        fits = other["method"] == name and all(other["config"][k] == record["config"][k] for k in same)
        if fits and (name == "clean" or _at(other, radius) == _at(record, radius)):
            return other
    return None


def _at(record: Mapping[str, Any], place: str, default: Any = None) -> Any:
    found: Any = record["config"]
    for key in place.split("."):
        found = found.get(key, default) if isinstance(found, Mapping) else default
    return found


def _start(record: Mapping[str, Any]) -> str:
    return _at(record, "victim.parameters.init", "fresh")


def _name(record: Mapping[str, Any]) -> str:
    """The method, and what is not plain about its row."""
    method = str(record["method"])
    if method == "mem":
        length = _at(record, "method.parameters.trigger_length")
        method = f"mem-{length}" + (
            "" if _at(record, "method.parameters.publish_trigger", True) else " noise only"
        )
    facts = [words(value) for place, plain, words in FACTS if (value := _at(record, place, plain)) != plain]
    return ", ".join([method, *facts])


def _order(record: Mapping[str, Any]) -> tuple:
    """Plain rows first; then by what differs, in the order of FACTS; fresh victims before the others."""
    differs = [place for place, (key, plain, _) in enumerate(FACTS) if _at(record, key, plain) != plain]
    values = [_at(record, FACTS[place][0]) for place in differs]
    sizes = [value if isinstance(value, (int, float)) else 0 for value in values]
    return (len(differs), differs, sizes, _name(record), _start(record), record["seed"])
