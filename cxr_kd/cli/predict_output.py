"""What `cxr-kd predict` prints: answers as a table, JSON or CSV, the notes beside them, and why an image is refused."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from cxr_kd.cli.console import RESEARCH, print_table

if TYPE_CHECKING:
    from cxr_kd.device.onnx_file import Metadata

COLUMNS = ("image", "finding", "logit", "probability", "threshold", "present", "distance", "doubt")
ANYWAY = "--anyway answers all the same"


@dataclass(frozen=True)
class Answered:
    """An image's rows, each with the keys of COLUMNS; or why there are none: `error` (unreadable) or `refused`.

    `doubt`: why the rows should not be trusted, or an empty text.
    """

    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    refused: str = ""
    doubt: str = ""


def unfamiliar(distance: float) -> str:
    """Return why an image at this distance (in units of the limit) is refused; an empty text if it is not."""
    if math.isnan(distance) or distance <= 1:
        return ""
    return (
        f"does not look like the radiographs that the model learned from ({distance:.1f} times the limit): a lateral "
        "view, inverted, a collage, or no radiograph?"
    )


def of_a_child(age: float | None, told: Metadata) -> str:
    """Return a warning if the patient is younger than ADULT years (`dicom_tags`), or an empty text."""
    from cxr_kd.data.images.dicom_tags import ADULT  # decoding is not loaded for `cxr-kd --help`

    if age is None or age >= ADULT:
        return ""
    years = "under 1 year" if age < 1 else f"{int(age)} years"
    if told.familiar is None or told.familiar.train_children is None:
        return f"is of a child ({years}); whether the model learned from children is not known"
    learned = told.familiar
    return (
        f"is of a child ({years}); {learned.train_children:,} of the {learned.train_images:,} images that the model "
        f"learned from are of patients under {ADULT:g}"
    )


def print_csv(answered: Iterable[Answered]) -> list[Answered]:
    """Print one row per image and finding, each image as soon as it is answered; return the images."""
    done = []
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for image in answered:
        writer.writerows(image.rows)
        done.append(image)
    return done


def print_json(answered: Sequence[Answered], notes: list[str]) -> Sequence[Answered]:
    """Print one JSON object: the notes, the rows of all images, and the images without rows; return the images."""
    content = {
        "notes": notes,
        "rows": [row for image in answered for row in image.rows],
        "unreadable": [{"image": image.name, "reason": image.error} for image in answered if image.error],
        "refused": [{"image": image.name, "reason": image.refused} for image in answered if image.refused],
    }
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
    return answered


def print_text(answered: Sequence[Answered], notes: list[str]) -> Sequence[Answered]:
    """Print a table of the findings of one image, or of what was called present in several; return the images."""
    right: dict[str, Any] = {"justify": "right", "no_wrap": True}
    read = [image for image in answered if image.rows]
    if len(read) == 1:
        columns = [("finding", {"no_wrap": True}), *((name, right) for name in ("probability", "logit", "threshold")),
                   ("decision", {"no_wrap": True})]  # fmt: skip
        rows = [(_cells(row), "bold" if row["present"] else None) for row in read[0].rows]
        print_table(_title(read[0]), columns, rows, notes)
    elif read:
        columns = [("image", {"overflow": "fold"}), ("called present (probability)", {"overflow": "fold"})]
        print_table(f"{len(read):,} radiographs", columns, [((_title(i), _present(i.rows)), None) for i in read], notes)
    return answered


def _title(image: Answered) -> str:
    return f"{image.name} (doubtful: see below)" if image.doubt else image.name


def _cells(row: dict[str, Any]) -> list[str]:
    decision = {None: "no operating point", True: "present", False: "not called"}[row["present"]]
    probability, threshold = (
        "-" if value is None else format(value, form)
        for value, form in ((row["probability"], ".3f"), (row["threshold"], "+.2f"))
    )
    return [row["finding"], probability, f"{row['logit']:+.2f}", threshold, decision]


def _present(rows: Sequence[dict[str, Any]]) -> str:
    found = [
        row["finding"] if row["probability"] is None else f"{row['finding']} ({row['probability']:.2f})"
        for row in rows
        if row["present"]
    ]
    return ", ".join(found) or "none"


def model_line(told: Metadata) -> str:
    """Return which model it is and what it learned from."""
    return (
        f"{told.run} ({told.network}, {told.image_size} px), learned from {told.dataset}; maps of {told.cells[0]} x "
        f"{told.cells[1]} cells. {RESEARCH}"
    )


def notes_of(told: Metadata, rule: str, others: int) -> list[str]:
    """Return what a reader must know of the answers of a model; `others`: files of the folders that are no images."""
    notes = [model_line(told)]
    if told.calibrated:
        notes.append("probability: Platt scaling fitted on the run's validation side; it holds for its prevalence.")
    else:
        notes.append("No probabilities: the model was exported without calibration.")
    if any(finding.operating_points for finding in told.findings):
        notes.append(f"decision: the logit is at least the threshold of the rule {rule}, chosen on validation.")
    else:
        notes.append("No decisions: the model was exported without operating points.")
    if known := told.familiar:
        notes.append(
            f"distance: from the {known.train_images:,} images that the model learned from; images above 1 are refused "
            f"(as were {known.test_refused:,} of {known.test_images:,} test radiographs, wrongly)."
        )
    else:
        notes.append("Not checked whether an image looks like a radiograph: the model was exported without that.")
    if others:
        notes.append(f"{others:,} other files in the folders are no images and were left out.")
    return notes
