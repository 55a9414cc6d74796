"""Files made by hand, with checksums that are right: told in words, whatever they hold."""

from __future__ import annotations

import pytest
import torch
from homes import HEIGHT, WIDTH, Home

from ue_bench.canonical import digest
from ue_bench.errors import DataError, PerturbationError, UEBenchError
from ue_bench.publish.noise import KIND, SCHEMA, read_noise
from ue_bench.publish.preparation import KIND as PREPARATION
from ue_bench.publish.preparation import read_preparation
from ue_bench.trials.artefacts import save_tensors
from ue_bench.trials.store import Store

GOOD = {
    "kind": KIND,
    "schema": SCHEMA,
    "names": ["a.png"],
    "image_size": [HEIGHT, WIDTH],
    "budget": {"norm": "linf", "radius": 8.0, "signs": "both"},
    "method": {"name": "toy", "parameters": {}, "version": 1},
    "seed": 0,
    "changed": {},
    "summary": "Toy.",
    "warnings": [],
}
ABSENT = object()
NOISE = torch.tensor([1, -1], dtype=torch.int8).repeat(3 * HEIGHT * WIDTH // 2).view(1, 3, HEIGHT, WIDTH)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def write(home: Home, facts: dict, noise: torch.Tensor = NOISE) -> None:
    """A noise file whose seal and checksum are right."""
    facts = {name: value for name, value in facts.items() if value is not ABSENT}
    facts = {**facts, "seal": digest(facts)}
    store = Store(home.noise_path.parent.parent)
    save_tensors(store, home.noise_path.parent.name, "n", {"noise": noise}, facts, sealed=False)


def test_the_file_that_the_others_start_from_is_good(home):
    write(home, GOOD)
    assert read_noise(home.noise_path).names == ("a.png",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kind", 5),
        ("schema", ABSENT),
        ("schema", "one"),
        ("schema", True),
        ("schema", 2),
        ("names", ABSENT),
        ("names", "a.png"),
        ("names", [1]),
        ("names", []),
        ("names", ["a.png", "b.png"]),
        ("image_size", ABSENT),
        ("image_size", [1, 2, 3]),
        ("image_size", [99, 99]),
        ("image_size", ["x", "y"]),
        ("budget", ABSENT),
        ("budget", []),
        ("budget", {}),
        ("budget", {"norm": "linf", "radius": "x"}),
        ("budget", {"norm": "linf", "radius": 8, "more": 1}),
        ("budget", {"norm": "l7", "radius": 8}),
        ("budget", {"norm": "linf", "radius": "nan"}),
        ("method", ABSENT),
        ("method", "toy"),
        ("method", {}),
        ("method", {"name": 5}),
        ("seed", "x"),
        ("seed", ABSENT),
        ("changed", []),
        ("summary", 5),
        ("warnings", "none"),
        ("warnings", [1]),
        ("warnings", ABSENT),
        ("reduced", 5),
        ("reduced", [{}]),
    ],
)
def test_headers_made_by_hand(home, key, value):
    write(home, {**GOOD, key: value})
    with pytest.raises(UEBenchError):
        read_noise(home.noise_path)


@pytest.mark.parametrize(
    "noise",
    [
        torch.ones(()),
        NOISE[:0],
        NOISE[0],
        NOISE.float(),
        NOISE.bool(),
        NOISE.long(),
        9 * NOISE,
        torch.ones_like(NOISE),
    ],
)
def test_noise_made_by_hand(home, noise):
    write(home, GOOD, noise)
    with pytest.raises((DataError, PerturbationError)):
        read_noise(home.noise_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method", ABSENT),
        ("method", []),
        ("seed", "x"),
        ("seconds", ABSENT),
        ("public_data", [1]),
        ("prepare_key", 3),
    ],
)
def test_preparations_made_by_hand(tmp_path, key, value):
    facts = {
        "kind": PREPARATION,
        "method": {"name": "toy", "parameters": {}, "version": 1},
        "seed": 0,
        "seconds": {},
        "public_data": [],
        "prepare_key": "k",
    }
    made = {name: each for name, each in {**facts, key: value}.items() if each is not ABSENT}
    for name, content in (("good", facts), ("bad", made)):
        save_tensors(Store(tmp_path.parent), tmp_path.name, name, {"weight": torch.ones(2)}, content)
    assert read_preparation(tmp_path / "good.safetensors").method == "toy"
    with pytest.raises(DataError, match=f"{key}.* in its header must be"):
        read_preparation(tmp_path / "bad.safetensors")
