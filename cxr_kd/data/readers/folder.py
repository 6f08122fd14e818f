"""Read the user's own data: images in any folders, and a CSV file with their patients and labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from cxr_kd.data.bad_rows import Complaint
from cxr_kd.data.image_sources import UNKNOWN
from cxr_kd.data.images.archive import in_archive
from cxr_kd.data.label_file import LabelFile, ages, read_label_file, sexes, unknown_ages
from cxr_kd.data.paths import CONTROL_CHARACTER, LINK_OUT, links_out
from cxr_kd.data.table import NO_FILE, NO_ROW, RESERVED_COLUMNS, CxrTable
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import FolderSettings

SOURCE = {"name": "own data", "citation": "none given", "licence": "none given", "where": "a folder of the user"}

_LABELS = {"1": 1.0, "1.0": 1.0, "true": 1.0, "yes": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0, "no": 0.0}
_BLANKS = {"zeros": "a blank label is a 0", "ignore": "a blank label is unknown"}
_IMAGES = (".png", ".jpg", ".jpeg", ".dcm")  # endings of files that are counted if no row names them


def read(
    root: Path, findings: Sequence[str] | None = None, options: FolderSettings | None = None, *, images: bool = True
) -> CxrTable:
    """Return the images that a CSV file in the folder `root` names, one per row.

    Layout: the CSV file (comma, semicolon or tab; UTF-8), `labels.csv` unless `options` name another, with a column
    of paths (relative to `root`, with `/`; PNG, JPEG, DICOM, or one image of an .npz archive), one of patient ids, and
    one per finding: 1, true or yes; 0, false or no; or blank, which means what `options.blank` says. `options` can name
    columns of image ids, view positions, ages, sexes and sources. Other columns are ignored.

    Rows without an image file are left out and counted. Without `images`, no file is looked for and every row is
    returned.

    Raises:
        DataError: if there is no CSV file or none of its images (with what to put where), or if the CSV file has rows
            that cannot be used: values that are no labels, rows without a patient, paths that lead out of `root`,
            repeat each other or cannot exist. One error for all of them, with the file and the first lines.
    """
    root, options = Path(root), options or FolderSettings()
    if not findings or set(findings) & set(RESERVED_COLUMNS):
        raise DataError(
            f"{root}: name the columns of {options.table} that are findings, as findings: [Effusion, Nodule]; none may "
            f"be called {', '.join(RESERVED_COLUMNS)}"
        )
    if not (root / options.table).is_file():
        raise DataError(f"{root}: no {options.table}. {_what_to_put_where(findings, options)}")
    rows = frame = read_labels(root / options.table, findings, options, root)
    left_out: dict[str, int] = {}
    if images:
        there = frame["path"].map(lambda path: _is_there(root, path)).astype(bool)
        if not there.any():
            nothing = f"{root}: no image of the {len(frame):,} rows of {options.table}"
            raise DataError(f"{nothing}. {_what_to_put_where(findings, options)}")
        left_out[NO_FILE] = int((~there).sum())
        left_out[NO_ROW] = _unnamed(root, frame["path"])
        frame = frame[there].reset_index(drop=True)
    left_out |= _unknown(frame, options)
    return CxrTable(
        dataset="folder",
        kind="own",
        root=root,
        frame=frame,
        findings=tuple(findings),
        left_out=left_out,
        left_out_ids=frozenset(rows["image_id"]) - frozenset(frame["image_id"]),
        source={**SOURCE, "name": options.name, "blank labels": _BLANKS[options.blank], **options.source},
    )


def read_labels(path: Path, findings: Sequence[str], options: FolderSettings, root: Path | None = None) -> pd.DataFrame:
    """Return the CSV file alone, as the columns of a `CxrTable`.

    With `root`, paths that are symbolic links out of it are refused, too. DataError as `read`: one for all bad rows.
    """
    told = {"view": options.view, "age": options.age, "sex": options.sex, "source": options.image_source}
    asked = [options.path, options.patient, options.image, *told.values(), *findings]
    file = read_label_file(path, list(dict.fromkeys(name for name in asked if name)))
    shortest = file[options.path].map(lambda path: path and PurePosixPath(path).as_posix()).astype(object)
    file = replace(file, rows=file.rows.assign(**{options.path: shortest}))
    labels = {name: file[name].str.lower().map(_LABELS).astype(float) for name in findings}
    file.refuse_all([*_complaints(file, options, root), *(_no_label(file, name, labels[name]) for name in findings)])
    unknown = pd.Series([""] * len(file.rows), dtype=object)
    written = {name: file[column] if column else unknown for name, column in told.items()}
    return pd.DataFrame(
        {
            "image_id": file[options.image or options.path],
            "path": file[options.path],
            "patient_id": file[options.patient],
            "view": written["view"],
            "age": ages(written["age"]),
            "sex": sexes(written["sex"]),
            "source": written["source"].replace("", UNKNOWN) if options.image_source else written["source"],
            **{name: values.fillna(0.0) if options.blank == "zeros" else values for name, values in labels.items()},
        }
    )


def _complaints(file: LabelFile, options: FolderSettings, root: Path | None) -> list[Complaint]:
    """Return what can be wrong with the rows' paths, image ids and patients."""
    complaints = [*file.unsafe_paths(options.path), file.repeats(options.path)]
    if root is not None:
        safe = ~np.any([complaint.wrong for complaint in file.unsafe_paths(options.path)], axis=0)
        complaints.append(Complaint(safe & links_out(root, file[options.path]), options.path, f"is {LINK_OUT}"))
    if options.image:
        blank = Complaint(file[options.image] == "", options.image, "is blank; each image needs an id")
        complaints += [blank, *file.unusable_names(options.image), file.repeats(options.image)]
    patients, sources = file[options.patient], [options.image_source] if options.image_source else []
    return [
        *complaints,
        Complaint(patients == "", options.patient, "is blank; without patients the split cannot keep them apart"),
        Complaint(patients.str.contains(CONTROL_CHARACTER), options.patient, "has a control character"),
        *(Complaint(file[name].str.contains(CONTROL_CHARACTER), name, "has a control character") for name in sources),
    ]


def _no_label(file: LabelFile, finding: str, values: pd.Series) -> Complaint:
    wrong = values.isna() & (file[finding] != "")
    return Complaint(wrong, finding, f"is none of {', '.join(_LABELS)}, or blank for unknown")


def _unknown(frame: pd.DataFrame, options: FolderSettings) -> dict[str, int]:
    """Return {reason: rows} of the ages, sexes and sources taken as unknown, for the columns that the study names."""
    sexes_unknown = {"sexes that are neither male nor female, taken as unknown": int((frame["sex"] == "").sum())}
    sources_unknown = {f"sources that are blank, taken as {UNKNOWN!r}": int((frame["source"] == UNKNOWN).sum())}
    return (
        (unknown_ages(frame) if options.age else {})
        | (sexes_unknown if options.sex else {})
        | (sources_unknown if options.image_source else {})
    )


def _is_there(root: Path, path: str) -> bool:
    return os.path.isfile(root / (in_archive(path) or (path,))[0])


def _unnamed(root: Path, paths: Iterable[str]) -> int:
    """Return the number of image files in `root`, at any depth, that are none of these paths."""
    named, count = set(paths), 0
    for folder, _, names in os.walk(root):
        inside = PurePosixPath(Path(folder).relative_to(root).as_posix())
        count += sum(str(inside / name) not in named for name in names if name.lower().endswith(_IMAGES))
    return count


def _what_to_put_where(findings: Sequence[str], options: FolderSettings) -> str:
    others = "," * (len(findings) - 1)
    return (
        f"Put there the images, in any folders, and {options.table}, one line per image, such as:\n"
        f"{options.path},{options.patient},{','.join(findings)}\n"
        f"images/0001.png,patient-1,1{others}\n"
        f"images/0002.dcm,patient-1,0{others}"
    )
