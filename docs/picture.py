"""Write the README's pictures from the samples of reports: docs/report.png (demo) and docs/explain.png (explain).

Run it after `python docs/sample.py`. It needs Chromium (Debian's package `chromium`).
"""

import base64
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).resolve().parent
WIDTH = 1180  # pixels of the page
MAPS_SHOWN = 0.377  # of the height of the picture of maps: three of eight radiographs


def head(page: Page) -> list[Image.Image]:
    """Return the report's head and its contact sheet."""
    box = page.locator("header").bounding_box()
    assert box, "a report has a header"
    above = {"x": 0, "y": 0, "width": WIDTH, "height": box["y"] + box["height"]}
    top = Image.open(io.BytesIO(page.screenshot(clip=above, full_page=True)))
    return [top, _stored(page, "#data figure.picture img")]


def where(page: Page) -> list[Image.Image]:
    """Return the figure of where networks look, and below it the maps of the first radiographs."""
    drawn = Image.open(io.BytesIO(page.locator("header figure img").last.screenshot()))
    maps = _stored(page, "#explanations figure.picture img")
    return [drawn, maps.crop((0, 0, maps.width, round(MAPS_SHOWN * maps.height)))]


def _stored(page: Page, picture: str) -> Image.Image:
    """Return the first picture of a selector as the page stores it."""
    source = page.locator(picture).first.get_attribute("src") or ""
    return Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))


def one_below_the_other(pictures: list[Image.Image]) -> Image.Image:
    """Return pictures as one, each as wide as the first."""
    width = pictures[0].width
    scaled = [each.convert("RGB").resize((width, round(each.height * width / each.width))) for each in pictures]
    whole = Image.new("RGB", (width, sum(each.height for each in scaled)), "white")
    for number, each in enumerate(scaled):
        whole.paste(each, (0, sum(before.height for before in scaled[:number])))
    return whole


PICTURES: dict[str, tuple[str, Callable[[Page], list[Image.Image]]]] = {
    "report.png": ("demo", head),
    "explain.png": ("explain", where),
}


def main() -> None:
    """Write both pictures."""
    chromium = shutil.which("chromium") or sys.exit("chromium was not found; install it (Debian's package `chromium`)")
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 2 * WIDTH}, device_scale_factor=1)
        for file, (study, take) in PICTURES.items():
            sample = DOCS / "samples" / f"{study}.html"
            if not sample.is_file():
                sys.exit(f"{sample}: there is no such file; run `python docs/sample.py {study}` first")
            page.goto(sample.as_uri())
            one_below_the_other(take(page)).save(DOCS / file, optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
