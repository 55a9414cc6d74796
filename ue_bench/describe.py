"""What `show` prints about a piece of content, read from its source."""

from __future__ import annotations

import re

from ue_bench.errors import UnavailableError
from ue_bench.reading import Reading
from ue_bench.registry import Entry

DECLARED = {"access": "may see", "paradigms": "for", "granularities": "noise per", "cost": "costs"}


def describe(entry: Entry) -> str:
    """Several lines: what it is, what it declares, its parameters."""
    if entry.kind == "suites":
        return f"suite {entry.name} ({entry.path})\n\n{entry.path.read_text(encoding='utf-8').rstrip()}"
    reading = entry.reading
    if reading is None:
        raise UnavailableError(f"'{entry.name}' is unavailable: {entry.problem}")
    lines = [f"{entry.kind[:-1]} {entry.name}", "", reading.docstring.strip(), ""]
    if reading.argument:
        stem = entry.name.partition(":")[0]
        lines.append(f"named: {stem}:{reading.argument.upper()}")
    for name, words in DECLARED.items():
        if name in reading.declarations:
            lines.append(f"{words}: {readable(reading.declarations[name])}")
    lines += ["", *_parameters(reading, entry.argument)] if reading.parameters else []
    return "\n".join([*lines, "", f"source: {entry.path}"])


def readable(source: str) -> str:
    """``Access.IMAGES | Access.LABELS`` -> ``images, labels``; ``frozenset({'a'})`` -> ``a``."""
    if "Access." in source:
        return ", ".join(part.lower() for part in re.findall(r"Access\.(\w+)", source))
    return ", ".join(re.findall(r"""['"](\w+)['"]""", source)) or source.strip("'\"")


def _parameters(reading: Reading, argument: str) -> list[str]:
    """A line for each parameter; the parameter that the name sets has the value from the name."""
    named = {reading.argument: repr(argument)} if argument else {}
    rows = []
    for item in reading.parameters:
        value = named.get(item.name, item.default)
        for paradigm, other in item.elsewhere.items():
            value += f", {paradigm} {other}"
        allowed = f"[{item.allowed.removeprefix('in the ')}]" if item.allowed else ""
        rows.append((f"{item.name} = {value}" if value else item.name, f"{item.comment} {allowed}".strip()))
    width = max(len(text) for text, _ in rows)
    return ["parameters", *(f"  {text:<{width}}  {words}".rstrip() for text, words in rows)]
