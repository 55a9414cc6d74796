"""Writes a protected training set with its clean test set, so that any other code can train on it."""

from __future__ import annotations

import dataclasses
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from ue_bench.canonical import dumps
from ue_bench.data.imageset import ImageSet
from ue_bench.errors import ConfigError, StoreError, unknown
from ue_bench.explain.subject import Subject, find_record, load_subject
from ue_bench.publish.layouts import LAYOUTS
from ue_bench.training.pairs import Pairs
from ue_bench.trials.environment import Environment
from ue_bench.trials.evaluate import draw_mask, poisoned
from ue_bench.trials.store import Store
from ue_bench.trials.trial import read_trial
from ue_bench.words import read_plugins, read_words

KEYS = {"trial": "", "noise": "", "format": "imagefolder", "out": "", "store": "runs", "plugins": ""}
USAGE = "ue-bench export trial=ID format=imagefolder out=DIR, or noise=KEY in trial's place"


def export_training_set(words: Sequence[str]) -> int:
    """Writes the training set of a trial's victim before any defense, and the clean test set.

    The words are ``trial=ID`` (at the trial's ratio, with its mask) or ``noise=KEY`` (all images protected),
    ``format=imagefolder``, ``parquet`` or ``npz``, ``out=DIR``, and optionally ``store= plugins=``.

    Returns:
        The exit status 0. A mistake raises UEBenchError and leaves nothing at ``out``.
    """
    given = read_words(words, KEYS, ("out",), USAGE)
    if bool(given["trial"]) == bool(given["noise"]):
        raise ConfigError(f"give exactly one of trial= and noise=. Usage: {USAGE}")
    if given["format"] not in LAYOUTS:
        raise unknown("format", given["format"], LAYOUTS, USAGE)
    out = Path(given["out"]).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"out={out} already exists and is not empty: name another folder")
    environment = Environment(given["store"], "cpu", read_plugins(given["plugins"]))
    subject = _find(environment, given["trial"], given["noise"])
    train = published_set(subject)
    partial = out.with_name(f".{out.name}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        partial.mkdir(parents=True)
        for part, data in (("train", train), ("test", subject.split.test)):
            LAYOUTS[given["format"]](partial, part, _named(data, len(subject.split.train)))
        (partial / "about.json").write_text(dumps(_about(subject, train), indent=1) + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        partial.replace(out)
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(
        f"wrote {out}: {len(train)} training images of {subject.trial.dataset.name} as {subject.trial.method.name} "
        f"protects them, at ratio {subject.trial.poison_ratio:g}, and {len(subject.split.test)} clean test images"
    )
    return 0


def published_set(subject: Subject) -> ImageSet:
    """The training set as the trial's victim gets it, before any defense.

    In contrastive trials an image appears once with all of its captions. If its pairs have noises of their own, every
    pair is an entry.
    """
    clean = subject.split.train
    found, _ = poisoned(subject.trial, clean, subject.perturbation)
    if isinstance(found, ImageSet):
        # Where images are withheld, the others keep their numbers as names.
        if len(found) < len(clean) and found.names is None:
            kept = (~draw_mask(subject.trial, clean)).nonzero()[:, 0].tolist()
            width = len(str(len(clean)))
            return dataclasses.replace(found, names=tuple(f"{index:0{width}}.png" for index in kept))
        return found
    return _images_of(found, clean)


def _images_of(pairs: Pairs, clean: ImageSet) -> ImageSet:
    captions = [" ".join(filter(None, (pairs.trigger_of(i), text))) for i, text in enumerate(pairs.captions)]
    first = torch.ones(len(pairs), dtype=torch.bool)
    first[1:] = pairs.image_of_pair[1:] != pairs.image_of_pair[:-1]
    start = first.nonzero()[:, 0]
    place = first.cumsum(0) - 1
    if pairs.rows is None or bool((pairs.rows == pairs.rows[start][place]).all()):
        groups: list[list[str]] = [[] for _ in start]
        for at, text in zip(place.tolist(), captions, strict=True):
            groups[at].append(text)
        images, texts = pairs.published(start), tuple(map(tuple, groups))
        names = clean.names if len(start) == len(clean) else None
    else:
        images, texts = pairs.published(torch.arange(len(pairs))), tuple((text,) for text in captions)
        names = None
    return ImageSet(images, captions=texts, names=names)


def _named(data: ImageSet, count: int) -> ImageSet:
    """The set with a name for each image, its own or its number; all names end in .png."""
    names = data.names or tuple(f"{index:0{len(str(max(count, len(data))))}}" for index in range(len(data)))
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    if len(set(stems)) < len(stems):
        stems = [f"{index:0{len(str(len(data)))}}" for index in range(len(data))]
    return dataclasses.replace(data, names=tuple(f"{stem}.png" for stem in stems))


def _find(environment: Environment, trial: str, noise: str) -> Subject:
    store = environment.open_store()
    record = find_record(store, trial) if trial else _record_with(store, noise)
    subject = load_subject(record, environment)
    if noise:
        whole = dataclasses.replace(read_trial(record["config"]), poison_ratio=1.0)
        subject = dataclasses.replace(subject, trial=whole)
    return subject


def _record_with(store: Store, key: str) -> Mapping[str, Any]:
    """The record of any finished trial that used this noise, since it names the data."""
    known = store.names("noise", ".safetensors")
    if key not in known:
        raise unknown("noise", key, known, f"the folder noise/ of store {store.address}")
    for record in store.read_records(store.names("trials", ".json")).values():
        if record["status"] != "failed" and (record.get("noise") or {}).get("key") == key:
            return record
    raise ConfigError(
        f"noise {key} is in store {store.address}, but no finished trial used it, so its data are not known: run its "
        "suite again"
    )


def _about(subject: Subject, train: ImageSet) -> dict[str, Any]:
    trial = subject.trial
    return {
        "trial": trial.id,
        "noise": trial.noise_key,
        "budget": str(subject.perturbation.budget),
        "poison_ratio": trial.poison_ratio,
        "class_names": train.class_names,
        "images": len(train),
        "config": trial.config(),
    }
