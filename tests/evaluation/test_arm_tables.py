"""Results within each source are those of its images alone, and source-only scores know nothing but the source."""

import numpy as np
import pandas as pd
import pytest

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.arm_tables import compare_arms, evaluate_arms, source_only, within_sources
from cxr_kd.evaluation.bootstrap import MEAN, check_same_images
from cxr_kd.evaluation.predictions import Predictions, PredictionsMetadata
from cxr_kd.evaluation.uncertainty import compare, evaluate
from cxr_kd.study.settings import Evaluation

FINDINGS = ("Mass", "Edema")
SETTINGS = Evaluation(resamples=50, minimum_positives=5)
SOURCES = np.array(["A"] * 60 + ["01"] * 60 + ["C"] * 6)
METADATA = PredictionsMetadata(
    study="tiny", dataset="folder", kind="own", run="densenet121-seed0", network="densenet121", split="lists",
    split_sha256="ab" * 32, split_sides={}, side="test", findings=FINDINGS,
)  # fmt: skip


def predicted(seed: int = 0, sources: np.ndarray | None = SOURCES) -> Predictions:
    random = np.random.default_rng(seed)
    labels = (np.random.default_rng(9).random((126, 2)) < 0.3).astype(float)
    labels[:60, 1] = 0  # no Edema in source A
    ids, patients = [f"i{i}" for i in range(126)], [f"p{i // 2}" for i in range(126)]
    logits = labels + random.normal(size=labels.shape)
    return Predictions.from_arrays(ids, patients, labels, logits, METADATA, sources)


def counts(**rates: tuple[int, int, int]) -> dict:
    """Source -> its training side: positives of Mass, of Edema, and images."""
    return {
        source: {"train": {"positives": {"Mass": mass, "Edema": edema}, "known": dict.fromkeys(FINDINGS, images)}}
        for source, (mass, edema, images) in rates.items()
    }


def test_results_within_a_source_are_those_of_its_images_alone() -> None:
    arms = {"small": [predicted(1), predicted(2)], "large": [predicted(3), predicted(4)]}
    table = within_sources(arms, lambda inside: evaluate_arms(inside, SETTINGS))
    assert list(dict.fromkeys(zip(table["source"], table["arm"], strict=True))) == [
        (source, arm) for source in ("01", "A", "C") for arm in arms
    ]
    alone = [Predictions(run.frame.iloc[60:120].reset_index(drop=True), METADATA) for run in arms["large"]]
    ours = table[(table["source"] == "01") & (table["arm"] == "large")].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours.drop(columns=["source", "arm", "seeds"]), evaluate(alone, SETTINGS))
    assert set(ours["seeds"]) == {2}


def test_sources_and_findings_that_are_too_small_say_why() -> None:
    table = within_sources({"arm": [predicted()]}, lambda inside: evaluate_arms(inside, SETTINGS))
    reasons = {(row.source, row.finding): row.left_out for row in table.itertuples()}
    assert reasons["A", "Edema"] == "0 positives, fewer than 5"
    assert reasons["A", MEAN] == reasons["A", "Mass"] == ""
    assert reasons["C", MEAN] == "no finding has enough positives and negatives"


def test_differences_within_a_source_are_paired_on_its_images() -> None:
    arms = {"alone": [predicted(1)], "distilled": [predicted(3)]}
    table = within_sources(arms, lambda inside: compare_arms(inside, [("alone", "distilled")], SETTINGS, [0]))
    alone = [Predictions(runs[0].frame.iloc[:60].reset_index(drop=True), METADATA) for runs in arms.values()]
    ours = table[table["source"] == "A"].drop(columns="source").reset_index(drop=True)
    assert (ours["first"] == "alone").all()
    expected = compare(*alone, SETTINGS).assign(first="alone", second="distilled")
    pd.testing.assert_frame_equal(ours[list(expected)], expected)


def test_each_training_is_resampled_once_however_often_its_arm_is_compared(monkeypatch) -> None:
    from cxr_kd.evaluation import bootstrap

    ranked, rank = [], bootstrap.rank
    monkeypatch.setattr(bootstrap, "rank", lambda *each: ranked.append(each) or rank(*each))
    arms = {name: [predicted(seed), predicted(seed + 10)] for seed, name in enumerate(("a", "b", "c"))}
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    evaluate_arms(arms, SETTINGS)
    first = compare_arms(arms, pairs, SETTINGS, [0, 1])
    assert len(ranked) == 3 * 2 * 2  # arms, trainings, findings
    pd.testing.assert_frame_equal(first, compare_arms({k: [*v] for k, v in arms.items()}, pairs, SETTINGS, [0, 1]))
    again = {name: [Predictions(run.frame, METADATA) for run in runs] for name, runs in arms.items()}
    pd.testing.assert_frame_equal(first, compare_arms(again, pairs, SETTINGS, [0, 1]))
    assert len(ranked) == 2 * 12  # new objects are resampled again
    compare_arms(again, pairs, SETTINGS.model_copy(update={"seed": 1}), [0, 1])
    assert len(ranked) == 3 * 12  # and with other resamples
    within_sources(arms, lambda inside: evaluate_arms(inside, SETTINGS))
    before = len(ranked)
    within_sources(arms, lambda inside: compare_arms(inside, pairs, SETTINGS, [0, 1]))
    assert len(ranked) == before


def test_source_only_scores_are_the_training_rates_of_the_source() -> None:
    only = source_only(predicted(), counts(**{"A": (1, 0, 10), "01": (4, 5, 10), "C": (0, 0, 0)}))
    assert only.logits[0].tolist() == pytest.approx([0.1, 0.0])
    assert only.logits[60].tolist() == pytest.approx([0.4, 0.5])
    assert only.logits[125].tolist() == pytest.approx([0.25, 0.25])  # no training image: the rates of all sources
    assert len(np.unique(only.logits[:60], axis=0)) == 1
    assert np.array_equal(only.labels, predicted().labels)
    assert only.metadata.run == "source_only"


def test_source_only_scores_are_chance_within_a_source_and_not_over_all() -> None:
    arms = {"source_only": [source_only(predicted(), counts(**{"A": (1, 0, 10), "01": (4, 5, 10), "C": (0, 0, 0)}))]}
    pooled = evaluate_arms(arms, SETTINGS).set_index("finding")
    assert pooled.loc["Edema", "auroc"] > 0.7
    assert pooled.loc["Edema", "auroc_low"] > 0.6
    inside = within_sources(arms, lambda inside: evaluate_arms(inside, SETTINGS))
    scored = inside[inside["left_out"] == ""]
    assert (scored[["auroc", "auroc_low", "auroc_high"]] == 0.5).all(axis=None)


def test_a_source_that_the_data_card_does_not_know_is_named() -> None:
    with pytest.raises(PredictionsError, match=r"the data card does not know C; run 01_data again, and train"):
        source_only(predicted(), counts(**{"A": (1, 1, 10), "01": (1, 1, 10)}))
    with pytest.raises(PredictionsError, match=r"the data card does not know images without sources; run 01_data"):
        source_only(predicted(sources=None), counts(A=(1, 1, 10)))


def test_predictions_keep_their_sources_in_the_file_and_older_files_have_none(tmp_path) -> None:
    for sources in (SOURCES, None):
        predicted(sources=sources).write(tmp_path / "p.parquet")
        read = Predictions.read(tmp_path / "p.parquet")
        assert (read.image_sources is None) == (sources is None)
    assert list(predicted().image_sources) == SOURCES.tolist()
    with pytest.raises(PredictionsError, match=r"these predictions: no image has the source 'Z'"):
        predicted().within("Z")
    with pytest.raises(PredictionsError, match=r"no image has the source 'A'"):
        predicted(sources=None).within("A")
    with pytest.raises(PredictionsError, match=r"row 0 \(image i0\), column source: found ''; non-empty text"):
        predicted(sources=np.array([""] * 126))


def test_runs_with_other_sources_are_not_compared() -> None:
    for other in (SOURCES[::-1], None):
        with pytest.raises(PredictionsError, match=r"the images' sources differ; train the run with the older file"):
            check_same_images([predicted(), predicted(sources=other)])
