"""Read CheXpert, in the layout in which Stanford AIMI publishes it: `CheXpert-v1.0` and `CheXpert-v1.0-small`.

The radiologists' outlines of CheXlocalize (`gt_annotations_val.json`, `gt_annotations_test.json`) become the table's
masks if they lie beside `train.csv`, in the root, or in `CheXlocalize/` of either (`readers.chexlocalize`).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from cxr_kd.data.label_file import ages, read_label_file, sexes, unknown_ages
from cxr_kd.data.readers import chexlocalize
from cxr_kd.data.readers.chexpert_labels import CODES, FINDINGS, check_uncertain_for, in_words, meanings
from cxr_kd.data.table import NO_FILE, NO_ROW, CxrTable, Masks, Published
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import LAYOUTS, ChexpertSettings

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

# No positives: the paper counts exams that have a finding, not images.
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


def read(
    root: Path, findings: Sequence[str] | None = None, options: ChexpertSettings | None = None, *, images: bool = True
) -> CxrTable:
    """Return CheXpert, or any part of it in its own layout; `root` holds `train.csv`, or the folder with that file.

    224,316 radiographs (8-bit JPEG; in the small edition about 390x320) of 65,240 patients of Stanford Hospital, 2002
    to 2017; 14 observations, one of which is `No Finding`. Labels are 1, 0, -1 (uncertain) or blank (not mentioned).
    `options` say what uncertain and blank labels mean (`chexpert_labels.meanings`) and which views are read; for
    uncertain labels the meaning can differ between findings. `source` counts the uncertain and blank labels read.

    With `blank: ignore`, a blank is unknown. In a row labelled `No Finding` a blank is 0 for every finding except
    `Support Devices`: the labeller sets `No Finding` only if no other finding is present or uncertain, whatever
    devices the report names.

    Layout: `train.csv`, `valid.csv` and the folders `train/` and `valid/`, with paths such as
    `CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg`. The test set came later, with CheXlocalize:
    `test/` and `test_labels.csv` (or `test.csv`, which is preferred if both exist). Its columns are `Path` (from
    `test/` on) and the observations. Sex, age and view may be absent; then the file's name says frontal or lateral.

    `image_id` is the path from `train/`, `valid/` or `test/` on. `view` is "AP", "PA", "LL" or "RL" as in `AP/PA`;
    if that is blank, "L" for a lateral image and "frontal" for a frontal one. Further columns: `exam`
    (patient00001/study1) and `projection` ("frontal", "lateral"). The published split is one side per table: train_val
    (train.csv) and test (valid.csv), or with the test set train, validation and test.

    Rows of other views and rows without an image file are left out and counted, so any part of the data set can be
    read. Without `images` no file is looked for, and every row is returned, whatever its view.

    Citation, licence and where to get it: `SOURCE`.

    Raises:
        DataError: if there are no images or no train.csv (with what to put where), if `uncertain_for` names something
            that is not a finding, or if a table has an invalid value (with the file, line and column).
    """
    root, options = Path(root), options or ChexpertSettings()
    check_uncertain_for(options)
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
    masks = _masks((root / folder, root), sides, ids, frame, left_out)
    source = _with_meanings(frame, findings, options)
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
        masks=masks,
        source=source,
    ).with_findings(findings)


def _folder(root: Path) -> str:
    """Return the folder of train.csv, relative to the root: "" for the root itself."""
    found = [name for name in ("", *_FOLDERS) if (root / name / "train.csv").is_file()]
    if not found:
        raise DataError(_what_to_put_where(root, "no train.csv"))
    if found[0] and len(found) > 1:
        raise DataError(f"{root} holds {' and '.join(found)}, two editions of CheXpert; name the folder of one of them")
    return found[0]


def _read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Return side -> rows of the tables that exist; DataError if an image is in two of them."""
    sides: dict[str, pd.DataFrame] = {}
    for side, names in _TABLES.items():
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is not None:
            sides[side] = _read_table(path, sides, complete=side != "test")
    return sides


def _read_table(path: Path, earlier: Mapping[str, pd.DataFrame], *, complete: bool) -> pd.DataFrame:
    """Return one table's rows, with labels 1, 0, -1 and NaN for blank; `complete` tables must have all columns."""
    file = read_label_file(path, ["Path", *(_DETAILS if complete else ()), *FINDINGS], () if complete else _DETAILS)
    file.refuse_all(file.unsafe_paths("Path"))
    parts = file["Path"].str.extract(_PATH)
    like = "is not like CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
    file.refuse(parts["image_id"].isna(), "Path", like)
    file.refuse(parts["image_id"].duplicated(), "Path", "is on an earlier line already; each image needs one row")
    for side, rows in earlier.items():
        file.refuse(parts["image_id"].isin(rows["image_id"]), "Path", f"is in the table of {side} as well")
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
        file.refuse(~file[finding].isin(CODES), finding, "is none of 1.0, 0.0, -1.0 and blank")
        frame[finding] = file[finding].map(CODES).astype(float)
    return frame


def _image_files(folder: Path, sides: Iterable[str]) -> set[str]:
    """Return the image files of these sides, as paths from `train/`, `valid/` or `test/` on."""
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
    """Return the rows of the wanted views that have an image file; count the others in `left_out`."""
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


def _masks(
    folders: Iterable[Path],
    sides: Collection[str],
    known: Collection[str],
    frame: pd.DataFrame,
    left_out: dict[str, int],
) -> Masks | None:
    """Return the masks of the images in `frame`, None without outlines; count what is cut off or unused."""
    files = {side: path for side, path in chexlocalize.find_files(*folders).items() if side in sides}
    masks, counted = chexlocalize.masks_of(files, known, frame["image_id"])
    left_out |= counted
    return masks


def _with_meanings(frame: pd.DataFrame, findings: Sequence[str] | None, options: ChexpertSettings) -> dict[str, str]:
    """Replace the codes in `frame` by labels; return SOURCE with how the codes were read."""
    codes = frame[list(FINDINGS)]
    source = {**SOURCE, **in_words(codes, [name for name in FINDINGS if findings is None or name in findings], options)}
    frame[list(FINDINGS)] = meanings(codes, options)
    return source


def _given_split(sides: Mapping[str, pd.DataFrame]) -> dict[str, frozenset[str]]:
    ids = [frozenset(rows["image_id"]) for rows in sides.values()]
    names = {1: (), 2: ("train_val", "test"), 3: ("train", "validation", "test")}[len(ids)]
    return dict(zip(names, ids, strict=False))  # train.csv alone: no split


def _what_to_put_where(root: Path, missing: str) -> str:
    return f"{root}: {missing} of CheXpert. Put there {LAYOUTS['chexpert']}."
