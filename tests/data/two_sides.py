"""Made-up predictions of both sides of a split, for tests of probabilities."""

import numpy as np

from cxr_kd.evaluation.predictions import Predictions, PredictionsMetadata

FINDINGS = ("Effusion", "Mass", "Hernia")


def predictions(
    side: str, seed: int = 0, images: int = 240, patients: int = 60, run: str = "", **changed: object
) -> Predictions:
    """Logits are rounded, so that there are ties; Hernia has 4 positives; 20 labels of Mass are unknown.

    Labels and patients are the same for every seed.
    """
    fixed, random = np.random.default_rng(len(side)), np.random.default_rng([seed, len(side)])
    labels = (fixed.random((images, 3)) < [0.4, 0.2, 0.0]).astype(float)
    labels[[3, 50, 100, 200], 2] = 1
    labels[:20, 1] = np.nan
    names = [f"{side}-p{i}" for i in fixed.integers(0, patients, size=images)]
    logits = np.round(1.5 * (np.nan_to_num(labels) - 0.7) + random.normal(size=(images, 3)), 1)
    metadata = {
        "study": "tiny", "dataset": "phantom", "kind": "phantom", "network": "net", "run": run or f"net-seed{seed}",
        "split": "official", "split_sha256": "ab" * 32, "side": side, "split_sides": {}, "findings": FINDINGS,
    }  # fmt: skip
    known = PredictionsMetadata.model_validate(metadata | changed)
    return Predictions.from_arrays([f"{side}-i{i}" for i in range(images)], names, labels, logits, known)


def both_sides(seeds: tuple[int, ...] = (0,), **sizes: int) -> tuple[list[Predictions], list[Predictions]]:
    """The test side and the validation side of one run per seed."""
    test, validation = ([predictions(side, seed, **sizes) for seed in seeds] for side in ("test", "validation"))
    return test, validation


def relabelled(run: Predictions, finding: str, value: float) -> Predictions:
    """The same predictions with one label for every image."""
    return Predictions(run.frame.assign(**{f"label:{finding}": value}), run.metadata)


def known_of(run: Predictions, finding: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits of the images whose label is known, float64."""
    position = run.findings.index(finding)
    labels, logits = (part[:, position].astype(float) for part in (run.labels, run.logits))
    return labels[~np.isnan(labels)], logits[~np.isnan(labels)]
