"""The command line; no other package knows it.

Only ``main`` imports the commands, so that Ctrl-C ends quietly while they are imported, too.
"""

from __future__ import annotations

import sys
from typing import Any

INTERRUPTED = 130  # the exit status after Ctrl-C, as shells have it


def main(arguments: list[str] | None = None) -> None:
    """The command ``ue-bench``: a person's mistakes are printed without a traceback and end with status 2."""
    try:
        status = _run(arguments)
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)


def _run(arguments: list[str] | None) -> Any:
    import importlib
    import io
    import warnings

    import typer

    from ue_bench.cli.app import app
    from ue_bench.cli.showing import show_error, show_warning
    from ue_bench.errors import UEBenchError

    for module in ("runs", "machines", "content"):  # each adds its commands, in this order
        importlib.import_module(f"ue_bench.cli.{module}")
    command: Any = typer.main.get_command(app)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a dash on a Latin-1 terminal must not end a run
    warnings.showwarning = show_warning
    try:
        return command(args=arguments, prog_name="ue-bench", standalone_mode=True)
    except UEBenchError as error:
        show_error(error)
        return 2


if __name__ == "__main__":
    main()
