"""A captioned dataset with other training captions for the same pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from ue_bench import Count, Dataset, ImageSet, Split, Whole
from ue_bench.data.captions_csv import read_rows
from ue_bench.data.decode import faulty
from ue_bench.data.files import find_files, find_state
from ue_bench.errors import ConfigError, DataError, UnavailableError


@dataclass(frozen=True)
class Rewritten(Dataset):
    """Another dataset with new training captions, as in T2UE's study of varied descriptions (2025, table 7).

    Its authors had Microsoft's GIT write captions of cropped, mirrored and rotated copies of each image. That needs a
    GIT model in a local folder (``model=``, and ``pip install 'ue-bench[text]'``). Without one, captions come from a
    file (``captions=``), or from the dataset itself: ``keep=others`` leaves out the first caption of each image,
    ``keep=first`` keeps only that one. Test captions stay as they are.
    """

    of: str = "flickr8k"  # the dataset that the images come from
    words: tuple[str, ...] = ()  # parameters of that dataset, such as [train_images=2000]
    keep: Literal["", "others", "first"] = ""  # others: all captions but the first; first: only that one
    captions: str = (
        ""  # CSV file image,caption; image is a training image's number from 0; several rows per image
    )
    model: str = ""  # folder of a GIT model for transformers, such as git-base-coco
    per_image: Count = 5  # model only: captions written for each image, each for a differently altered copy
    seed: Whole = 0  # model only: for crops, mirrors and rotations

    def __post_init__(self) -> None:
        super().__post_init__()
        ways = [name for name in ("captions", "model") if getattr(self, name)]
        if len(ways) > 1:
            raise ConfigError(
                f"rewritten takes one source of captions, not {' and '.join(ways)}: leave out one"
            )
        if not (ways or self.keep):
            raise UnavailableError(
                "rewritten has no captions to put in: set rewritten.keep=others, rewritten.captions=FILE.csv or "
                "rewritten.model=FOLDER"
            )
        if self.of == "rewritten":
            raise ConfigError(
                "rewritten.of must name another dataset, such as flickr8k, not rewritten itself"
            )

    def made_from(self) -> tuple[str, tuple[str, ...]]:
        return self.of, self.words

    def load(self, image_size: int | None) -> Split:
        split = self.source.load(image_size)
        train = split.train
        if train.captions is None:
            raise DataError(f"{self.of} has no captions to rewrite")
        if self.captions:
            captions = _read(self.captions, len(train))
        elif self.model:
            captions = tuple(_written(train, self.model, self.per_image, self.seed))
        else:
            captions = _kept(train.captions, self.keep)
        return Split(dataclasses.replace(train, captions=captions, _memo={}), split.test)

    def label(self) -> str:
        if self.captions or self.model:
            how = (
                f"captions from {Path(self.captions).name}"
                if self.captions
                else f"by {Path(self.model).name}"
            )
        else:
            how = {"others": "all captions but the first", "first": "the first caption only"}[self.keep]
        return f"{self.source.label()}, {how}"

    def to_download(self) -> str:
        return self.source.to_download()

    def source_state(self) -> object:
        state = self.source.source_state()
        if state is None or not (self.captions or self.model):
            return state
        if self.captions:
            return [state, find_state(find_files("", self.captions))]
        path = Path(self.model)
        if not path.exists():
            raise DataError(f"rewritten: there is no folder {path} with a GIT model")
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        return [state, [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]]


def _kept(captions: tuple[tuple[str, ...], ...], keep: str) -> tuple[tuple[str, ...], ...]:
    if keep == "first":
        return tuple(texts[:1] for texts in captions)
    lone = sum(len(texts) < 2 for texts in captions)
    if lone:
        raise DataError(
            f"keep=others needs two captions per image; {lone} of {len(captions)} images have only one"
        )
    return tuple(texts[1:] for texts in captions)


def _read(address: str, count: int) -> tuple[tuple[str, ...], ...]:
    """The captions of each image, by its number."""
    faults: list[str] = []
    (file,) = find_files("", address)
    found: list[list[str]] = [[] for _ in range(count)]
    for row in read_rows(file, faults, ("image",), ("caption",)):
        if row.image.isdecimal() and int(row.image) < count:
            found[int(row.image)].append(row.caption)
        else:
            faults.append(f"line {row.line} (no image '{row.image}')")
    faults += [f"image {number} has no caption" for number, texts in enumerate(found) if not texts]
    if faults:
        advice = f"image must be a training image's number, 0 to {count - 1}, and each image needs a caption"
        raise faulty(faults, max(len(faults), count), "entries", file.path, advice)
    return tuple(tuple(texts) for texts in found)


def _written(train: ImageSet, folder: str, per_image: int, seed: int) -> Iterator[tuple[str, ...]]:
    """Captions that a GIT model writes, each for a newly cropped, mirrored and rotated copy."""
    try:
        from transformers import AutoModelForCausalLM, AutoProcessor
    except ImportError:
        raise ConfigError("rewritten.model needs transformers: pip install 'ue-bench[text]'") from None
    if not Path(folder).is_dir():
        raise DataError(f"rewritten.model: there is no folder {folder} with a GIT model")
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    except (OSError, ValueError) as error:
        raise DataError(f"rewritten.model: {folder} holds no captioning model: {error}") from None
    from torchvision.transforms import v2

    height, width = train.image_size
    alter = v2.Compose(
        [
            v2.RandomResizedCrop((height, width), scale=(0.7, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.RandomRotation(10),
        ]
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    with torch.random.fork_rng(devices=[]):  # torchvision draws from global state
        torch.manual_seed(seed)
        for image in train.images:
            copies = [alter(image) for _ in range(per_image)]
            pixels = processor(images=copies, return_tensors="pt").pixel_values.to(device)
            with torch.inference_mode():
                tokens = model.generate(pixel_values=pixels, max_new_tokens=40)
            texts = [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]
            yield tuple(text or "a picture" for text in texts)
