"""Groups are scored as scikit-learn scores their images, gaps compare the same findings, and a known gap is found."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_groups import FINDINGS, one, rows, simulated, with_columns, without
from sklearn.metrics import recall_score, roc_auc_score

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.mrmc import OVER_BOTH, OVER_PATIENTS
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.subgroup.group_metrics import METRICS, pair_wins
from cxr_kd.evaluation.subgroup.groups import AGE_BANDS, CHILDREN, Grouping, groupings
from cxr_kd.evaluation.subgroup.tables import CHANGE_COLUMNS, EVALUATION_COLUMNS, GAP_COLUMNS, subgroup_results
from cxr_kd.evaluation.uncertainty import evaluate
from cxr_kd.study.settings import Evaluation

FEW = Evaluation(resamples=40)
CUTS = dict(zip(FINDINGS, (0.5, 0.8, 1.1), strict=True))
SMALL = simulated()


def evaluated(run: Predictions, evaluation: Evaluation = FEW) -> pd.DataFrame:
    return subgroup_results({"a": [run]}, [], evaluation, {"a": [CUTS]}).evaluations


def members(run: Predictions) -> dict[tuple[str, str], np.ndarray]:
    """(by, group) -> bool (N,), from the frame alone."""
    frame = run.frame
    ages = pd.cut(frame["age"], [0, 18, 40, 60, 80, np.inf], right=False, labels=list(AGE_BANDS.values()))
    count = (run.labels == 1).sum(axis=1)
    return (
        {("all images", "all images"): np.ones(len(frame), bool)}
        | {("sex", name): (frame["sex"] == sex).to_numpy() for name, sex in (("female", "F"), ("male", "M"))}
        | {("age", name): (ages == name).to_numpy() for name in AGE_BANDS.values()}
        | {("view position", name): (frame["view"] == name).to_numpy() for name in ("PA", "AP")}
        | {("findings", "0"): count == 0, ("findings", "1"): count == 1, ("findings", "2 or more"): count > 1}
    )


def test_every_group_has_the_values_of_scikit_learn_on_its_images() -> None:
    table = evaluated(SMALL)
    scored = table[(table["left_out"] == "") & (table["finding"] != MEAN)]
    assert set(zip(scored["by"], scored["group"], strict=True)) == set(members(SMALL))
    labels, logits = SMALL.labels, SMALL.logits.astype(float)
    for (by, group), member in members(SMALL).items():
        for row in scored[(scored["by"] == by) & (scored["group"] == group)].itertuples():
            column = FINDINGS.index(row.finding)
            label, logit = labels[:, column], logits[:, column]
            probability = 1 / (1 + np.exp(-logit))
            against = member | (label == 0) if by == "findings" else member
            expected = {
                "auroc": lambda kept=against, y=label, s=logit: roc_auc_score(y[kept], s[kept]),
                "log_calibration": lambda p=probability, y=label, m=member: np.log(p[m].mean() / y[m].mean()),
                "sensitivity": lambda y=label, s=logit, m=member, f=row.finding: recall_score(y[m], s[m] >= CUTS[f]),
                "specificity": lambda y=label, s=logit, m=member, f=row.finding: recall_score(
                    y[m], s[m] >= CUTS[f], pos_label=0
                ),
            }
            assert row.value == pytest.approx(expected[row.metric]()), (by, group, row.metric)
            assert (row.images, row.patients) == (member.sum(), SMALL.frame["patient_id"][member].nunique())
            assert (row.positives, row.negatives) == ((label[member] == 1).sum(), (label[member] == 0).sum())


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_group_of_all_images_has_the_auroc_and_interval_of_the_results(seeds: int) -> None:
    runs = [simulated(seed) for seed in range(seeds)]
    table = subgroup_results({"a": runs}, [], FEW).evaluations
    groups = table[(table["by"] == "all images") & (table["metric"] == "auroc")].set_index("finding")
    results = evaluate(runs, FEW).set_index("finding").loc[groups.index]
    assert set(groups.index) == {*FINDINGS, MEAN}
    for ours, theirs in (("value", "auroc"), ("low", "auroc_low"), ("high", "auroc_high")):
        np.testing.assert_allclose(groups[ours].to_numpy(float), results[theirs].to_numpy(float), atol=1e-12)


def test_gaps_are_to_all_other_groups_and_their_interval_is_that_of_a_plain_loop_over_patients() -> None:
    result = subgroup_results({"a": [SMALL]}, [], FEW)
    row = one(result.gaps, by="age", group=CHILDREN, finding=MEAN, metric="auroc")
    children = members(SMALL)["age", CHILDREN]

    def gap(kept: np.ndarray) -> float:
        parts = [kept[children[kept]], kept[~children[kept]]]
        scores = [[roc_auc_score(SMALL.labels[p, i], SMALL.logits[p, i]) for i in range(3)] for p in parts]
        return float(np.mean(scores[0]) - np.mean(scores[1]))

    assert row["gap"] == pytest.approx(gap(np.arange(len(children))))
    patients = sorted(set(SMALL.patients))
    drawn = np.random.default_rng(0).multinomial(len(patients), np.full(len(patients), 1 / len(patients)), 40)
    position = {patient: number for number, patient in enumerate(patients)}
    times = np.array([position[patient] for patient in SMALL.patients])
    resampled = [gap(np.repeat(np.arange(len(children)), each[times])) for each in drawn]
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.percentile(resampled, (2.5, 97.5))))
    assert row["interval"] == OVER_PATIENTS


def test_children_are_a_group_of_their_own() -> None:
    ages = np.array([0.0, 17.99, 18.0, 39.9, 40.0, 60.0, 80.0, 130.0, np.nan, 5.0])
    by_age = groupings([with_columns(rows(SMALL, np.arange(len(SMALL.frame)) < 10), age=ages)])[2]
    assert [*by_age.member] == [0, 0, 1, 1, 2, 3, 4, 4, -1, 0]
    assert by_age.names[0] == CHILDREN == "under 18"


def test_of_two_groups_one_gap_is_given_and_of_three_each() -> None:
    gaps = subgroup_results({"a": [SMALL]}, [], FEW, {"a": [CUTS]}).gaps
    means = gaps[gaps["finding"] == MEAN]
    sizes = {group: member.sum() for (by, group), member in members(SMALL).items() if by == "sex"}
    assert means[means["by"] == "sex"]["group"].unique().tolist() == [min(sizes, key=sizes.get)]
    assert means[means["by"] == "age"]["group"].unique().tolist() == list(AGE_BANDS.values())
    by_count = {metric: part["group"].tolist() for metric, part in means[means["by"] == "findings"].groupby("metric")}
    assert by_count["specificity"] == ["0", "1", "2 or more"]
    assert len(by_count["auroc"]) == len(by_count["sensitivity"]) == 1
    assert "log_calibration" not in by_count


def test_a_group_of_everyone_is_the_whole_and_has_no_gap() -> None:
    result = subgroup_results({"a": [with_columns(SMALL, sex="F", view="PA")]}, [], FEW, {"a": [CUTS]})
    table, numbers = result.evaluations, ["value", "low", "high"]
    whole = table[table["by"] == "all images"][["finding", "metric", *numbers]].reset_index(drop=True)
    for group in ("female", "PA"):
        part = table[table["group"] == group].reset_index(drop=True)
        pd.testing.assert_frame_equal(part[whole.columns], whole)
    assert set(table[(table["group"] == "male")]["left_out"]) == {"no image"}
    assert set(result.gaps["by"]) == {"age", "findings"}


def test_the_auroc_over_all_images_is_the_mean_over_numbers_of_findings_weighted_by_positives() -> None:
    table = evaluated(SMALL)
    table = table[(table["metric"] == "auroc") & (table["finding"] != MEAN)]
    for finding, part in table[(table["by"] == "findings") & (table["left_out"] == "")].groupby("finding"):
        whole = one(table, by="all images", finding=finding)["value"]
        assert np.average(part["value"], weights=part["positives"].astype(float)) == pytest.approx(whole)


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_images_does_not_matter(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(SMALL.frame))
    mixed = Predictions(SMALL.frame.iloc[order].reset_index(drop=True), SMALL.metadata)
    few = Evaluation(resamples=20)
    pd.testing.assert_frame_equal(evaluated(mixed, few), evaluated(SMALL, few), rtol=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_pairs_of_groups_are_counted_as_one_by_one(seed: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.choice([0.0, 1.0, np.nan], 40)
    scores = random.integers(0, levels, 40).astype(np.float32)
    grouping, patients = Grouping("x", ("a", "b", "c"), random.integers(-1, 3, 40)), random.integers(0, 9, 40)
    weights = random.integers(0, 4, (9, 34)).astype(float)
    expected = np.zeros((3, 3, 34))
    for i in np.flatnonzero((labels == 1) & (grouping.member >= 0)):
        for j in np.flatnonzero((labels == 0) & (grouping.member >= 0)):
            won = float(scores[i] > scores[j]) + 0.5 * float(scores[i] == scores[j])
            expected[grouping.member[i], grouping.member[j]] += won * weights[patients[i]] * weights[patients[j]]
    np.testing.assert_array_equal(pair_wins(labels, scores, grouping, patients, weights), expected)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_gaps_of_a_network_do_not_change_against_itself(seeds: int) -> None:
    runs = [simulated(seed) for seed in range(seeds)]
    arms = {"alone": runs, "distilled": runs}
    changes = subgroup_results(arms, [("alone", "distilled")], FEW, dict.fromkeys(arms, [CUTS] * seeds)).changes
    assert set(changes["metric"]) == set(METRICS)
    assert (changes[["change", "low", "high"]] == 0).all(axis=None)
    assert changes["p"].isna().all() if seeds == 1 else (changes["p"] == 1).all()
    assert (changes["first_gap"] == changes["second_gap"]).all()


def test_a_gap_of_known_size_is_found_only_where_it_is() -> None:
    """Unit normals 1.5 apart have an AUROC of 0.856, and 0.3 apart one of 0.584."""
    arms = {
        "alone": [simulated(seed, patients=500) for seed in range(3)],
        "distilled": [simulated(10 + seed, patients=500, in_children=0.3) for seed in range(3)],
    }
    result = subgroup_results(arms, [("alone", "distilled")], Evaluation(resamples=200))
    rows_of = result.changes[(result.changes["metric"] == "auroc") & (result.changes["finding"] == MEAN)]
    row = one(rows_of, group=CHILDREN)
    assert row["low"] < 0.584 - 0.856 < row["high"] < -0.2
    assert row["p_holm"] < 0.01
    assert row["interval"] == OVER_BOTH
    assert row["change"] == pytest.approx(row["second_gap"] - row["first_gap"])
    others = rows_of[(rows_of["by"] != "age")]
    assert (others["p_holm"] > 0.05).all()
    assert len(others) == 3  # sex, view position, number of findings
    children = one(result.evaluations, arm="distilled", group=CHILDREN, finding=MEAN, metric="auroc")
    assert children["low"] < 0.584 < children["high"]
    assert (rows_of["p_holm"] >= rows_of["p"]).all()


def test_one_seed_has_an_interval_over_patients_and_no_p() -> None:
    arms = {"alone": [simulated(0)], "distilled": [simulated(1, in_children=0.0)]}
    changes = subgroup_results(arms, [("alone", "distilled")], FEW).changes
    assert set(changes["interval"]) == {OVER_PATIENTS}
    assert changes[["p", "p_holm"]].isna().all(axis=None)
    assert one(changes, group=CHILDREN, finding=MEAN, metric="auroc")["high"] < 0


def test_small_groups_are_named_with_the_reason_and_do_not_change_the_means_of_the_others() -> None:
    frame = SMALL.frame.copy()
    old = frame["age"] >= 80
    frame.loc[old & (frame.index % 30 > 0), "age"] = 79.0
    frame.loc[frame["patient_id"] == "p7", "view"] = "LL"
    run = Predictions(frame, SMALL.metadata)
    table = subgroup_results({"a": [run]}, [], FEW).evaluations
    few = one(table, group="80 and over", finding="Mass", metric="auroc")
    assert few["left_out"].endswith(", fewer than 10")
    assert np.isnan(few["value"])
    lateral = one(table, group="LL", finding=MEAN, metric="auroc")
    assert lateral["left_out"] == "3 images, all of one patient"
    named = one(table, group="80 and over", finding=MEAN, metric="auroc")
    assert np.isnan(named["value"])
    assert named["left_out"] == "no finding can be scored"
    means = one(table, group="PA", finding=MEAN, metric="auroc")
    scored = table[(table["group"] == "PA") & (table["metric"] == "auroc") & table["in_mean"]]
    assert len(scored) == 3
    assert means["value"] == pytest.approx(scored["value"].mean())


def test_a_mean_is_over_the_findings_that_every_compared_group_scores() -> None:
    """Women have no Nodule: two of three findings are enough to be compared, and the mean is over those."""
    run = with_columns(SMALL, **{"label:Nodule": np.where(SMALL.frame["sex"] == "F", 0, SMALL.frame["label:Nodule"])})
    result = subgroup_results({"a": [run]}, [], FEW)
    table = result.evaluations[(result.evaluations["metric"] == "auroc") & (result.evaluations["by"] == "sex")]
    assert one(table, group="female", finding="Nodule")["left_out"] == "0 positives, fewer than 10"
    nodule = one(table, group="male", finding="Nodule")
    assert np.isfinite(nodule["value"])
    assert not nodule["in_mean"]
    for group in ("female", "male"):
        two = [one(table, group=group, finding=finding)["value"] for finding in FINDINGS[:2]]
        assert one(table, group=group, finding=MEAN)["value"] == pytest.approx(np.mean(two))


def test_images_of_unknown_patients_are_counted_and_an_older_file_says_that_ages_are_missing() -> None:
    some = with_columns(SMALL, age=SMALL.frame["age"].where(SMALL.frame.index > 9), source="A")
    row = one(evaluated(some), by="age", group="unknown", metric="auroc")
    assert row["left_out"] == "the age is not known for 10 of 600 images"
    assert (row["images"], row["patients"]) == (10, 4)
    old = evaluated(without(SMALL, "sex", "age", "view"))
    assert set(old["by"]) == {"all images", "sex", "age", "view position", "findings", "source"}
    for by in ("sex", "age", "view position", "source"):
        row = one(old, by=by, group="unknown", metric="auroc")
        assert row["left_out"] == f"the {by} is not known for any image"
        assert np.isnan(row["value"])
    unknown = one(
        evaluated(with_columns(SMALL, **{"label:Mass": np.nan})), by="findings", group="unknown", metric="auroc"
    )
    assert 0 < unknown["images"] < 600  # two other findings are "2 or more" in any case


def test_an_older_file_beside_a_newer_one_is_read_with_its_patients_and_contradictions_are_refused() -> None:
    older = without(simulated(1), "sex", "age")
    both = subgroup_results({"a": [older, SMALL]}, [], FEW).evaluations
    assert np.isfinite(one(both, group=CHILDREN, finding=MEAN, metric="auroc")["value"])
    for column in ("sex", "age"):
        other = with_columns(SMALL, **{column: SMALL.frame[column].to_numpy()[::-1]})
        with pytest.raises(PredictionsError, match=rf"the column {column} differs .*train the run"):
            subgroup_results({"a": [SMALL], "b": [other]}, [], FEW)


@pytest.mark.parametrize(
    ("arms", "controls", "cuts", "message"),
    [
        ({}, {}, None, "there are no predictions"),
        ({"a": 1}, [("b", "a")], None, r"a has 1 and its control b 0 predictions"),
        ({"a": 2, "b": 1}, [("b", "a")], None, r"a has 2 and its control b 1 predictions; .*same seeds"),
        ({"a": 1}, [], {"b": [CUTS]}, r"a: thresholds of 0 runs, but 1 predictions; give one per seed"),
        ({"a": 1}, [], {"a": [{"Hernia": 0.0}]}, r"a: thresholds of unknown findings Hernia"),
        ({"a": 1}, [], {"a": [{"Mass": np.inf}]}, r"a: the threshold of Mass is inf; a finite logit is needed"),
        ({"a": 1}, [], {"a": [{"Mass": "low"}]}, r"a: the threshold of Mass is 'low'"),
    ],
)
def test_bad_input_is_named(arms: dict, controls: list, cuts: dict | None, message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        subgroup_results({arm: [SMALL] * seeds for arm, seeds in arms.items()}, controls, FEW, cuts)


def test_a_finding_without_a_threshold_has_no_sensitivity_and_the_tables_have_their_columns() -> None:
    result = subgroup_results({"a": [SMALL]}, [], FEW, {"a": [{"Mass": 0.8, "Nodule": np.nan}]})
    table = result.evaluations
    row = one(table, group="female", finding="Nodule", metric="sensitivity")
    assert row["left_out"] == "no threshold for every network"
    assert np.isnan(row["value"])
    named = one(table, group="female", finding=MEAN, metric="sensitivity")
    assert named["value"] == one(table, group="female", finding="Mass", metric="sensitivity")["value"]
    assert tuple(table.columns) == EVALUATION_COLUMNS
    assert tuple(result.gaps.columns) == GAP_COLUMNS
    assert tuple(result.changes.columns) == CHANGE_COLUMNS
    assert result.changes.empty
    without_cuts = subgroup_results({"a": [SMALL]}, [], FEW).evaluations
    assert set(without_cuts["metric"]) == {"auroc", "log_calibration"}
