"""AutoAugment's policies, from the tables in the appendix of its paper (Cubuk et al., CVPR 2019)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One half of a sub-policy.

    Attributes:
        operation: a key of ``_operations.OPERATIONS``.
        probability: the probability that the operation is applied.
        magnitude: its strength, 0 to 9; 0 for an operation that has no strength.
    """

    operation: str
    probability: float
    magnitude: int


def _read(table: str) -> tuple[tuple[Step, Step], ...]:
    """Each line is a sub-policy: twice an operation, its probability and its magnitude (- for none)."""
    pairs = []
    for line in table.strip().splitlines():
        words = line.split()
        pairs.append((_read_step(*words[:3]), _read_step(*words[3:])))
    return tuple(pairs)


def _read_step(operation: str, probability: str, magnitude: str) -> Step:
    return Step(operation, float(probability), 0 if magnitude == "-" else int(magnitude))


POLICIES = {
    "cifar10": _read("""
        Invert       0.1 -    Contrast     0.2 6
        Rotate       0.7 2    TranslateX   0.3 9
        Sharpness    0.8 1    Sharpness    0.9 3
        ShearY       0.5 8    TranslateY   0.7 9
        AutoContrast 0.5 -    Equalize     0.9 -
        ShearY       0.2 7    Posterize    0.3 7
        Color        0.4 3    Brightness   0.6 7
        Sharpness    0.3 9    Brightness   0.7 9
        Equalize     0.6 -    Equalize     0.5 -
        Contrast     0.6 7    Sharpness    0.6 5
        Color        0.7 7    TranslateX   0.5 8
        Equalize     0.3 -    AutoContrast 0.4 -
        TranslateY   0.4 3    Sharpness    0.2 6
        Brightness   0.9 6    Color        0.2 8
        Solarize     0.5 2    Invert       0.0 -
        Equalize     0.2 -    AutoContrast 0.6 -
        Equalize     0.2 -    Equalize     0.6 -
        Color        0.9 9    Equalize     0.6 -
        AutoContrast 0.8 -    Solarize     0.2 8
        Brightness   0.1 3    Color        0.7 0
        Solarize     0.4 5    AutoContrast 0.9 -
        TranslateY   0.9 9    TranslateY   0.7 9
        AutoContrast 0.9 -    Solarize     0.8 3
        Equalize     0.8 -    Invert       0.1 -
        TranslateY   0.7 9    AutoContrast 0.9 -
    """),
    "imagenet": _read("""
        Posterize    0.4 8    Rotate       0.6 9
        Solarize     0.6 5    AutoContrast 0.6 -
        Equalize     0.8 -    Equalize     0.6 -
        Posterize    0.6 7    Posterize    0.6 6
        Equalize     0.4 -    Solarize     0.2 4
        Equalize     0.4 -    Rotate       0.8 8
        Solarize     0.6 3    Equalize     0.6 -
        Posterize    0.8 5    Equalize     1.0 -
        Rotate       0.2 3    Solarize     0.6 8
        Equalize     0.6 -    Posterize    0.4 6
        Rotate       0.8 8    Color        0.4 0
        Rotate       0.4 9    Equalize     0.6 -
        Equalize     0.0 -    Equalize     0.8 -
        Invert       0.6 -    Equalize     1.0 -
        Color        0.6 4    Contrast     1.0 8
        Rotate       0.8 8    Color        1.0 2
        Color        0.8 8    Solarize     0.8 7
        Sharpness    0.4 7    Invert       0.6 -
        ShearX       0.6 5    Equalize     1.0 -
        Color        0.4 0    Equalize     0.6 -
        Equalize     0.4 -    Solarize     0.2 4
        Solarize     0.6 5    AutoContrast 0.6 -
        Invert       0.6 -    Equalize     1.0 -
        Color        0.6 4    Contrast     1.0 8
        Equalize     0.8 -    Equalize     0.6 -
    """),
}
