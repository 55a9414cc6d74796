"""Draws data, results and claims that are mostly malformed."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
import safetensors.torch
import torch
from counting import CONTENT, TOP
from PIL import Image

from ue_bench.canonical import digest, dumps
from ue_bench.cli import main
from ue_bench.trials.artefacts import content_hash
from ue_bench.trials.store import checksum

sys.path.append(str(TOP / "tests"))
from fakes import encode, pixels

ODD: tuple[Any, ...] = (None, True, -1, 10**30, 1e999, "", "x", [], [1], {}, {"a": None}, [[["x"]]], "\ud800")


def spoil(content: bytes, chance: random.Random) -> bytes:
    """The content cut, altered, doubled or replaced."""
    way, length = chance.randrange(6), len(content)
    if way == 0:
        return content[: chance.randrange(length)]
    if way == 1:
        return chance.randbytes(chance.randint(0, 200))
    if way == 2:
        return content[length // 2 :] + content[: length // 2]
    if way == 3:
        start = chance.randrange(length)
        return content[:start] + bytes(min(64, length - start)) + content[start + 64 :]
    if way == 4:
        start = chance.randrange(length)
        return content[:start] + chance.randbytes(9) + content[start:]
    changed = bytearray(content)
    for _ in range(chance.randint(1, 5)):
        changed[chance.randrange(length)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def spoil_json(told: Any, chance: random.Random) -> None:
    """Puts an odd value at a random place, or takes a key away."""
    while isinstance(told, dict) and told:
        key = chance.choice(sorted(told, key=str))
        if isinstance(told[key], dict) and told[key] and chance.random() < 0.5:
            told = told[key]
            continue
        if chance.random() < 0.2:
            del told[key]
        else:
            told[key] = chance.choice(ODD)
        return


def _picture(chance: random.Random) -> bytes:
    return encode(pixels(8), chance.choice(["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"]))


def parquet(chance: random.Random, folder: Path) -> tuple[list[str], str]:
    """Two Parquet files, of which one is spoilt, or has other columns or values."""
    good = [encode(pixels(8)) for _ in range(8)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

    def table(images: list[Any], labels: Any) -> pa.Table:
        rows = [None if data is None else {"bytes": data, "path": None} for data in images]
        return pa.table({"image": pa.array(rows, kind), "label": labels})

    for name in ("train", "test"):
        pq.write_table(table(good, [number % 4 for number in range(8)]), folder / f"{name}.parquet")
    path, draw = folder / chance.choice(["train.parquet", "test.parquet"]), chance.random()
    if draw < 0.3:
        path.write_bytes(spoil(path.read_bytes(), chance))
    elif draw < 0.6:
        bad = chance.choice([None, b"", good[0][:40], spoil(good[0], chance), chance.randbytes(30)])
        pq.write_table(table([bad, *good[1:]], [number % 4 for number in range(8)]), path)
    elif draw < 0.8:
        labels = [
            [-1] * 8,
            [None] * 8,
            ["a"] * 8,
            [0.5] * 8,
            [float("nan")] * 8,
            [[1]] * 8,
            [2**40] * 8,
            [b"x"] * 8,
        ]
        pq.write_table(table(good, chance.choice(labels)), path)
    elif draw < 0.9:
        names = chance.sample(["image", "img", "label", "labels", "x", ""], 2)
        columns = [
            [1, 2],
            ["a", "b"],
            [None, None],
            [b"x", b"y"],
            [["a"], ["b"]],
            [{"bytes": 1}, {"bytes": 2}],
        ]
        pq.write_table(pa.table({name: chance.choice(columns) for name in names}), path)
    else:
        path.unlink()
        if chance.random() < 0.5:
            path.mkdir()
    return _run(folder, "dataset=[parquet]", f"parquet.path={folder}"), ""


def images(chance: random.Random, folder: Path) -> tuple[list[str], str]:
    """Folders of images, of which one is spoilt, of another size, misplaced or something else."""
    for part in ("train", "test"):
        for name in "abcd":
            (folder / part / name).mkdir(parents=True)
            (folder / part / name / "0.png").write_bytes(encode(pixels(8)))
    path = folder / chance.choice(["train", "test"]) / chance.choice("abcd") / "0.png"
    draw = chance.random()
    if draw < 0.5:
        path.write_bytes(spoil(_picture(chance), chance))
    elif draw < 0.6:
        path.write_bytes(encode(pixels(chance.choice([1, 7, 9, 64]))))
    elif draw < 0.7:
        path.write_bytes(
            chance.choice([b"", b"hello", b"<svg/>", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff"])
        )
    elif draw < 0.8:
        path.rename(path.with_suffix(chance.choice([".txt", ".svg", ".PNGx", ".npy"])))
    elif draw < 0.9:
        shutil.rmtree(path.parent)
        if chance.random() < 0.5:
            path.parent.write_text("a file")
    else:
        huge = io.BytesIO()
        Image.new("1", (20_000, 20_000)).save(huge, "PNG")
        path.write_bytes(huge.getvalue())
    return _run(folder, "dataset=[imagefolder]", f"imagefolder.path={folder}"), ""


def records(chance: random.Random, folder: Path) -> tuple[list[str], str]:
    """A store with a spoilt record or plan; one in three has the checksum of its new content."""
    store = _store(folder)
    path = chance.choice(sorted([*store.glob("trials/*.json"), *store.glob("plans/*.json")]))
    if chance.random() < 0.33:
        told = json.loads(path.read_text())
        spoil_json(told, chance)
        told.pop("checksum", None)
        told["checksum"] = checksum(dumps(told).encode())
        path.write_text(json.dumps(told))
    else:
        path.write_bytes(spoil(path.read_bytes(), chance))
    form = chance.choice(["markdown", "csv", "latex", "json"])
    line = chance.choice(
        [["report", "suite=toy", "--format", form], ["status"], ["report", "suite=toy", "--all"]]
    )
    return [*line, f"store={store}"], "damaged"


def noise(chance: random.Random, folder: Path) -> tuple[list[str], str]:
    """A spoilt noise file, for which pictures wait; one in three has the checksums of its new content.

    One in five is noise in a store, which a run names and makes again.
    """
    if chance.random() < 0.2:
        store = _store(folder)
        path = chance.choice(sorted(store.glob("noise/*.safetensors")))
        path.write_bytes(spoil(path.read_bytes(), chance))
        shutil.rmtree(store / "trials")
        line = ["run", "suite=toy", f"plugins={CONTENT}", "workers=1", f"store={store}", "--no-calibrate"]
        return line, "it is made again"
    path = folder / "noise.safetensors"
    shutil.copy(_noise_file(), path)
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_bytes(encode(pixels(8)))
    if chance.random() < 0.4:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {"noise": file.get_tensor("noise")}
        if chance.random() < 0.4:
            odd = (torch.zeros(3), torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 99, dtype=torch.int8))
            tensors = {chance.choice(["noise", "x"]): chance.choice(odd)}
        else:
            spoil_json(facts, chance)
        facts.pop("seal", None)
        facts.pop("checksum", None)
        sealed = {**facts, "seal": digest(facts), "checksum": content_hash(tensors)}
        with contextlib.suppress(UnicodeEncodeError):
            safetensors.torch.save_file(tensors, path, {"facts": json.dumps(sealed)})
    else:
        path.write_bytes(spoil(path.read_bytes(), chance))
    return ["apply", f"noise={path}", f"images={folder / 'pictures'}", f"out={folder / 'out'}"], ""


def claims(chance: random.Random, folder: Path) -> tuple[list[str], str]:
    """A store with a claim file that holds rubbish; ``status`` names it as it names any other."""
    store = _store(folder)
    told = {"owner": "o", "task": "t", "process": "far-7-1", "host": "h", "since": "s", "token": "x"}
    trial = chance.choice(sorted(store.glob("trials/*.json")))
    if chance.random() < 0.7:
        content = spoil(json.dumps(told).encode(), chance)
    else:
        spoil_json(told, chance)
        content = json.dumps(told).encode()
    (store / "claims").mkdir(exist_ok=True)
    (store / "claims" / f"trial-{trial.stem}.claim").write_bytes(content)
    trial.unlink()
    if chance.random() < 0.7:
        return ["status", f"store={store}"], f"trial-{trial.stem}"
    line = [
        "run",
        "suite=toy",
        f"plugins={CONTENT}",
        "workers=1",
        f"store={store}",
        "stop_after=1h",
        "--no-calibrate",
    ]
    return line, "left"


def _run(folder: Path, *words: str) -> list[str]:
    line = [
        "run",
        "suite=toy",
        f"plugins={CONTENT}",
        f"store={folder / 'store'}",
        "--dry-run",
        "--no-calibrate",
    ]
    return [*line, *words]


def _store(folder: Path) -> Path:
    return Path(shutil.copytree(_finished_store(), folder / "store"))


@functools.cache
def _finished_store() -> Path:
    path = Path(tempfile.mkdtemp(), "store")
    _quietly(["run", "suite=toy", f"plugins={CONTENT}", "workers=1", f"store={path}", "--no-calibrate"])
    return path


@functools.cache
def _noise_file() -> Path:
    folder = Path(tempfile.mkdtemp())
    (folder / "captions.csv").write_text("image,caption\na.png,a dog\nb.png,a cat\n")
    line = [
        "noise",
        "method=random",
        f"captions={folder / 'captions.csv'}",
        "size=8",
        f"out={folder / 'n.safetensors'}",
    ]
    _quietly([*line, f"store={folder / 'store'}"])
    return folder / "n.safetensors"


def _quietly(words: list[str]) -> None:
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told), contextlib.suppress(SystemExit):
        main(words)
