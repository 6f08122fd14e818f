"""Read PadChest's column Labels: a written list of texts, with stray spaces and empty entries."""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Iterable, Mapping

import numpy as np

from cxr_kd.data.label_file import LabelFile
from cxr_kd.errors import DataError

# The differential diagnoses of the authors' label tree, as written in the column Labels.
FINDINGS = (
    "pneumonia",
    "atypical pneumonia",
    "tuberculosis",
    "tuberculosis sequelae",
    "lung metastasis",
    "lymphangitis carcinomatosa",
    "lepidic adenocarcinoma",
    "pulmonary fibrosis",
    "post radiotherapy changes",
    "asbestosis signs",
    "emphysema",
    "COPD signs",
    "heart insufficiency",
    "respiratory distress",
    "pulmonary hypertension",
    "pulmonary artery hypertension",
    "pulmonary venous hypertension",
    "pulmonary edema",
    "bone metastasis",
)

# Labels that say that the row's other labels, or its image, are unreliable.
UNRELIABLE = {
    "exclude": "labelled exclude (no usable report or image)",
    "suboptimal study": "labelled suboptimal study",
    "unchanged": "labelled unchanged (the findings are in an earlier report)",
}


def parse_labels(written: str) -> frozenset[str] | None:
    """Return the labels, in one spelling, of a written list such as `['pneumonia ', '', 'COPD signs']`.

    An empty set for a blank and for `nan`; None for a text that is not a list of texts.
    """
    if written in ("", "nan"):
        return frozenset()
    try:
        with warnings.catch_warnings(action="ignore", category=SyntaxWarning):  # about a backslash in a label
            labels = ast.literal_eval(written)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        return None
    return frozenset(spelling(label) for label in labels if label.strip())


def spelling(label: str) -> str:
    """Return the spelling in which labels are compared: one space between words, no capitals."""
    return " ".join(label.split()).casefold()


def column(finding: str, labels: Iterable[frozenset[str]]) -> list[float]:
    """Return 1 or 0 for each row, or NaN for a row without any label, in which every finding is unknown."""
    wanted = spelling(finding)
    return [float(wanted in found) if found else np.nan for found in labels]


def label_sets(file: LabelFile) -> dict[str, frozenset[str]]:
    """Return written list -> labels, for every text in the column Labels; DataError for texts that are no lists."""
    sets = {written: parse_labels(written) for written in file["Labels"].unique()}
    wrong = [written for written, labels in sets.items() if labels is None]
    file.refuse(file["Labels"].isin(wrong), "Labels", "is not a written list of texts, such as ['pneumonia', 'nodule']")
    return {written: labels for written, labels in sets.items() if labels is not None}


def refuse_unknown(what: str, wanted: Iterable[str], known: Mapping[str, str]) -> None:
    """Raise DataError for a name that is not known; `known` is spelling in comparisons -> spelling to use."""
    for name in wanted:
        matched = name if name in known else spelling(name)
        if known.get(matched) != name:  # with two spellings, one label could become two findings
            close = difflib.get_close_matches(matched, known, n=3) or sorted(known)[:60]
            raise DataError(
                f"padchest: unknown {what} {name!r}; {'similar ones' if len(close) <= 3 else 'there are'}: "
                f"{', '.join(repr(known[one]) for one in close)}"
            )
