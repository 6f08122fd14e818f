"""Predictions that no study describes: read from files, grouped into arms, and divided into two sides if need be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.arm_tables import ArmPredictions
from cxr_kd.evaluation.predictions import Predictions, PredictionsMetadata
from cxr_kd.study.settings import digest

ARRAYS = ("logits", "labels", "patient")
_SEED = re.compile(r"-seed(\d+)$")


def read_runs(paths: Sequence[Path], findings: Sequence[str] = ()) -> dict[str, list[Predictions]]:
    """Return arm -> one per seed, from predictions files of this package (.parquet) or arrays (.npz).

    Runs whose names differ only in `-seedN` are the seeds of one arm. An .npz file has the arrays `logits` and `labels`
    (N, L), with NaN for an unknown label, and `patient` (N,), each perhaps with a prefix such as `test_`. `findings`
    are the names of its L columns, by default `finding 1` to `finding L`.

    Raises PredictionsError for a file that cannot be read, and for two files of one run.
    """
    arms: dict[str, dict[str, Predictions]] = {}
    for path in paths:
        run = _read_npz(path, findings) if path.suffix == ".npz" else Predictions.read(path)
        seeds = arms.setdefault(_SEED.sub("", run.metadata.run), {})
        if run.metadata.run in seeds:
            raise PredictionsError(f"{path}: a second file of the run {run.metadata.run}; give each run once")
        seeds[run.metadata.run] = run
    return {arm: list(seeds.values()) for arm, seeds in arms.items()}


def seeds_of(runs: Sequence[Predictions]) -> list[int]:
    """Return the seed of each run from its name, or 0, 1, ... if a name has none."""
    found = [_SEED.search(run.metadata.run) for run in runs]
    return [int(match[1]) for match in found if match] if all(found) else list(range(len(runs)))


def divided(arms: ArmPredictions, share: float, seed: int = 0) -> tuple[ArmPredictions, ArmPredictions]:
    """Return (validation, test): `share` of the patients, drawn at random, and the others; the same for all arms.

    Raises PredictionsError if a side has no patient.
    """
    first = next(iter(arms.values()))[0]
    patients = np.unique(first.patients)
    drawn = np.random.default_rng(seed).permutation(patients)[: round(share * len(patients))]
    if not 0 < len(drawn) < len(patients):
        raise PredictionsError(
            f"{first.source}: {share:g} of {len(patients):,} patients leaves a side without a patient; choose another "
            "share, or give the predictions of a validation side"
        )
    chosen = np.isin(first.patients, drawn)

    def side(run: Predictions, which: np.ndarray, name: str) -> Predictions:
        frame = run.frame[which].reset_index(drop=True)
        return replace(run, frame=frame, metadata=run.metadata.model_copy(update={"side": name}))

    validation = {arm: [side(run, chosen, "validation") for run in runs] for arm, runs in arms.items()}
    return validation, {arm: [side(run, ~chosen, "test") for run in runs] for arm, runs in arms.items()}


def _read_npz(path: Path, findings: Sequence[str]) -> Predictions:
    arrays = _arrays(path)
    logits, labels, patients = (arrays[name] for name in ARRAYS)
    if logits.ndim != 2 or labels.shape != logits.shape or patients.shape != logits.shape[:1]:
        shapes = ", ".join(f"{name} {arrays[name].shape}" for name in ARRAYS)
        raise PredictionsError(f"{path}: {shapes}; needed are (images, findings) twice, and (images,)")
    names = tuple(findings) or tuple(f"finding {number}" for number in range(1, logits.shape[1] + 1))
    if len(names) != logits.shape[1]:
        raise PredictionsError(f"{path}: {logits.shape[1]} columns, but {len(names)} findings are named")
    ids = [str(number) for number in range(len(logits))]
    known = {"study": "none", "dataset": path.stem, "kind": "own", "run": path.stem, "network": path.stem}
    split = {"split": "own", "split_sha256": digest(patients.tolist()), "split_sides": {}, "side": "test"}
    metadata = PredictionsMetadata.model_validate({**known, **split, "findings": names})
    found = Predictions.from_arrays(ids, [str(patient) for patient in patients], labels, logits, metadata)
    return replace(found, source=str(path))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by the ends of their names (ARRAYS)."""
    if not path.is_file():
        raise PredictionsError(f"{path}: there is no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
    except (ValueError, OSError, KeyError, EOFError) as error:
        raise PredictionsError(f"{path}: not a readable .npz file of numbers ({error})") from error
    found = {}
    for wanted in ARRAYS:
        names = [name for name in stored if name == wanted or name.endswith(f"_{wanted}")]
        if len(names) != 1:
            there = ", ".join(stored) or "no array"
            raise PredictionsError(f"{path}: needs one array named {wanted} or *_{wanted}; it has {there}")
        found[wanted] = stored[names[0]]
    return found
