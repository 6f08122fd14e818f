"""The simulation of the noise of trainings: what it draws, what it counts, and when it fails."""

import numpy as np
import pytest
from scripts import load

load("_simulated", "_simulated")
noise = load("training_noise", "simulated_training_noise")


def test_a_real_effect_is_shown_and_the_scores_have_the_wanted_auroc() -> None:
    case = noise.Case(seeds=3, patients=600, prevalence=0.3, training_sd=0.0)
    labels, scores = noise.simulate(case, np.random.default_rng(0))
    assert scores.shape == (2, 3, 600, noise.FINDINGS)
    estimates, _ = noise.differences(labels, scores, resamples=20)
    assert np.abs(estimates[:, -1]).max() < 0.02
    better = scores.copy()
    better[1] += 0.5 * labels
    assert noise.shown(labels, better)["both"][0]


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
