"""Finished runs: whether a run folder holds one, whether its files are still the same, and its network."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from cxr_kd.data.prepare import Prepared
from cxr_kd.data.trained_on import TrainedOn
from cxr_kd.errors import TrainingError
from cxr_kd.files import sha256_of
from cxr_kd.models import weights
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study import Study
from cxr_kd.study.runs import Run
from cxr_kd.training.predict import SCORED_SIDES, ScoredSide
from cxr_kd.training.run_card import CARD, RunCard, read_card

WEIGHTS, HISTORY = "model.safetensors", "history.csv"
RUN_FILES = (WEIGHTS, HISTORY, *(f"predictions-{side}.parquet" for side in SCORED_SIDES))  # and the card


def is_done(folder: Path, identity: str) -> bool:
    """Return whether a run folder holds a finished run with these settings and data.

    A damaged card counts as not finished, with a message. Raises TrainingError if a file has changed since then.
    """
    if not all((folder / name).is_file() for name in (CARD, *RUN_FILES)):
        return False
    try:
        card = read_card(folder)
    except TrainingError as error:
        print(f"{error}; the run counts as not finished", flush=True)
        return False
    if card.settings_sha256 != identity:
        return False
    check_unchanged(folder, card, RUN_FILES)
    return True


def load_run(study: Study, run: Run, data: Prepared, sides: Sequence[ScoredSide] = SCORED_SIDES) -> CxrClassifier:
    """Return the network of a finished run, in eval mode, to be scored on these sides of `data`.

    Raises:
        TrainingError: if the run is not finished, or its weights file has changed since.
        DataError: if the network or its teacher was trained on images of these sides.
    """
    check_unseen(study, run, data, sides)
    return weights.load(study.run_folder(run) / WEIGHTS)


def check_unseen(study: Study, run: Run, data: Prepared, sides: Sequence[ScoredSide] = SCORED_SIDES) -> None:
    """Raise what `load_run` raises if the network of a run must not be scored on these sides of `data`."""
    folder = study.run_folder(run)
    check_unchanged(folder, read_card(folder), [WEIGHTS])
    trained_on = read_trained_on(folder / WEIGHTS)
    for side in sides:
        trained_on.check_unseen(str(folder / WEIGHTS), data.table, getattr(data.split, side), side)


def read_trained_on(path: Path) -> TrainedOn:
    """Return the images that the network in a weights file, and its teachers, were trained on; raise DataError."""
    return TrainedOn.from_metadata(weights.read_metadata(path).get("trained_on"), str(path))


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a run, for its card."""
    return {name: sha256_of(folder / name) for name in RUN_FILES}


def check_unchanged(folder: Path, card: RunCard, names: Iterable[str]) -> None:
    """Raise TrainingError if one of these files does not have the SHA-256 in the card."""
    for name in names:
        if not (folder / name).is_file():
            raise TrainingError(f"{folder / name} is missing: remove the folder {folder}; the run is trained again")
        if sha256_of(folder / name) != card.files.get(name):
            raise TrainingError(
                f"{folder / name} has changed since the run was finished (its SHA-256 is not the one in {CARD}): "
                f"remove the folder {folder}; the run is trained again"
            )
