"""Adds noise to a folder of pictures. Every file gets an outcome, and no file stops the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ue_bench.errors import ConfigError
from ue_bench.progress import Progress
from ue_bench.publish.captions import Matcher
from ue_bench.publish.folder import Found, list_folder
from ue_bench.publish.noise import NoiseFile
from ue_bench.publish.pictures import PIXELS, Refused, is_picture, open_picture
from ue_bench.publish.pixels import Change, add_noise
from ue_bench.publish.writing import explain, find_difference, write_picture

STATUSES = ("written", "skipped", "failed", "unused")


@dataclass(frozen=True)
class Settings:
    """How pictures are matched and written.

    Attributes:
        exif: ``strip`` or ``keep``.
        format: ``png`` or ``webp``, both lossless.
        match: ``name`` or ``stem``: how files are matched with their noise.
        resize: ``nearest``: noise is stretched to a picture's size; ``none``: other sizes are refused.
        overwrite: whether existing files in the output folder are replaced.
        inside: whether one of the two folders may lie within the other.
        max_pixels: the most pixels of a picture; larger pictures are refused.
    """

    exif: str = "strip"
    format: str = "png"
    match: str = "name"
    resize: str = "nearest"
    overwrite: bool = False
    inside: bool = False
    max_pixels: int = PIXELS


@dataclass(frozen=True)
class FileResult:
    """The outcome for one file, or for one noise.

    Attributes:
        name: its path within the folder, or the name that the captions give it.
        status: one of STATUSES.
        reason: why it was not written, or what else was changed.
        output: its path within the output folder, or "".
        kind: the mode in which it is written, such as ``RGB``; "" if it is not written.
        change: how far its pixels were changed, or None.
        open: True if a picture is left unprotected.
    """

    name: str
    status: str
    reason: str = ""
    output: str = ""
    kind: str = ""
    change: Change | None = None
    open: bool = False


def apply_noise(
    noise: NoiseFile, images: Path, out: Path, settings: Settings, progress: Progress
) -> Iterator[FileResult]:
    """Protects every picture of a folder for which there is noise, one after the other.

    The sources are never written to. A picture that is already there and intact is not written again.

    Raises:
        ConfigError: before anything is written, if the folders may not be used together or no picture has noise.
    """
    check_folders(images, out, settings.inside)
    files = list(list_folder(images, out if _within(out, images) else None))
    matcher = Matcher(noise.names, settings.match)
    rows = {found.name: matcher.find(found.name) for found in files}
    matched = [found.name for found in files if rows[found.name] and not found.problem]
    if not matched:
        raise _nothing_fits(noise, files, matcher, images)
    outputs = name_outputs(matched, settings.format)
    sources = {os.path.realpath(images / found.name) for found in files}
    folders = {os.path.dirname(source) for source in sources}
    several = _repeated(outputs.values())

    def _misplaced(target: Path) -> str:
        """Why nothing may be written to the target, or "". Links in ``out`` may lead anywhere."""
        if os.path.realpath(target) in sources:
            return f"it would be written over a source, {target}"
        real = Path(os.path.realpath(target.parent))
        if not _within(real, out):
            return (
                f"a link in out leads to {real}, outside of it: remove the link, or name that folder as out"
            )
        if str(real) in folders and not settings.inside:
            return f"it would be written beside a source in {real}: name another folder, or say inside=true"
        return ""

    def settle(found: Found) -> FileResult:
        name, matching = found.name, rows[found.name]
        if found.problem:
            return FileResult(name, "skipped" if found.harmless else "failed", found.problem)
        if not matching:
            return _without_noise(images / name, name, matcher.find_by_stem(name))
        output, target = outputs[name], out / outputs[name]
        if len(matching) > 1:
            rivals = " and ".join(noise.names[row] for row in matching[:3])
            return FileResult(name, "failed", f"captions of several pictures fit: {rivals}; say match=name")
        if output.lower() in several and name != output:
            return FileResult(name, "failed", f"another picture is written as {output}: rename one")
        if problem := _misplaced(target):
            return FileResult(name, "failed", problem)
        return _protect(
            noise, matching[0], images / name, target, FileResult(name, "", output=output), settings
        )

    def work() -> Iterator[FileResult]:
        for found in progress.track(files, "pictures"):
            yield settle(found)
        used = {row for matching in rows.values() for row in matching}
        for row in sorted(set(range(len(noise.names))) - used):
            yield FileResult(noise.names[row], "unused", "no such picture in the folder")

    return work()


def _without_noise(path: Path, name: str, nearly: bool = False) -> FileResult:
    """The outcome for a picture without a caption, or for another file.

    ``nearly`` is True if a caption names the picture with another extension.
    """
    try:
        picture = is_picture(path)
    except Exception as error:  # a file that no caption names must not stop the others
        reason = explain(error) if isinstance(error, OSError) else type(error).__name__
        return FileResult(
            name, "skipped", f"no caption of that name, and it cannot be read: {reason}", open=True
        )
    if picture:
        hint = "; a caption has its name with another extension: say match=stem" if nearly else ""
        return FileResult(name, "skipped", f"no caption of that name: it is not protected{hint}", open=True)
    return FileResult(name, "skipped", "not a picture")


def _protect(
    noise: NoiseFile, row: int, source: Path, target: Path, outcome: FileResult, settings: Settings
) -> FileResult:
    """Protects one picture: opens, changes, checks and writes it, and reads it back."""
    try:
        picture = open_picture(source, settings.exif, settings.format, settings.max_pixels)
        steps = noise.noise[row].numpy()
        if settings.resize == "none" and picture.image.size != steps.shape[:0:-1]:
            raise Refused(
                f"it is {picture.image.height}x{picture.image.width} pixels, its noise "
                f"{steps.shape[1]}x{steps.shape[2]}: say resize=nearest"
            )
        change = add_noise(picture.image, steps)
        limit = noise.budget.radius if noise.budget.norm == "linf" else abs(steps.astype(int)).max()
        if change.largest > limit:
            raise Refused(f"it was changed by {change.largest:g}/255, over its budget of {limit:g}/255")
        if change.largest == 0:
            raise Refused("the noise changes none of its pixels")
        notes = "; ".join(picture.notes)
        outcome = replace(outcome, kind=picture.image.mode, change=change)
        if os.path.lexists(target) and not settings.overwrite:
            difference = find_difference(picture, target, settings.format)
            if difference:
                raise Refused(
                    f"{outcome.output} already exists, but {difference}: say overwrite=true, or name another folder"
                )
            there = "already written and intact"
            return replace(outcome, status="skipped", reason=f"{there}; {notes}" if notes else there)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_picture(picture, target, settings.format)
        return replace(outcome, status="written", reason=notes)
    except Refused as error:
        reason = str(error)
    except OSError as error:
        reason = explain(error)
    except MemoryError:
        reason = "not enough memory"
    except Exception as error:  # one strange file must not stop the others
        reason = f"{type(error).__name__}: {error}"
    return FileResult(outcome.name, "failed", reason)


def check_folders(images: Path, out: Path, inside: bool) -> None:
    """Raises ConfigError unless ``images`` is a folder and ``out`` is, or can become, a folder safe to write to."""
    if not images.is_dir():
        raise ConfigError(f"images={images} is not a folder: name the one that holds the pictures")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"out={out} is a file: name a folder")
    if os.path.realpath(images) == os.path.realpath(out):
        raise ConfigError(
            f"out={out} is the folder of the pictures: they are never written over, and protected ones beside them "
            "would be taken for originals the next time; name another folder"
        )
    if not inside and (_within(out, images) or _within(images, out)):
        raise ConfigError(
            f"out={out} and images={images} lie one inside the other, so protected and unprotected pictures are "
            "easily mixed up: name another folder, or allow it with inside=true"
        )


def _within(inner: Path, outer: Path) -> bool:
    return Path(os.path.realpath(inner)).is_relative_to(os.path.realpath(outer))


def name_outputs(names: list[str], form: str) -> dict[str, str]:
    """The output path of each picture: with the new extension, or with it added to the old one if two would collide.

    Paths that differ only in case collide, because some file systems ignore case.
    """
    short = {name: os.path.splitext(name)[0] + f".{form}" for name in names}
    several = _repeated(short.values())
    return {
        name: f"{name}.{form}" if output.lower() in several and name != output else output
        for name, output in short.items()
    }


def _repeated(outputs: Iterable[str]) -> set[str]:
    return {output for output, count in Counter(map(str.lower, outputs)).items() if count > 1}


def _nothing_fits(noise: NoiseFile, files: list[Found], matcher: Matcher, images: Path) -> ConfigError:
    names = [found.name for found in files if not found.problem]
    there = ", ".join(names[:3]) if names else "no file"
    by_stem = sum(matcher.find_by_stem(name) for name in names)
    advice = (
        f"{by_stem} would fit without their extensions: say match=stem"
        if by_stem
        else "the noise is found by a picture's path within the folder"
    )
    return ConfigError(
        f"no picture in images={images} has noise. The noise is for {', '.join(noise.names[:3])}; the folder holds "
        f"{there}. {advice}"
    )
