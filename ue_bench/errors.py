"""Errors, whose messages say what was given, what is allowed and what to type next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UEBenchError(Exception):
    """A mistake that a person can correct; the command line prints it without a traceback."""


class ConfigError(UEBenchError):
    """A key, name or value of the configuration that does not exist or is not allowed."""


class DataError(UEBenchError):
    """A dataset that is absent, incomplete or corrupt."""


class AccessError(UEBenchError):
    """A method touched a part of the training data that it does not declare in ``access``."""


class PerturbationError(UEBenchError):
    """Noise that breaks its own promises: not finite, over budget, constant, one-sided, of a wrong shape."""


class StoreError(UEBenchError):
    """The store cannot be read or written."""


class DamagedError(StoreError):
    """A file of the store that changed since it was written; it can be made again."""


class TrainingError(UEBenchError):
    """A victim or surrogate whose training broke down (a loss that is not finite)."""


class UnavailableError(UEBenchError):
    """Content that exists but cannot be used here, with the reason."""


def nearest(word: str, allowed: Iterable[str]) -> list[str]:
    """The allowed words closest to ``word``, best first (at most three)."""
    return difflib.get_close_matches(word.lower(), list(allowed), n=3, cutoff=0.5)


def suggestion(word: str, there: Iterable[str]) -> str:
    """``did you mean 'photos'? `` with the nearest of the names that exist, or ""."""
    close = nearest(word, there)
    return f"did you mean '{close[0]}'? " if close else ""


def some(names: Sequence[str], most: int = 10, separator: str = ", ") -> str:
    """The first names, and how many more there are: ``a, b and 3 more``."""
    return separator.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def unknown(
    what: str, word: str, allowed: Iterable[str], hint: str = "", inner: Iterable[str] = ()
) -> ConfigError:
    """The error for a name that does not exist: names the nearest ones, else all of them.

    Args:
        what: the kind of thing that is unknown, such as ``method``.
        word: the name as it was given.
        allowed: the names that exist.
        hint: what to type to see more.
        inner: names such as ``recipe.epochs`` that are allowed too. They are compared by their last part, and named
            where that is nearly the word, and nearer to it than every name of ``allowed``.

    Example: ``unknown("method", "emm", ["em", "ar"], "ue-bench list methods")`` reads
    ``unknown method 'emm': did you mean 'em'? See: ue-bench list methods``.
    """
    names = sorted(map(str, allowed))
    close = _nearer_inside(word, nearest(word, names), inner) or nearest(word, names)
    if close:
        guess = "did you mean " + " or ".join(f"'{name}'" for name in close) + "?"
    else:
        guess = f"there is {', '.join(names) or 'none'}"
    message = f"unknown {what} '{word}': {guess}"
    stop = "" if close else "."
    return ConfigError(f"{message}{stop} See: {hint}" if hint else message)


def _nearer_inside(word: str, close: list[str], inner: Iterable[str]) -> list[str]:
    """The names of ``inner`` (at most three) whose last part is nearer to ``word`` than ``close``, best first."""
    spelt: dict[str, list[str]] = {}
    for name in inner:
        spelt.setdefault(name.rpartition(".")[2], []).append(name)
    found = difflib.get_close_matches(word.lower(), spelt, n=3, cutoff=0.75)
    if not found or (close and _likeness(word, close[0]) >= _likeness(word, found[0])):
        return []
    return [name for spelling in found for name in spelt[spelling]][:3]


def _likeness(word: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, word.lower()).ratio()
