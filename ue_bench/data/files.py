"""Finds, reads and dates files at local paths and any fsspec address (s3://, hf://, memory://)."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ue_bench.errors import DataError, some, suggestion

# The file systems' names for a value that changes with a file's content, best first.
STAMPS = ("mtime", "LastModified", "last_modified", "ETag", "etag", "updated", "blob_id", "created")


@dataclass(frozen=True)
class File:
    """One file of a file system.

    Attributes:
        system: the fsspec file system.
        path: within the file system.
        info: what a listing says about it, or empty.
    """

    system: Any
    path: str
    info: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    def read(self) -> bytes:
        """The whole content."""
        return self.system.cat_file(self.path)

    def open(self) -> Any:
        """A binary file object that can seek."""
        return self.system.open(self.path, "rb")


def connect(address: str) -> tuple[Any, str]:
    """(file system, path within it) of an address; the file system's cache of listings is empty.

    Raises:
        DataError: if no installed package can read such an address.
    """
    try:
        system, path = fsspec.core.url_to_fs(address)
        system.invalidate_cache()
    except (ImportError, ValueError) as error:
        raise DataError(
            f"'{address}' cannot be opened: {error}. Allowed are local paths and the addresses that fsspec "
            "reads; install the package named here, or correct the address"
        ) from error
    return system, path.rstrip("/") or "/"


def join(folder: str, name: str) -> str:
    """``name`` within ``folder``, or ``name`` itself if it is an absolute path or an address."""
    if "://" in name or name.startswith(("/", "~")) or not folder:
        return name
    return f"{folder.rstrip('/')}/{name}"


def find_files(folder: str, name: str) -> list[File]:
    """The file ``name`` in ``folder``, or all files, sorted, that match a pattern such as ``data/train-*.parquet``.

    Raises:
        DataError: if there is none, or the address cannot be reached; the message names what lies there instead.
    """
    address = join(folder, name)
    system, path = connect(address)
    try:
        if system.isfile(path):
            return [File(system, path)]
        found = sorted(system.glob(path)) if glob.has_magic(path) else []
        if found:
            return [File(system, each) for each in found]
        parent, _, last = path.rpartition("/")
        there = [entry.rsplit("/", 1)[-1] for entry in system.ls(parent, detail=False)]
    except (FileNotFoundError, NotADirectoryError):
        there = []
    except Exception as error:
        raise unreadable(address, error) from error
    listing = ", ".join(sorted(there)[:8]) + (", ..." if len(there) > 8 else "")
    raise DataError(
        f"no file '{address}': {suggestion(last, there)}its folder holds {listing or 'nothing, or does not exist'}. "
        "Correct the path or the file's name"
    )


def exists(folder: str, name: str) -> bool:
    """Whether ``folder`` has a file ``name``, or a file that matches a pattern such as ``train-*``."""
    system, path = connect(join(folder, name))
    try:
        return bool(system.isfile(path) or (glob.has_magic(path) and system.glob(path)))
    except Exception as error:
        raise unreadable(join(folder, name), error) from error


def list_folder(address: str) -> dict[str, File]:
    """The files and folders directly in a folder, by name; empty if there is no such folder."""
    system, path = connect(address)
    try:
        if isinstance(system, LocalFileSystem):
            return {name: File(system, f"{path}/{name}") for name in os.listdir(path)}
        entries = system.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except Exception as error:
        raise unreadable(address, error) from error
    return {e["name"].rsplit("/", 1)[-1]: File(system, e["name"], e) for e in entries if e["type"] == "file"}


def list_tree(system: Any, root: str) -> dict[str, File]:
    """Every file below ``root`` by relative path, sorted; links to files and folders are followed."""
    if isinstance(system, LocalFileSystem):
        paths = []
        for folder, inner, names in os.walk(root, followlinks=True):
            here = os.path.realpath(folder)
            inner[:] = [each for each in inner if not _contains(os.path.join(folder, each), here)]
            paths += [f"{folder}/{name}" for name in names]
        entries = {path: _describe(system, path) for path in paths}
    else:
        entries = system.find(root, detail=True)
    return {path[len(root) :].lstrip("/"): File(system, path, entries[path]) for path in sorted(entries)}


def _contains(folder: str, path: str) -> bool:
    """Whether ``folder`` is a link to ``path`` or to a folder above it, so that walking it would never end."""
    return os.path.commonpath([os.path.realpath(folder), path]) == os.path.realpath(folder)


def _describe(system: Any, path: str) -> Mapping[str, Any]:
    """Size and date under the file system's own names; for a link, those of its target."""
    if isinstance(system, LocalFileSystem):
        found = os.stat(path)
        return {"size": found.st_size, "mtime": found.st_mtime_ns}
    return system.info(path)


def find_state(files: Iterable[File]) -> list[list[str]] | None:
    """Path, size and date of each file; None if one has no date, because then a change could go unnoticed."""
    state = []
    for file in files:
        try:
            info = file.info or _describe(file.system, file.path)
        except Exception as error:
            raise unreadable(file.path, error) from error
        stamp = next((info[key] for key in STAMPS if info.get(key) is not None), None)
        if stamp is None:
            return None
        state.append([file.path, str(info.get("size")), str(stamp)])
    return state


def read_text(file: File) -> str:
    """The content of a UTF-8 file, without a byte order mark.

    Raises:
        DataError: if it cannot be read, or is not UTF-8; then the message names the lines.
    """
    try:
        data = file.read()
    except Exception as error:
        raise unreadable(file.path, error) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        lines = [str(number) for number, line in enumerate(data.split(b"\n"), 1) if not _is_utf8(line)]
        raise DataError(
            f"'{file.path}' is not UTF-8 in line {some(lines)}: it was saved in another encoding. Save it as UTF-8"
        ) from None


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def unreadable(address: str, error: Exception) -> DataError:
    """The error for a file or folder that exists but cannot be read, or a server that does not answer."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return DataError(
        f"'{address}' cannot be read ({reason}): check the address, the permissions and the connection"
    )
