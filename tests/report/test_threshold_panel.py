"""The panel of thresholds counts what scikit-learn counts, follows its controls, and has a static twin."""

import numpy as np
import pytest
from fake_study import FINDINGS, labels
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, roc_curve

from cxr_kd.errors import ReportError
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.report.style import to_png
from cxr_kd.report.threshold_panel import ThresholdPanel, count, panel_of_study, threshold_figure


@pytest.fixture
def study(make_study):
    return make_study()


@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from((0.0, 1.0, float("nan")))), min_size=1, max_size=40),
    st.floats(0, 1),
)
def test_the_counts_are_those_of_scikit_learn(images, threshold):
    scores, known = (np.array(column) for column in zip(*images, strict=True))
    found, kept = count(scores, known, threshold), ~np.isnan(known)
    if not kept.any():
        assert (found.true_positives, found.false_positives, found.false_negatives, found.true_negatives) == (0,) * 4
        return
    expected = confusion_matrix(known[kept], scores[kept] >= threshold, labels=[0, 1]).ravel()
    counted = (found.true_negatives, found.false_positives, found.false_negatives, found.true_positives)
    assert counted == tuple(expected)
    if expected[2] + expected[3]:
        assert found.sensitivity == pytest.approx(expected[3] / (expected[2] + expected[3]))
    else:
        assert np.isnan(found.sensitivity)


def test_it_begins_with_the_best_threshold_of_the_last_network_on_the_validation_side(study):
    shown = panel_of_study(study, widget=False)
    assert shown.choice["network"] == "EEEA-Net-C2 from Visformer-S"
    assert shown.choice["finding"] == FINDINGS[int(labels().sum(axis=0).argmax())]
    run = next(run for run in study.all_runs if run.teacher == "visformer_s")
    predictions = Predictions.read(study.run_folder(run) / "predictions-validation.parquet")
    column = FINDINGS.index(shown.choice["finding"])
    false, true, _ = roc_curve(predictions.labels[:, column], predictions.logits[:, column], drop_intermediate=False)
    counts = shown.counts()
    assert counts.sensitivity + counts.specificity == pytest.approx(1 + (true - false).max())


def test_the_controls_change_the_counts_and_the_picture(study):
    shown = panel_of_study(study, widget=True)
    for name, value in (("network", "DenseNet-161"), ("finding", "Mass"), ("threshold", 0.9)):
        before, picture = shown.counts(), shown.picture.value
        shown.controls[name].value = value
        assert shown.choice[name] == value
        assert shown.counts() != before, name
        assert shown.picture.value == to_png(shown.figure()) != picture, name
        assert shown.controls["threshold"].value == pytest.approx(shown.choice["threshold"])
    best = shown.best_threshold()
    assert best != pytest.approx(0.9)
    shown.controls["finding"].value = "Effusion"
    assert shown.choice["threshold"] == pytest.approx(shown.best_threshold()), "another finding has another threshold"


def test_the_static_twin_has_the_same_picture_and_no_widget(study):
    live, static = (panel_of_study(study, widget=widget)._repr_mimebundle_() for widget in (True, False))
    assert live["image/png"] == static["image/png"]
    assert set(static) == {"image/png", "text/plain"}
    assert "application/vnd.jupyter.widget-view+json" in live


def test_the_figure_prints_the_counts_and_shares():
    known, scores = np.array([1, 1, 1, 0, 0, np.nan]), np.array([0.9, 0.8, 0.1, 0.7, 0.2, 0.9])
    left, right = threshold_figure(scores, known, 0.5, "Mass, a network").axes
    printed = [text.get_text() for text in right.texts]
    assert [text for text in printed if text.replace(".", "").isdigit()] == ["2", "1", "1", "1", "0.67", "0.50"]
    assert [text.get_text() for text in left.get_legend().get_texts()] == [
        "2 without the finding",
        "3 with the finding",
    ]
    assert left.lines[0].get_xdata()[0] == 0.5
    _, right = threshold_figure(scores[3:], known[3:], 0.5, "Mass, a network").axes
    assert "–" in [text.get_text() for text in right.texts], "no sensitivity without a positive image"


def test_a_choice_that_is_not_there_is_refused(study):
    shown = panel_of_study(study, widget=False)
    for choice, told in (
        ({"finding": "Nothing"}, "no finding 'Nothing'; there is: Cardiomegaly"),
        ({"threshold": 1.5}, "no threshold 1.5; there is: a number from 0 to 1"),
        ({"colour": "red"}, "no colour 'red'; there is: network, finding, threshold"),
    ):
        with pytest.raises(ReportError, match=told):
            shown.choose(**choice)
    with pytest.raises(ReportError, match="at least one network"):
        ThresholdPanel({})
