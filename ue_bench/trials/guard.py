"""Content is run behind this: what it changes of others' data or of the process is found, named and set back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from ue_bench.data.cache import find_changes
from ue_bench.errors import DataError
from ue_bench.process import restored


@contextlib.contextmanager
def guarded(who: str, warn: Callable[[str], object]) -> Iterator[None]:
    """Runs content.

    Args:
        who: is run, such as a method's name.
        warn: hears which settings of the process it changed; they are set back.

    Raises:
        DataError: if it changed a dataset in place, the labels and captions included; who asks next gets it as it was.
    """
    leaked: list[str] = []
    changed: list[str] = []
    try:
        with restored(leaked.append):
            yield
    finally:
        changed += find_changes()
        if leaked:
            warn(f"{who} changed {' and '.join(leaked)}, which was set back before anything else ran")
    if changed:
        raise DataError(f"{who} changed {' and '.join(changed)} in place: it must work on a copy")
