"""Numbers across data sets are over the same findings; means and p-values are those of the functions that they use."""

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.across import (
    CHANGES,
    EVALUATIONS,
    EXTERNAL,
    INTERNAL,
    NO_SHARED_MEAN,
    DataSet,
    evaluate_across,
)
from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.predictions import Predictions, PredictionsMetadata
from cxr_kd.study.settings import Evaluation

SETTINGS = Evaluation(resamples=20, minimum_positives=5)
PAIRS = [("alone", "distilled")]


def data_set(testing, name, findings, rates, seed, strength=1.0, seeds=2):
    """Arms `alone` and `distilled` (better), on 80 images of 40 patients."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((80, len(findings))) < rates).astype(float)
    predictions = {}
    for arm, better in (("alone", 0.0), ("distilled", 1.0)):
        predictions[arm] = []
        for training in range(seeds):
            logits = (strength + better) * labels + generator.normal(size=labels.shape)
            metadata = PredictionsMetadata(
                study="s", dataset="phantom", kind="phantom", run=f"{arm}-seed{training}", network="n",
                split="all-test", split_sha256=name, split_sides={}, side="test", findings=findings,
            )  # fmt: skip
            ids, patients = [f"i{i}" for i in range(80)], [f"p{i // 2}" for i in range(80)]
            predictions[arm].append(Predictions.from_arrays(ids, patients, labels, logits, metadata))
    return DataSet(testing, name, predictions)


@pytest.fixture(scope="module")
def hospitals():
    """Mass is rare elsewhere; Hernia and Edema are not shared."""
    return [
        data_set(INTERNAL, "phantom", ("Effusion", "Mass", "Nodule", "Hernia"), [0.4, 0.3, 0.3, 0.5], 1),
        data_set(EXTERNAL, "b", ("Nodule", "Edema", "Mass", "Effusion"), [0.3, 0.4, 0.02, 0.4], 2, strength=0.2),
    ]


@pytest.fixture(scope="module")
def tables(hospitals):
    return evaluate_across(hospitals, PAIRS, SETTINGS, (0, 1))


def test_a_mean_is_over_the_findings_with_enough_positives_everywhere(hospitals, tables):
    frame = tables[EVALUATIONS]
    assert set(frame["findings_in_mean"]) == {2}
    for _, part in frame.groupby(["testing", "arm"], sort=False):
        assert part["finding"].tolist() == ["Effusion", "Mass", "Nodule", MEAN]
        single = part.set_index("finding")["auroc"]
        assert single[MEAN] == pytest.approx(single[["Effusion", "Nodule"]].mean())
    inside = frame[frame["testing"] == INTERNAL].set_index(["arm", "finding"])
    outside = frame[frame["testing"] == EXTERNAL].set_index(["arm", "finding"])
    assert np.isfinite(inside.loc[("alone", "Mass"), "auroc"])  # scored where it can be
    assert "fewer than 5" in outside.loc[("alone", "Mass"), "left_out"]
    assert inside.loc[("alone", MEAN), "auroc"] > outside.loc[("alone", MEAN), "auroc"]
    assert (frame["test_images"].unique(), frame["test_patients"].unique()) == (80, 40)


def test_the_order_of_findings_in_a_data_set_does_not_matter(hospitals, tables):
    one = hospitals[1]
    turned = {arm: [run.of_findings(run.findings[::-1]) for run in runs] for arm, runs in one.predictions.items()}
    again = evaluate_across([hospitals[0], replace(one, predictions=turned)], PAIRS, SETTINGS, (0, 1))
    for name, frame in tables.items():
        assert again[name].equals(frame)


def test_changes_are_paired_and_corrected_over_all_data_sets(tables):
    frame = tables[CHANGES]
    means = frame[frame["finding"] == MEAN]
    assert means["data_set"].tolist() == ["phantom", "b"]
    wanted = multipletests(means["auroc_p"], method="holm")[1]
    np.testing.assert_allclose(means["auroc_p_holm"], wanted, rtol=1e-12)
    evaluations = tables[EVALUATIONS].set_index(["testing", "arm", "finding"])["auroc"]
    for row in frame.to_dict("records"):
        difference = evaluations[row["testing"], "distilled", row["finding"]]
        difference -= evaluations[row["testing"], "alone", row["finding"]]
        assert row["auroc_difference"] == pytest.approx(difference, nan_ok=True)


def test_without_a_finding_that_can_be_scored_everywhere_there_is_no_mean():
    each = [
        data_set(INTERNAL, "phantom", ("Effusion", "Mass"), [0.4, 0.02], 3),
        data_set(EXTERNAL, "b", ("Effusion", "Mass"), [0.02, 0.4], 4),
    ]
    tables = evaluate_across(each, PAIRS, SETTINGS, (0, 1))
    for frame, value in ((tables[EVALUATIONS], "auroc"), (tables[CHANGES], "auroc_difference")):
        means = frame[frame["finding"] == MEAN]
        assert means[value].isna().all()
        assert set(means["left_out"]) == {NO_SHARED_MEAN}
        assert frame[value].notna().sum() > 0  # single findings are still given
    assert not tables[CHANGES].loc[tables[CHANGES]["finding"] == MEAN, "shown"].any()


def test_one_training_has_no_p_and_no_pair_no_row():
    each = [data_set(INTERNAL, "phantom", ("Effusion", "Mass"), [0.4, 0.3], 5, seeds=1)]
    assert evaluate_across(each, PAIRS, SETTINGS, (0,))[CHANGES]["auroc_p"].isna().all()
    assert evaluate_across(each, [], SETTINGS, (0,))[CHANGES].empty


def test_data_sets_that_share_nothing_are_refused():
    each = [data_set(INTERNAL, "a", ("Effusion",), [0.4], 6), data_set(EXTERNAL, "b", ("Mass",), [0.4], 7)]
    with pytest.raises(PredictionsError, match=r"no finding is shared by all data sets \(a: Effusion; b: Mass\)"):
        evaluate_across(each, PAIRS, SETTINGS, (0, 1))
