"""Draws words of a command line, suites and plug-ins that are mostly malformed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import yaml
from counting import CONTENT

TYPED = """
007 no 12:30 1e3 2024-01-01 ~ null true 8/255 1/0 -1 0 99999999999999999999999 .nan .inf -.inf nan 1e999 [1,2] {a:1}
[ { *a ${x} ${oc.env:HOME} !!python/name:os.system [[]] {random:{budget:l2:1}} {clean:fragile} {fragile:[1]} clean
fragile linear blobs none linf:8 class tiny yesterday -3h 3h50 cuda:7 ray auto local host: 1,2,3 ' " \\ %s {} () =
"""
NAMES = """
suite paradigm dataset image_size controls method victim defense poison_ratio recipe seeds seed workers executor
time_limit threads device checkpoint_minutes stop_after ray_address gpus_per_trial cpus_per_trial profile epsilon
floors granularity fragile.failure fragile.budget fragile.granularity blobs.count recipe.epochs recipe.batch_size
recipe.learning_rate recipe.optimizer floors.clean_accuracy x.y blobs. .count recipe.epochs.more sede metod
"""
VALUES, KEYS = TYPED.split(), NAMES.split()
OTHERS = {
    "status": "store suite plugins x",
    "slurm": "suite gpus hours store profile sede",
    "cost": "suite profile store plugins device x",
    "report": "suite profile store out plugins rows metric x",
    "explain": "suite trial count device store x",
    "noise": "method captions size out seed epsilon prepared profile threads random.budget checkpoint_minutes x",
    "export": "method trial out format key x",
    "apply": "noise images out exif match max_pixels format resize inside x",
    "check": "",
    "show": "",
    "list": "",
    "new": "",
}
SOURCES = (
    "import nothing_of_that_name",
    "def f(:",
    "raise RuntimeError('broken')",
    "x = 1",
    "import sys; sys.exit(3)",
    "\x00",
    "from ue_bench import Method\nclass Mine(Method): pass",
    "from dataclasses import dataclass\nfrom ue_bench import Method\n@dataclass\nclass Mine(Method):\n    rate: float",
    "from dataclasses import dataclass\nfrom ue_bench import Method\n@dataclass(frozen=True)\nclass Mine(Method):\n"
    "    protect = None",
    "from dataclasses import dataclass\nfrom ue_bench import Method\n@dataclass(frozen=True)\nclass Mine(Method):\n"
    "    granularities = 5\n    def protect(self, view, context): return 1",
    "class Mine: pass",
    "while 1: break\nelse: raise SystemExit",
    "print('" + "a" * 300 + "'",
    "# -*- coding: nonsense -*-",
    "raise KeyboardInterrupt",
)


def rubbish(chance: random.Random) -> str:
    """Text of any characters that a shell can pass."""
    kinds = (range(33, 127), range(0xA0, 0x2FF), range(0x1F300, 0x1F5FF), range(0x202A, 0x202F))
    return "".join(chr(chance.choice(chance.choice(kinds))) for _ in range(chance.randint(1, 9)))


def value(chance: random.Random) -> str:
    """What somebody may type behind an equals sign."""
    draw = chance.random()
    if draw < 0.1:
        return rubbish(chance)
    if draw < 0.15:
        return chance.choice(["", " ", "a" * 5000, "[" * 2000, "\t", "\n"])
    return chance.choice(VALUES)


def words(chance: random.Random, folder: Path) -> tuple[list[str], str]:
    """A command line."""
    if chance.random() < 0.6:
        keys = chance.sample(KEYS, chance.randint(1, 2))
        line = [
            "run",
            "suite=toy",
            f"plugins={CONTENT}",
            f"store={folder / 's'}",
            "--dry-run",
            "--no-calibrate",
        ]
        line = [word for word in line if word.partition("=")[0] not in keys]
        return [*line, *(f"{key}={value(chance)}" for key in keys)], ""
    name = chance.choice(list(OTHERS))
    keys = chance.sample(OTHERS[name].split(), min(2, len(OTHERS[name].split())))
    given = [f"{key}={value(chance)}" for key in keys] or [value(chance), value(chance)]
    safe = [word if not word.startswith("-") else f" {word}" for word in given]
    return [name, *safe], ""


def anything(chance: random.Random, deep: int = 0) -> Any:
    """A value of YAML."""
    draw = chance.random()
    if deep < 2 and draw < 0.15:
        return [anything(chance, deep + 1) for _ in range(chance.randint(0, 3))]
    if deep < 2 and draw < 0.3:
        return {
            chance.choice([*KEYS, "a", 1, None]): anything(chance, deep + 1)
            for _ in range(chance.randint(0, 2))
        }
    plain = [None, True, -1, 0, 300, 1e999, float("nan"), 0.5, "", rubbish(chance)]
    return chance.choice([*plain, *chance.sample(VALUES, 5)])


def suites(chance: random.Random, folder: Path) -> tuple[list[str], str]:
    """A suite: one that works with a change, or none at all."""
    text = (CONTENT / "toy.yaml").read_text()
    draw = chance.random()
    if draw < 0.6:
        suite = yaml.safe_load(text)
        suite[chance.choice([key for key in KEYS if key not in ("suite", "executor")])] = anything(chance)
        content = yaml.safe_dump(suite).encode()
    elif draw < 0.75:
        content = text.encode()[: chance.randrange(len(text))]
    elif draw < 0.9:
        content = bytearray(text.encode())
        for _ in range(3):
            content[chance.randrange(len(content))] = chance.randrange(256)
    else:
        content = chance.randbytes(40)
    (folder / "odd.yaml").write_bytes(content)
    plugins = f"plugins=[{folder / 'odd.yaml'},{CONTENT}]"
    return ["run", "suite=odd", plugins, f"store={folder / 's'}", "--dry-run", "--no-calibrate"], ""


def plug_ins(chance: random.Random, folder: Path) -> tuple[list[str], str]:
    """A plug-in that is a broken file, or a file of another kind, or none; asked for by name half of the time."""
    draw, path = chance.random(), folder / "mine.py"
    if draw < 0.5:
        path.write_text(chance.choice(SOURCES))
    elif draw < 0.7:
        source = bytearray((CONTENT / "fragile.py").read_bytes())
        source[chance.randrange(len(source))] = chance.randrange(256)
        path.write_bytes(source[: chance.randrange(len(source))])
    elif draw < 0.9:
        path.write_bytes(chance.randbytes(60))
    else:
        path = folder / chance.choice(["none.py", "mine.txt", "mine", "", "mine.py/x"])
    asked = ["method=[mine]"] if chance.random() < 0.5 else []
    plugins = f"plugins=[{CONTENT},{path}]"
    return ["run", "suite=toy", *asked, plugins, f"store={folder / 's'}", "--dry-run", "--no-calibrate"], ""
