"""Write the README's picture, docs/report.png, from the report of the demo study. Run it after `make study`.

It needs Chromium (Debian's package `chromium`).
"""

import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Write a picture of the report's head and, below it, its contact sheet."""
    chromium = shutil.which("chromium") or sys.exit("chromium was not found; install it (Debian's package `chromium`)")
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1180, "height": 800})
        page.goto((ROOT / "reports" / "demo" / "index.html").as_uri())
        page.screenshot(path=ROOT / "docs" / "report.png", clip={"x": 0, "y": 0, "width": 1180, "height": 735})
        browser.close()
    top = Image.open(ROOT / "docs" / "report.png").convert("RGB")
    phantoms = Image.open(ROOT / "runs" / "demo" / "data-contact-sheet.png").convert("RGB")
    phantoms = phantoms.resize((top.width, round(phantoms.height * top.width / phantoms.width)))
    picture = Image.new("RGB", (top.width, top.height + phantoms.height), "white")
    picture.paste(top, (0, 0))
    picture.paste(phantoms, (0, top.height))
    picture.save(ROOT / "docs" / "report.png", optimize=True)


if __name__ == "__main__":
    main()
