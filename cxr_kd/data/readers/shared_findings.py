"""Which findings of two data sets are the same, for training on one and testing on the other.

Findings are matched by the meaning of their labels, not by their spelling. The meanings are from Wang et al., CVPR 2017
(ChestX-ray14); from the phrases that the labeller looks for (CheXpert: Irvin et al., AAAI 2019, and its lists of
phrases); and from the tree of labels (PadChest: Bustos et al., Medical Image Analysis 2020). In PadChest a report gets
the narrowest label that fits: "laminar atelectasis" alone, not "atelectasis" too. So here a finding of PadChest is a
label together with its kinds, the labels below it in the tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cxr_kd.data.table import CxrTable, Masks
from cxr_kd.errors import DataError

DATA_SETS = ("chestxray14", "chestmnist", "chexpert", "padchest")
_SAME_NAMES = {"phantom": "chestxray14", "chestmnist": "chestxray14"}


@dataclass(frozen=True)
class SharedFinding:
    """One meaning, and its name in each data set; "" if a data set has no label with this meaning.

    Attributes:
        padchest: the label and the labels of its kinds; the finding is positive if any of them is.
        remark: how the definitions differ, or why a similar label is not included.
    """

    concept: str
    chestxray14: str = ""
    chexpert: str = ""
    padchest: tuple[str, ...] = ()
    remark: str = ""

    def labels(self, dataset: str) -> tuple[str, ...]:
        """Return the labels that mean this in a data set, the finding's name first; () if there is none."""
        named = getattr(self, _SAME_NAMES.get(dataset, dataset))
        return named if isinstance(named, tuple) else (named,) if named else ()


SHARED_FINDINGS = (
    SharedFinding(
        "atelectasis", "Atelectasis", "Atelectasis",
        ("atelectasis", "total atelectasis", "lobar atelectasis", "segmental atelectasis", "laminar atelectasis",
         "round atelectasis", "atelectasis basal"),
    ),
    SharedFinding(
        "cardiomegaly", "Cardiomegaly", "Cardiomegaly",
        ("cardiomegaly",),
        "CheXpert counts any statement of an enlarged cardiac silhouette",
    ),
    SharedFinding(
        "pleural effusion", "Effusion", "Pleural Effusion",
        ("pleural effusion", "loculated pleural effusion", "loculated fissural effusion", "hydropneumothorax",
         "empyema", "hemothorax"),
        "PadChest's costophrenic angle blunting is not counted: a scar blunts it as well",
    ),
    SharedFinding("pneumothorax", "Pneumothorax", "Pneumothorax", ("pneumothorax", "hydropneumothorax")),
    SharedFinding(
        "consolidation", "Consolidation", "Consolidation",
        ("consolidation", "air bronchogram"),
        "PadChest's alveolar pattern is wider and not counted",
    ),
    SharedFinding(
        "pulmonary edema", "Edema", "Edema",
        ("pulmonary edema",),
        "CheXpert counts heart failure and vascular congestion too; PadChest labels them apart",
    ),
    SharedFinding(
        "pneumonia", "Pneumonia", "Pneumonia",
        ("pneumonia", "atypical pneumonia"),
        "a diagnosis that radiographs alone cannot settle: the reports' thresholds differ",
    ),
    SharedFinding(
        "pleural thickening", "Pleural_Thickening", "",
        ("pleural thickening", "apical pleural thickening", "calcified pleural thickening"),
        "CheXpert has it only within Pleural Other",
    ),
    SharedFinding(
        "emphysema", "Emphysema", "",
        ("emphysema",),
        "of the lung: PadChest's subcutaneous emphysema is another finding, and its COPD signs are wider",
    ),
    SharedFinding(
        "pulmonary fibrosis", "Fibrosis", "",
        ("pulmonary fibrosis", "post radiotherapy changes", "asbestosis signs"),
        "CheXpert has it only within Pleural Other; PadChest's fibrotic band, a local scar, is not counted",
    ),
    SharedFinding(
        "hernia", "Hernia", "", ("hiatal hernia",), "ChestX-ray14 counts whatever hernia a report names"
    ),
    SharedFinding(
        "nodule", "Nodule", "",
        ("nodule", "multiple nodules"),
        "CheXpert has it only within Lung Lesion; PadChest's pseudonodules (nipple shadows) are not counted",
    ),
    SharedFinding(
        "lung mass", "Mass", "",
        ("pulmonary mass",),
        "CheXpert has it only within Lung Lesion; PadChest's masses outside the lung are not counted",
    ),
    SharedFinding(
        "fracture", "", "Fracture",
        ("fracture", "clavicle fracture", "humeral fracture", "vertebral fracture", "rib fracture",
         "callus rib fracture"),
        "CheXpert counts compression fractures too; PadChest has them under vertebral compression",
    ),
    SharedFinding(
        "infiltration", "Infiltration",
        remark="a word without a fixed meaning; PadChest's infiltrates include consolidation, a finding of its own",
    ),
    SharedFinding(
        "lung lesion", chexpert="Lung Lesion",
        remark="nodules, masses, cavities and tumours in one: neither Nodule nor Mass",
    ),
    SharedFinding(
        "lung opacity", chexpert="Lung Opacity",
        remark="any opacity; no label of the others is as wide, PadChest's increased density least of all",
    ),
    SharedFinding(
        "enlarged cardiomediastinum", chexpert="Enlarged Cardiomediastinum",
        remark="heart and mediastinum in one; PadChest's mediastinal enlargement is without the heart",
    ),
    SharedFinding(
        "other pleural findings", chexpert="Pleural Other",
        remark="pleural thickening, scars and fibrosis in one: wider than Pleural_Thickening",
    ),
    SharedFinding(
        "support devices", chexpert="Support Devices",
        remark="PadChest labels each kind of tube, catheter and implant, surgical material among them",
    ),
    SharedFinding(
        "no finding", chexpert="No Finding",
        remark="depends on which findings a data set looks for, and each looks for others",
    ),
)  # fmt: skip


def shared(first: str, second: str) -> dict[str, str]:
    """Return finding of `first` -> finding of `second`, for the findings that both data sets have.

    DataError if one of the data sets is not in the table, as the user's own data are not.
    """
    return {row.labels(first)[0]: row.labels(second)[0] for row in _rows(first, second)}


def in_terms_of(table: CxrTable, dataset: str) -> CxrTable:
    """Return `table` with only the findings that `dataset` has as well, under their names in `dataset`.

    So a model trained on `dataset` can be tested on `table`. A finding that is a label with kinds is positive if any of
    these columns is, and unknown if none is positive and one is unknown. `source` says which columns were united, and
    which kinds the table does not have (a study reads them if its `findings` name them).

    Raises:
        DataError: if a data set is not in the table of shared findings, or if no finding of `table` is shared.
    """
    if table.dataset == dataset:
        return table
    wanted = {row.labels(dataset)[0]: row.labels(table.dataset) for row in _rows(table.dataset, dataset)}
    united = {name: [label for label in labels if label in table.findings] for name, labels in wanted.items()}
    united = {name: labels for name, labels in united.items() if labels}
    if not united:
        asked = ", ".join(shared(table.dataset, dataset))
        raise DataError(
            f"{', '.join(table.findings)}: none is a finding that {table.dataset} shares with {dataset}: {asked}"
        )
    names = {label: name for name, labels in united.items() for label in labels}
    boxes = table.boxes[table.boxes["finding"].isin(names)].reset_index(drop=True)
    columns = pd.DataFrame({name: _any_of(table.frame[labels]) for name, labels in united.items()})
    return replace(
        table,
        frame=pd.concat([table.frame.drop(columns=list(table.findings)), columns], axis=1),
        findings=tuple(united),
        boxes=boxes.assign(finding=boxes["finding"].map(names).astype(object)),
        masks=table.masks and _renamed(table.masks, names),
        source={**table.source, "findings": f"in terms of {dataset}: {_in_words(united, wanted)}"},
    )


def frame() -> pd.DataFrame:
    """Return the table for the report: `concept`, one column per data set, `remark`; "" if there is no label."""
    return pd.DataFrame(
        [
            {"concept": row.concept, **{name: ", ".join(row.labels(name)) for name in DATA_SETS}, "remark": row.remark}
            for row in SHARED_FINDINGS
        ]
    )


def _rows(first: str, second: str) -> list[SharedFinding]:
    """Return the rows in which both data sets have a label; DataError for a data set without a column."""
    for name in (first, second):
        if name not in (*DATA_SETS, *_SAME_NAMES):
            raise DataError(
                f"{name} is not in the table of shared findings (cxr_kd/data/readers/shared_findings.py), which knows: "
                f"{', '.join(dict.fromkeys((*DATA_SETS, *_SAME_NAMES)))}"
            )
    return [row for row in SHARED_FINDINGS if row.labels(first) and row.labels(second)]


def _in_words(united: Mapping[str, Sequence[str]], wanted: Mapping[str, Sequence[str]]) -> str:
    missing = {name: [label for label in wanted[name] if label not in labels] for name, labels in united.items()}
    return "; ".join(
        f"{name} is {' or '.join(labels)}" + (f" (not read: {', '.join(missing[name])})" if missing[name] else "")
        for name, labels in united.items()
    )


def _any_of(labels: pd.DataFrame) -> pd.Series:
    """Return 1 if any label of a row is 1, else NaN if one is NaN, else 0."""
    values = labels.to_numpy(float)
    unknown = np.where(np.isnan(values).any(axis=1), np.nan, 0.0)
    return pd.Series(np.where((values == 1).any(axis=1), 1.0, unknown), index=labels.index)


def _renamed(masks: Masks, names: Mapping[str, str]) -> Masks:
    def of(image_id: str) -> dict[str, np.ndarray]:
        return {names[finding]: mask for finding, mask in masks(image_id).items() if finding in names}

    return of
