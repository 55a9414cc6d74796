"""Gives malformed inputs of every kind to the command line, and counts what it made of them.

    python tests/soak/malformed.py [inputs=1000] [seed=0] [kind=words]

Words, suites, Parquet files, images, records and plans, noise, plug-ins and claims are drawn at random: whole ones are
cut, altered, exchanged or filled with rubbish. Each goes through ``ue_bench.cli.main`` in this process. What is
refused must end with status 2 and a message, and what can be done without must be named; some of what is drawn
turns out to be valid, and is drawn again. Prints a Markdown table; exits 1 if anything else happened.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import bad_files
import bad_words

from ue_bench.cli import main as command

SHARES = {  # of a thousand
    "words": (250, bad_words.words),
    "suites": (150, bad_words.suites),
    "plug-ins": (100, bad_words.plug_ins),
    "Parquet": (120, bad_files.parquet),
    "images": (100, bad_files.images),
    "records and plans": (120, bad_files.records),
    "noise": (110, bad_files.noise),
    "claims": (50, bad_files.claims),
}
ENDS = ("refused with status 2", "named, and went on", "tracebacks", "anything else")


def end_of(words: list[str], named: str) -> tuple[str, str]:
    """(one of ``ENDS`` or "valid", what was said) of a command; ``named`` is what it must say if it goes on."""
    out, err = io.StringIO(), io.StringIO()
    status: object = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command(words)
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            err.write(traceback.format_exc())
    said = out.getvalue() + err.getvalue()
    if "Traceback" in said or status is None:
        return "tracebacks", said
    if status == 2 and err.getvalue().strip():
        return "refused with status 2", said
    if status == 0:
        return "named, and went on" if named and named in said else "valid", said
    return "anything else", f"status {status}: {said}"


def soak(kind: str, count: int, draw: Callable, chance: random.Random) -> Counter[str]:
    """How so many inputs of a kind ended, and how many of those drawn were valid."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        while found.total() - found["valid"] < count and found.total() < 20 * count:
            for path in sorted(Path(folder).rglob("*"), reverse=True):
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink()
            line, named = draw(chance, Path(folder))
            end, said = end_of(line, named)
            found[end] += 1
            if end in ENDS[2:]:
                print(kind, line, said[-3000:], sep="\n", file=sys.stderr, flush=True)
            elif end == "valid" and os.environ.get("SHOW"):
                print(kind, line, said[-300:], sep="\n", file=sys.stderr, flush=True)
        os.chdir("/")
    return found


def main(words: list[str]) -> int:
    """0 if everything malformed was refused or named."""
    given = dict(word.split("=", 1) for word in words)
    chance, inputs = random.Random(int(given.get("seed", 0))), int(given.get("inputs", 1000))
    os.environ["UE_BENCH_CACHE"] = tempfile.mkdtemp()
    totals: Counter[str] = Counter()
    print(f"| malformed | inputs | {' | '.join(ENDS)} |\n|:--|{'--:|' * (1 + len(ENDS))}", flush=True)
    for kind, (share, draw) in SHARES.items():
        if given.get("kind", kind) != kind:
            continue
        found = soak(kind, round(inputs * share / 1000), draw, chance)
        found["inputs"] = sum(found[end] for end in ENDS)
        print(f"| {' | '.join([kind, *(str(found[word]) for word in ('inputs', *ENDS))])} |", flush=True)
        totals += found
    print(f"| all | {' | '.join(str(totals[word]) for word in ('inputs', *ENDS))} |")
    print(f"\n{totals['valid']} more that were drawn are valid.")
    return int(any(totals[end] for end in ENDS[2:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
