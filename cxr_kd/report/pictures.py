"""Figures and pictures that notebooks write to files for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from cxr_kd.data.images.decode import decode
from cxr_kd.data.prepare import Prepared
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError
from cxr_kd.explanation.examples import Example, choose_examples
from cxr_kd.explanation.places import place_of
from cxr_kd.files import write_json, written_whole
from cxr_kd.report.data_figures import Picture
from cxr_kd.report.maps.check_tables import FORM_TITLES, READINGS
from cxr_kd.report.maps.figures import explanation
from cxr_kd.report.style import arm_styles, finding_name, to_png
from cxr_kd.study import Study
from cxr_kd.study.data_settings import Intensity

if TYPE_CHECKING:
    from cxr_kd.explanation.choice import Choice  # loads torch


def keep(figure: Figure, path: Path) -> Figure:
    """Write a figure as a PNG file and return it, so that the notebook shows it."""
    with written_whole(path) as temporary:
        temporary.write_bytes(to_png(figure))
    return figure


def contact_pictures(data: Prepared) -> list[Picture]:
    """Return one test image per finding, chosen by `choose_examples`, with its place, and one without finding."""
    pictures = []
    chosen = {finding: image_id for image_id, finding in reversed(choose_examples(data, len(data.table.findings)))}
    for finding, image_id in reversed(chosen.items()):
        where = place_of(data, image_id, finding)
        picture = Picture(_image(data, image_id), finding_name(finding))
        pictures.append(picture if where is None else replace(picture, masks={finding: where}))
    frame = data.table.select(data.split.test).frame
    healthy = frame.loc[(frame[list(data.table.findings)] == 0).all(axis=1), "image_id"]
    if len(healthy):
        pictures.append(Picture(_image(data, healthy.iloc[0]), "No finding"))
    return pictures


def sample(
    table: CxrTable,
    count: int = 20,
    *,
    seed: int = 0,
    size: int = 224,
    keep_aspect: bool = False,
    intensity: Intensity = "fixed",
) -> list[Picture]:
    """Return `count` random radiographs of a data set, with their findings as titles and their boxes and masks.

    They are decoded here, so that one can look at them before anything is prepared. Files that cannot be decoded are
    left out; DataError if none can be. `keep_aspect` and `intensity`: see `decode`.
    """
    order = np.random.default_rng(seed).permutation(len(table))
    pictures: list[Picture] = []
    for row in table.frame.iloc[order].to_dict("records"):
        if len(pictures) == count:
            break
        with suppress(DataError):
            image = decode(table.root / row["path"], size, keep_aspect=keep_aspect, intensity=intensity)
            pictures.append(_picture_of(table, row, image))
    if not pictures:
        raise DataError(
            f"{table.root}: none of the {len(table):,} image files can be decoded; `cxr-kd data check` says why"
        )
    return pictures


def _picture_of(table: CxrTable, row: Mapping[Any, Any], image: np.ndarray) -> Picture:
    found = [finding for finding in table.findings if row[finding] == 1]
    boxes = table.boxes[table.boxes["image_id"] == row["image_id"]]
    places = {box.finding: (box.x, box.y, box.width, box.height) for box in boxes.itertuples()}
    masks = table.masks(row["image_id"]) if table.masks else {}
    healthy = "No finding" if all(row[finding] == 0 for finding in table.findings) else "None known"
    more = f" + {len(found) - 1}" if len(found) > 1 else ""
    return Picture(image, finding_name(found[0]) + more if found else healthy, places, masks)


def write_explanations(study: Study, data: Prepared, examples: Sequence[Example], choice: Choice) -> Figure:
    """Write the figure of maps, made as `choice` says, and its caption for the report; return the figure."""
    folder = study.runs_folder / "explanations"
    figure = keep(explanation(examples, arm_styles(study)), folder / "examples.png")
    write_json(folder / "explanations.json", [{"file": "examples.png", "caption": caption(data, examples, choice)}])
    return figure


def caption(data: Prepared, examples: Sequence[Example], choice: Choice) -> str:
    """Return the caption of a figure of maps for the report."""
    rows, columns = next(iter(examples[0].maps.values())).shape
    kind = "phantoms" if data.table.kind == "phantom" else "radiographs"
    marked = sum(example.place is not None for example in examples)
    return (
        f"{len(examples)} test {kind}, chosen at random among those with the finding. Its place is known, and "
        f"outlined, in {marked} of them. Maps: {FORM_TITLES[choice.form]}, {rows} x {columns} cells; evidence is "
        f"{READINGS[choice.reading]}. One scale for all; 2 % of the cells are above its end."
    )


def _image(data: Prepared, image_id: str) -> np.ndarray:
    return data.cache.pixels(data.cache.rows([image_id]))[0]
