"""Rates, co-occurrence, patients and label noise of the phantoms are those of the real label table."""

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from cxr_kd.phantoms.labels import (
    AGE_QUANTILES,
    AP_SHARE,
    FEMALE_SHARE,
    FINDINGS,
    REAL_COUNTS,
    REAL_IMAGES,
    REAL_PAIRS,
    Exam,
    exam_of,
    label_model,
    label_sets,
    patient_of,
    real_rates,
    wanted_rates,
)

SHARED = Path(os.environ.get("CXR_KD_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
SIGMAS = 4.5  # two-sided, about 1 in 150,000: enough for the hundred comparisons made here


def exams(count: int, **changes: float | int) -> list[Exam]:
    settings: dict = {
        "seed": 3,
        "rate_factor": 1.0,
        "minimum_rate": 0.0,
        "label_noise": 0.0,
        "drain_rate": 0.6,
        "images_a_patient": 1,
    }
    return [exam_of(index, **(settings | changes)) for index in range(count)]


@pytest.fixture(scope="module")
def strangers() -> list[Exam]:
    """Return one image each of 20,000 patients, so that sampling errors are binomial."""
    return exams(20_000)


def truths(some: list[Exam]) -> np.ndarray:
    return np.stack([exam.truth for exam in some])


def pairs_of(model: np.ndarray) -> np.ndarray:
    sets = label_sets().astype(float)
    return (sets * model[:, None]).T @ sets


def test_the_model_has_the_real_rates_pairs_and_numbers_of_findings():
    model = label_model(1.0, 0.0)
    np.testing.assert_allclose(pairs_of(model), REAL_PAIRS / REAL_IMAGES, atol=1e-6)
    number = label_sets().sum(axis=1)
    shares = [model[number == n].sum() for n in range(6)] + [model[number >= 6].sum()]
    np.testing.assert_allclose(shares, np.array(REAL_COUNTS) / REAL_IMAGES, atol=1e-5)


def test_the_counts_in_the_source_are_those_of_the_specification():
    path = SHARED.parent / "specs" / "findings.yaml"
    if not path.exists():
        pytest.skip(f"no specification at {path}")
    real = yaml.safe_load(path.read_text())
    assert tuple(real["findings"]) == FINDINGS
    np.testing.assert_array_equal(real["co_occurrence"], REAL_PAIRS)


def test_raised_rates_are_met_and_the_odds_ratios_stay():
    raised, real = label_model(1.0, 0.08), label_model(1.0, 0.0)
    rates = label_sets().T @ raised
    np.testing.assert_allclose(rates, np.maximum(real_rates(), 0.08), atol=1e-6)
    assert rates[FINDINGS.index("Hernia")] == pytest.approx(0.08, abs=1e-6)
    effusion, edema = 1 << FINDINGS.index("Effusion"), 1 << FINDINGS.index("Edema")
    for others in (0, 1 << FINDINGS.index("Mass")):
        ratios = [
            model[others | effusion | edema] * model[others] / (model[others | effusion] * model[others | edema])
            for model in (raised, real)
        ]
        assert ratios[0] == pytest.approx(ratios[1], rel=1e-6)
        assert ratios[0] > 1


def test_a_factor_multiplies_every_rate():
    np.testing.assert_allclose(label_sets().T @ label_model(1.5, 0.0), 1.5 * real_rates(), atol=1e-6)
    assert wanted_rates(100.0, 0.0).max() == 0.5


def test_drawn_rates_are_the_real_ones_within_sampling_error(strangers):
    drawn, wanted = truths(strangers).mean(axis=0), real_rates()
    error = np.sqrt(wanted * (1 - wanted) / len(strangers))
    assert (np.abs(drawn - wanted) < SIGMAS * error).all(), dict(zip(FINDINGS, (drawn - wanted) / error, strict=True))


def test_the_strongest_co_occurrences_are_the_real_ones_within_sampling_error(strangers):
    truth = truths(strangers).astype(float)
    first, second = np.triu_indices(len(FINDINGS), 1)
    strongest = np.argsort(REAL_PAIRS[first, second])[-25:]
    drawn = (truth.T @ truth)[first, second][strongest] / len(strangers)
    wanted = REAL_PAIRS[first, second][strongest] / REAL_IMAGES
    assert (np.abs(drawn - wanted) < SIGMAS * np.sqrt(wanted / len(strangers))).all()


def test_the_number_of_findings_is_the_real_one_within_sampling_error(strangers):
    number = np.minimum(truths(strangers).sum(axis=1), 6)
    for findings, count in enumerate(REAL_COUNTS):
        wanted = count / REAL_IMAGES
        error = np.sqrt(wanted * (1 - wanted) / len(strangers))
        assert abs((number == findings).mean() - wanted) < SIGMAS * error


def test_age_sex_and_view_are_as_in_the_real_table(strangers):
    ages = [exam.age for exam in strangers]
    shares, years = AGE_QUANTILES
    np.testing.assert_allclose(np.quantile(ages, shares[1:-1]), years[1:-1], atol=1.5)
    assert np.mean([exam.sex == "F" for exam in strangers]) == pytest.approx(FEMALE_SHARE, abs=0.016)
    assert np.mean([exam.view == "AP" for exam in strangers]) == pytest.approx(AP_SHARE, abs=0.016)


def test_the_number_of_images_a_patient_is_the_real_one():
    number = np.bincount([patient_of(index, 3, 184)[0] for index in range(40_000)])[
        :-1
    ]  # the last patient may be cut short
    assert np.median(number) == 1
    assert np.mean(number) == pytest.approx(3.64, abs=0.35)
    assert np.percentile(number, 95) == pytest.approx(14, abs=2)
    assert max(np.bincount([patient_of(index, 3, 6)[0] for index in range(5000)])) == 6


def test_a_patients_images_follow_each_other_and_share_who_they_are():
    some = exams(600, images_a_patient=20)
    frame = pd.DataFrame([(exam.patient, exam.number, exam.sex, exam.age) for exam in some])
    frame.columns = pd.Index(["patient", "number", "sex", "age"])
    for _, images in frame.groupby("patient"):
        assert images["number"].tolist() == list(range(len(images)))
        assert images["sex"].nunique() == 1
        assert images["age"].is_monotonic_increasing


def test_findings_persist_chronic_ones_most_and_rates_stay():
    some = exams(12_000, images_a_patient=20, minimum_rate=0.08)
    truth, patient = truths(some), np.array([exam.patient for exam in some])
    same = patient[1:] == patient[:-1]
    before, after = truth[:-1][same], truth[1:][same]
    stays = {name: after[before[:, k], k].mean() for k, name in enumerate(FINDINGS)}
    for name, rate in zip(FINDINGS, truth.mean(axis=0), strict=True):
        assert stays[name] > rate + 0.1, f"{name} does not persist"
    assert min(stays["Emphysema"], stays["Fibrosis"], stays["Hernia"]) > max(stays["Edema"], stays["Pneumonia"]) + 0.2
    later = np.array([exam.number >= 4 for exam in some])
    np.testing.assert_allclose(truth[later].mean(axis=0), wanted_rates(1.0, 0.08), atol=0.05)


def test_an_exam_does_not_depend_on_earlier_calls():
    forward = exams(60)
    for index in (59, 3, 31):
        again = exam_of(
            index,
            seed=3,
            rate_factor=1.0,
            minimum_rate=0.0,
            label_noise=0.0,
            drain_rate=0.6,
            images_a_patient=1,
        )
        np.testing.assert_array_equal(again.truth, forward[index].truth)
        assert (again.patient, again.age, again.sex) == (
            forward[index].patient,
            forward[index].age,
            forward[index].sex,
        )


def test_label_noise_misses_its_share_and_keeps_the_rates(strangers):
    assert all((exam.truth == exam.reported).all() for exam in strangers[:2000])
    noisy = exams(12_000, label_noise=0.2, minimum_rate=0.08)
    truth, reported = truths(noisy), np.stack([exam.reported for exam in noisy])
    missed = (truth & ~reported).sum() / truth.sum()
    added = (reported & ~truth).sum() / reported.sum()
    assert missed == pytest.approx(0.2, abs=0.015)
    assert added == pytest.approx(0.2, abs=0.015)
    np.testing.assert_allclose(reported.mean(axis=0), truth.mean(axis=0), atol=0.015)


def test_the_drain_goes_with_pneumothorax():
    some = exams(8000, minimum_rate=0.1)
    ill = truths(some)[:, FINDINGS.index("Pneumothorax")]
    drain = np.array([exam.drain for exam in some])
    assert drain[ill].mean() == pytest.approx(0.6, abs=0.08)
    assert 0 < drain[~ill].mean() < 0.02


def test_the_model_agrees_with_the_full_real_table_on_triples():
    """Triples are not fitted: the model is useful if pairs and numbers of findings predict them."""
    path = SHARED / "Data_Entry_2017_v2020.csv.gz"
    if not path.exists():
        pytest.skip(f"no full label table at {path}")
    with gzip.open(path, "rt") as file:
        named = pd.read_csv(file, usecols=["Finding Labels"])["Finding Labels"].str.get_dummies("|")
    real = named[list(FINDINGS)].to_numpy(bool)
    trio = [FINDINGS.index(name) for name in ("Atelectasis", "Effusion", "Infiltration")]
    model = label_model(1.0, 0.0) @ label_sets()[:, trio].all(axis=1)
    assert model == pytest.approx(real[:, trio].all(axis=1).mean(), rel=0.15)
