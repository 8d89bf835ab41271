"""Take the picture of the page that the README shows, from a store with the finished study `chess`.

python scripts/write_picture.py STORE    # writes docs/pictures/chess-report.png; needs Chromium, and .[dev]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "chess-report.png"
WIDTH, HEIGHT = 900, 1500
COLOURS = 192


def write_picture(store: str) -> None:
    """Write the page, open it, and keep what a window of this size shows, with few colours."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "chess.html"
        command = [sys.executable, "-m", "surpass", "report", "chess", "--store", store, "--out", str(page)]
        subprocess.run(command, check=True)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            window = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            window.goto(page.as_uri())
            window.wait_for_timeout(2_000)
            window.screenshot(path=f"{folder}/page.png")
            browser.close()
        PICTURE.parent.mkdir(exist_ok=True)
        Image.open(f"{folder}/page.png").convert("RGB").quantize(COLOURS).save(PICTURE, optimize=True)


if __name__ == "__main__":
    write_picture(sys.argv[1])
