"""Runs content so that any change it makes to others' data or to the process is found, reported and undone."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator

from ue_bench.data.cache import find_changes
from ue_bench.errors import ConfigError, DataError
from ue_bench.process import restored


@contextlib.contextmanager
def no_way_out(where: str) -> Iterator[None]:
    """Turns content's request to end the process, such as ``sys.exit``, into a ConfigError; errors pass through."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(
            f"{where}, content raised {type(error).__name__}({error}) in {place.filename}, line {place.lineno}: "
            "it must return, or raise an error"
        ) from error


@contextlib.contextmanager
def guarded(who: str, warn: Callable[[str], object]) -> Iterator[None]:
    """Runs content.

    Args:
        who: the content that is run, such as a method's name.
        warn: called with the settings of the process that it changed; they are restored.

    Raises:
        DataError: if it changed a dataset in place, labels and captions included. The next reader gets the original.
    """
    leaked: list[str] = []
    changed: list[str] = []
    try:
        with restored(leaked.append):
            yield
    finally:
        changed += find_changes()
        if leaked:
            warn(f"{who} changed {' and '.join(leaked)}, which was undone before anything else ran")
    if changed:
        raise DataError(f"{who} changed {' and '.join(changed)} in place: it must work on a copy")
