"""The figures of a report: each is in the page, and beside it as an SVG file with the CSV file of its values."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from cxr_kd.files import written_whole
from cxr_kd.report.style import to_png, to_svg

FOLDER = "figures"  # beside the page


@dataclass(frozen=True)
class PageFigure:
    """A figure in the page: its picture as a data URL, and the paths of its two files relative to the page."""

    source: str
    svg: str
    csv: str


@dataclass
class FigureFiles:
    """The figures of one page. Nothing is written before `write`, so a report that fails leaves an older one whole."""

    files: dict[str, bytes] = field(default_factory=dict)  # file name -> content

    def add(self, name: str, figure: Figure, values: pd.DataFrame, *, crowded: bool = False) -> PageFigure:
        """Return a figure for the page and keep its files NAME.svg and NAME.csv; `values` are those that it shows.

        `crowded`: the picture in the page is a PNG, because thousands of paths are slow in a browser. Its file is an
        SVG all the same.
        """
        svg = to_svg(figure)
        figure.set_layout_engine("none")  # laid out once, not for each kind of file
        self.files |= {f"{name}.svg": svg, f"{name}.csv": values.to_csv(index=False).encode()}
        source = _few_colours(figure) if crowded else _data_url("svg+xml", svg)
        return PageFigure(source, f"{FOLDER}/{name}.svg", f"{FOLDER}/{name}.csv")

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(map(len, self.files.values()))

    def write(self, report: Path) -> None:
        """Write the files into FOLDER of a report's folder, and remove those of an older report.

        Raises StorageError if the disk refuses them.
        """
        folder = report / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            with written_whole(folder / name) as temporary:
                temporary.write_bytes(content)
        for old in folder.iterdir():
            if old.name not in self.files and old.suffix in (".svg", ".csv"):
                old.unlink()


def _few_colours(figure: Figure) -> str:
    """Return a figure as a data URL of a PNG of 256 colours."""
    image, buffer = Image.open(io.BytesIO(to_png(figure))).convert("RGB"), io.BytesIO()
    image.quantize(256).save(buffer, "PNG", optimize=True)
    return _data_url("png", buffer.getvalue())


def _data_url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
