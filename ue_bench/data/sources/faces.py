"""People's faces, each with a sentence that says who it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ue_bench import Dataset, ImageSet, Split
from ue_bench.data.decode import decode_all
from ue_bench.data.files import File
from ue_bench.data.sources.imagefolder import ImageFolder
from ue_bench.errors import ConfigError, DataError
from ue_bench.seeds import derive

# Sounds of which new names are made; none is a celebrity's.
_FIRST = ("Ba", "De", "Fi", "Go", "Ka", "Le", "Mi", "No", "Ra", "Se", "Ti", "Vo")
_LAST = ("bor", "dan", "fel", "gim", "kor", "lum", "mer", "nib", "pol", "rus", "tev", "wen")
TEMPLATES = (
    "a photo of {}",
    "a portrait of {}",
    "this is {}",
    "{} looks into the camera",
    "a picture of {} in public",
)


@dataclass(frozen=True)
class Faces(Dataset):
    """Folders of faces, path/PERSON/*.jpg, with one test photograph of each person (MEM, 2024, section 5.4, PubFig).

    People get new names, as in the paper, because a pretrained CLIP may know the real ones. LFW as torchvision
    downloads it has this layout: ``torchvision.datasets.LFWPeople(DIR, download=True)``, then
    ``faces.path=DIR/lfw-py/lfw_funneled``. The training photographs are the rest of each person's, each with a
    template drawn for it; test photographs have the first template.
    """

    path: str = ""  # folder or fsspec address with a folder for each person
    templates: tuple[str, ...] = (
        TEMPLATES  # sentences with {} for the name; ours, the paper's are in a figure
    )
    rename: bool = True  # new names, drawn from the seed; false: the folders' names
    least: int = 2  # photographs that a person must have to take part
    people: int | None = None  # how many take part, drawn from the seed; null: all
    test_photos: int = 1  # of each person, drawn from the seed; paper
    seed: int = 0  # of names, people and test photographs

    def __post_init__(self) -> None:
        wrong = [text for text in self.templates if text.count("{}") != 1] or [""] * (not self.templates)
        if wrong:
            raise ConfigError(
                f"faces.templates has '{wrong[0]}'; each must hold {{}} once, where the name goes"
            )
        if not 1 <= self.test_photos < self.least:
            raise ConfigError(
                f"faces.test_photos must be at least 1 and below least ({self.least}), so that each person keeps a "
                f"photograph to learn from; it is {self.test_photos}"
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
        if not self.path:
            raise ConfigError("faces does not know where its images are: set faces.path=FOLDER")
        address = self.path if "://" in self.path else str(Path(self.path).expanduser().resolve())
        return ImageFolder(train=address, test=address)

    def _people(self) -> dict[str, list[tuple[str, File]]]:
        folder = self._folder()
        everyone = folder.images_by_class(folder.train)
        enough = {person: sorted(files, key=lambda item: item[0]) for person, files in everyone.items()}
        enough = {person: files for person, files in enough.items() if len(files) >= self.least}
        if len(enough) < max(2, self.people or 0):
            raise DataError(
                f"{self.path}: {len(enough)} of {len(everyone)} people have {self.least} photographs; "
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
        order = torch.randperm(count**2, generator=self._draw("names"))  # a first and a family name each
        one, two = divmod(int(order[number]), count)
        return " ".join(_FIRST[part % len(_FIRST)] + _LAST[part // len(_FIRST)] for part in (one, two))

    def _decode(
        self, photos: list[tuple[str, File, int]], names: tuple[str, ...], size: int, texts: list[str]
    ) -> ImageSet:
        payloads = ((path, file.read) for path, file, _ in photos)
        images = decode_all(payloads, len(photos), size, self.path)
        labels = [label for _, _, label in photos]
        captions = tuple(
            (text.replace("{}", names[label]),) for text, label in zip(texts, labels, strict=True)
        )
        return ImageSet(images, torch.tensor(labels), captions, names)

    def _draw(self, *role: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.seed, "faces", *role))
