"""Any dataset in folders of image files."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

import torch

from ue_bench import Dataset, ImageSet, Split
from ue_bench.data.decode import decode_all
from ue_bench.data.files import File, connect, find_state, join, list_tree, unreadable
from ue_bench.errors import ConfigError, DataError, UnavailableError, some

_IMAGES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
)
_Classes = dict[str, list[tuple[str, File]]]  # for each class (relative path, file) of its images
_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "__macosx")


@dataclass(frozen=True)
class ImageFolder(Dataset):
    """Image files as path/train/CLASS/*.png and path/test/CLASS/*.png, local or at any fsspec address.

    Classes are numbered in the order of their names, and images are sorted by relative path. Folders within a class
    belong to it; hidden files are ignored. With ``image_size`` the shorter side is resized to it
    (antialiased bicubic) and the central square cut out. ``captions`` makes a sentence of each class's name,
    with spaces for underscores, so that CLIP models can be trained on faces or other classes, too.
    """

    path: str = ""  # folder or fsspec address that holds the two folders below
    train: str = "train"  # folder of training images in path, or a full address
    test: str = "test"  # folder of test images in path, or a full address; for ImageNet, val
    ignore: tuple[str, ...] = ()  # patterns of files to leave out, by name or relative path, such as *.txt
    captions: str = ""  # one caption per image: a sentence with {} for its class, "a photo of {}"; "": none

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.captions and self.captions.count("{}") != 1:
            raise ConfigError(
                f"imagefolder.captions is '{self.captions}'; it must hold {{}} once, where the class's name "
                "goes, as in 'a photo of {}'"
            )

    def load(self, image_size: int | None) -> Split:
        train, test = self.images_by_class(self.train), self.images_by_class(self.test)
        for name, has, lacks in ((self.test, train, test), (self.train, test, train)):
            missing = sorted(set(has) - set(lacks))
            if missing:
                raise DataError(
                    f"{join(self.path, name)} has no folder for the class {' and '.join(missing[:8])}; "
                    f"{self.train} and {self.test} must have the same classes. Add it, or remove "
                    "it from the other"
                )
        return Split(self._decode(self.train, train, image_size), self._decode(self.test, test, image_size))

    def source_state(self) -> object:
        files = [file for folder in (self.train, self.test) for file in self._list(folder).values()]
        return find_state(files)

    def _decode(self, folder: str, classes: _Classes, image_size: int | None) -> ImageSet:
        names = tuple(classes)
        found = [(path, file, label) for label, name in enumerate(names) for path, file in classes[name]]
        found.sort(key=lambda item: item[0])
        payloads = ((path, file.read) for path, file, _ in found)
        images = decode_all(payloads, len(found), image_size, join(self.path, folder))
        texts = [self.captions.replace("{}", name.replace("_", " ")) for name in names]
        captions = tuple((texts[label],) for _, _, label in found) if self.captions else None
        labels = torch.tensor([label for _, _, label in found])
        return ImageSet(images, labels, captions, names, tuple(path for path, _, _ in found))

    def images_by_class(self, folder: str) -> _Classes:
        """The images of each class, in the order of the classes' names."""
        address = join(self.path, folder)
        found = self._list(folder)
        wrong = [path for path in found if not path.lower().endswith(_IMAGES)]
        if wrong:
            raise DataError(
                f"{address} holds {len(wrong)} files that are not images: {some(wrong)}. Allowed are "
                f"{' '.join(_IMAGES)}; {self._leave_out(_suffix(wrong[0]))}"
            )
        loose = [path for path in found if "/" not in path]
        if loose:
            raise DataError(
                f"{address} holds images outside of a class's folder: {some(loose)}. {self._layout()}"
            )
        classes: _Classes = {name: [] for name in self._folders(address)}
        for path, file in found.items():
            classes.setdefault(path.split("/", 1)[0], []).append((path, file))
        empty = sorted(name for name, files in classes.items() if not files)
        if empty:
            raise DataError(
                f"{address} has a folder without images: {some(empty)}. Every class needs at least one; "
                "fill it or remove it"
            )
        if not classes:
            raise DataError(f"{address} is empty. {self._layout()}")
        return dict(sorted(classes.items()))

    def _list(self, folder: str) -> dict[str, File]:
        """Every file below ``folder`` by relative path, without hidden and ignored ones."""
        if not self.path and "://" not in folder and not folder.startswith(("/", "~")):
            raise UnavailableError(
                f"imagefolder has no folder of images: set imagefolder.path=PATH. {self._layout()}"
            )
        address = join(self.path, folder)
        system, root = connect(address)
        try:
            if not system.isdir(root):
                there = self._folders(self.path) if self.path else []
                raise DataError(
                    f"there is no folder {address}; {self.path or 'its parent'} holds "
                    f"{some(there) if there else 'no folders, or does not exist'}. {self._layout()}"
                )
            files = list_tree(system, root)
        except DataError:
            raise
        except Exception as error:  # each file system has its own errors
            raise unreadable(address, error) from error
        return {path: file for path, file in files.items() if not self._passes_over(path)}

    def _folders(self, address: str) -> list[str]:
        """Names of the folders directly in ``address``, without hidden and ignored ones."""
        system, root = connect(address)
        try:
            entries = system.ls(root, detail=True)
        except Exception:
            return []
        folders = [e["name"].rstrip("/").rsplit("/", 1)[-1] for e in entries if e["type"] == "directory"]
        return sorted(name for name in folders if not self._passes_over(name))

    def _passes_over(self, path: str) -> bool:
        parts = path.split("/")
        if any(part.startswith(".") or part.lower() in _SYSTEM_FILES for part in parts):
            return True
        return any(fnmatch.fnmatch(path, rule) or fnmatch.fnmatch(parts[-1], rule) for rule in self.ignore)

    def _leave_out(self, suffix: str) -> str:
        return f'move them away, or set ignore=["*{suffix}"]'

    def _layout(self) -> str:
        return (
            f"Needed are PATH/{self.train}/CLASS/*.png and PATH/{self.test}/CLASS/*.png; "
            "set imagefolder.train= and imagefolder.test= if these two folders have other names"
        )


def _suffix(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    return f".{name.rsplit('.', 1)[1]}" if "." in name else name
