"""Intervals come from resampled patients, agree with a plain loop, and say why a finding has no value."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.bootstrap import MEAN, bootstrap, check_same_images
from cxr_kd.evaluation.predictions import Predictions, PredictionsMetadata
from cxr_kd.evaluation.uncertainty import compare, evaluate
from cxr_kd.study.settings import Evaluation

FINDINGS = ("Effusion", "Mass", "Hernia")
REAL = Path(os.environ.get("CXR_KD_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
REAL_LOGITS = REAL / "nih-test-logits" / "densenet121_seed0.npz"


def predictions(
    seed: int = 0, images: int = 240, patients: int = 60, signal: float = 1.0, run: str = "densenet121-seed0"
) -> Predictions:
    """Labels and patients are the same for every seed; Hernia has 4 positives."""
    fixed, random = np.random.default_rng(12), np.random.default_rng(seed)
    labels = (fixed.random((images, 3)) < [0.4, 0.15, 0.0]).astype(float)
    labels[[3, 50, 100, 200], 2] = 1
    patient_ids = [f"p{i}" for i in fixed.integers(0, patients, size=images)]
    logits = signal * labels + random.normal(size=(images, 3))
    return Predictions.from_arrays([f"i{i}" for i in range(images)], patient_ids, labels, logits, metadata(run))


def metadata(run: str, **other: object) -> PredictionsMetadata:
    known = {"study": "tiny", "dataset": "phantom", "kind": "phantom", "network": run.split("-")[0]}
    split = {"split": "official", "split_sha256": "ab" * 32, "side": "test", "split_sides": {}, "findings": FINDINGS}
    return PredictionsMetadata.model_validate({**known, **split, "run": run, **other})


def test_estimates_equal_those_of_scikit_learn_and_a_rare_finding_is_left_out() -> None:
    run = predictions()
    table = evaluate(run, Evaluation(resamples=50)).set_index("finding")
    assert table.index.tolist() == [*FINDINGS, MEAN]
    for i, finding in enumerate(FINDINGS[:2]):
        assert table.loc[finding, "auroc"] == pytest.approx(roc_auc_score(run.labels[:, i], run.logits[:, i]))
        expected = average_precision_score(run.labels[:, i], run.logits[:, i])
        assert table.loc[finding, "average_precision"] == pytest.approx(expected)
        assert table.loc[finding, "auroc_low"] < table.loc[finding, "auroc"] < table.loc[finding, "auroc_high"]
    assert table.loc["Hernia", "left_out"] == "4 positives, fewer than 10"
    assert table.loc["Hernia", ["auroc", "auroc_low", "average_precision_high"]].isna().all()
    assert table.loc[MEAN, "auroc"] == pytest.approx(table.loc[["Effusion", "Mass"], "auroc"].mean())
    table = evaluate(run, Evaluation(resamples=20, minimum_positives=4)).set_index("finding")
    assert table.loc["Hernia", "left_out"] == ""


def test_delongs_interval_is_about_that_of_the_bootstrap() -> None:
    run = predictions(images=900, patients=300)
    table = evaluate(run, Evaluation(resamples=1000)).set_index("finding")
    for finding in ("Effusion", "Mass", MEAN):
        row = table.loc[finding]
        width = row["auroc_high"] - row["auroc_low"]
        assert row["auroc_delong_high"] - row["auroc_delong_low"] == pytest.approx(width, rel=0.1)
        assert row["auroc_delong_low"] == pytest.approx(row["auroc_low"], abs=0.1 * width)
    assert table.loc["Hernia", ["auroc_delong_low", "auroc_delong_high"]].isna().all()
    several = evaluate([run, run], Evaluation(resamples=50)).set_index("finding")
    assert several.loc[MEAN, "auroc_delong_low"] == pytest.approx(table.loc[MEAN, "auroc_delong_low"])


def test_resamples_equal_those_of_a_plain_loop_over_patients() -> None:
    run = predictions()
    result = bootstrap(run, Evaluation(resamples=20, seed=7))
    patients = sorted(set(run.patients))
    drawn = np.random.default_rng(7).multinomial(len(patients), np.full(len(patients), 1 / len(patients)), 20)
    for r in range(20):
        rows = np.concatenate(
            [np.tile(np.flatnonzero(run.patients == p), n) for p, n in zip(patients, drawn[r], strict=True)]
        ).astype(int)
        for i in range(2):
            assert result.resampled[0, 0, i, r] == pytest.approx(
                roc_auc_score(run.labels[rows, i], run.logits[rows, i])
            )


def test_the_seed_determines_the_intervals() -> None:
    run = predictions()
    one, two = Evaluation(resamples=30, seed=1), Evaluation(resamples=30, seed=2)
    pd.testing.assert_frame_equal(evaluate(run, one), evaluate(run, one))
    assert not evaluate(run, one).equals(evaluate(run, two))


def test_repeating_the_images_of_a_patient_does_not_narrow_the_interval() -> None:
    """Each image appears ten times under the same patient, which adds no information."""
    run = predictions(images=240, patients=200)
    ten = pd.concat([run.frame.assign(image_id=run.frame.image_id + f"-{k}") for k in range(10)], ignore_index=True)
    once, repeated = evaluate(run), evaluate(Predictions(ten, run.metadata))
    columns = ["auroc", "auroc_low", "auroc_high", "average_precision_low", "average_precision_high"]
    np.testing.assert_allclose(once[columns][:2], repeated[columns][:2], atol=1e-9)


def test_the_interval_covers_the_true_value_about_as_often_as_it_should() -> None:
    """The AUROC of unit normals 1 apart is 0.760. 200 data sets: 95 %, 4 standard errors of 1.5 % on either side."""
    truth, covered = 0.7602, 0
    for seed in range(200):
        random = np.random.default_rng(1000 + seed)
        labels = np.repeat((random.random(150) < 0.4).astype(float), 2)[:, None]
        logits = labels + random.normal(size=labels.shape)
        ids = [str(i) for i in range(300)]
        meta = metadata("densenet121-seed0", findings=("Mass",))
        one = Predictions.from_arrays(ids, [str(i // 2) for i in range(300)], labels, logits, meta)
        row = evaluate(one, Evaluation(resamples=200, seed=seed)).iloc[0]
        covered += row["auroc_low"] <= truth <= row["auroc_high"]
    assert 0.89 <= covered / 200 <= 1.0


def test_positives_of_a_single_patient_are_left_out() -> None:
    run = predictions()
    frame = run.frame.copy()
    frame["label:Hernia"] = 0.0
    frame.loc[:11, "label:Hernia"] = 1.0
    frame.loc[:11, "patient_id"] = "p0"
    table = evaluate(Predictions(frame, run.metadata), Evaluation(resamples=20)).set_index("finding")
    assert table.loc["Hernia", "left_out"] == "12 positives, all of one patient"


def test_a_single_positive_is_named_in_the_singular() -> None:
    frame = predictions().frame.assign(**{"label:Hernia": 0.0})
    frame.loc[7, "label:Hernia"] = 1.0
    table = evaluate(Predictions(frame, predictions().metadata), Evaluation(resamples=20)).set_index("finding")
    assert table.loc["Hernia", "left_out"] == "1 positive, fewer than 10"


def test_a_run_without_any_scored_finding_says_so() -> None:
    table = evaluate(predictions(), Evaluation(resamples=20, minimum_positives=1000)).set_index("finding")
    assert table.loc[MEAN, "left_out"] != ""
    assert table["auroc"].isna().all()


def test_a_run_does_not_differ_from_itself() -> None:
    difference = compare(predictions(), predictions(), Evaluation(resamples=40)).set_index("finding")
    columns = ["auroc_difference", "auroc_low", "auroc_high", "average_precision_difference"]
    assert (difference.loc[["Effusion", "Mass", MEAN], columns] == 0).all(axis=None)
    assert difference.loc["Hernia", columns].isna().all()


def test_pairing_narrows_the_interval_and_a_difference_is_second_minus_first() -> None:
    weak = predictions(seed=3)
    better = Predictions(
        weak.frame.assign(
            **{f"logit:{f}": weak.frame[f"logit:{f}"] + 0.3 * weak.frame[f"label:{f}"] for f in FINDINGS}
        ),
        metadata("student-seed0"),
    )
    paired = compare(weak, better).set_index("finding").loc["Effusion"]
    alone = evaluate(weak).set_index("finding").loc["Effusion"]
    assert paired["auroc_low"] > 0
    assert paired["auroc_high"] - paired["auroc_low"] < 0.5 * (alone["auroc_high"] - alone["auroc_low"])
    assert (paired["first"], paired["second"]) == ("densenet121-seed0", "student-seed0")


def test_several_seeds_are_averaged_within_a_resample() -> None:
    seeds = [predictions(seed=s) for s in (1, 2)]
    both = compare([predictions(seed=0)] * 2, seeds, Evaluation(resamples=30)).set_index("finding")
    single = [compare(predictions(seed=0), run, Evaluation(resamples=30)).set_index("finding") for run in seeds]
    for finding in ("Effusion", MEAN):
        expected = np.mean([frame.loc[finding, "auroc_difference"] for frame in single])
        assert both.loc[finding, "auroc_difference"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: Predictions(run.frame.iloc[::-1].reset_index(drop=True), run.metadata), "image_id differs"),
        (lambda run: Predictions(run.frame.assign(patient_id="p0"), run.metadata), "patient_id differs"),
        (lambda run: Predictions(run.frame.assign(**{"label:Mass": 1.0}), run.metadata), "labels differ"),
        (lambda run: Predictions(run.frame, metadata("a", split_sha256="cd" * 32)), "different splits"),
        (lambda run: Predictions(run.frame, metadata("a", side="validation")), "different splits or sides"),
        (lambda run: Predictions(run.frame, metadata("a", findings=FINDINGS[::-1])), "findings or their order differ"),
    ],
)
def test_runs_on_other_images_are_not_compared(change, message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        check_same_images([predictions(), change(predictions())])
    with pytest.raises(PredictionsError, match=message):
        compare(predictions(), change(predictions()), Evaluation(resamples=20))


@pytest.mark.skipif(
    not REAL_LOGITS.is_file(), reason=f"the real logits of the whole test split are not at {REAL_LOGITS}"
)
def test_the_whole_official_test_split_of_chestxray14() -> None:
    stored = np.load(REAL_LOGITS)
    findings = tuple(f"finding {i}" for i in range(14))
    meta = metadata("densenet121-seed0", dataset="chestxray14", kind="full", findings=findings)
    patients = [str(p) for p in stored["test_patient"]]
    ids = [str(i) for i in range(len(patients))]
    run = Predictions.from_arrays(ids, patients, stored["test_labels"], stored["test_logits"], meta)
    mean = evaluate(run, Evaluation(resamples=1000)).iloc[-1]
    assert mean["auroc"] == pytest.approx(0.70245, abs=5e-6)
    assert 0.685 < mean["auroc_low"] < mean["auroc"] < mean["auroc_high"] < 0.72
