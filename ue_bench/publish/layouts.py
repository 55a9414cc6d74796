"""Lossless layouts in which training sets are exchanged: folders of pictures, Parquet, NumPy arrays."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ue_bench.data.imageset import ImageSet

ROWS = 512  # rows of Parquet that are written at once


def write_imagefolder(folder: Path, part: str, data: ImageSet) -> None:
    """``PART/CLASS/NAME.png``; without labels ``PART/NAME.png``, and a row for each caption in captions.csv."""
    assert data.names is not None
    folders = None if data.labels is None else class_folders(data)
    places = []
    for index, name in enumerate(data.names):
        place = PurePosixPath(name)
        if folders is not None and data.labels is not None:
            own = folders[int(data.labels[index])]
            place = place if place.parts[0] == own and len(place.parts) > 1 else PurePosixPath(own) / place
        target = folder / part / place
        target.parent.mkdir(parents=True, exist_ok=True)
        _picture(data, index).save(target)
        places.append(f"{part}/{place}")
    if folders is None and data.captions is not None:
        new = not (folder / "captions.csv").exists()
        with open(folder / "captions.csv", "a", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerows([("image", "caption", "split")] if new else [])
            lines.writerows(
                (p, text, part) for p, texts in zip(places, data.captions, strict=True) for text in texts
            )


def class_folders(data: ImageSet) -> list[str]:
    """A folder name for each class; sorted by name, the folders have the order of the class numbers."""
    assert data.labels is not None
    names = [name.replace("/", "_").strip(". ") for name in data.class_names or ()]
    if names and names == sorted(set(names)) and all(names):
        return names
    count = data.classes
    width = len(str(count - 1))
    return [f"{number:0{width}}" + (f"_{names[number]}" if names else "") for number in range(count)]


def write_parquet(folder: Path, part: str, data: ImageSet) -> None:
    """``PART.parquet`` in the layout of Hugging Face: image struct<bytes, path>, label, captions."""
    assert data.names is not None
    columns: dict[str, pa.DataType] = {"image": pa.struct([("bytes", pa.binary()), ("path", pa.string())])}
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if data.labels is not None:
        columns["label"] = pa.int64()
        named = {"names": list(data.class_names), "_type": "ClassLabel"} if data.class_names else None
        features["label"] = named or {"dtype": "int64", "_type": "Value"}
    if data.captions is not None:
        columns["captions"] = pa.list_(pa.string())
        features["captions"] = [{"dtype": "string", "_type": "Value"}]
    about = json.dumps({"info": {"features": features}})
    schema = pa.schema(list(columns.items()), metadata={"huggingface": about})
    with pq.ParquetWriter(folder / f"{part}.parquet", schema) as file:
        for start in range(0, len(data), ROWS):
            rows = range(start, min(start + ROWS, len(data)))
            values: dict[str, Any] = {
                "image": [{"bytes": _encode(_picture(data, i)), "path": data.names[i]} for i in rows]
            }
            if data.labels is not None:
                values["label"] = data.labels[rows.start : rows.stop].tolist()
            if data.captions is not None:
                values["captions"] = [list(data.captions[i]) for i in rows]
            file.write_table(pa.table(values, schema=schema))


def write_npz(folder: Path, part: str, data: ImageSet) -> None:
    """``PART.npz``: images uint8 [N, 3, H, W], labels int64 [N]; captions as text, a JSON list for each image."""
    arrays: dict[str, np.ndarray] = {"images": data.images.numpy()}
    if data.labels is not None:
        arrays["labels"] = data.labels.numpy()
    if data.class_names:
        arrays["class_names"] = np.array(data.class_names)
    if data.captions is not None:
        arrays["captions"] = np.array([json.dumps(texts, ensure_ascii=False) for texts in data.captions])
    with open(folder / f"{part}.npz", "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


LAYOUTS: dict[str, Callable[[Path, str, ImageSet], None]] = {
    "imagefolder": write_imagefolder,
    "parquet": write_parquet,
    "npz": write_npz,
}


def _picture(data: ImageSet, index: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(data.images[index].numpy().transpose(1, 2, 0)))


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
