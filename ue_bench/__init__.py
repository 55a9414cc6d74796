"""ue-bench: a benchmark suite for unlearnable-example methods.

From Python: ``protect`` makes noise for images in memory, ``run`` runs a suite, ``load`` reads results. What a
method, victim, defense or dataset needs can be imported from here, too. Each name is imported on first use, so that
``import ue_bench`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Access": "ue_bench.contracts.access",
    "Method": "ue_bench.contracts.method",
    "Budget": "ue_bench.contracts.budget",
    "Perturbation": "ue_bench.contracts.perturbation",
    "ProtectorView": "ue_bench.contracts.view",
    "Context": "ue_bench.contracts.context",
    "Victim": "ue_bench.contracts.victim",
    "Recipe": "ue_bench.training.recipe",
    "Defense": "ue_bench.contracts.defense",
    "Dataset": "ue_bench.contracts.dataset",
    "ImageSet": "ue_bench.data.imageset",
    "Split": "ue_bench.data.imageset",
    "protect": "ue_bench.api.protect",
    "run": "ue_bench.api.run",
    "load": "ue_bench.api.frame",
    **dict.fromkeys(
        ("Count", "Norms", "NotNegative", "Positive", "PositiveShare", "Range", "Share", "Whole"),
        "ue_bench.bounds",
    ),
}
__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'ue_bench' has no attribute '{name}'")
