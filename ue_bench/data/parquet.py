"""Reads Parquet files in the layout of Hugging Face image datasets, for every dataset."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ue_bench.data.decode import decode_all, faulty
from ue_bench.data.files import File
from ue_bench.data.imageset import ImageSet
from ue_bench.errors import DataError, suggestion

_ROWS = 256  # rows read at once


def read_parquet(
    files: Sequence[File],
    image_size: int | None,
    image_column: str = "image",
    label_column: str = "label",
    caption_column: str = "",
    class_names: Sequence[str] = (),
    choose: Callable[[int], list[int]] | None = None,
) -> ImageSet:
    """Decodes one split of a dataset.

    Args:
        files: the split's files, in order.
        image_size: side in pixels (see ``fit_square``), or None: as stored.
        image_column: encoded images, ``struct<bytes, path>`` or binary.
        label_column: integers from 0, or strings that are in ``class_names``; "" for none.
        caption_column: ``list<string>`` or string; "" for none.
        class_names: one name per class; () takes them from the files' ``features`` metadata, if there are any.
        choose: (number of rows) -> the rows to use, ascending; only their images are decoded. None: all rows.

    Raises:
        DataError: if a file cannot be read, if a column is missing, or if images, labels or captions cannot be used;
            then the message names each row.
    """
    source = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
    names = tuple(class_names)
    labels: list[int] = []
    captions: list[tuple[str, ...]] = []
    label_faults: list[str] = []
    caption_faults: list[str] = []
    count = 0
    for file in files:
        with _opened(file) as table:
            schema = table.schema_arrow
            wanted = {"image_column": image_column, "label_column": label_column}
            _check_columns(file, schema, {**wanted, "caption_column": caption_column})
            names = names or _class_names(schema, label_column)
            if label_column:
                column = table.read(columns=[label_column]).column(0)
                labels += _read_labels(column, names, file, label_faults)
            if caption_column:
                column = table.read(columns=[caption_column]).column(0)
                captions += _read_captions(column, file, caption_faults)
            count += table.metadata.num_rows
    if label_faults:
        allowed = f"allowed are {f'0 to {len(names) - 1}' if names else 'integers from 0'}"
        raise faulty(label_faults, count, "labels", source, f"{allowed}; correct or remove these rows")
    if caption_faults:
        advice = "every image needs a text; fill in or remove these rows"
        raise faulty(caption_faults, count, "captions", source, advice)
    if choose is None:
        payloads = _payloads(files, image_column)
    else:
        rows = choose(count)
        payloads = _payloads(files, image_column, chosen=rows)
        labels = [labels[row] for row in rows] if label_column else []
        captions = [captions[row] for row in rows] if caption_column else []
        count = len(rows)
    return ImageSet(
        images=decode_all(payloads, count, image_size, source),
        labels=torch.tensor(labels, dtype=torch.int64) if label_column else None,
        captions=tuple(captions) if caption_column else None,
        class_names=names or None,
    )


def read_columns(file: File) -> list[str]:
    """The names of a file's columns."""
    with _opened(file) as table:
        return list(table.schema_arrow.names)


def read_first_image(file: File, image_column: str) -> bytes:
    """The encoded bytes of the first row's image; empty if there are none."""
    for _, data in _payloads([file], image_column, rows=1):
        return data or b""
    return b""


@contextmanager
def _opened(file: File) -> Iterator[pq.ParquetFile]:
    try:
        with file.open() as handle, pq.ParquetFile(handle) as table:
            yield table
    except DataError:
        raise
    except Exception as error:  # pyarrow and each file system have their own errors
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise DataError(
            f"'{file.path}' cannot be read as a Parquet file ({reason}): it is damaged, cut short or out of "
            "reach. Copy or download it again"
        ) from error


def _check_columns(file: File, schema: pa.Schema, columns: dict[str, str]) -> None:
    for parameter, name in columns.items():
        if name and name not in schema.names:
            guess = suggestion(name, schema.names)
            raise DataError(
                f"'{file.path}' has no column '{name}': {guess}Its columns are {', '.join(schema.names)}. "
                f"Set {parameter}= to one of them"
            )
    kind = schema.field(columns["image_column"]).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(
            f"column '{columns['image_column']}' of '{file.path}' holds {kind}; allowed are "
            "struct<bytes, path> and binary, with encoded images. Set image_column= to such a column"
        )


def _class_names(schema: pa.Schema, label_column: str) -> tuple[str, ...]:
    """The class names in the metadata that Hugging Face's datasets writes, or ()."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label_column]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _read_labels(column: pa.ChunkedArray, names: tuple[str, ...], file: File, faults: list[str]) -> list[int]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if not names:
            raise DataError(
                f"the labels of '{file.path}' are strings; allowed are integers from 0, or strings with "
                "class_names= set to all of them, in order"
            )
        index: dict[Any, Any] = {name: number for number, name in enumerate(names)}
        values = [index.get(value, value) for value in column.to_pylist()]
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        values = column.cast(pa.int64()).to_pylist()
    else:
        raise DataError(
            f"the labels of '{file.path}' are of type {kind}; allowed are integers from 0, or strings. "
            "Set label_column= to such a column"
        )
    top = len(names) or float("inf")
    for row, value in enumerate(values):
        if not isinstance(value, int) or not 0 <= value < top:
            faults.append(f"row {row} of {file.name} ({'no label' if value is None else value!r})")
    return values


def _read_captions(column: pa.ChunkedArray, file: File, faults: list[str]) -> list[tuple[str, ...]]:
    kind = column.type
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    if not (pa.types.is_string(inner) or pa.types.is_large_string(inner)):
        raise DataError(
            f"the captions of '{file.path}' are of type {kind}; allowed are list<string> and string. "
            "Set caption_column= to such a column"
        )
    values = [[value] if isinstance(value, str) else value for value in column.to_pylist()]
    for row, texts in enumerate(values):
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            faults.append(f"row {row} of {file.name} (no text)")
    return [tuple(texts or ()) for texts in values]


def _payloads(
    files: Sequence[File], image_column: str, rows: int = _ROWS, chosen: Sequence[int] | None = None
) -> Iterator[tuple[str, bytes | None]]:
    """(name in errors, encoded bytes) of the images in the chosen rows, with a few rows in memory at a time.

    Row groups without a chosen row are not read.
    """
    wanted = None if chosen is None else frozenset(chosen)
    before = 0  # rows in the files before this one
    for file in files:
        row = 0
        with _opened(file) as table:
            for group in range(table.num_row_groups):
                end = row + table.metadata.row_group(group).num_rows
                if chosen is not None and bisect_left(chosen, before + row) == bisect_left(
                    chosen, before + end
                ):
                    row = end
                    continue
                for batch in table.iter_batches(batch_size=rows, row_groups=[group], columns=[image_column]):
                    column = batch.column(0)
                    if pa.types.is_struct(column.type):
                        column = column.flatten()[column.type.get_field_index("bytes")]
                    for value in column:
                        if wanted is None or before + row in wanted:
                            yield f"row {row} of {file.name}", value.as_py()
                        row += 1
            before += row
