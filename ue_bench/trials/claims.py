"""Claims: files that say who is working on what, so that no two processes do the same work.

A claim is made by a hard link, which fails where there is one already, on network folders too. Its owner touches it
from time to time. If the owner has ended, or has not touched it for the time of a lease, the claim is dead, and whoever
needs the work takes the claim over.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ue_bench.errors import StoreError
from ue_bench.progress import duration
from ue_bench.trials.identity import is_gone, mark

LEASE = 900.0  # seconds after which a claim that was not touched is dead, wherever its owner runs
SUFFIX = ".claim"
Found = TypeVar("Found")
SAID = ("owner", "task", "process", "host", "since", "token")


class Busy(BaseException):
    """Another process works on it. It is not an ``Exception``, so that content cannot catch it by accident.

    Attributes:
        claim: the claim of that process.
    """

    def __init__(self, claim: Claim):
        super().__init__(f"{claim.name} is being worked on by {claim.who()}")
        self.claim = claim


def when_free(work: Callable[[], Found], say: Callable[[str], None], pause: float = 2.0) -> Found:
    """Returns what ``work`` returns; while another process holds a claim that it needs, waits and starts it again.

    Args:
        work: may be called several times.
        say: called with a line about who is waited for, once per claim.
        pause: seconds between two attempts.
    """
    told = ""
    while True:
        try:
            return work()
        except Busy as busy:
            if told != busy.claim.name:
                say(f"    waiting: {busy}")
                told = busy.claim.name
            time.sleep(pause)


@dataclass(frozen=True)
class Claim:
    """The content of a claim's file.

    Attributes:
        name: the name of the work: ``trial-ID``, ``noise-KEY`` or ``prepared-KEY``.
        owner: a word that all processes of one run share; "" if the file is not a claim.
        task: the name of the task for which the claim was made.
        process: its owner's ``mark``.
        host: its owner's machine.
        since: when it was made, in ISO format, by the owner's clock.
        silent: seconds since it was last touched, by the clock of the file server.
        token: a word that no other claim has, because inodes are used again.
        inode: the inode of its file.
    """

    name: str
    owner: str = ""
    task: str = ""
    process: str = ""
    host: str = ""
    since: str = ""
    silent: float = 0.0
    token: str = ""
    inode: int = 0

    def same(self, other: Claim | None) -> bool:
        """Whether the other is this claim, and not one that replaced it."""
        return other is not None and (self.token, self.inode) == (other.token, other.inode)

    def dead(self, lease: float) -> bool:
        """Whether its owner has ended, or has to be considered ended."""
        return bool(is_gone(self.process)) or self.silent > lease

    def who(self) -> str:
        """Its owner in words."""
        if not self.owner:
            return f"an unknown owner, because the file is not a claim, {duration(self.silent)} ago"
        ended = ", which has ended" if is_gone(self.process) else ""
        return f"process {self.process.split('-')[1]} on {self.host} since {self.since}{ended}"


class Claims:
    """The claims of one run in a folder.

    Args:
        folder: the folder of all claims; None: other processes never claim anything.
        owner: a word that all processes of the run share; "": this process alone.
        lease: seconds, see ``LEASE``.
    """

    def __init__(self, folder: Path | None, owner: str = "", lease: float = LEASE):
        self.folder, self.lease = folder, lease
        self.owner = owner or uuid.uuid4().hex
        self.task = ""
        self._held: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._touching: threading.Thread | None = None

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Claims work for the duration of the block; a process may claim again what it holds already.

        Raises:
            Busy: if another process works on it.
            StoreError: if the folder cannot be written.
        """
        if self.folder is None or name in self._held:
            yield
            return
        self._take(name)
        try:
            yield
        finally:
            self.release(name)

    def holds(self, name: str) -> bool:
        """Whether this process still holds the claim: another may have considered it dead and taken it."""
        if self.folder is None:
            return True
        held = self._held.get(name)
        return held is not None and held.same(self._read(name))

    def release(self, name: str) -> None:
        """Gives up a claim that this process holds."""
        with self._lock:
            held = self._held.pop(name, None)
        if held:
            self._remove(held)

    def release_task(self, task: str = "") -> None:
        """Removes the claims of all processes of this run; with ``task``, only those made for that task."""
        for claim in self.all():
            if claim.owner == self.owner and task in ("", claim.task):
                self._remove(claim)
        with self._lock:
            if not task:
                self._held.clear()

    def remove_dead(self) -> None:
        """Removes the claims of ended processes of this machine, because their work may never be needed again."""
        for claim in self.all():
            if is_gone(claim.process):
                with contextlib.suppress(
                    OSError
                ):  # of a folder that is read-only now; the next run removes them
                    self._bury(claim)

    def all(self) -> list[Claim]:
        """Every claim in the folder, sorted by name."""
        if self.folder is None or not self.folder.is_dir():
            return []
        found = [self.read(path.name.removesuffix(SUFFIX)) for path in self.folder.glob(f"*{SUFFIX}")]
        return sorted((claim for claim in found if claim), key=lambda claim: claim.name)

    def read(self, name: str) -> Claim | None:
        """The claim of that name, whoever holds it, or None."""
        claim = self._read(name)
        if claim is None:
            return None
        alive = is_gone(claim.process) is False
        return dataclasses.replace(claim, silent=0.0 if alive else self._clock() - claim.silent)

    def _read(self, name: str, path: Path | None = None) -> Claim | None:
        """Like ``read``, but ``silent`` is the time of the last touch."""
        try:
            with open(path or self._path(name), "rb") as file:
                content, about = file.read(10_000), os.fstat(file.fileno())
        except OSError:
            return None
        try:
            told = json.loads(content)
            words = {key: str(told[key]) for key in SAID}
            words = words if words["process"].count("-") == 2 else {}
        except (ValueError, KeyError, TypeError, RecursionError):
            words = {}
        return Claim(name, **words, silent=about.st_mtime, inode=about.st_ino)

    def _take(self, name: str) -> None:
        assert self.folder is not None
        own = self.folder / f"{name}.{mark()}.{uuid.uuid4().hex[:8]}.tmp"
        said = {
            "token": uuid.uuid4().hex,
            "owner": self.owner,
            "task": self.task or name,
            "process": mark(),
            "host": socket.gethostname(),
            "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                own.write_text(json.dumps(said))
                while not _link(own, self._path(name)):
                    claim = self.read(name)
                    if claim and not claim.dead(self.lease):
                        raise Busy(claim)
                    if claim:
                        self._bury(claim)
                with self._lock:
                    self._held[name] = Claim(
                        name, token=said["token"], inode=os.stat(self._path(name)).st_ino
                    )
            finally:
                with contextlib.suppress(OSError):
                    own.unlink()
        except OSError as error:
            raise StoreError(
                f"cannot claim work in {self.folder}: {error.strerror or error}. Free the disk or name another folder "
                "with store=DIR, then run the same command again"
            ) from error
        self._touch_from_time_to_time()

    def _bury(self, claim: Claim) -> None:
        """Removes a dead claim; a new claim that replaced it meanwhile is put back."""
        away = self._path(claim.name).with_suffix(f".{mark()}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            os.rename(self._path(claim.name), away)
            if not claim.same(self._read(claim.name, away)):
                with contextlib.suppress(FileExistsError):
                    os.link(away, self._path(claim.name))
        except FileNotFoundError:
            return
        finally:
            away.unlink(missing_ok=True)

    def _remove(self, claim: Claim) -> None:
        with contextlib.suppress(OSError):
            if claim.same(self._read(claim.name)):
                self._path(claim.name).unlink()

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}{SUFFIX}"

    def _clock(self) -> float:
        """The time by the clock that dates the folder's files, which may differ from this machine's."""
        assert self.folder is not None
        probe = self.folder / f"clock.{mark()}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            probe.touch()
            return probe.stat().st_mtime
        except OSError:  # a read-only folder: a guess is better than an error
            return datetime.datetime.now().timestamp()
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()

    def _touch_from_time_to_time(self) -> None:
        if self._touching is None:
            self._touching = threading.Thread(target=self._touch, daemon=True, name="claims")
            self._touching.start()

    def _touch(self) -> None:
        while True:
            threading.Event().wait(self.lease / 4)
            with self._lock:
                names = list(self._held)
            for name in names:
                with contextlib.suppress(OSError):
                    if self.holds(name):
                        os.utime(self._path(name))


def _link(source: Path, target: Path) -> bool:
    """Makes ``target`` another name of ``source``; False if there is a target already."""
    try:
        os.link(source, target)
    except OSError as error:
        if os.stat(source).st_nlink == 2:  # the link was made, and only the server's answer was lost
            return True
        return False if isinstance(error, FileExistsError) else _copy_exclusively(source, target)
    return True


def _copy_exclusively(source: Path, target: Path) -> bool:
    """For file systems without hard links."""
    try:
        with open(target, "xb") as file:
            file.write(source.read_bytes())
    except FileExistsError:
        return False
    return True
