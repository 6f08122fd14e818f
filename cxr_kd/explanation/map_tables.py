"""The measures of maps as tables with intervals: what each network's maps find, and how students' maps differ.

Intervals cover other patients and, with several seeds, other trainings (`evaluation.mrmc`). Written by 06_explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.patient_means import patient_mean
from cxr_kd.evaluation.resampling import ALPHA, holm
from cxr_kd.explanation.measures import (
    BOUNDED,
    CHOICE_COLUMNS,
    DRAIN_MEASURES,
    FAITHFUL_MEASURES,
    LIKENESS_MEASURES,
    PLACE_MEASURES,
    THRESHOLD_COLUMNS,
)
from cxr_kd.files import write_csv, written_whole
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms, control_of
from cxr_kd.study.settings import Evaluation

if TYPE_CHECKING:
    from cxr_kd.explanation.measure import Measured  # loads torch, which reading the tables does not need

NOTEBOOK, FOLDER = "06_explain", "explanations"
PAIRS = "pairs.parquet"  # in FOLDER: the values of single pairs of an image and a finding in it
SIZES = ((0.02, "below 2 %"), (0.08, "2 to 8 %"), (1.01, "above 8 %"))  # of the image: upper bound, name
COMPARED = ("pointing", "specific", "moved", "inside", "auprc", "iou")  # of the measures of single networks
_ESTIMATE = ("estimate", "low", "high", "interval", "pairs", "patients")
COLUMNS = {  # file in the folder FOLDER -> its columns
    "forms.csv": CHOICE_COLUMNS,
    "thresholds.csv": THRESHOLD_COLUMNS,
    "maps.csv": ("arm", "kind", "by", "group", "measure", *_ESTIMATE),
    "differences.csv": ("first", "second", "measure", "difference", "low", "high", "interval", "p", "p_holm", "shown"),
    "likeness.csv": ("arm", "with", "of", "measure", *_ESTIMATE),
    "faithful.csv": ("arm", "kind", "measure", *_ESTIMATE),
    "drain.csv": ("arm", "kind", "measure", *_ESTIMATE),
}


def map_tables(study: Study, measured: Measured) -> dict[str, pd.DataFrame]:
    """Return the tables of COLUMNS.

    maps: each network, control and ceiling: over all pairs (`by` "all"), by finding, and by size of the finding.
    differences: `second` minus `first` of `compared_arms`, over all pairs; p-values are corrected for their number
    (Holm) over all rows, and with one seed there are none. likeness, faithful, drain: see `measure.Measured`;
    `kind` of drain is what is painted.
    """
    values, settings = measured.values, study.evaluation
    return {
        "forms.csv": measured.comparison.reindex(columns=list(COLUMNS["forms.csv"])),
        "thresholds.csv": measured.thresholds,
        "maps.csv": map_estimates(values, settings),
        "differences.csv": _differences(study, values, measured.likeness),
        "likeness.csv": _likeness(measured.likeness, settings),
        "faithful.csv": _by_kind(measured.faithful, FAITHFUL_MEASURES, settings),
        "drain.csv": _by_kind(measured.drain, DRAIN_MEASURES, settings),
    }


def write_map_tables(study: Study, measured: Measured) -> dict[str, pd.DataFrame]:
    """Write and return the tables of `map_tables`, and the values of single pairs (PAIRS)."""
    folder = study.runs_folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / PAIRS) as temporary:
        measured.values.to_parquet(temporary)
    tables = map_tables(study, measured)
    for name, frame in tables.items():
        write_csv(folder / name, frame)
    return tables


def read_map_tables(study: Study) -> dict[str, pd.DataFrame]:
    """Return the tables of COLUMNS from their files. Raises PredictionsError for a missing or damaged file."""
    return {name: _read(study.runs_folder / FOLDER / name, columns) for name, columns in COLUMNS.items()}


def compared_maps(study: Study) -> list[tuple[str, str]]:
    """Return the pairs of arms whose maps are compared: (control, student), then (plain student, labelled student).

    A labelled student differs from the plain one of the same teacher in its objective, such as distilled maps.
    """
    first = {arm: runs[0] for arm, runs in all_arms(study).items()}
    distilled = [arm for arm, run in first.items() if run.role == "student distilled"]
    pairs = [(control, arm) for arm in distilled if (control := control_of(study, arm))]
    for arm in distilled:
        run = first[arm]
        plain = [
            other
            for other in distilled
            if not first[other].label and (first[other].network, first[other].teacher) == (run.network, run.teacher)
        ]
        pairs += [(other, arm) for other in plain if run.label]
    return pairs


def by_seed(frame: pd.DataFrame, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Return one arm's values as (S, P), and the patient of each pair, (P,)."""
    seeds = [rows for _, rows in frame.groupby("seed", sort=False)]
    return np.stack([rows[measure].to_numpy(np.float64) for rows in seeds]), seeds[0]["patient_id"].to_numpy(str)


def map_estimates(values: pd.DataFrame, settings: Evaluation) -> pd.DataFrame:
    """Return maps.csv from the values of single pairs (`measure.Measured.values`, which PAIRS holds)."""
    rows = []
    if len(values):
        sizes = np.array([name for _, name in SIZES])[
            np.searchsorted([bound for bound, _ in SIZES], values["share"], side="right")
        ]
        for by, groups in (("all", np.full(len(values), "all")), ("finding", values["finding"]), ("size", sizes)):
            for (arm, kind, group), own in values.assign(group=groups).groupby(["arm", "kind", "group"], sort=False):
                for measure in PLACE_MEASURES:
                    head = {"arm": arm, "kind": kind, "by": by, "group": group, "measure": measure}
                    rows.append(head | _estimate(own, measure, settings))
    return pd.DataFrame(rows, columns=list(COLUMNS["maps.csv"]))


def _likeness(values: pd.DataFrame, settings: Evaluation) -> pd.DataFrame:
    rows = []
    for (arm, compared, of), own in values.groupby(["arm", "with", "of"], sort=False) if len(values) else ():
        for measure in LIKENESS_MEASURES:
            head = {"arm": arm, "with": compared, "of": of, "measure": measure}
            rows.append(head | _estimate(own, measure, settings))
    return pd.DataFrame(rows, columns=list(COLUMNS["likeness.csv"]))


def _by_kind(values: pd.DataFrame, measures: Sequence[str], settings: Evaluation) -> pd.DataFrame:
    rows = []
    for (arm, kind), own in values.groupby(["arm", "kind"], sort=False) if len(values) else ():
        for measure in measures:
            rows.append({"arm": arm, "kind": kind, "measure": measure} | _estimate(own, measure, settings))
    return pd.DataFrame(rows, columns=["arm", "kind", "measure", *_ESTIMATE])


def _estimate(rows: pd.DataFrame, measure: str, settings: Evaluation) -> dict[str, object]:
    values, patients = by_seed(rows, measure)
    found = patient_mean(values, patients, settings, bounded=measure in BOUNDED)
    return dict(
        zip(
            _ESTIMATE,
            (
                float(found.estimate),
                float(found.low),
                float(found.high),
                found.covers,
                len(patients),
                len(set(patients)),
            ),
            strict=True,
        )
    )


def _differences(study: Study, places: pd.DataFrame, likeness: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for first, second in compared_maps(study):
        teachers = {teacher.arm for teacher in study.teacher_runs(all_arms(study)[second][0])[:1]}
        sources: list[tuple[pd.DataFrame, Sequence[str]]] = [(places, COMPARED)]
        if len(likeness):
            with_teacher = likeness[(likeness["with"] == "teacher") & likeness["of"].isin(teachers)]
            sources.append((with_teacher, ("rank",)))
        for frame, measures in sources:
            for measure in measures if len(frame) else ():
                one, other = (by_seed(frame[frame["arm"] == arm], measure) for arm in (first, second))
                found = patient_mean(other[0] - one[0], one[1], study.evaluation)
                values = (float(found.estimate), float(found.low), float(found.high), found.covers, float(found.p))
                names = ("difference", "low", "high", "interval", "p")
                rows.append(
                    {"first": first, "second": second, "measure": measure, **dict(zip(names, values, strict=True))}
                )
    frame = pd.DataFrame(rows, columns=[name for name in COLUMNS["differences.csv"] if name not in ("p_holm", "shown")])
    corrected = holm(frame["p"].to_numpy(np.float64))
    return frame.assign(p_holm=corrected, shown=corrected < ALPHA)


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not path.is_file():
        raise PredictionsError(f"{path}: there is no such file; run notebook {NOTEBOOK} of this study first")
    try:
        frame = pd.read_csv(path, keep_default_na=True)
    except (ValueError, OSError) as error:
        raise PredictionsError(f"{path}: cannot be read ({error}); run notebook {NOTEBOOK} again") from error
    if missing := [name for name in columns if name not in frame]:
        raise PredictionsError(f"{path}: no column {', '.join(missing)}; run notebook {NOTEBOOK} again")
    return frame
