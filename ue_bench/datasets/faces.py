"""People's faces, each with a sentence that says who it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ue_bench import Count, Dataset, ImageSet, Split, Whole
from ue_bench.data.decode import decode_all
from ue_bench.data.files import File
from ue_bench.data.locate import data_root
from ue_bench.datasets.imagefolder import ImageFolder
from ue_bench.errors import ConfigError, DataError
from ue_bench.seeds import derive

# Syllables of new names; no celebrity has such a name.
_FIRST = ("Ba", "De", "Fi", "Go", "Ka", "Le", "Mi", "No", "Ra", "Se", "Ti", "Vo")
_LAST = ("bor", "dan", "fel", "gim", "kor", "lum", "mer", "nib", "pol", "rus", "tev", "wen")
TEMPLATES = (
    "a photo of {}",
    "a portrait of {}",
    "this is {}",
    "{} looks into the camera",
    "a picture of {} in public",
)


LFW = ("lfw-py/lfw_funneled", "lfw_funneled", "lfw")


class _People(ImageFolder):
    """One folder of people instead of two folders of classes, with error messages in the words of ``faces``."""

    def _leave_out(self, suffix: str) -> str:
        return "move them away"

    def _layout(self) -> str:
        return "Needed are FOLDER/PERSON/*.jpg: set faces.path=FOLDER"


@dataclass(frozen=True)
class Faces(Dataset):
    """Folders of faces, path/PERSON/*.jpg, with one test photograph of each person (MEM, 2024, section 5.4, PubFig).

    People get new names, as in the paper, because a pretrained CLIP may know the real ones. The other photographs of
    each person are for training. A template is drawn for each of them; test photographs have the first template.

    LFW has this layout, but cannot be downloaded automatically any more: unpack lfw-funneled.tgz by hand, so that
    lfw_funneled/PERSON/PERSON_0001.jpg lies under ``UE_BENCH_DATA``. If ``path`` is empty, lfw-py/lfw_funneled/,
    lfw_funneled/ and lfw/ are looked for there, in this order. Text files beside the people's folders are ignored.
    """

    path: str = ""  # folder or fsspec address with a folder for each person; "": LFW under UE_BENCH_DATA
    templates: tuple[str, ...] = (
        TEMPLATES  # sentences with {} for the name; ours, the paper's are in a figure
    )
    rename: bool = True  # new names, drawn from the seed; false: the folders' names
    least: Count = 2  # people with fewer photographs are left out
    people: Count | None = None  # how many people to use, drawn from the seed; null: all
    test_photos: Count = 1  # of each person, drawn from the seed; paper. More share a caption: no i2t Hit@1
    seed: Whole = 0  # for names, people and test photographs

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.templates:
            raise ConfigError(
                "faces.templates is empty; it must hold at least one sentence with {} where the name goes"
            )
        for text in self.templates:
            if text.count("{}") != 1:
                raise ConfigError(
                    f"faces.templates has '{text}'; each must hold {{}} once, where the name goes"
                )
        if self.test_photos >= self.least:
            raise ConfigError(
                f"faces.test_photos must be below least ({self.least}), so that each person keeps a photograph to "
                f"learn from; it is {self.test_photos}"
            )

    def load(self, image_size: int | None) -> Split:
        if image_size is None:
            raise ConfigError("photographs differ in size: set image_size=")
        photos = self._people()
        names = tuple(self._name(number, person) for number, person in enumerate(photos))
        parts: tuple[list[tuple[str, File, int]], ...] = ([], [])
        for label, (person, files) in enumerate(photos.items()):
            order = torch.randperm(len(files), generator=self._draw("photos", person)).tolist()
            for place, number in enumerate(order):
                parts[place < self.test_photos].append((*files[number], label))
        train, test = (sorted(part, key=lambda item: item[0]) for part in parts)
        drawn = torch.randint(len(self.templates), (len(train),), generator=self._draw("templates")).tolist()
        return Split(
            self._decode(train, names, image_size, [self.templates[number] for number in drawn]),
            self._decode(test, names, image_size, [self.templates[0]] * len(test)),
        )

    def source_state(self) -> object:
        return self._folder().source_state()

    def label(self) -> str:
        return f"Faces ({len(self._people())} people{', renamed' if self.rename else ''})"

    def _folder(self) -> ImageFolder:
        path = self.path or _lfw()
        address = path if "://" in path else str(Path(path).expanduser().resolve())
        return _People(train=address, test=address, ignore=("*.txt",))

    def _people(self) -> dict[str, list[tuple[str, File]]]:
        folder = self._folder()
        everyone = folder.images_by_class(folder.train)
        enough = {person: sorted(files, key=lambda item: item[0]) for person, files in everyone.items()}
        enough = {person: files for person, files in enough.items() if len(files) >= self.least}
        if len(enough) < max(2, self.people or 0):
            raise DataError(
                f"{folder.train}: {len(enough)} of {len(everyone)} people have {self.least} photographs; "
                f"{max(2, self.people or 0)} are needed. Lower faces.least or faces.people, or add photographs"
            )
        if self.people:
            chosen = torch.randperm(len(enough), generator=self._draw("people"))[: self.people].tolist()
            names = list(enough)
            enough = {names[number]: enough[names[number]] for number in sorted(chosen)}
        return enough

    def _name(self, number: int, person: str) -> str:
        if not self.rename:
            return person.replace("_", " ")
        count = len(_FIRST) * len(_LAST)
        order = torch.randperm(count**2, generator=self._draw("names"))  # each is a first and a family name
        one, two = divmod(int(order[number]), count)
        return " ".join(_FIRST[part % len(_FIRST)] + _LAST[part // len(_FIRST)] for part in (one, two))

    def _decode(
        self, photos: list[tuple[str, File, int]], names: tuple[str, ...], size: int, texts: list[str]
    ) -> ImageSet:
        payloads = ((path, file.read) for path, file, _ in photos)
        images = decode_all(payloads, len(photos), size, self._folder().train)
        labels = [label for _, _, label in photos]
        captions = tuple(
            (text.replace("{}", names[label]),) for text, label in zip(texts, labels, strict=True)
        )
        return ImageSet(images, torch.tensor(labels), captions, names)

    def _draw(self, *role: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.seed, "faces", *role))


def _lfw() -> str:
    """Where LFW lies under ``UE_BENCH_DATA``."""
    root = data_root()
    found = [root / name for name in LFW if (root / name).is_dir()] if root else []
    if not found:
        raise DataError(
            f"faces has no folder of images: set faces.path=FOLDER, with FOLDER/PERSON/*.jpg, or unpack LFW "
            f"as one of {', '.join(f'{name}/' for name in LFW)} in the folder that UE_BENCH_DATA names"
        )
    return str(found[0])
