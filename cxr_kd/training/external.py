"""External testing: the networks of a study predict the test sides of the further data sets that it names.

Nothing is trained. A network that has learned from one of these images, or from another image of one of these patients,
is refused, as everywhere (`load_run`).
"""

from __future__ import annotations

from pathlib import Path

from cxr_kd.data.external import prepare_external
from cxr_kd.data.prepare import Prepared
from cxr_kd.evaluation.across import PREDICTIONS
from cxr_kd.files import locked, read_json, sha256_of, write_json
from cxr_kd.study import Study
from cxr_kd.study.arms import arms_of
from cxr_kd.study.runs import Run
from cxr_kd.training.distributed import Processes
from cxr_kd.training.finished_run import WEIGHTS, check_unseen, load_run
from cxr_kd.training.predict import predictions_on
from cxr_kd.training.run_card import read_card

RECORD = "record.json"  # written last: with it, the predictions beside it are complete


def score_external(study: Study, *, workers: int | None = None, progress: bool = True) -> None:
    """Write the predictions of every network of the study for the test side of each data set of `evaluate_on`.

    They are in `external/NAME/` of the run folder, of the findings that the data set shares with the networks. What is
    there already, from the same weights and the same data, is not computed again. An ablation's variants are left out.

    Raises:
        TrainingError: if a run is not finished, or its weights file has changed since.
        DataError: if a data set cannot be read, shares no finding, or holds images or patients that a network or its
            teacher has learned from.
        StudyError: if the folder of a data set is not there.
    """
    runs = [run for arm_runs in arms_of(study).values() for run in arm_runs]
    for name in study.evaluate_on:
        findings = read_card(study.run_folder(runs[0])).findings
        data = prepare_external(study, name, findings, workers=workers, progress=progress)
        for run in runs:
            folder = study.external_folder(run, name)
            with locked(folder / ".lock", f"{run.name}: another process is scoring it on {name}; waiting for it"):
                _score(study, run, name, data)


def _score(study: Study, run: Run, name: str, data: Prepared) -> None:
    folder, images = study.external_folder(run, name), f"{len(data.split.test):,} images"
    check_unseen(study, run, data, ["test"])  # of stored predictions too: the data set may have another name now
    of = {"weights_sha256": read_card(study.run_folder(run)).files[WEIGHTS], "data_identity": data.identity}
    if _is_scored(folder, of):
        print(f"{run.name}: scored on {name} already ({images})", flush=True)
        return
    network = load_run(study, run, data, ["test"])
    (folder / RECORD).unlink(missing_ok=True)  # it describes the file that is replaced
    predictions_on(data, network, study, run, "test", Processes.here().device).write(folder / PREDICTIONS)
    write_json(folder / RECORD, {**of, "predictions_sha256": sha256_of(folder / PREDICTIONS)})
    print(f"{run.name}: scored on {name} ({images})", flush=True)


def _is_scored(folder: Path, of: dict[str, str]) -> bool:
    """Return whether a folder holds whole predictions of these weights and these data."""
    try:
        record = read_json(folder / RECORD)
        return bool(record == {**of, "predictions_sha256": sha256_of(folder / PREDICTIONS)})
    except (OSError, ValueError):
        return False
