"""What is imported before workers are forked: all that they would import first, and that they tell whose they are."""

from __future__ import annotations

import multiprocessing
import os

from watch import tell

import ue_bench.cli
import ue_bench.trials.work  # noqa: F401
from ue_bench.trials.executors import worker

serve = worker._serve


def watched_serve(connection, perform):
    """Tells whose worker this process is."""
    parent = multiprocessing.parent_process()
    tell("worker", os.getpid(), parent.pid if parent else 0)
    serve(connection, perform)


worker._serve = watched_serve
