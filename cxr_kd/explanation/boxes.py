"""Whether a network's maps can be scored against the boxes of a data set, and compared with published figures.

All boxes of ChestX-ray14 are of images in its official test list. A network of another split learned from some of these
images, so its maps were shaped by what they are scored on.
"""

from __future__ import annotations

import pandas as pd

from cxr_kd.data.splits import Split
from cxr_kd.data.table import CxrTable
from cxr_kd.data.trained_on import TrainedOn
from cxr_kd.errors import DataError

OFFICIAL = "official"


def check_boxes_allowed(network: str, trained_on: TrainedOn, table: CxrTable, split: Split) -> pd.DataFrame:
    """Return the boxes that this network can be scored on, with the table's columns: those of the test side.

    On the official split these are all boxes of ChestX-ray14. On a random split by patient they are only the boxes of
    its test side, and the score is honest there, because the network has seen none of these images and none of their
    patients. It is a score of that split, and cannot be compared with published ones (`check_published_protocol`).

    `network`: its name or file, for messages. `trained_on`: the images of the network and its teachers
    (`training.finished_run.read_trained_on`). Raises DataError if the test side has no box, or if the network or its
    teacher learned from a boxed image of the test side, from another image of its patient, or from a data set that
    holds the same radiographs.
    """
    boxes = table.boxes[table.boxes["image_id"].isin(split.test)].reset_index(drop=True)
    if boxes.empty:
        raise DataError(
            f"{table.dataset}: no image on the test side of the split {split.name!r} has a box (the data set has "
            f"{len(table.boxes):,}): use a split whose test side has boxed images, such as {OFFICIAL!r} of chestxray14"
        )
    trained_on.check_unseen(network, table, sorted(set(boxes["image_id"])), "test")
    return boxes


def check_published_protocol(table: CxrTable, split: Split) -> None:
    """Raise DataError, with the reason, unless scores on these boxes can stand beside published ones.

    They can if the data set is whole and its split is the official one, so that all boxes are on the test side. Whether
    the network has seen them is `check_boxes_allowed`.
    """
    if split.name != OFFICIAL:
        reason = f"the split is {split.name!r}, so networks learn from images whose boxes published work scores"
    elif table.kind != "full":
        reason = f"only part of {table.dataset} is there ({len(table):,} images)"
    elif outside := len(set(table.boxes["image_id"]) - set(split.test)):
        reason = f"{outside:,} boxed images are not on the test side"
    else:
        return
    raise DataError(
        f"{table.dataset}: scores on boxes cannot be compared with published ones: {reason}. Show them as results of "
        f"this study only, or use the whole data set with `split: {OFFICIAL}`"
    )
