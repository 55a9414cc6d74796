"""What tests share: contexts, small image sets, and where the real data lies."""

from __future__ import annotations

import contextlib
import importlib
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is there: several tests run side by side
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault(
    "LOKY_MAX_CPU_COUNT", "1"
)  # workers=auto is one: tests say themselves when several are wanted

os.environ["UE_BENCH_BF16"] = (
    "off"  # what a machine gains by bf16 is no part of tests: they say when it is on
)

import pytest
import torch

from ue_bench import Context, ImageSet, Method, Perturbation, ProtectorView
from ue_bench.cli import main
from ue_bench.clock import Clock
from ue_bench.contracts.ledger import Ledger
from ue_bench.data.cache import forget
from ue_bench.progress import Progress
from ue_bench.training.starts import begin

CPU = torch.device("cpu")


def build_victim(
    name: str, classes: int, image_size: tuple[int, int], seed: int, parameters=None, start: str = "own"
) -> torch.nn.Module:
    """A seeded victim by its module's name, channels-last."""
    module = importlib.import_module(f"ue_bench_victims.{name}")
    kind = next(v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = kind(**parameters or {}).build(classes, image_size)
        begin(model, start)
        return model.to(memory_format=torch.channels_last)


class Memory:
    """A shelf without a disk."""

    def __init__(self):
        self.kept = {}

    def load(self, key):
        return self.kept.get(key)

    def save(self, key, tensors, facts):
        self.kept[key] = ({name: tensor.clone() for name, tensor in tensors.items()}, facts)

    def claim(self, key):
        return contextlib.nullcontext()


def fresh_context(
    seed: int = 0, shelf: Memory | None = None, build=build_victim, prepared=None, **more
) -> Context:
    """A context on the CPU, as a method gets it; ``build`` makes its surrogates, ``more`` is for its ledger."""
    return Context(CPU, seed, Clock(CPU), Progress(), Ledger(build, shelf=shelf, **more), prepared or {})


def run_method(
    method: Method, view: ProtectorView, context: Context
) -> tuple[Perturbation, list[torch.nn.Module]]:
    """(checked noise, the surrogates that the method built for it)."""
    build, built = context.ledger.build_victim, []

    def noted(*what):
        built.append(build(*what))
        return built[-1]

    context.ledger.build_victim = noted
    noise = method.protect(view, context)
    context.ledger.build_victim = build
    noise.check(len(view), view.image_size)
    return noise, built


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def make_context():
    """(seed) -> a context on the CPU, as a method gets it."""
    return fresh_context


@pytest.fixture
def make_images():
    """(count, classes, size) -> random 8-bit images with labels, class names and two captions each."""

    def make(count: int = 40, classes: int = 4, size: int = 32, seed: int = 0) -> ImageSet:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
        labels = torch.arange(count) % classes
        names = tuple(f"class{number}" for number in range(classes))
        captions = tuple((f"a picture of {names[c]}", f"number {i}") for i, c in enumerate(labels.tolist()))
        return ImageSet(images, labels, captions, names)

    return make


@pytest.fixture
def real_data() -> Path:
    """The folder of real data; the test is skipped, and says so, where UE_BENCH_DATA is not set."""
    root = os.environ.get("UE_BENCH_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("real data absent: set UE_BENCH_DATA to a folder with cifar10/")
    return Path(root)


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """An empty UE_BENCH_DATA and an empty cache."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("UE_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("UE_BENCH_CACHE", str(tmp_path / "cache"))
    forget()
    yield tmp_path / "data"
    forget()


CONTENT = str(Path(__file__).parent / "content")


@dataclass
class Ended:
    """How a command ended: exit status and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(capsys, tmp_path):
    """(words) -> Ended: the command line in this process; ``run`` and ``report`` use a store of the test's own."""

    def call(*words: str) -> Ended:
        given = list(words)
        if given[0] in ("run", "report") and not any(word.startswith("store=") for word in given):
            given.append(f"store={tmp_path / 'store'}")
        if given[0] == "run" and not any(word.startswith("plugins=") for word in given):
            given.append(f"plugins={CONTENT}")
        with pytest.raises(SystemExit) as end:
            main(given)
        captured = capsys.readouterr()
        return Ended(end.value.code or 0, captured.out, captured.err)

    return call
