"""CheXpert, on the layout in which Stanford AIMI publishes it: `CheXpert-v1.0` and `CheXpert-v1.0-small`."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_kd.data.label_file import ages, read_label_file, sexes, unknown_ages
from cxr_kd.data.table import NO_FILE, NO_ROW, CxrTable, Published
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import LAYOUTS, ChexpertSettings, Uncertain

# In the order of the published tables, which is that of every label array.
FINDINGS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)

SOURCE = {
    "name": "CheXpert",
    "citation": (
        "Irvin J, Rajpurkar P, Ko M, Yu Y, Ciurea-Ilcus S, Chute C, et al. CheXpert: A Large Chest Radiograph Dataset "
        "with Uncertainty Labels and Expert Comparison. AAAI 2019."
    ),
    "licence": "Stanford University Dataset Research Use Agreement: research only, not to be passed on",
    "where": "Stanford AIMI, after registration (439 GB; the small edition 11 GB); the test set with CheXlocalize",
    "labels": "train: mined from the reports; valid and test: majority of 3 and of 5 radiologists who read the images",
}

NO_FINDING = "No Finding"
# The labeller says No Finding if no observation except Support Devices is positive or uncertain (chexpert-labeler,
# loader/aggregate.py): so in such a row, the reports leave these findings out because they are absent.
_EXCLUDED_BY_NO_FINDING = tuple(name for name in FINDINGS if name not in (NO_FINDING, "Support Devices"))

# Positives stay empty: the paper counts exams that have a finding, not images.
PUBLISHED = Published(
    source="Irvin et al. 2019 and Saporta et al. 2022, less the test set",
    images=223_648,
    patients=64_740,
    sides={"train_val": (223_414, 64_540), "test": (234, 200)},
)
PUBLISHED_WITH_TEST = Published(
    source="Irvin et al. 2019 (all images and patients), Saporta et al. 2022 (of validation and test)",
    images=224_316,
    patients=65_240,
    sides={"train": (223_414, 64_540), "validation": (234, 200), "test": (668, 500)},
)

_FOLDERS = ("CheXpert-v1.0-small", "CheXpert-v1.0", "CheXpert")
_TABLES = {"train": ("train.csv",), "valid": ("valid.csv",), "test": ("test.csv", "test_labels.csv")}
_DETAILS = ("Sex", "Age", "Frontal/Lateral", "AP/PA")
_PATH = (
    r"\A(?:CheXpert[^/]*/)?(?P<image_id>(?:train|valid|test)/(?P<patient_id>patient[0-9]+)/(?P<study>study[0-9]+)"
    r"/view[0-9]+_(?P<projection>frontal|lateral)\.jpg)\Z"
)
_CODES = {"1.0": 1.0, "1": 1.0, "0.0": 0.0, "0": 0.0, "-1.0": -1.0, "-1": -1.0, "": np.nan}
_MEANING = {"zeros": 0.0, "ones": 1.0, "ignore": np.nan}
_IN_WORDS = {"zeros": "taken as 0", "ones": "taken as 1", "ignore": "taken as unknown"}


def read(
    root: Path, findings: Sequence[str] | None = None, options: ChexpertSettings | None = None, *, images: bool = True
) -> CxrTable:
    """Read CheXpert, or any part of it that is in its own layout; `root` holds `train.csv`, or the folder that does.

    224,316 radiographs (8-bit JPEG; in the small edition about 390x320) of 65,240 patients of Stanford Hospital, 2002
    to 2017; 14 observations, of which `No Finding` is one. Labels are 1, 0, -1 (uncertain) or blank (not mentioned);
    `options` say what the last two mean, for `uncertain` finding by finding, and which views are read. What was
    uncertain and blank among the rows read is counted in `source`.

    Layout: `train.csv`, `valid.csv` and the folders `train/` and `valid/`, with paths such as
    `CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg`. The test set came later, with CheXlocalize:
    `test/` and `test_labels.csv` (here also `test.csv`, which is taken where both are). Its columns are `Path` (from
    `test/` on) and the observations; sex, age and view may be absent, and the file's name then says frontal or lateral.

    `image_id` is the path from `train/`, `valid/` or `test/` on. `view` is "AP", "PA", "LL" or "RL" as in `AP/PA`;
    where that is blank, "L" for a lateral image and "frontal" for a frontal one. Further columns: `exam`
    (patient00001/study1) and `projection` ("frontal", "lateral"). The published split is by table: train_val and test
    (valid.csv), or with the test set train, validation and test.

    Rows of other views or without an image file are left out and counted, so that a part of the data set works as it
    is. Without `images` no file is looked for, and every row is there, whatever its view.

    Citation, licence and where to get it: `SOURCE`.

    Raises:
        DataError: where there are no images or no train.csv (and says what to put where), for an `uncertain_for` that
            is no finding, and where a table can't be trusted: with the file, the line and the column.
    """
    root, options = Path(root), options or ChexpertSettings()
    _check_uncertain_for(options)
    folder = _folder(root)
    sides = _read_tables(root / folder)
    frame = pd.concat(sides.values(), ignore_index=True)
    frame.insert(1, "path", frame["image_id"].map(lambda image_id: f"{folder}/{image_id}" if folder else image_id))
    rows = len(frame)
    ids, left_out = frozenset(frame["image_id"]), dict[str, int]()
    if images:
        files = _image_files(root / folder, sides)
        left_out[NO_ROW] = len(files - ids)
        frame = _select(root, frame, options, files, left_out)
    left_out |= unknown_ages(frame)
    read_findings = [name for name in FINDINGS if findings is None or name in findings]
    source = {**SOURCE, **_in_words(frame[list(FINDINGS)], read_findings, options)}
    frame[list(FINDINGS)] = _meanings(frame[list(FINDINGS)], options)
    whole = rows in (PUBLISHED.images, PUBLISHED_WITH_TEST.images) and not left_out.get(NO_FILE)
    return CxrTable(
        dataset="chexpert",
        kind="full" if whole else "mini",
        root=root,
        frame=frame,
        findings=FINDINGS,
        left_out=left_out,
        left_out_ids=ids - frozenset(frame["image_id"]),
        given_split=_given_split(sides),
        source=source,
    ).with_findings(findings)


def _check_uncertain_for(options: ChexpertSettings) -> None:
    unknown = [name for name in options.uncertain_for if name not in FINDINGS]
    if unknown:
        raise DataError(
            f"chexpert: uncertain_for names {', '.join(map(repr, unknown))}; the findings are {', '.join(FINDINGS)}"
        )


def _folder(root: Path) -> str:
    """The folder of train.csv, relative to the root: "" for the root itself."""
    found = [name for name in ("", *_FOLDERS) if (root / name / "train.csv").is_file()]
    if not found:
        raise DataError(_what_to_put_where(root, "no train.csv"))
    if found[0] and len(found) > 1:
        raise DataError(f"{root} holds {' and '.join(found)}, two editions of CheXpert; name the folder of one of them")
    return found[0]


def _read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Return side -> rows, of the tables that are there; no image in two of them."""
    sides: dict[str, pd.DataFrame] = {}
    for side, names in _TABLES.items():
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is not None:
            sides[side] = _read_table(path, sides, complete=side != "test")
    return sides


def _read_table(path: Path, earlier: Mapping[str, pd.DataFrame], *, complete: bool) -> pd.DataFrame:
    """Return one table's rows, the labels as 1, 0, -1 and NaN for blank."""
    file = read_label_file(path, ["Path", *(_DETAILS if complete else ()), *FINDINGS], () if complete else _DETAILS)
    file.refuse_unsafe_paths("Path")
    parts = file["Path"].str.extract(_PATH)
    like = "is not like CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
    file.refuse(parts["image_id"].isna(), "Path", like)
    file.refuse(parts["image_id"].duplicated(), "Path", "stands on an earlier line already; each image needs one row")
    for side, rows in earlier.items():
        file.refuse(parts["image_id"].isin(rows["image_id"]), "Path", f"stands in the table of {side} as well")
    details = file.rows.reindex(columns=list(_DETAILS), fill_value="")
    if "Frontal/Lateral" in file:
        said = file["Frontal/Lateral"]
        file.refuse(~said.isin(("Frontal", "Lateral")), "Frontal/Lateral", "is neither Frontal nor Lateral")
        parts["projection"] = said.str.lower()
    by_projection = parts["projection"].replace({"lateral": "L"})
    frame = parts[["image_id", "patient_id"]].assign(
        view=details["AP/PA"].where(details["AP/PA"] != "", by_projection),
        age=ages(details["Age"]),
        sex=sexes(details["Sex"]),
        exam=parts["patient_id"] + "/" + parts["study"],
        projection=parts["projection"],
    )
    for finding in FINDINGS:
        file.refuse(~file[finding].isin(_CODES), finding, "is none of 1.0, 0.0, -1.0 and blank")
        frame[finding] = file[finding].map(_CODES).astype(float)
    return frame


def _image_files(folder: Path, sides: Iterable[str]) -> set[str]:
    """The image files of these sides, as paths from `train/`, `valid/` or `test/` on."""
    return {
        f"{Path(place).relative_to(folder).as_posix()}/{name}"
        for side in sides
        for place, _, names in os.walk(folder / side)
        for name in names
        if name.endswith(".jpg")
    }


def _select(
    root: Path, frame: pd.DataFrame, options: ChexpertSettings, files: Collection[str], left_out: dict[str, int]
) -> pd.DataFrame:
    """Return the rows of the wanted views whose image file is there; counts the others in `left_out`."""
    if options.views != "all":
        wanted = frame["projection"] == options.views
        left_out[f"{'lateral' if options.views == 'frontal' else 'frontal'} views"] = int((~wanted).sum())
        frame = frame[wanted]
        if frame.empty:
            raise DataError(f"{root}: no row is of a {options.views} view; set views of the study's chexpert part")
    there = frame["image_id"].isin(files)
    left_out[NO_FILE] = int((~there).sum())
    if not there.any():
        raise DataError(_what_to_put_where(root, "no image of the label tables"))
    return frame[there].reset_index(drop=True)


def _meanings(codes: pd.DataFrame, options: ChexpertSettings) -> pd.DataFrame:
    """Return the labels in {1, 0, NaN} from the codes 1, 0, -1, NaN of all findings."""
    labels = codes.fillna(0.0) if options.blank == "zeros" else codes.mask(_excluded(codes), 0.0)
    for finding in labels.columns:
        meaning = _MEANING[options.uncertain_for.get(finding, options.uncertain)]
        labels[finding] = labels[finding].mask(codes[finding] == -1, meaning)
    return labels


def _excluded(codes: pd.DataFrame) -> pd.DataFrame:
    """Return bool (N, L): the label is blank, and No Finding of the same row says that the finding is absent."""
    by_no_finding = pd.DataFrame(False, index=codes.index, columns=codes.columns)
    by_no_finding.loc[codes[NO_FINDING] == 1, list(_EXCLUDED_BY_NO_FINDING)] = True
    return by_no_finding & codes.isna()


def _in_words(codes: pd.DataFrame, findings: Sequence[str], options: ChexpertSettings) -> dict[str, str]:
    """Return what a reader of the report must know about how the codes of these findings became labels."""
    excluded = int(_excluded(codes)[findings].to_numpy().sum()) if options.blank == "ignore" else 0
    codes = codes[findings]
    uncertain, blank = int((codes == -1).to_numpy().sum()), int(codes.isna().to_numpy().sum())
    others: dict[Uncertain, list[str]] = {}
    for finding, meaning in options.uncertain_for.items():
        if meaning != options.uncertain:
            others.setdefault(meaning, []).append(finding)
    but = "".join(f", but {_IN_WORDS[meaning]} for {', '.join(names)}" for meaning, names in others.items())
    return {
        "uncertain labels (-1)": f"{_IN_WORDS[options.uncertain]}{but}: {uncertain:,} of {codes.size:,} labels",
        "blank labels (not mentioned)": f"{_IN_WORDS[options.blank]}: {blank - excluded:,} of {codes.size:,} labels"
        + (f"; taken as 0, because their row is labelled {NO_FINDING}: {excluded:,}" if excluded else ""),
    }


def _given_split(sides: Mapping[str, pd.DataFrame]) -> dict[str, frozenset[str]]:
    ids = [frozenset(rows["image_id"]) for rows in sides.values()]
    names = {1: (), 2: ("train_val", "test"), 3: ("train", "validation", "test")}[len(ids)]
    return dict(zip(names, ids, strict=False))  # train.csv alone: no split


def _what_to_put_where(root: Path, missing: str) -> str:
    return f"{root}: {missing} of CheXpert. Put there {LAYOUTS['chexpert']}."
