"""The measurements of a machine as a page: the machine in a line, a table, what the columns mean."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ue_bench.bench.measuring import Measured, Request
from ue_bench.bench.ordinary import WORKERS
from ue_bench.canonical import dumps
from ue_bench.report.display import Text
from ue_bench.report.markdown import pipe_table
from ue_bench.report.sheets import Column, Sheet

SHORT = {"float32": "fp32", "bfloat16": "bf16"}


def as_markdown(
    measured: Sequence[Measured], request: Request, machine: Mapping[str, Any], command: str
) -> str:
    """A heading, the machine, the table and its notes."""
    columns = {
        "victim": [one.victim for one in measured],
        "pixels": [str(request.image_size)] * len(measured),
        "batch": [str(request.batch_size)] * len(measured),
        "dtype": [SHORT.get(one.dtype, one.dtype) for one in measured],
        "threads": [str(machine["threads"])] * len(measured),
        "train images/s": [_rate(one.training) for one in measured],
        "ordinary loop": [_rate(one.ordinary) for one in measured],
        "ratio": [_spread(one.ratios) for one in measured],
        "evaluate images/s": [_rate(one.evaluation) for one in measured],
        "MFLOP an image": [_flop(one.training_flop) for one in measured],
        "% of peak": [_share(one.peak_percent(one.training, one.training_flop)) for one in measured],
        "evaluate %": [_share(one.peak_percent(one.evaluation, one.evaluation_flop)) for one in measured],
    }
    sheet = [Column(heading, tuple(Text(cell) for cell in cells)) for heading, cells in columns.items()]
    names = {"victim"}
    table = pipe_table(
        Sheet(
            "",
            tuple(column for column in sheet if column.heading in names),
            tuple(column for column in sheet if column.heading not in names),
        )
    )
    peaks = {SHORT.get(one.dtype, one.dtype): one.peak for one in measured}
    notes = [
        "train: images a second forward, backward and step by ue-bench's own loop; the median of the turns",
        f"ordinary loop: the same network behind a DataLoader with {WORKERS} worker processes, torchvision's crop and "
        "flip image by image, fp32, contiguous, in turns with the other in the same run",
        "ratio: train / ordinary loop in the same turn; the median (lowest to highest, number of turns)",
        "MFLOP an image: matrix products and convolutions of training, forward and backward, two for a multiply-add",
        "% of peak: of what matrix products reach here: "
        + ", ".join(f"{name} {peak / 1e9:.0f} GFLOP a second" for name, peak in peaks.items()),
    ]
    if machine["processes"] > 1:
        notes.append(
            f"all rates are those of {machine['processes']} processes at once, and so is the peak; each ordinary loop "
            f"has its own {WORKERS} processes for images"
        )
    return "\n\n".join(
        [
            "### How fast victims train here",
            tell_machine(machine, measured),
            table,
            "\n".join(f"- {note}" for note in notes),
            f"Made by `{command}`",
        ]
    )


def as_json(measured: Sequence[Measured], request: Request, machine: Mapping[str, Any], command: str) -> str:
    """All turns of all victims, and the machine."""
    facts = {
        "schema": 1,
        "command": command,
        "machine": machine,
        "request": request,
        "victims": list(measured),
    }
    return dumps(facts, indent=2)


FORMATS: dict[str, Callable[..., str]] = {"markdown": as_markdown, "json": as_json}


def tell_machine(machine: Mapping[str, Any], measured: Sequence[Measured]) -> str:
    """The machine in a line: ``AMD EPYC, 2 cores, one thread, torch 2.6.0, bf16 no, load 0.1 when it began``."""
    threads = machine["threads"]
    bf16 = "yes" if any(one.dtype == "bfloat16" for one in measured) else "no"
    computing = "one thread" if threads == 1 else f"{threads} threads"
    parts = [
        machine["name"],
        f"{machine['cores']} cores",
        computing if machine["processes"] == 1 else f"{machine['processes']} processes with {computing} each",
        f"torch {machine['torch']}",
        f"bf16 {bf16}",
    ]
    if machine.get("load") is not None:
        parts.append(f"load {machine['load']:.1f} when it began")
    return ", ".join(parts)


def _rate(rates: Sequence[float]) -> str:
    return f"{statistics.median(rates):,.0f}"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}, {len(values)})"


def _flop(count: float) -> str:
    return f"{count / 1e6:,.0f}" if count else "–"


def _share(percent: float) -> str:
    return f"{percent:.0f}" if percent else "–"
