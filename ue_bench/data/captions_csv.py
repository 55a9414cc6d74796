"""Captions in CSV files: each row is one (image, caption) pair, and an image may have any number of rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ue_bench.data.decode import faulty
from ue_bench.data.files import File, exists, find_files, read_text
from ue_bench.data.pictures import PARTS, Parts, Picture
from ue_bench.errors import DataError, suggestion

IMAGE_COLUMNS = ("image", "image_name", "filename", "file_name", "images")
CAPTION_COLUMNS = ("caption", "comment", "text")
_SEPARATORS = ("|", "\t", ";", ",")
_IMAGE = re.compile(r"\S.*\.(png|jpe?g|webp|tiff?|bmp|gif)$", re.IGNORECASE)
_LINES = 20  # the most that a caption may span; more means that a quotation mark is never closed
_SPLIT_FILES = {"test": "test.csv", "validation": "val.csv", "train": "train.csv"}


@dataclass(frozen=True)
class Row:
    """One row: its line number and its fields, stripped; split is None if the file has no such column."""

    line: int
    image: str
    caption: str
    split: str | None


def read_rows(
    file: File,
    faults: list[str],
    image_columns: Sequence[str] = IMAGE_COLUMNS,
    caption_columns: Sequence[str] = CAPTION_COLUMNS,
    split_column: str = "",
) -> list[Row]:
    """The rows of a file with a header; fields are separated by ``|``, tab, ``;`` or comma, as in the header.

    In files with ``|``, quotation marks are ordinary characters. A row that lacks its last ``|`` is read all the same:
    Flickr30k's results.csv has one.

    Args:
        file: the file to read.
        faults: the lines of rows without image or caption are appended to it.
        image_columns: possible names of the column of images; the first that exists is used.
        caption_columns: the same for captions; () reads none.
        split_column: the column that says which part of the data a row is in, if there is one.

    Raises:
        DataError: if the file is not UTF-8, is empty, or has no such columns.
    """
    text = read_text(file)
    header = text.partition("\n")[0]
    separator = next((each for each in _SEPARATORS if each in header), ",")
    quotes = None if separator == "|" else '"'
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quotechar=quotes,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,  # else a quotation mark that is never closed swallows the rows after it
    )
    rows: list[Row] = []
    last = 0
    try:
        names = [name.strip() for name in next(reader, [])]
        image = _find(names, image_columns, "images", file)
        caption = _find(names, caption_columns, "captions", file) if caption_columns else None
        split = names.index(split_column) if split_column in names else None
        last = reader.line_num
        for fields in reader:
            first, last = last + 1, reader.line_num
            if not any(field.strip() for field in fields):
                continue
            if last - first >= _LINES or any(_holds_a_row(field, separator) for field in fields):
                faults.append(f"line {first} (a quotation mark that is never closed)")
                continue
            if separator == "|" and len(names) == 3 and len(fields) == 2:
                fields = [fields[0], *re.split(r"(?<=\d)\s+", fields[1].strip(), maxsplit=1)]
            if any(field.strip() for field in fields[len(names) :]):
                faults.append(f"line {first} ({len(fields)} fields; put captions in quotation marks)")
                continue
            name, words, part = _field(fields, image), _field(fields, caption), _field(fields, split)
            if not name:
                faults.append(f"line {first} (no image)")
            elif words == "":
                faults.append(f"line {first} (no text)")
            else:
                rows.append(Row(first, name, words or "", part))
    except csv.Error as error:
        faults.append(
            f"line {last + 1} (a quotation mark that is never closed, or not written twice within a caption: {error})"
        )
    if not rows and not faults:
        raise DataError(f"'{file.path}' has no rows: every image needs at least one")
    return rows


def _field(fields: Sequence[str], column: int | None) -> str | None:
    """The field in a column, stripped: None if there is no such column, "" if the row is too short."""
    if column is None:
        return None
    return fields[column].strip() if column < len(fields) else ""


def _holds_a_row(field: str, separator: str) -> bool:
    """Whether a line of the text, after its first, begins like a row: with an image's name and a separator."""
    return any(
        _IMAGE.match(line.partition(separator)[0].strip())
        for line in field.splitlines()[1:]
        if separator in line
    )


def group(rows: Iterable[Row]) -> list[Picture]:
    """One picture per image, in the order of the images' first rows, with the captions of all its rows."""
    captions: dict[str, list[str]] = {}
    for row in rows:
        captions.setdefault(row.image, []).append(row.caption)
    return [Picture(name, tuple(texts)) for name, texts in captions.items()]


def find_split(root: str) -> dict[str, File]:
    """The files that list each part's images, as MEM publishes them: test.csv, and val.csv and train.csv if any."""
    for folder in (root, f"{root}/splits"):
        if exists(folder, _SPLIT_FILES["test"]):
            there = {part: name for part, name in _SPLIT_FILES.items() if exists(folder, name)}
            return {part: find_files(folder, name)[0] for part, name in there.items()}
    return {}


def apply_split(pictures: Iterable[Picture], files: dict[str, File]) -> Parts:
    """Divides pictures by lists of images, in the lists' order; without a train.csv all others are for training.

    Raises:
        DataError: naming every image in a list that is not among the pictures, or is in two lists.
    """
    by_name = {picture.base: picture for picture in pictures}
    parts: dict[str, list[Picture]] = {part: [] for part in PARTS}
    taken: dict[str, str] = {}
    for part, file in files.items():
        faults: list[str] = []
        # Only the last part of a path is the same on every machine. Lists repeat an image for each of its captions.
        rows = read_rows(file, faults, ("images", *IMAGE_COLUMNS), ())
        names = list(dict.fromkeys(re.split(r"[/\\]", row.image)[-1] for row in rows))
        for name in names:
            if name not in by_name:
                faults.append(f"{name} (not among the captions)")
            elif name in taken:
                faults.append(f"{name} (also in {taken[name]})")
            else:
                parts[part].append(by_name[name])
        taken.update(dict.fromkeys(names, file.name))
        if faults:
            raise faulty(faults, len(names), "images", file.path, "correct the list, or remove it")
    if "train" not in files:
        parts["train"] = [picture for name, picture in by_name.items() if name not in taken]
    return parts


def _find(names: Sequence[str], wanted: Sequence[str], what: str, file: File) -> int:
    for name in wanted:
        if name in names:
            return names.index(name)
    raise DataError(
        f"'{file.path}' has no column of {what} ({' or '.join(wanted)}): {suggestion(wanted[0], names)}Its "
        f"first line reads '{', '.join(names)[:120]}', and must name the columns"
    )
