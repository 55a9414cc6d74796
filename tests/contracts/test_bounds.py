"""Bounds that types declare: checked when content is made, and read from the source for `show`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from ue_bench import Budget, Count, Defense, Norms, Positive, PositiveShare, Range, Share, Whole
from ue_bench.bounds import LARGEST, kinds
from ue_bench.describe import describe
from ue_bench.errors import ConfigError
from ue_bench.registry import Registry
from ue_bench.training.recipe import Recipe

SOURCE = '''
from dataclasses import dataclass
from typing import Annotated, Literal
from ue_bench import Count, Defense, Range, Share

Steps = Annotated[int, Range(1, 255)]


@dataclass(frozen=True)
class Sample(Defense):
    """A defense."""

    radius: Steps = 8  # steps of 1/255
    bound: Literal["scale", "clamp"] = "scale"  # how
    share: Share | None = None  # of images
    layers: tuple[Count, ...] = (2, 3)
    free: float = 1.0  # anything
'''


@dataclass(frozen=True)
class Sample(Defense):
    """As a plug-in declares it."""

    radius: Annotated[int, Range(1, 255)] = 8
    rounds: Count = 20
    seed: Whole = 0
    step: Positive = 0.8
    kept: PositiveShare = 1.0
    share: Share | None = None
    momentum: Annotated[float, Range(0, below=1)] = 0.9
    bound: Literal["scale", "clamp"] = "scale"
    layers: tuple[Count, ...] = (2, 3)
    budget: Annotated[Budget, Norms("linf", most=127)] = Budget("linf", 8)
    free: float = 1.0
    count: int = 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"radius": 256},
            r"radius must be in the range 1 to 255, not 256: say \S+\.radius=255\. See: ue-bench show",
        ),
        ({"rounds": 0}, r"rounds must be at least 1, not 0: say \S+\.rounds=1"),
        ({"rounds": "many"}, "rounds must be a number at least 1, not 'many'"),
        ({"rounds": True}, "rounds must be a number"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"seed": 10**22}, f"seed must be at least 0 and at most {LARGEST}, not a number of 23 digits: say"),
        ({"step": 0.0}, r"step must be above 0, not 0\.0: say \S+\.step=0\.8"),
        ({"step": math.nan}, "step must be a finite number above 0, not nan"),
        ({"kept": 0.0}, "kept must be above 0 and at most 1, not 0.0"),
        ({"share": 1.5}, r"share must be in the range 0 to 1, not 1\.5: say \S+\.share=1"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, not 1.0"),
        ({"bound": "clam"}, "unknown .*bound 'clam': did you mean 'clamp'.*See: ue-bench show"),
        ({"layers": (2, 0)}, "layers must be at least 1, not 0"),
        (
            {"budget": Budget("linf", 200)},
            r"budget must be an linf budget .*, not linf:200: say \S+=linf:127",
        ),
        ({"budget": Budget("l2", 1.0)}, r"budget must be an linf budget .*, not l2:1: say \S+=linf:8"),
        ({"free": math.inf}, "free must be a finite number, not inf: say"),
        ({"count": 10**22}, f"count must be at most {LARGEST}, not a number of 23 digits"),
    ],
)
def test_what_is_out_of_bounds_is_refused_in_three_parts(values, message):
    with pytest.raises(ConfigError, match=message):
        Sample(**values)


def test_what_is_within_is_taken():
    Sample(
        radius=255, rounds=1, seed=0, kept=1.0, share=0.0, momentum=0.0, bound="clamp", layers=(), count=-5
    )


def test_recipes_are_checked_alike():
    with pytest.raises(ConfigError, match=r"recipe\.learning_rate must be a finite number above 0, not nan"):
        Recipe(learning_rate=math.nan)
    with pytest.raises(ConfigError, match=r"unknown recipe\.optimizer 'adamx': did you mean 'adam'"):
        Recipe(optimizer="adamx")


def test_show_tells_bounds_without_running_the_file(tmp_path):
    path = tmp_path / "sample.py"
    path.write_text(SOURCE + "\nraise RuntimeError('imported')\n")
    lines = describe(Registry([path]).find("defenses", "sample")).splitlines()
    told = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert told["radius"].endswith("steps of 1/255 [range 1 to 255]") and "radius = 8 " in told["radius"]
    assert told["bound"].endswith("how [one of scale, clamp]")
    assert told["share"].endswith("of images [range 0 to 1]")
    assert told["layers"].endswith("[each at least 1]")
    assert told["free"].endswith("anything")


def test_the_source_says_the_same_as_the_class():
    """What `show` reads from the text is what is checked, for everything of ours."""
    registry = Registry()
    for kind in ("methods", "victims", "defenses", "datasets"):
        for name in registry.names(kind):
            declared = {key: str(found) for key, found in kinds(registry.load(kind, name)).items()}
            read = {item.name: item.allowed for item in registry.find(kind, name).reading.parameters}
            assert {key: read.get(key, "") for key in declared} == declared, f"{kind} {name}"


def test_a_field_whose_type_cannot_be_found_is_left_alone():
    @dataclass(frozen=True)
    class Strange(Defense):
        """A type that only type checkers know."""

        thing: Unheard = None  # noqa: F821
        side: int = 3

    assert Strange().side == 3 and kinds(Strange)["thing"].base is None
