"""Write the README's picture, docs/report.png, from the sample of the demo study's report.

Run it after `python docs/sample.py demo`. It needs Chromium (Debian's package `chromium`).
"""

import base64
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

DOCS = Path(__file__).resolve().parent
SAMPLE = DOCS / "samples" / "demo.html"
WIDTH = 1180  # pixels of the page


def main() -> None:
    """Write a picture of the report's head and, below it, its contact sheet."""
    chromium = shutil.which("chromium") or sys.exit("chromium was not found; install it (Debian's package `chromium`)")
    if not SAMPLE.is_file():
        sys.exit(f"{SAMPLE}: there is no such file; run `python docs/sample.py demo` first")
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 2 * WIDTH})
        page.goto(SAMPLE.as_uri())
        head = page.locator("header").bounding_box()
        assert head, "a report has a header"
        above = {"x": 0, "y": 0, "width": WIDTH, "height": head["y"] + head["height"]}
        top = Image.open(io.BytesIO(page.screenshot(clip=above))).convert("RGB")
        sheet = page.locator("figure.picture img").first.get_attribute("src") or ""
        browser.close()
    phantoms = Image.open(io.BytesIO(base64.b64decode(sheet.partition(",")[2]))).convert("RGB")
    phantoms = phantoms.resize((top.width, round(phantoms.height * top.width / phantoms.width)))
    picture = Image.new("RGB", (top.width, top.height + phantoms.height), "white")
    picture.paste(top, (0, 0))
    picture.paste(phantoms, (0, top.height))
    picture.save(DOCS / "report.png", optimize=True)


if __name__ == "__main__":
    main()
