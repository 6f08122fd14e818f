"""The simulations of the noise of trainings: what they draw, what they count, and when they fail."""

from pathlib import Path

import numpy as np
import pytest
from scripts import load

from cxr_kd.evaluation.metrics import auroc

load("_simulated", "_simulated")
noise = load("training_noise", "training_noise")
real = load("real_logits", "simulated_real_logits")
seed_pairs = load("seed_pairs", "measured_seed_pairs")


def test_a_real_effect_is_shown_and_the_scores_have_the_wanted_auroc() -> None:
    case = noise.Case(seeds=3, patients=600, prevalence=0.3, training_sd=0.0)
    labels, scores = noise.simulate(case, np.random.default_rng(0))
    assert scores.shape == (2, 3, 600, noise.FINDINGS)
    estimates, _ = noise.differences(labels, scores, np.arange(600), resamples=20)
    assert np.abs(estimates[:, -1]).max() < 0.02
    better = scores.copy()
    better[1] += 0.5 * labels
    assert noise.shown(labels, better, np.arange(600))["both"][0]


def test_trainings_that_differ_show_effects_by_the_rule_of_patients_only(monkeypatch) -> None:
    monkeypatch.setattr(noise, "FINDINGS", 2)
    monkeypatch.setattr(noise, "RESAMPLES", 60)
    case = noise.Case(seeds=2, patients=100, prevalence=0.3, training_sd=0.05)
    found = {each.rule: each for each in noise.claims(case, repeats=25)}
    assert found["patients"].counts[0] >= 5
    assert found["both"].counts[0] <= 3
    lines = list(noise.table(list(found.values())))
    assert len(lines) == 4
    assert "patients" in lines[1]


@pytest.mark.parametrize(("count", "holds"), [(8, True), (30, False)])
def test_a_share_above_five_percent_is_marked(count: int, holds: bool) -> None:
    one = noise.Claims(noise.CASES[0], "both", (count, 2), 200)
    assert one.holds == holds
    assert ("!" in str(one)) != holds


@pytest.fixture
def logits(tmp_path: Path) -> Path:
    """A test set of 400 patients with one to three images each, four findings; nobody has the last one."""
    random = np.random.default_rng(0)
    patients = np.repeat(np.arange(400), random.integers(1, 4, 400))
    labels = random.random((len(patients), 4)) < [0.2, 0.2, 0.05, 0.0]
    scores = (random.normal(size=labels.shape) + 1.2 * labels).astype(np.float32)
    np.savez(tmp_path / "logits.npz", test_logits=scores, test_labels=labels, test_patient=patients)
    return tmp_path / "logits.npz"


def test_trainings_made_from_real_logits_differ_as_much_as_wanted(logits: Path) -> None:
    test, random = real.read(logits), np.random.default_rng(1)
    case = noise.Case(seeds=50, patients=300, prevalence=np.nan, training_sd=0.04)
    labels, scores, patients = real.simulate(test, case, random)
    assert len(np.unique(patients)) == 300
    assert scores.shape == (2, 50, len(labels), labels.shape[1])
    assert (labels.sum(axis=0) >= 10).all()  # rarer findings are left out
    values = np.array([[auroc(labels, each) for each in network] for network in scores])
    assert values.std(axis=1).mean() == pytest.approx(0.04, rel=0.25)  # and a little from the noise of each training
    assert np.abs(values[0].mean(axis=0) - values[1].mean(axis=0)).max() < 0.04
    residual = scores[0, :, :, 0] - scores[0, :, :, 0].mean(axis=1, keepdims=True)
    negatives = residual[:2, labels[:, 0] == 0]
    assert np.corrcoef(negatives)[0, 1] == pytest.approx(real.ALIKE, abs=0.1)


def test_a_file_that_is_no_test_set_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"none\.npz: there is no such file"):
        real.read(tmp_path / "none.npz")
    np.savez(tmp_path / "half.npz", test_logits=np.zeros((2, 2)), test_patient=np.zeros(2))
    with pytest.raises(SystemExit, match=r"half\.npz: no array test_labels; it has test_logits, test_patient"):
        real.read(tmp_path / "half.npz")


def test_seeds_that_move_both_students_alike_make_the_difference_vary_less() -> None:
    random = np.random.default_rng(0)
    seed, own = random.normal(size=(200, 1)), random.normal(size=(2, 200, 1))
    alike = seed_pairs.pairing("alone", "distilled", "mean AUROC", seed + own[0], seed + own[1])
    apart = seed_pairs.pairing("alone", "distilled", "mean AUROC", own[0], own[1])
    assert alike.same == pytest.approx((own[1] - own[0]).std(ddof=1))
    assert alike.same / alike.different == pytest.approx(np.sqrt(0.5), abs=0.07)
    assert alike.correlation == pytest.approx(np.corrcoef((seed + own[0])[:, 0], (seed + own[1])[:, 0])[0, 1])
    low, high = alike.correlation_interval()
    assert 0 < low < alike.correlation < high < 1
    assert apart.same / apart.different == pytest.approx(1, abs=0.1)
    assert seed_pairs.pairing("alone", "distilled", "mean AUROC", own[0][:3], own[1][:3]).correlation_interval() == (
        -1,
        1,
    )
    assert f"{alike.same / alike.different:.2f}" in str(alike)
