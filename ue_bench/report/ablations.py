"""What methods add to their ablations, such as random noise per class: differences beside the table."""

from __future__ import annotations

from collections.abc import Iterator

from ue_bench.dimensions import ABLATION, method_in_words, value_in_words
from ue_bench.report.cells import Cell, size_of
from ue_bench.report.statistics import paired
from ue_bench.report.tables import Report, Row
from ue_bench.report.validity import place


def beyond(report: Report) -> list[str]:
    """One note for each ablation: by how much each method's number differs from its number in the same place.

    Methods are compared with random noise of their granularity and budget, and with ablations of their own. Where a
    table has several columns, there is a difference for each, in their order.
    """
    notes = []
    for row in report.rows:
        if row.trial.get("control") == ABLATION:
            found = list(_differences(report, row))
            if found:
                name, budget = _name(report, row), row.trial.get("budget")
                notes.append(f"beyond {name}, {budget}: {', '.join(found)}")
    return notes


def _differences(report: Report, ablation: Row) -> Iterator[str]:
    for row in report.rows:
        pairs = [(column, cell, ablation.cells.get(column)) for column, cell in row.cells.items()]
        texts = [_difference(cell, other) for _, cell, other in pairs if _answers(report, cell, other)]
        if any(texts):
            yield f"{_name(report, row)} {' / '.join(text or '?' for text in texts)}"


def _answers(report: Report, cell: Cell, ablation: Cell | None) -> bool:
    """True if the ablation shows what the method of the cell adds."""
    if ablation is None or cell.control or place(cell.trial) != place(ablation.trial):
        return False
    alike = all(cell.trial.get(key) == ablation.trial.get(key) for key in ("granularity", "poison_ratio"))
    random = {f.trial.get("method") for f in report.findings if f.trial.get("control") == "random"}
    name = ablation.trial.get("method")
    own = name == cell.trial.get("method") or name in random
    return alike and own and size_of(cell.trial) == size_of(ablation.trial)


def _difference(cell: Cell, ablation: Cell | None) -> str:
    found = paired(cell.values(), ablation.values()) if ablation else None
    if found is None:
        return ""
    ends = f" [{found.interval[0]:+.1f}, {found.interval[1]:+.1f}]" if found.interval else ""
    return f"{found.mean:+.1f}{ends}"


def _name(report: Report, row: Row) -> str:
    parts = [method_in_words(row.trial), report.layout.variants.get(row.trial["id"], "")]
    shown = [d for d in report.layout.rows if d not in ("method", "granularity", "budget", "variant")]
    parts += [value_in_words(d, report.layout.value(row.trial, d)) for d in shown]
    return ", ".join(part for part in parts if part)
