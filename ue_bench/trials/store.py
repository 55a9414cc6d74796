"""The folder or bucket that holds plans, trials, noise and prepared models; a run continues from it."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ue_bench.canonical import dumps_plain, plain
from ue_bench.errors import StoreError
from ue_bench.trials.identity import mark
from ue_bench.trials.layout import Later, Reader

SCHEMA = 1
# The types of what plans, their trials and records hold; None stands for nothing.
TEXT = dict.fromkeys(
    ("suite", "profile", "created", "dataset", "dataset_label", "victim", "defense", "method"), str
)
PLAN: dict[str, type] = {
    **TEXT,
    **dict.fromkeys(("command", "title", "source", "paradigm"), str),
    **dict.fromkeys(("table", "floors", "published", "data", "forecast"), dict),
    **dict.fromkeys(("trials", "skipped", "notices"), list),
}
ENTRY: dict[str, type] = {
    **TEXT,
    **dict.fromkeys(("granularity", "budget", "control"), str),
    **dict.fromkeys(("reduced", "adjusted", "chosen", "settings", "sources"), dict),
    "published_names": list,
}
RECORD: dict[str, Any] = {
    **TEXT,
    **dict.fromkeys(("granularity", "budget", "status", "commit"), str),
    **dict.fromkeys(("config", "device", "metrics", "noise", "mask", "notes", "reduced", "error"), dict),
    "curves": (dict, Later),
    **dict.fromkeys(("seconds", "device_seconds", "shared", "sources", "speed", "versions"), dict),
    "warnings": list,
}
KINDS: dict[str, dict[str, Any]] = {"plan": PLAN, "entry": ENTRY, "record": RECORD}
# The type of each element of lists, and of each value of mappings.
INSIDE: dict[str, Any] = {"skipped": dict, "notices": str, "warnings": str, "speed": dict}


class Store:
    """Records and artefacts under one address.

    Everything is written to a temporary name and then renamed, so that a reader sees a whole file or none. Layout:
    ``plans/HASH.json`` (what a run plans to do), ``trials/ID.json`` (one record per trial), ``noise/KEY.safetensors``,
    ``prepared/KEY.safetensors``, ``victims/ID.safetensors`` (of trials that were explained),
    ``checkpoints/WORK.LOOP.pt`` (of work that is not finished).

    Args:
        address: a local folder, or any fsspec address such as ``s3://bucket/run``.

    Attributes:
        damaged: (name of a plan or record, why) of what was found not to be as it was written.
    """

    def __init__(self, address: str | Path):
        import fsspec

        self.address = str(address)
        self.damaged: dict[str, str] = {}
        try:
            self.fs, self.root = fsspec.core.url_to_fs(self.address)
        except (ValueError, ImportError) as error:
            raise StoreError(f"store {self.address} cannot be opened: {error}") from None
        self.local = "file" in (
            self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,)
        )
        if self.fs.exists(self.root) and not self.fs.isdir(self.root):
            raise StoreError(f"store {self.address} is a file; name a folder: store=DIR")

    def path(self, *parts: str) -> str:
        """The address of something in the store, in the file system's own spelling."""
        return "/".join((self.root.rstrip("/"), *parts))

    def write(self, parts: tuple[str, ...], content: bytes) -> None:
        """Writes a file whole or not at all."""
        self.write_file(parts, lambda path: path.write_bytes(content))

    def write_file(self, parts: tuple[str, ...], fill: Callable[[Path], object]) -> None:
        """Writes a file whole or not at all: ``fill`` puts the content, of any size, at the path that it is given.

        Raises:
            StoreError: if it cannot be written, whatever OSError ``fill`` raises included.
        """
        target = self.path(*parts)
        try:
            self.fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            if not self.local:
                with tempfile.TemporaryDirectory() as folder:
                    fill(Path(folder) / parts[-1])
                    # object stores publish an object when it is complete
                    self.fs.put_file(str(Path(folder) / parts[-1]), target)
                return
            temporary = f"{target}.{mark()}.{uuid.uuid4().hex[:8]}.tmp"
            try:
                Path(temporary).touch(exist_ok=False)
                mode = os.stat(
                    temporary
                ).st_mode  # as the umask says; libraries that fill the file may say otherwise
                fill(Path(temporary))
                os.chmod(temporary, mode)
                with open(temporary, "rb+") as handle:
                    os.fsync(handle.fileno())
                os.replace(temporary, target)
            finally:
                if os.path.exists(temporary):
                    os.unlink(temporary)
        except OSError as error:
            raise StoreError(
                f"cannot write {target}: {error.strerror or error}. What was finished before is kept; "
                "free the disk or name another folder with store=DIR, then run the same command again"
            ) from error

    @contextlib.contextmanager
    def open_file(self, *parts: str) -> Iterator[Path | None]:
        """A file as one of this machine while the block lasts; None if there is none. For what is too large to read.

        Raises:
            StoreError: if it is there and cannot be read.
        """
        target = self.path(*parts)
        if self.local:
            if os.path.isfile(target) and not os.access(target, os.R_OK):
                raise _unreadable(target, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
            yield Path(target) if os.path.isfile(target) else None
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / parts[-1]
            try:
                self.fs.get_file(target, str(copy))
            except FileNotFoundError:
                yield None
                return
            except OSError as error:
                raise _unreadable(target, error) from error
            yield copy

    def read(self, *parts: str) -> bytes | None:
        """A file's content, or None if there is none."""
        try:
            if self.local:
                with open(self.path(*parts), "rb", buffering=0) as file:
                    return file.readall()
            content: bytes = self.fs.cat_file(self.path(*parts))
            return content
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self.path(*parts), error) from error

    def delete(self, *parts: str) -> None:
        """Removes a file; does nothing if there is none.

        Raises:
            StoreError: if that is not possible.
        """
        target = self.path(*parts)
        try:
            self.fs.rm_file(target)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"cannot remove {target}: {error.strerror or error}") from error

    def has(self, *parts: str) -> bool:
        """Whether there is such a file."""
        try:
            return bool(self.fs.exists(self.path(*parts)))
        except OSError as error:
            raise _unreadable(self.path(*parts), error) from error

    def names(self, folder: str, suffix: str) -> list[str]:
        """Stems of the files in a folder of the store, sorted."""
        try:
            paths = self.fs.ls(self.path(folder), detail=False)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable(self.path(folder), error) from error
        return sorted(Path(path).name[: -len(suffix)] for path in paths if str(path).endswith(suffix))

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Keeps a trial's record, with a checksum over its content."""
        self._write_json(("trials", f"{record['id']}.json"), record)

    def read_record(self, trial: str) -> dict[str, Any] | None:
        """A trial's record; None if it is missing or damaged (then the trial is to be done again)."""
        return self._read_record(trial, Reader())

    def _read_record(self, trial: str, reader: Reader) -> dict[str, Any] | None:
        record = self._read_json(reader, "trials", f"{trial}.json")
        if record is not None and record.get("id") != trial:
            self._note_damage(f"trials/{trial}.json", f"it holds the record of {record.get('id')}")
            return None
        if record is not None and not _is_record(record):
            self._note_damage(f"trials/{trial}.json", "it is no record")
            return None
        return record

    def read_records(self, trials: Iterable[str], later: bool = False) -> dict[str, dict[str, Any]]:
        """The records that exist, by trial.

        Args:
            later: True if nobody changes them, which saves time and memory: what is equal in several of them is one
                object, and curves are parsed when somebody looks at them, and no dictionary.
        """
        reader = Reader(later)
        found = {trial: self._read_record(trial, reader) for trial in trials}
        return {trial: record for trial, record in found.items() if record is not None}

    def write_plan(self, key: str, plan: Mapping[str, Any]) -> None:
        """Keeps what a run set out to do, with its place in the order of writing: a clock may be set back."""
        before = max((_order(kept) for kept in self.read_plans()), default=0)
        self._write_json(("plans", f"{key}.json"), {**plan, "key": key, "order": before + 1})

    def read_plans(self, suite: str | None = None) -> list[dict[str, Any]]:
        """The plans of a suite (None: of all), oldest first."""
        plans = [self._read_plan(key) for key in self.names("plans", ".json")]
        kept = [plan for plan in plans if plan is not None and suite in (None, plan["suite"])]
        return sorted(kept, key=lambda plan: (_order(plan), plan["created"]))

    def _read_plan(self, key: str) -> dict[str, Any] | None:
        plan = self._read_json(Reader(), "plans", f"{key}.json")
        if plan is not None and plan.pop("key", key) != key:  # plans of older versions have no key
            self._note_damage(f"plans/{key}.json", "it holds another plan")
            return None
        if plan is not None and not _is_plan(plan):
            self._note_damage(f"plans/{key}.json", "it is no plan")
            return None
        return plan

    def _note_damage(self, name: str, why: str) -> None:
        """Keeps for reports, and says once, that a file is not as it was written; it counts as absent."""
        if name not in self.damaged:
            self.damaged[name] = why
            warnings.warn(
                f"{self.path(name)} is damaged: {why}. Run the same command again to make it anew",
                RuntimeWarning,
                stacklevel=2,
            )

    def _write_json(self, parts: tuple[str, ...], content: Mapping[str, Any]) -> None:
        body = plain({**content, "schema": SCHEMA})
        body.pop("checksum", None)
        body["checksum"] = checksum(dumps_plain(body).encode())
        self.write(parts, (dumps_plain(body, indent=1) + "\n").encode())

    def _read_json(self, reader: Reader, *parts: str) -> dict[str, Any] | None:
        content = self.read(*parts)
        if content is None:
            return None
        name = "/".join(parts)
        whole = reader.read(content)
        try:
            body = json.loads(content) if whole is None else whole
        except (ValueError, RecursionError):
            self._note_damage(name, "it is not JSON, or cut short")
            return None
        if not isinstance(body, dict):
            self._note_damage(name, "it holds something else")
            return None
        schema = body.get("schema", 0)
        if type(schema) is not int or schema > SCHEMA:  # first of all: what a newer one wrote must stay
            raise StoreError(
                f"{self.path(*parts)} was written by a newer ue-bench (schema {schema}, this one knows "
                f"{SCHEMA}): update ue-bench, or name another folder with store=DIR"
            )
        stated = body.pop("checksum", None)
        if whole is None and stated != checksum(dumps_plain(body).encode()):
            self._note_damage(name, "its checksum does not match its content")
            return None
        return body


def _unreadable(target: str, error: OSError) -> StoreError:
    reason = error.strerror or str(error)
    allowed = (
        ". Ask whoever made it to let you read it, " if isinstance(error, PermissionError) else "; free it, "
    )
    return StoreError(f"cannot read {target}: {reason}{allowed}or name another folder with store=DIR")


def _fits(content: Mapping[str, Any], what: str) -> bool:
    """Whether what stands under the names of a plan, entry or record, if anything does, is of the right kinds, and so
    is what it holds."""
    types = tuple(map(type, content.values()))
    return _are_right(what, tuple(content), types) and all(
        _holds(value, INSIDE[name]) for name in INSIDE if (value := content.get(name)) is not None
    )


@functools.lru_cache(1024)
def _are_right(what: str, names: tuple[str, ...], types: tuple[type, ...]) -> bool:
    """Whether values of these types may stand under these names; most files are alike, so this is remembered."""
    found = zip(types, (KINDS[what].get(name, object) for name in names), strict=True)
    return all(each is type(None) or issubclass(each, kind) for each, kind in found)


def _holds(value: Any, kind: type) -> bool:
    """Whether all elements of a list, or all values of a mapping that are not None, are of a kind."""
    inside = value.values() if isinstance(value, Mapping) else value
    return all(each is None or isinstance(each, kind) for each in inside)


def _is_plan(content: Mapping[str, Any]) -> bool:
    known = all(content.get(name) is not None for name in ("suite", "profile", "created", "trials"))
    return known and _fits(content, "plan") and all(_is_entry(entry) for entry in content["trials"])


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("id"), str) and _fits(entry, "entry")


def _is_record(content: Mapping[str, Any]) -> bool:
    config = content.get("config") or {}
    known = content.get("status") is not None and _fits(content, "record")
    return known and all(
        isinstance(config.get(kind), dict) and "name" in config[kind] for kind in content.get("sources") or {}
    )


def _order(plan: Mapping[str, Any]) -> int:
    """A plan's place in the order of writing; those of older versions have none and come first."""
    place = plan.get("order")
    return place if isinstance(place, int) else 0


def checksum(content: bytes) -> str:
    """The first 16 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]
