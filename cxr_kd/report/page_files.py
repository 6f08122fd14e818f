"""The figures and tables of a report: each is numbered, and the folder `data` beside the page has it as files.

A figure is there as SVG, PNG and the CSV file of the values that it shows, a table as CSV.
"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from cxr_kd.files import written_whole
from cxr_kd.report.style import to_png, to_svg
from cxr_kd.report.tables import Table

FOLDER = "data"  # beside the page
_EMPTY = "data:,"
QUALITY = 90  # of WebP pictures in the page; the file beside it is a PNG


@dataclass(frozen=True)
class PageFigure:
    """A figure in the page: its picture as a data URL, and the paths of its files relative to the page, by kind."""

    source: str
    files: dict[str, str]  # "SVG" -> data/NAME.svg
    narrow: str = ""  # the picture for narrow screens, if there is one


@dataclass(frozen=True)
class PageTable:
    """A table in the page: its number, and the path of its CSV file relative to the page."""

    number: int
    csv: str


@dataclass
class PageFiles:
    """The figures and tables of one page.

    Nothing is written before `write`, so a report that fails leaves an older one whole. Without `draws`, pictures are
    empty: enough to compare the text of a page.
    """

    draws: bool = True
    files: dict[str, bytes] = field(default_factory=dict)  # file name -> content
    figures: int = 0  # numbered so far
    tables: int = 0

    def add(
        self, name: str, figure: Figure, values: pd.DataFrame, *, narrow: Figure | None = None, crowded: bool = False
    ) -> PageFigure:
        """Return a figure for the page and keep its files NAME.svg, NAME.png and NAME.csv; `values` are what it shows.

        `narrow`: the same figure for narrow screens. `crowded`: the picture in the page is made of pixels, because
        thousands of paths are slow in a browser.
        """
        if not self.draws:
            return PageFigure(
                _EMPTY, self._keep(name, {"svg": b"", "png": b"", "csv": _csv(values)}), _EMPTY if narrow else ""
            )
        svg = to_svg(figure)
        figure.set_layout_engine("none")  # laid out once, not for each kind of file
        png = to_png(figure)
        content = {"svg": svg, "png": png, "csv": _csv(values)}
        source = _few_colours(png) if crowded else _data_url("svg+xml", svg)
        return PageFigure(source, self._keep(name, content), _data_url("svg+xml", to_svg(narrow)) if narrow else "")

    def picture(self, name: str, png: bytes) -> PageFigure:
        """Return a picture of radiographs for the page, smaller than its file NAME.png, which is kept."""
        buffer = io.BytesIO()
        Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "WEBP", quality=QUALITY)
        return PageFigure(_data_url("webp", buffer.getvalue()), self._keep(name, {"png": png}))

    def next_figure(self) -> int:
        """Return the number of the next figure of the page."""
        self.figures += 1
        return self.figures

    def table(self, table: Table) -> PageTable:
        """Return the number of the next table of the page, and keep its file."""
        self.tables += 1
        words = re.sub(r"[^a-z0-9]+", "-", table.caption.lower()).strip("-")[:50].strip("-")
        files = self._keep(f"table-{self.tables:02d}-{words}", {"csv": table.csv().encode()})
        return PageTable(self.tables, files["CSV"])

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(map(len, self.files.values()))

    def write(self, report: Path) -> list[str]:
        """Write the files into FOLDER of a report's folder, and remove those of an older report.

        Returns the paths of the files in `report`. Raises StorageError if the disk refuses them.
        """
        folder = report / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            with written_whole(folder / name) as temporary:
                temporary.write_bytes(content)
        for old in folder.iterdir():
            if old.name not in self.files and old.suffix in (".svg", ".png", ".csv"):
                old.unlink()
        return [f"{FOLDER}/{name}" for name in self.files]

    def _keep(self, name: str, content: dict[str, bytes]) -> dict[str, str]:
        self.files |= {f"{name}.{kind}": of_kind for kind, of_kind in content.items()}
        return {kind.upper(): f"{FOLDER}/{name}.{kind}" for kind in content}


def _few_colours(png: bytes) -> str:
    """Return a figure as a data URL of a picture of 256 colours, without loss."""
    image, buffer = Image.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    image.quantize(256).convert("RGB").save(buffer, "WEBP", lossless=True)
    return _data_url("webp", buffer.getvalue())


def _csv(values: pd.DataFrame) -> bytes:
    return values.to_csv(index=False).encode()


def _data_url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
