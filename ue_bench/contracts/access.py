"""What a method may see of the training data."""

from __future__ import annotations

import enum


class Access(enum.Flag):
    """The parts of the training data that a method may see."""

    NOTHING = 0
    IMAGES = enum.auto()
    LABELS = enum.auto()
    CAPTIONS = enum.auto()
    CLASS_NAMES = enum.auto()

    def words(self) -> list[str]:
        """The parts by name, such as ``["images", "labels"]``."""
        return [part.name.lower() for part in type(self) if part in self and part.name]
