"""What all soaks share: runs that tell what they finish, and the counts that must be 0."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

TOP = Path(__file__).parents[2]
CONTENT = TOP / "tests" / "content"


class Scene:
    """Runs of the suite ``toy`` on one store, what they said, and what they finished.

    Args:
        folder: where ``finished`` and ``errors`` are kept; it must be empty.
        store: the runs' store.
        forks: whether runs are started by ``start``.
    """

    def __init__(self, folder: Path, store: Path, forks: bool = True):
        self.store, self.finished, self.errors = store, folder / "finished", folder / "errors"
        self.finished.touch()
        self.errors.touch()
        os.environ["FINISHED"] = str(self.finished)
        if forks:
            _warm_up()

    def words(self, *more: str) -> list[str]:
        """The command line of a run."""
        return ["run", "suite=toy", f"plugins={CONTENT}", f"store={self.store}", *more]

    def start(self, *more: str, first: Callable[[], object] = lambda: None) -> multiprocessing.Process:
        """A run in a process of its own, forked from this one since imports take long; it calls ``first``."""
        run = multiprocessing.get_context("fork").Process(
            target=_run, args=(self.words(*more), self.errors, first)
        )
        run.start()
        return run

    def told(self) -> list[str]:
        """Names of all files of trials and noise that were finished, as often as they were."""
        return [line.split()[1] for line in self.finished.read_text().splitlines() if line[0] == "f"]

    def workers_of(self, run: multiprocessing.Process) -> list[int]:
        """The worker processes of a run that live."""
        lines = (line.split() for line in self.finished.read_text().splitlines() if line[0] == "w")
        pids = [int(worker) for _, worker, parent in lines if parent == str(run.pid)]
        return [pid for pid in pids if _lives(pid)]

    def count(self) -> dict[str, int]:
        """The counts that must be 0."""
        from ue_bench.trials.store import Store

        ends, store = Counter(self.told()), Store(self.store)
        records = {name for name in ends if name.startswith("trials/")}
        kept = {name for name in records if store.read_record(Path(name).stem) is not None}
        return {
            "finished trials lost": len(records - kept),
            "finished twice": sum(count > 1 for count in ends.values()),
            "tracebacks": self.errors.read_text().count("Traceback"),
            "files left behind": len(self.left()),
        }

    def left(self) -> list[str]:
        """Temporary files, claims and checkpoints in the store."""
        return sorted(path.name for path in self.store.rglob("*") if path.suffix in (".tmp", ".claim", ".pt"))

    def finish(self, made: Mapping[str, object]) -> int:
        """Prints a Markdown table of what was done and of the counts; returns the exit status."""
        counts = self.count()
        ends = Counter(name.partition("/")[0] for name in set(self.told()))
        row = {**made, "trials finished": ends["trials"], "noises finished": ends["noise"], **counts}
        print(f"| {' | '.join(row)} |")
        print(f"|{'--:|' * len(row)}")
        print(f"| {' | '.join(map(str, row.values()))} |", flush=True)
        if any(counts.values()):
            said = self.errors.read_text()
            raised = [trace[:4000] for trace in said.split("Traceback")[1:]]
            print(self.left(), said[-6000:], *raised, sep="\n\n", file=sys.stderr)
        return int(any(counts.values()))


def numbers(words: Sequence[str], **usual: int) -> dict[str, int]:
    """The words ``name=number`` of a command, the usual ones where nothing is said."""
    given = {name: int(value) for name, _, value in (word.partition("=") for word in words)}
    if unknown := given.keys() - usual.keys():
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are {', '.join(usual)}")
    return {**usual, **given}


def _warm_up() -> None:
    """Imports what runs need, and lets workers be forked from a server instead of spawned: imports take long."""
    import watched_worker  # noqa: F401

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(os.path.dirname(os.environ["FINISHED"]), "forks"))
    listener.listen()
    alive, ours = os.pipe()
    if not os.fork():
        os.close(ours)
        try:
            forkserver.main(listener.fileno(), alive, [])  # until nobody has the pipe's other end
        finally:
            os._exit(0)
    os.close(alive)
    server = forkserver._forkserver
    server._forkserver_address, server._forkserver_alive_fd = listener.getsockname(), ours
    server.ensure_running = lambda: None  # it runs, and its real parent is not who asks
    listener.close()
    real = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: real("forkserver" if method == "spawn" else method)


def _run(words: list[str], errors: Path, first: Callable[[], object]) -> None:
    os.setsid()
    for number, path in ((1, os.devnull), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    from ue_bench.cli import main

    first()
    main(words)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
