"""Logistic regression of labels on logits: its fit, and the same fit in each resample of the patients.

The fit is statsmodels' GLM. Fitting it a thousand times would take minutes, so the resamples use Newton's method for
all of them at once, on logits rounded to a grid. The difference of both on all patients is then taken off each one.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from cxr_kd.evaluation.probability.cases import Scored

GRID = 200  # points; a logit between two points counts at both, in proportion
STEPS, TOLERANCE = 30, 1e-8
STEP = 2.0
LARGEST = 1e3  # a larger coefficient means that the resample has no fit


def why_no_fit(labels: np.ndarray, logits: np.ndarray) -> str:
    """Return why no slope can be fitted to labels and logits (n,), or an empty text."""
    positive, negative = logits[labels == 1], logits[labels == 0]
    for name, part in (("positive", positive), ("negative", negative)):
        if not len(part):
            return f"no {name}"
    if np.ptp(logits) == 0:
        return "all logits are equal"
    if negative.max() <= positive.min() or positive.max() <= negative.min():
        return "the logits separate positives and negatives completely"
    return ""


def fit_line(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
    """Return intercept and slope of logit P(label = 1) = intercept + slope * logit: labels, logits, weights (n,).

    The caller must have asked `why_no_fit`.
    """
    intercept, slope = _glm(labels, np.stack([np.ones_like(logits), logits], axis=1), None, weights)
    return intercept, slope


def fit_intercept(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the intercept of logit P(label = 1) = intercept + logit. Both labels must occur."""
    return _glm(labels, np.ones((len(labels), 1)), logits, weights)[0]


def fit_slope(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the slope of logit P(label = 1) = slope * logit."""
    return _glm(labels, logits[:, None], None, None)[0]


def _glm(
    labels: np.ndarray, columns: np.ndarray, offset: np.ndarray | None, weights: np.ndarray | None
) -> tuple[float, ...]:
    """Return the coefficients of a binomial GLM with logit link."""
    from statsmodels.genmod.families import Binomial  # slow to import
    from statsmodels.genmod.generalized_linear_model import GLM

    fitted = GLM(labels, columns, family=Binomial(), offset=offset, freq_weights=weights).fit(tol=1e-12)
    return tuple(float(value) for value in fitted.params)


class ResampledLogistic:
    """The fits of one finding of one run in each weighting. `why_no_fit` of the finding must be empty.

    The first weighting must give each patient the weight 1. A weighting without a fit gets NaN.
    """

    def __init__(self, scored: Scored) -> None:
        self.scored = scored
        self.grid, self.mass = _on_grid(scored)  # (G,), (G, W)
        self.totals = scored.sums(np.stack([scored.labels, scored.labels * scored.logits]))  # (2, W)
        self.exact = fit_line(scored.labels, scored.logits)

    def line(self) -> np.ndarray:
        """Return intercept and slope of `fit_line` for each weighting: (2, W)."""
        start = np.array(self.exact)
        fitted = np.repeat(start[:, None], self.mass.shape[1], axis=1)
        for _ in range(STEPS):
            expected, spread = self._expected(fitted[0] + fitted[1] * self.grid[:, None])
            gradient = self.totals - np.stack([expected.sum(axis=0), self.grid @ expected])
            h0, h1, h2 = spread.sum(axis=0), self.grid @ spread, self.grid**2 @ spread
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                step = np.stack([h2 * gradient[0] - h1 * gradient[1], h0 * gradient[1] - h1 * gradient[0]])
                fitted = fitted + step / (h0 * h2 - h1**2)
                change = np.abs(step / (h0 * h2 - h1**2))
            fitted = np.where((np.abs(fitted) < LARGEST).all(axis=0), fitted, np.nan)
            if not (change > TOLERANCE).any():
                break
        return self._defined(fitted) + (start - fitted[:, 0])[:, None]

    def intercept(self, intercept: float, slope: float) -> np.ndarray:
        """Return the intercept of `fit_intercept` for each weighting (W,), for the logits intercept + slope * logit.

        A step is at most STEP, so that it cannot go past the maximum for good: the likelihood is concave.
        """
        fitted, logits = np.zeros(self.mass.shape[1]), intercept + slope * self.scored.logits
        for _ in range(STEPS):
            expected, spread = self._expected(fitted + (intercept + slope * self.grid)[:, None])
            with np.errstate(divide="ignore", invalid="ignore"):
                step = (self.totals[0] - expected.sum(axis=0)) / spread.sum(axis=0)
            fitted = fitted + np.clip(step, -STEP, STEP)
            if not (np.abs(step) > TOLERANCE).any():
                break
        exact = fitted[0]
        for _ in range(3):  # from the grid to the images themselves
            chance = expit(exact + logits)
            exact += (self.scored.labels - chance).sum() / (chance * (1 - chance)).sum()
        return self._defined(fitted) + (exact - fitted[0])

    def _expected(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The expected positives at each grid point, and their variance, for logits (G, W)."""
        chance = expit(logits)
        expected = self.mass * chance
        return expected, expected * (1 - chance)

    def _defined(self, fitted: np.ndarray) -> np.ndarray:
        """The fits, NaN in weightings without a positive or without a negative."""
        positives = self.totals[0]
        return np.where((positives > 0) & (self.mass.sum(axis=0) - positives > 1e-9), fitted, np.nan)


def _on_grid(scored: Scored) -> tuple[np.ndarray, np.ndarray]:
    """Return a grid over the logits (G,), and the weight at each point for each weighting (G, W)."""
    low, high = scored.logits.min(), scored.logits.max()
    place = (scored.logits - low) / (high - low) * (GRID - 1)
    left = np.minimum(place.astype(int), GRID - 2)
    below = scored.by_patient(left, GRID, 1 - (place - left))
    return np.linspace(low, high, GRID), (below + scored.by_patient(left + 1, GRID, place - left)) @ scored.weights
