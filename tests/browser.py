"""A real Chromium for the tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SIZES = {"narrow": (400, 860), "wide": (1600, 1000)}
PATIENCE = 60_000  # milliseconds; only what hangs takes as long, on however busy a machine


@contextmanager
def open_browser(**options: Any) -> Iterator[Any]:
    """A context of playwright with these options; without a browser the test is skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as driver:
        if found is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip("needs chromium or google-chrome on the PATH, or playwright install chromium")
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        context = opened.new_context(**options)
        context.set_default_timeout(PATIENCE)
        playwright.expect.set_options(timeout=PATIENCE)
        yield context
        opened.close()


def check_axe(page: Any, state: str) -> None:
    """At each of SIZES, light and dark: no violation, and nothing wider than the window."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = axe.run(page).response["violations"]
            assert [fault["id"] for fault in found] == [], (state, size, scheme, found)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (state, size)
