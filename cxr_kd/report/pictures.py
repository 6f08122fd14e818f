"""What notebooks keep for the report: pictures of the data, and figures as files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cxr_kd.data.prepare import Prepared
from cxr_kd.explanation.examples import Example, choose, truth
from cxr_kd.files import written_whole
from cxr_kd.report.data_figures import Picture
from cxr_kd.report.style import finding_name, to_png


def keep(figure: Figure, path: Path) -> Figure:
    """Write a figure as PNG, whole, and give it back to be shown."""
    with written_whole(path) as temporary:
        temporary.write_bytes(to_png(figure))
    return figure


def contact_pictures(data: Prepared) -> list[Picture]:
    """One test image for each finding, drawn as `examples.choose` draws, with its mask or box; one without any."""
    pictures = []
    chosen = {finding: image_id for image_id, finding in reversed(choose(data, len(data.table.findings)))}
    for finding, image_id in reversed(chosen.items()):
        where = truth(data, image_id, finding)
        picture = Picture(_image(data, image_id), finding_name(finding))
        if isinstance(where, tuple):
            picture = replace(picture, boxes={finding: where})
        elif where is not None:
            picture = replace(picture, masks={finding: where})
        pictures.append(picture)
    frame = data.table.select(data.split.test).frame
    healthy = frame.loc[(frame[list(data.table.findings)] == 0).all(axis=1), "image_id"]
    if len(healthy):
        pictures.append(Picture(_image(data, healthy.iloc[0]), "No finding"))
    return pictures


def caption(data: Prepared, examples: Sequence[Example]) -> str:
    """What a figure of maps shows, in a sentence for the report."""
    rows, columns = next(iter(examples[0].maps.values())).shape
    kind = {"phantom": "phantoms", "mini": "radiographs", "full": "radiographs"}[data.table.kind]
    marked = sum(example.truth is not None for example in examples)
    return (
        f"{len(examples)} test {kind}, drawn at random among those with the finding; {marked} of them with its place "
        f"known (outlined). Maps of {rows} x {columns} cells, all on one scale."
    )


def _image(data: Prepared, image_id: str) -> np.ndarray:
    return np.asarray(data.cache.images[data.cache.rows([image_id])][0])
