"""Fakes in the layouts that datasets come in."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NUMBERS = np.random.default_rng(0)


def pixels(side: int = 8) -> np.ndarray:
    return NUMBERS.integers(0, 256, (side, side, 3), dtype=np.uint8)


def encode(array: np.ndarray, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, **options)
    return buffer.getvalue()


def as_images(payloads: list[bytes | None]) -> pa.Array:
    rows = [None if data is None else {"bytes": data, "path": f"{i}.png"} for i, data in enumerate(payloads)]
    return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def write_parquet(path: Path, payloads, labels=None, metadata=None, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [i % 3 for i in range(len(payloads))] if labels is None else labels
    table = pa.table({"image": as_images(payloads), "label": labels, **columns})
    if metadata:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, path)
    return path


def write_pair(folder: Path, count: int = 6, **options) -> list[np.ndarray]:
    """train.parquet and test.parquet; returns the training pixels."""
    arrays = [pixels() for _ in range(count)]
    write_parquet(folder / "train.parquet", [encode(a) for a in arrays], **options)
    write_parquet(folder / "test.parquet", [encode(pixels()) for _ in range(count)], **options)
    return arrays


def write_folder(root: Path, classes=("cat", "ant"), count: int = 2, side: int = 8) -> None:
    for part in ("train", "test"):
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                (root / part / name / f"{index}.png").write_bytes(encode(pixels(side)))
