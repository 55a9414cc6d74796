"""Which trials share a cell, a row and a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ue_bench.dimensions import ABLATION, DIMENSIONS, OF_METHOD, SET_UP, full_name

Trial = Mapping[str, Any]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Layout:
    """The dimensions of a table.

    Attributes:
        rows: the dimensions that name a row.
        columns: the dimensions that name a column.
        constant: the other dimensions, which do not vary, with their value.
        variants: trial id -> its parameters in words, where one method takes part with several settings.
        labelled: True if datasets share a name, so that their labels identify them.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    constant: dict[str, Any] = field(default_factory=dict)
    variants: dict[str, str] = field(default_factory=dict)
    labelled: bool = False

    def value(self, trial: Trial, dimension: str) -> Any:
        """A trial's value in a dimension."""
        if dimension == "variant":
            return self.variants.get(trial["id"], "")
        if dimension == "dataset" and self.labelled:
            return trial.get("dataset_label") or trial.get("dataset", "")
        if dimension in SET_UP:
            return full_name(trial, dimension)
        return trial.get(dimension, "")

    def row_key(self, trial: Trial) -> Key:
        """The trial's value in each dimension of the rows."""
        return tuple(self.value(trial, dimension) for dimension in self.rows)

    def column_key(self, trial: Trial) -> Key:
        """The trial's value in each dimension of the columns."""
        return tuple(self.value(trial, dimension) for dimension in self.columns)

    def contest(self, trial: Trial) -> Key:
        """Equal for trials whose methods may be compared: same data, victim, defense, ratio."""
        shown = (*self.columns, *self.rows)
        return tuple(self.value(trial, d) for d in shown if d != "method" and d not in OF_METHOD)


def make_layout(plan: Mapping[str, Any]) -> Layout:
    """The layout that the plan's table asks for; every other dimension that varies is added to the rows."""
    trials: Sequence[Trial] = plan.get("trials") or []
    table = plan.get("table") or {}
    columns = [str(word) for word in table.get("columns") or []]
    rows = [str(word) for word in table.get("rows") or ["method"] if word not in columns]
    if "method" not in rows + columns:
        rows.append("method")
    draft = Layout((), (), variants=_variants(trials), labelled=_labelled(trials))
    varying = {d for d in (*DIMENSIONS, *rows, *columns) if len(_values(draft, trials, d)) > 1}
    with_method = columns if "method" in columns else rows
    for dimension in OF_METHOD:
        shown = dimension in varying or (with_method is rows and dimension != "variant")
        if shown and dimension not in rows + columns:
            after = [with_method.index(d) for d in ("method", *OF_METHOD) if d in with_method]
            with_method.insert(max(after, default=-1) + 1, dimension)
    rows += [d for d in DIMENSIONS if d in varying and d not in rows + columns]
    others = [d for d in DIMENSIONS if d not in ("method", "variant", *varying, *rows)]
    constant = {d: next(iter(_values(draft, trials, d)), "") for d in others}
    return Layout(tuple(rows), tuple(columns), constant, draft.variants, draft.labelled)


def _values(layout: Layout, trials: Sequence[Trial], dimension: str) -> dict[Any, None]:
    """The distinct values, in order. Clean trials are left out where they have none: granularity, budget, ratio."""
    if dimension in ("granularity", "budget", "poison_ratio"):
        trials = [trial for trial in trials if trial.get("control") != "clean"] or trials
    return dict.fromkeys(layout.value(trial, dimension) for trial in trials)


def _labelled(trials: Sequence[Trial]) -> bool:
    """True if several datasets share a name, so that only their labels differ."""
    pairs = {(trial.get("dataset"), trial.get("dataset_label")) for trial in trials}
    return len(pairs) > len({name for name, _ in pairs})


def _variants(trials: Sequence[Trial]) -> dict[str, str]:
    """Trial id -> the parameters in which it differs, for methods that take part with several settings."""
    groups: dict[Key, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(_method_key(trial), []).append(trial)
    found: dict[str, str] = {}
    for group in groups.values():
        methods = [trial for trial in group if trial.get("control") != ABLATION]
        of_all, of_methods = _varying(group), _varying(methods)
        texts = {
            trial["id"]: trial.get("variant")
            or _setting(trial, of_all if trial.get("control") == ABLATION else of_methods)
            for trial in group
        }
        if len(set(texts.values())) > 1:
            several = len({texts[trial["id"]] for trial in methods}) > 1
            found |= {key: text or ("defaults" if several else "") for key, text in texts.items()}
    return found


def _method_key(trial: Trial) -> Key:
    return trial.get("method"), trial.get("granularity"), trial.get("budget")


def _varying(group: Sequence[Trial]) -> dict[str, Any]:
    """The parameters in which the group differs, with their defaults, which hold where a trial does not name one."""
    changed = [_changed(trial) for trial in group]
    defaults = {name: pair[1] for one in changed for name, pair in one.items()}
    values = [{name: one.get(name, [default])[0] for name, default in defaults.items()} for one in changed]
    return {
        name: default
        for name, default in defaults.items()
        if any(own[name] != values[0][name] for own in values)
    }


def _setting(trial: Trial, varying: Mapping[str, Any]) -> str:
    """A trial's values of these parameters; one that it does not name has its default."""
    own = _changed(trial)
    return ", ".join(f"{name}={own.get(name, [default])[0]}" for name, default in varying.items())


def _changed(trial: Trial) -> Mapping[str, Any]:
    """{parameter: [value, default]} of the method's parameters that differ from their defaults, chosen or reduced."""
    return {**(trial.get("chosen") or {}), **(trial.get("reduced") or {})}
