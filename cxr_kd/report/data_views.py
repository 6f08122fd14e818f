"""What notebook 01_data shows: sentences and tables of the data card, and the pictures that the report shows too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure

from cxr_kd.data.prepare import Prepared
from cxr_kd.report import data_figures, data_tables, markdown
from cxr_kd.report.lesson import say
from cxr_kd.report.pictures import contact_pictures, keep
from cxr_kd.study import Study

if TYPE_CHECKING:
    from IPython.display import Markdown

QUARANTINED = 20  # files of the quarantine that are listed


def size(card: Mapping[str, Any]) -> Markdown:
    """Return how many images of how many patients there are, and what is said of images that are too dark."""
    return say(
        f"{card['images']:,} images of {card['patients']:,} patients, at {card['image_size']} x {card['image_size']} "
        f"px, with {len(card['findings'])} findings. {data_tables.darkness(card)}"
    )


def origin(card: Mapping[str, Any]) -> Markdown:
    """Return who collected the images, under which licence, and the like, as a list."""
    from IPython.display import Markdown

    lines = (f"- **{markdown.text(key)}**: {markdown.text(said)}" for key, said in card["source"].items())
    return Markdown("\n".join(lines))


def split(card: Mapping[str, Any]) -> Markdown:
    """Return the name of the split and the SHA-256 of its image ids."""
    from IPython.display import Markdown

    name, sha256 = markdown.text(card["split"]["name"]), card["split"]["sha256"]
    return Markdown(f"The split is **{name}**; SHA-256 of its image ids: `{sha256}`.")


def marks(card: Mapping[str, Any]) -> Markdown:
    """Return whether the places of findings are known."""
    return say(data_tables.marks(card))


def patients(study: Study, data: Prepared) -> Figure:
    """Return the figure of ages, images per patient and view positions, and keep it for the report."""
    return keep(data_figures.patients(data.table.frame), study.runs_folder / "data-patients.png")


def together(study: Study, data: Prepared) -> Figure:
    """Return the figure of which findings occur together, and keep it for the report."""
    figure = data_figures.cooccurrence(data.table.labels(), data.table.findings)
    return keep(figure, study.runs_folder / "data-cooccurrence.png")


def contact_sheet(study: Study, data: Prepared) -> Figure:
    """Return one test image per finding, drawn at random, and keep the figure for the report."""
    return keep(data_figures.contact_sheet(contact_pictures(data)), study.runs_folder / "data-contact-sheet.png")


def quarantined(data: Prepared) -> pd.DataFrame | None:
    """Return the first files that could not be read, with the reason; None if there is none."""
    return data.cache.quarantine.head(QUARANTINED) if len(data.cache.quarantine) else None
