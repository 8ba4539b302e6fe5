"""Chromium, driven by Playwright. In: a folder for its profile. Out: a page; and screenshots of it, small enough for docs."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

EXECUTABLE = Path("/usr/bin/chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 400_000
"""Milliseconds that Playwright waits for what a test expects: many times what it takes, since others may use the machine too."""
SIZE = ViewportSize(width=1280, height=800)
SCREENSHOTS = "SCREENSHOTS"
"""Variable that names a folder into which screenshots are written for people."""
COLOURS = 96
LARGEST = 150_000
"""Bytes of a picture in docs."""


@contextmanager
def browser_page(profile: Path) -> Iterator[Page]:
    """A page of a browser that has never run before."""
    if not EXECUTABLE.exists():
        pytest.skip(f"no browser: `apt-get install chromium` puts one at {EXECUTABLE}")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=EXECUTABLE, args=list(FLAGS), headless=True, viewport=SIZE, timeout=PATIENCE
        )
        context.set_default_timeout(PATIENCE)
        context.set_default_navigation_timeout(PATIENCE)
        try:
            yield context.pages[0]
        finally:
            context.close()


def picture_of(page: Page, name: str, folder: Path) -> None:
    """A screenshot in few colours, into the folder that the environment names, else the one that is given; not an empty one."""
    shot = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    path = Path(os.environ.get(SCREENSHOTS) or folder) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    shot.quantize(COLOURS).save(path, optimize=True)
    assert path.stat().st_size < LARGEST
    background = max(count for count, _ in shot.getcolors(shot.width * shot.height) or ())
    assert background < 0.97 * shot.width * shot.height, f"{path} shows nothing"
