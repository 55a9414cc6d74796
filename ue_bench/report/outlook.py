"""What a run would do, on at most one screen: counts, what is skipped and why; or a list of all trials."""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any

from ue_bench.dimensions import full_name, method_in_words, skipped_in_words, trial_in_words, value_in_words
from ue_bench.errors import some
from ue_bench.text import visible

SCREEN = (120, 24)  # columns and lines where no terminal reports its size; wider lines are hard to read
METHOD_LINES, LINES = 6, 2  # the most lines for the methods, and for any other dimension
REASONS = 5  # the most reasons for skipping that are shown

Trial = Mapping[str, Any]


def tell_plan(
    header: Mapping[str, Any], todo: Container[str], takes: str, screen: tuple[int, int] | None = None
) -> str:
    """The plan as counts.

    Args:
        header: the plan's header.
        todo: ids of trials that are not done.
        takes: how long they take, in words, or "".
        screen: (columns, lines); None for the terminal's.
    """
    columns, lines = screen or tuple(shutil.get_terminal_size(SCREEN))
    columns = max(40, min(columns, SCREEN[0]))
    trials = header["trials"]
    shown = _wrapped(_head(header, todo, takes), columns, 4)
    for name, words, most in (
        ("methods", [f"{method_in_words(each)}, {each['budget']}" for each in trials], METHOD_LINES),
        ("datasets", [str(each["dataset"]) for each in trials], LINES),
        ("victims", [full_name(each, "victim") for each in trials], LINES),
        ("defenses", [full_name(each, "defense") for each in trials], LINES),
        ("ratios", [value_in_words("poison_ratio", each["poison_ratio"]) for each in trials], LINES),
        ("seeds", [str(each["seed"]) for each in trials], LINES),
    ):
        counts = Counter(words)
        if name in ("methods", "datasets", "victims") or len(counts) > 1:
            shown += _counted(name, counts, columns, most)
    skipped = _skipped(header["skipped"], columns)
    room = max(2, lines - 3 - len(shown))  # the shell's prompt and the last line
    if len(skipped) > room:
        skipped = [*skipped[: room - 1], "  skipped    more, see --all"]
    return "\n".join([*shown, *skipped, "  every trial: --dry-run --all"])


def list_trials(header: Mapping[str, Any], todo: Container[str], takes: str) -> str:
    """The plan with a line for each trial and for each skipped combination."""
    lines = [_head(header, todo, takes)]
    for entry in header["trials"]:
        state = "to do" if entry["id"] in todo else "done "
        lines.append(visible(f"  {state}  {entry['id']}  {trial_in_words(entry)}; {entry['budget']}"))
    lines += [visible(f"  skipped  {item['what']}: {item['reason']}") for item in header["skipped"]]
    return "\n".join(lines)


def _head(header: Mapping[str, Any], todo: Container[str], takes: str) -> str:
    waiting = sum(entry["id"] in todo for entry in header["trials"])
    after = f", {takes}" if takes else ""
    name = f"{header['suite']} ({header['profile']})" if header.get("profile") else header["suite"]
    return f"{name}: {len(header['trials'])} trials, {waiting} to do{after}; nothing is done in a dry run"


def _counted(name: str, counts: Mapping[str, int], columns: int, most: int) -> list[str]:
    """``victims    resnet18: 12; vgg11: 12``, wrapped; if they are too many, the first ones and how many more."""
    items = [visible(f"{word}: {count}" if len(counts) > 1 else word) for word, count in counts.items()]
    for shown in range(len(items), 0, -1):
        lines = _wrapped(some(items, shown, "; "), columns, None, f"  {name:<11}")
        if len(lines) <= most:
            return lines
    return lines[:most]


def _skipped(items: Sequence[Mapping[str, str]], columns: int) -> list[str]:
    reasons = skipped_in_words(items)
    lines: list[str] = []
    for text in reasons[:REASONS]:
        lines += _wrapped(visible(text), columns, 2, "  skipped    ")
    if len(reasons) > REASONS:
        lines.append(f"  skipped    for {len(reasons) - REASONS} more reasons, see --all")
    return lines


def _wrapped(text: str, columns: int, most: int | None, start: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        columns,
        initial_indent=start,
        subsequent_indent=" " * (len(start) or 2),
        max_lines=most,
        placeholder=" ...",
        break_on_hyphens=False,
    )
