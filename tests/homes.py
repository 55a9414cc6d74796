"""A person's folders for tests: pictures, their noise, and where protected ones go."""

from __future__ import annotations

import csv
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ue_bench.canonical import plain
from ue_bench.contracts.budget import Budget
from ue_bench.publish.account import COLUMNS, REPORT
from ue_bench.publish.commands import apply_command
from ue_bench.publish.noise import KIND, SCHEMA, NoiseFile, write_noise

NUMBERS = np.random.default_rng(0)
HEIGHT, WIDTH = 12, 10
WHY = COLUMNS[-1]


def draw(*shape: int, high: int = 256) -> np.ndarray:
    return NUMBERS.integers(0, high, shape, dtype=np.uint16 if high > 256 else np.uint8)


def colourful(side: tuple[int, int] = (HEIGHT, WIDTH), channels: int = 3) -> Image.Image:
    return Image.fromarray(draw(*side, channels))


def encode(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(pixels: np.ndarray, kind: int, depth: int, size: tuple[int, int] | None = None) -> bytes:
    """A PNG that Pillow cannot write: of 16 bits a colour, or one that claims another (width, height)."""
    width, height = size or (pixels.shape[1], pixels.shape[0])
    lines = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    parts = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


class Home:
    """A person's folders: pictures, their noise, and where protected ones go."""

    def __init__(self, top: Path):
        self.images, self.out, self.noise_path = top / "pictures", top / "out", top / "n.safetensors"
        self.images.mkdir()
        self.noise = torch.zeros(0)
        self.make_noise("a.png")

    def put(self, name: str, content: bytes | Image.Image) -> Path:
        path = self.images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else encode(content))
        return path

    def make_noise(self, *names: str, size: tuple[int, int] = (HEIGHT, WIDTH), radius: int = 8) -> None:
        generator = torch.Generator().manual_seed(len(names))
        shape = (len(names), 3, *size)
        self.noise = torch.randint(-radius, radius + 1, shape, generator=generator, dtype=torch.int8)
        budget = Budget("linf", radius)
        method = {"name": "toy", "parameters": {}, "version": 1}
        facts = {"kind": KIND, "schema": SCHEMA, "names": names, "budget": budget, "image_size": size}
        facts |= {"method": method, "seed": 0, "changed": {}, "summary": "Toy.", "warnings": ["It is a toy."]}
        write_noise(self.noise_path, NoiseFile(self.noise, names, budget, plain(facts)))

    def apply(self, *words: str, status: int = 0) -> dict[str, dict[str, str]]:
        """Runs the command; the report's rows by picture."""
        ended = apply_command(
            [f"noise={self.noise_path}", f"images={self.images}", f"out={self.out}", *words]
        )
        with open(self.out / REPORT, newline="", encoding="utf-8") as file:
            rows = {row["picture"]: row for row in csv.DictReader(file)}
        assert ended == status, rows
        return rows

    def opened(self, name: str) -> Image.Image:
        with Image.open(self.out / name) as image:
            image.load()
            return image

    def expect(self, before: np.ndarray, row: int = 0) -> np.ndarray:
        """clip(before + noise) of colour pixels [H, W, 3] of the noise's size."""
        return np.clip(before.astype(int) + self.noise[row].permute(1, 2, 0).numpy(), 0, 255).astype(np.uint8)

    def grey_steps(self) -> np.ndarray:
        """[H, W]: what a grey picture gets."""
        return np.rint(self.noise[0].numpy().astype(int).mean(axis=0)).astype(int)
