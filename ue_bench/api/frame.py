"""Records of trials as a pandas table: one row per trial, tidy columns, units in their names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ue_bench.errors import ConfigError
from ue_bench.measures import measure
from ue_bench.trials.store import Store

if TYPE_CHECKING:
    import pandas

UNITS = {"%": "percent", "rank": "rank"}
PLAIN = (
    "id",
    "suite",
    "profile",
    "status",
    "dataset",
    "method",
    "granularity",
    "budget",
    "victim",
    "defense",
)
NOISE = {
    "linf": "noise_linf_steps",
    "l2": "noise_l2",
    "psnr_db": "noise_psnr_db",
    "ssim": "noise_ssim",
    "separable_percent": "noise_separable_percent",
    "linear_detector_percent": "noise_linear_detector_percent",
    "two_layer_detector_percent": "noise_two_layer_detector_percent",
}


def load(store: str | os.PathLike[str] = "runs", suite: str | None = None) -> pandas.DataFrame:
    """Every trial of a store as a row of a pandas DataFrame, oldest first.

    Columns: what the trial is (``dataset``, ``method``, ``victim``, ``seed``, ...), how it ended (``status``: done,
    invalid or failed; ``error``), and numbers with their units in the name: ``accuracy_last_percent``,
    ``protect_seconds``, ``protect_device_seconds``, ``noise_linf_steps`` (of 1/255), ``noise_l2`` (pixels in [0, 1]),
    ``peak_bytes``. Trials that share a ``noise_key`` share what that noise cost: count it once in sums.

    Args:
        store: folder or fsspec address of the results.
        suite: only the trials that ran in this suite; None: all.

    Raises:
        ConfigError: if the store has no finished trial.
    """
    opened = Store(os.fspath(store))
    records = opened.read_records(opened.names("trials", ".json"))
    kept = [record for record in records.values() if suite in (None, record["suite"])]
    if not kept:
        wanted = f" of suite '{suite}'" if suite else ""
        known = sorted({record["suite"] for record in records.values()})
        held = f"it holds {', '.join(known)}" if known else "it holds none"
        raise ConfigError(
            f"store {opened.address} has no trial{wanted}: {held}. See: ue_bench.run(SUITE, store=...)"
        )
    return make_frame(kept)


def make_frame(records: Iterable[Mapping[str, Any]]) -> pandas.DataFrame:
    """Records as rows, see ``load``."""
    import pandas

    frame = pandas.DataFrame([_row(record) for record in records])
    if "created" in frame:
        frame["created"] = pandas.to_datetime(frame["created"], utc=True)
        frame = frame.sort_values(["created", "id"], kind="stable", ignore_index=True)
    return frame


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    noise, device, config = (record.get(key) or {} for key in ("noise", "device", "config"))
    row = {name: record.get(name) for name in PLAIN}
    row |= {"poison_ratio": record.get("poison_ratio"), "seed": record.get("seed")}
    row |= {"image_size_pixels": config.get("image_size"), "epochs": config.get("recipe", {}).get("epochs")}
    row |= dict(_metrics(record.get("metrics") or {}))
    row |= {column: noise.get(name) for name, column in NOISE.items()}
    for clock in ("seconds", "device_seconds"):
        row |= {f"{phase}_{clock}": spent for phase, spent in sorted((record.get(clock) or {}).items())}
    return {
        **row,
        "peak_bytes": record.get("peak_bytes"),
        "noise_key": noise.get("key"),
        "device": device.get("name"),
        "reduced": ", ".join(record.get("reduced") or ()),
        "warnings": "; ".join(record.get("warnings") or ()),
        "error": (record.get("error") or {}).get("message", ""),
        "version": (record.get("versions") or {}).get("ue_bench"),
        "commit": record.get("commit"),
        "created": record.get("created"),
    }


def _metrics(metrics: Mapping[str, Any], outer: str = "") -> Iterable[tuple[str, Any]]:
    """(column, value): ``i2t_medr_rank``; of the best epoch ``best_i2t_medr_rank``."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _metrics(value, f"{name}_")
        elif name.endswith("epoch"):
            yield f"{outer}{name}", value
        else:
            unit = measure(name).unit
            yield f"{outer}{name}_{UNITS.get(unit, unit)}", value
