"""Draws ``figures/page.png``, what the page of all results looks like: ``python results/screenshot.py``.

It needs ``pip install 'ue-bench[browser]'`` and a Chromium; the picture is not made anew with the page.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
NAMES = ("chromium-headless-shell", "chromium", "google-chrome")

if __name__ == "__main__":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        program = next(filter(None, map(shutil.which, NAMES)), None)
        browser = engine.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000}, device_scale_factor=1.5)
        page.goto((HERE / "index.html").as_uri())
        content = page.screenshot()
    with Image.open(io.BytesIO(content)) as picture:
        picture.convert("RGB").quantize(96).save(HERE / "figures" / "page.png", optimize=True)
