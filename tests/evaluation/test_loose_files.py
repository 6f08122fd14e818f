"""Predictions without a study: read from arrays, grouped into arms by their names, divided by patient."""

import numpy as np
import pytest

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.loose_files import divided, read_runs, seeds_of


def write_npz(path, images: int = 60, **changed) -> None:
    random = np.random.default_rng(0)
    arrays = {
        "test_logits": random.normal(size=(images, 2)).astype(np.float32),
        "test_labels": (random.random((images, 2)) < 0.4).astype(np.float32),
        "test_patient": np.arange(images) // 3,
    } | changed
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def test_arrays_become_predictions_with_their_patients_and_the_names_of_the_findings(tmp_path) -> None:
    write_npz(tmp_path / "net.npz", test_labels=np.where(np.arange(120).reshape(60, 2) == 5, np.nan, 1.0))
    ((run,),) = read_runs([tmp_path / "net.npz"], ["Mass", "Nodule"]).values()
    assert run.findings == ("Mass", "Nodule")
    assert run.patients.tolist()[:4] == ["0", "0", "0", "1"]
    assert np.argwhere(np.isnan(run.labels)).tolist() == [[2, 1]]
    assert read_runs([tmp_path / "net.npz"])["net"][0].findings == ("finding 1", "finding 2")


def test_runs_whose_names_differ_in_the_seed_are_one_arm(tmp_path) -> None:
    names = ("small-seed3", "large-seed1", "small-seed12", "small")
    for name in names:
        write_npz(tmp_path / f"{name}.npz")
    arms = read_runs([tmp_path / f"{name}.npz" for name in names])
    assert {arm: len(runs) for arm, runs in arms.items()} == {"small": 3, "large": 1}
    assert seeds_of(arms["small"][:2]) == [3, 12]
    assert seeds_of(arms["small"]) == [0, 1, 2]  # one has no seed in its name


def test_sides_share_no_patient_and_are_the_same_for_all_arms(tmp_path) -> None:
    for name in ("a", "b"):
        write_npz(tmp_path / f"{name}.npz")
    arms = read_runs([tmp_path / "a.npz", tmp_path / "b.npz"])
    validation, test = divided(arms, 0.3)
    one, other = validation["a"][0], test["a"][0]
    assert len(set(one.patients)) == 6  # of 20
    assert set(one.patients).isdisjoint(other.patients)
    assert len(one.frame) + len(other.frame) == 60
    assert (one.metadata.side, other.metadata.side) == ("validation", "test")
    assert validation["b"][0].frame["image_id"].tolist() == one.frame["image_id"].tolist()
    with pytest.raises(PredictionsError, match=r"0\.01 of 20 patients leaves a side without a patient"):
        divided(arms, 0.01)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test_patient": None}, r"net\.npz: needs one array named patient or \*_patient; it has test_logits, test_la"),
        ({"val_labels": np.zeros((60, 2))}, r"needs one array named labels"),
        ({"test_labels": np.zeros((60, 3))}, r"logits \(60, 2\), labels \(60, 3\), patient \(60,\); needed are"),
        ({"test_patient": np.array([None] * 60)}, r"not a readable \.npz file of numbers"),
    ],
)
def test_arrays_that_are_not_predictions_are_named(tmp_path, changed, message) -> None:
    write_npz(tmp_path / "net.npz", **changed)
    with pytest.raises(PredictionsError, match=message):
        read_runs([tmp_path / "net.npz"])


def test_other_bad_files_are_named(tmp_path) -> None:
    with pytest.raises(PredictionsError, match=r"none\.npz: there is no such file"):
        read_runs([tmp_path / "none.npz"])
    (tmp_path / "net.npz").write_bytes(b"no zip")
    with pytest.raises(PredictionsError, match=r"net\.npz: not a readable"):
        read_runs([tmp_path / "net.npz"])
    write_npz(tmp_path / "net.npz")
    with pytest.raises(PredictionsError, match="2 columns, but 1 findings are named"):
        read_runs([tmp_path / "net.npz"], ["Mass"])
    with pytest.raises(PredictionsError, match="a second file of the run net"):
        read_runs([tmp_path / "net.npz", tmp_path / "net.npz"])
