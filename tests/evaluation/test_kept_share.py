"""The share of the teacher's advantage that a distilled student keeps: known cases, and the interval of a ratio."""

import numpy as np
import pytest
from scipy import stats

from cxr_kd.evaluation.bootstrap import bootstrap
from cxr_kd.evaluation.kept_share import COLUMNS, kept_shares
from cxr_kd.evaluation.predictions import Predictions, PredictionsMetadata
from cxr_kd.study.settings import Evaluation

SETTINGS = Evaluation(resamples=400, minimum_positives=10)
IMAGES, FINDINGS = 600, ("Mass", "Nodule")
LABELS = (np.random.default_rng(1).random((IMAGES, 2)) < 0.3).astype(float)
NOISE = np.random.default_rng(2).normal(size=(IMAGES, 2))
TRIPLE = ("teacher", "alone", "student")


def predictions(run: str, strength: float, noise: np.ndarray = NOISE) -> Predictions:
    metadata = PredictionsMetadata(
        study="made", dataset="phantom", kind="phantom", run=run, network=run, split="random", split_sha256="0" * 64,
        split_sides={"test": {"images": IMAGES, "patients": IMAGES // 2}}, side="test", findings=FINDINGS,
    )  # fmt: skip
    ids = [f"image {number}" for number in range(IMAGES)]
    patients = [f"patient {number // 2}" for number in range(IMAGES)]
    return Predictions.from_arrays(ids, patients, LABELS, strength * LABELS + noise, metadata)


def arms(student: float, seeds: int = 1, teacher: float = 2.0, spread: float = 0.4) -> dict[str, list[Predictions]]:
    """Arms of the given strength; each training has noise of its own besides the noise of the images."""
    random = np.random.default_rng(3)
    strengths = {"teacher": teacher, "alone": 0.6, "student": student}
    return {
        arm: [
            predictions(f"{arm}-seed{seed}", strength, NOISE + spread * random.normal(size=NOISE.shape))
            for seed in range(seeds)
        ]
        for arm, strength in strengths.items()
    }


def test_a_student_like_its_control_keeps_nothing_and_one_like_its_teacher_everything() -> None:
    made = arms(0.6)
    for student, share in (("alone", 0.0), ("teacher", 1.0)):
        (row,) = kept_shares({**made, "student": made[student]}, [TRIPLE], SETTINGS).to_dict("records")
        assert tuple(row) == COLUMNS
        assert row["share"] == pytest.approx(share, abs=1e-9)
        assert row["share_low"] == pytest.approx(share, abs=2e-4)
        assert row["share_high"] == pytest.approx(share, abs=2e-4)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_share_is_a_ratio_of_differences_between_its_bounds(seeds) -> None:
    made = arms(1.2, seeds)
    (row,) = kept_shares(made, [TRIPLE], SETTINGS).to_dict("records")
    means = {arm: bootstrap(runs, SETTINGS).estimates[:, 0, -1].mean() for arm, runs in made.items()}
    assert row["share"] == pytest.approx((means["student"] - means["alone"]) / (means["teacher"] - means["alone"]))
    assert row["advantage"] == pytest.approx(means["teacher"] - means["alone"])
    assert row["share_low"] < row["share"] < row["share_high"]
    assert row["interval"] == ("patients" if seeds == 1 else "patients and trainings")


def test_the_interval_is_fiellers_for_one_training() -> None:
    """Fieller's roots from the variances of the resampled means; a normal quantile would differ by a percent or two."""
    made = arms(1.2)
    found = {arm: bootstrap(runs, SETTINGS) for arm, runs in made.items()}
    gain, advantage = (
        found[arm].resampled[0, 0, -1] - found["alone"].resampled[0, 0, -1] for arm in ("student", "teacher")
    )
    a, b = (found[arm].estimates[0, 0, -1] - found["alone"].estimates[0, 0, -1] for arm in ("student", "teacher"))
    (aa, ab), (_, bb) = np.cov(gain, advantage)
    t = stats.norm.ppf(0.975) ** 2
    roots = np.sort(np.roots([b**2 - t * bb, -2 * (a * b - t * ab), a**2 - t * aa]))
    (row,) = kept_shares(made, [TRIPLE], SETTINGS).to_dict("records")
    assert [row["share_low"], row["share_high"]] == pytest.approx(list(roots), abs=0.01)


def test_without_an_advantage_there_is_no_share() -> None:
    (row,) = kept_shares(arms(0.8, teacher=0.6), [TRIPLE], SETTINGS).to_dict("records")
    assert np.isfinite(row["advantage"])
    assert np.isnan([row["share"], row["share_low"], row["share_high"]]).all()
    assert kept_shares(arms(0.8), [], SETTINGS).empty
