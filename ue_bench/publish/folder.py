"""Lists the files below a folder, with a reason for each entry that cannot be read or followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """An entry in a folder of pictures.

    Attributes:
        name: its path within the folder, with forward slashes.
        problem: why it cannot be read, or "".
        harmless: True if no picture is lost by leaving it out.
    """

    name: str
    problem: str = ""
    harmless: bool = False


def list_folder(root: Path, leave_out: Path | None = None) -> Iterator[Found]:
    """Everything below ``root``, sorted; links are followed, but not in circles.

    Args:
        root: a folder.
        leave_out: a folder within it whose content is not listed.
    """
    without = os.path.realpath(leave_out) if leave_out else None
    yield from _walk(os.fspath(root), "", (os.path.realpath(root),), without)


def _walk(folder: str, prefix: str, above: tuple[str, ...], without: str | None) -> Iterator[Found]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        yield Found(prefix or "./", f"a folder that cannot be read: {error.strerror}")
        return
    for last in names:
        name, path = prefix + last, os.path.join(folder, last)
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            reasons = {
                errno.ELOOP: "a link that leads round in a circle",
                errno.ENOENT: "a link that leads nowhere",
            }
            yield Found(name, reasons.get(error.errno or 0, f"cannot be read: {error.strerror}"))
            continue
        if stat.S_ISREG(mode):
            yield Found(name)
        elif not stat.S_ISDIR(mode):
            yield Found(name, "neither a file nor a folder", harmless=True)
        elif (real := os.path.realpath(path)) in above:
            yield Found(name, "a link to a folder that it lies in: not followed again", harmless=True)
        elif real != without:
            yield from _walk(path, f"{name}/", (*above, real), without)
