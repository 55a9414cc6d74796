"""A Chromium of the machine for tests of pages; tests are skipped, with the reason, where there is none."""

from __future__ import annotations

import contextlib
import os
import shutil

import pytest

NAMES = ("chromium-headless-shell", "chromium", "google-chrome")


@contextlib.contextmanager
def a_browser():
    """A running browser, through Playwright."""
    engine = pytest.importorskip("playwright.sync_api", reason="pip install 'ue-bench[browser]'")
    program = os.environ.get("UE_BENCH_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if not program:
        pytest.skip(f"none of {', '.join(NAMES)} is installed here")
    with engine.sync_playwright() as started:
        # without a sandbox: it does not exist for root in a container
        yield started.chromium.launch(executable_path=program, args=["--no-sandbox"])
