"""A student's agreement with its teacher is counted as by hand, on everyone and in each group."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from simulated_groups import FINDINGS, one, simulated, with_columns
from sklearn.metrics import confusion_matrix

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.decision_agreement import AMONG, COLUMNS, FLIPS, SPEARMAN, decision_agreement
from cxr_kd.evaluation.mrmc import OVER_BOTH, OVER_PATIENTS
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.rank_correlation import spearman
from cxr_kd.evaluation.subgroup.groups import CHILDREN
from cxr_kd.study.settings import Evaluation

FEW = Evaluation(resamples=30)
TEACHER, STUDENT = simulated(0, noise=0.6), simulated(1, noise=0.6, in_children=0.5)
CUTS = {"teacher": [dict.fromkeys(FINDINGS, 0.9)], "student": [dict(zip(FINDINGS, (0.4, 0.8, 1.2), strict=True))]}
ARMS, PAIR = {"teacher": [TEACHER], "student": [STUDENT]}, [("teacher", "student")]
TABLE = decision_agreement(ARMS, PAIR, FEW, CUTS)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 50))
def test_rank_correlation_is_that_of_scipy_on_the_repeated_images(seed: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    first, second = random.integers(0, levels, 40), random.integers(0, levels, 40) + random.integers(0, 2)
    patients, weights = random.integers(0, 9, 40), random.integers(0, 4, (9, 34))
    ours = spearman(first, second, patients, weights.astype(float))
    for column in (0, 31, 32, 33):
        rows = np.repeat(np.arange(40), weights[patients, column])
        if len(rows) and np.ptp(first[rows]) and np.ptp(second[rows]):
            assert ours[column] == pytest.approx(spearmanr(first[rows], second[rows]).statistic)
        else:
            assert np.isnan(ours[column])


def test_flips_are_those_of_a_confusion_matrix_of_the_two_decisions() -> None:
    frame = TEACHER.frame
    groups = {
        ("all images", "all images"): np.ones(len(frame), bool),
        ("sex", "female"): (frame["sex"] == "F").to_numpy(),
        ("age", CHILDREN): (frame["age"] < 18).to_numpy(),
    }
    for (by, group), member in groups.items():
        for column, finding in enumerate(FINDINGS):
            label = TEACHER.labels[:, column]
            before = TEACHER.logits[:, column] >= CUTS["teacher"][0][finding]
            after = STUDENT.logits[:, column] >= CUTS["student"][0][finding]
            for among, kept in zip(AMONG, (label >= 0, label == 1, label == 0), strict=True):
                rows = kept & member
                (_, gained), (lost, _) = confusion_matrix(before[rows], after[rows], labels=[False, True]) / rows.sum()
                for measure, expected in zip(FLIPS, (gained + lost, gained, lost), strict=True):
                    row = one(TABLE, by=by, group=group, finding=finding, among=among, measure=measure)
                    assert row["value"] == pytest.approx(expected)
                    assert row["low"] <= row["value"] <= row["high"]
                    assert (row["images"], row["patients"]) == (rows.sum(), frame["patient_id"][rows].nunique())


def test_a_worse_group_loses_more_of_its_detections_there() -> None:
    lost = TABLE[(TABLE["measure"] == "flip_to_negative") & (TABLE["among"] == "positives") & (TABLE["by"] == "age")]
    means = lost[lost["finding"] == MEAN].set_index("group")
    assert means["value"].idxmax() == CHILDREN
    assert means.loc[CHILDREN, "low"] > means.drop(CHILDREN)["value"].max()


def test_a_mean_is_over_the_findings_and_the_correlation_is_over_all_images_only() -> None:
    correlations = TABLE[TABLE["measure"] == SPEARMAN]
    assert correlations["finding"].tolist() == [*FINDINGS, MEAN]
    assert set(correlations["by"]) == {"all images"}
    for part in (
        correlations,
        TABLE[(TABLE["group"] == "PA") & (TABLE["measure"] == "flip") & (TABLE["among"] == "all")],
    ):
        own = part[part["in_mean"]]
        assert len(own) == 3
        assert one(part, finding=MEAN)["value"] == pytest.approx(own["value"].mean())


def test_a_network_agrees_with_itself() -> None:
    table = decision_agreement(
        {"a": [TEACHER], "b": [TEACHER]}, [("a", "b")], FEW, {"a": CUTS["teacher"], "b": CUTS["teacher"]}
    )
    scored = table[table["left_out"] == ""]
    flips = scored[scored["measure"] != SPEARMAN][["value", "low", "high"]]
    assert (flips == 0).all(axis=None)
    assert np.allclose(scored[scored["measure"] == SPEARMAN][["value", "low", "high"]], 1)


def test_the_order_of_the_images_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(len(TEACHER.frame))
    mixed = {arm: [Predictions(run.frame.iloc[order].reset_index(drop=True), run.metadata) for run in runs]
             for arm, runs in ARMS.items()}  # fmt: skip
    pd.testing.assert_frame_equal(decision_agreement(mixed, PAIR, FEW, CUTS), TABLE, rtol=1e-10)


def test_seeds_are_paired_or_share_one_teacher_and_the_interval_says_what_it_covers() -> None:
    students = [simulated(seed, noise=0.6) for seed in (1, 2)]
    cuts = {"teacher": CUTS["teacher"], "student": CUTS["student"] * 2}
    both = decision_agreement({"teacher": [TEACHER], "student": students}, PAIR, FEW, cuts)
    single = [decision_agreement({"teacher": [TEACHER], "student": [run]}, PAIR, FEW, CUTS) for run in students]
    where = {"by": "age", "group": CHILDREN, "finding": "Mass", "measure": "flip", "among": "all"}
    assert one(both, **where)["value"] == pytest.approx(np.mean([one(each, **where)["value"] for each in single]))
    assert set(both["interval"]) == {OVER_BOTH}
    assert set(both["seeds"]) == {2}
    assert set(TABLE["interval"]) == {OVER_PATIENTS}
    paired = decision_agreement({"teacher": students, "student": students}, PAIR, FEW)
    assert np.allclose(paired["value"], 1)


def test_what_cannot_be_scored_has_a_reason() -> None:
    rare = np.where(TEACHER.frame.index < 5, 1.0, 0.0)
    arms = {arm: [with_columns(run, **{"label:Mass": rare}) for run in runs] for arm, runs in ARMS.items()}
    cuts = CUTS | {"student": [{"Effusion": 0.4, "Mass": 0.8}]}
    table = decision_agreement(arms, PAIR, FEW, cuts)
    flips = table[(table["by"] == "all images") & (table["measure"] == "flip")]
    reason = one(flips, finding="Mass", among="positives")
    assert reason["left_out"] == "5 positives, fewer than 10"
    assert np.isnan(reason["value"])
    assert np.isfinite(one(flips, finding="Mass", among="negatives")["value"])
    assert one(flips, finding="Nodule", among="all")["left_out"] == "no threshold for every network"
    assert one(flips, finding=MEAN, among="all")["value"] == pytest.approx(
        flips[flips["in_mean"] & (flips["among"] == "all")]["value"].mean()
    )
    flat = with_columns(STUDENT, **{"logit:Mass": 0.5})
    row = one(decision_agreement({"teacher": [TEACHER], "student": [flat]}, PAIR, FEW), finding="Mass")
    assert row["left_out"] == "all logits of a network are equal"


def test_images_of_unknown_patients_are_counted() -> None:
    row = one(TABLE, by="source", measure="flip")
    assert (row["group"], row["left_out"]) == ("unknown", "the source is not known for any image")
    assert (row["images"], row["patients"]) == (600, 200)
    some = {arm: [with_columns(run, sex=np.where(run.frame.index < 4, "", run.frame["sex"])) for run in runs]
            for arm, runs in ARMS.items()}  # fmt: skip
    unknown = one(decision_agreement(some, PAIR, FEW, CUTS), by="sex", group="unknown", measure="flip")
    assert unknown["left_out"] == "the sex is not known for 4 of 600 images"
    assert (unknown["images"], unknown["patients"]) == (4, 2)


def test_without_thresholds_there_is_only_the_correlation_and_without_pairs_no_row() -> None:
    table = decision_agreement(ARMS, PAIR, FEW)
    assert set(table["measure"]) == {SPEARMAN}
    assert tuple(table.columns) == COLUMNS
    empty = decision_agreement(ARMS, [], FEW)
    assert empty.empty
    assert tuple(empty.columns) == COLUMNS


@pytest.mark.parametrize(
    ("arms", "cuts", "message"),
    [
        ({"student": [STUDENT]}, CUTS, r"student has 1 and its teacher teacher 0 predictions; the same seeds"),
        ({"teacher": [TEACHER] * 2, "student": [STUDENT]}, CUTS, r"student has 1 and its teacher teacher 2 pred"),
        (ARMS, {"teacher": CUTS["teacher"]}, r"student: thresholds of 0 runs, but 1 predictions"),
        (ARMS | {"student": [with_columns(STUDENT, patient_id="p")]}, CUTS, r"patient_id differs"),
    ],
)  # fmt: skip
def test_bad_input_is_named(arms: dict, cuts: dict, message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        decision_agreement(arms, PAIR, FEW, cuts)
