"""Thresholds on a score, to be chosen on inner data and applied to outer data."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from sklearn.metrics import roc_curve


def youden_threshold(positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> float:
    """The score from which on to call disease so that sensitivity + specificity is largest.

    Equal sums go to the higher threshold. NaN where only one class is given.
    """
    false_rate, true_rate, thresholds = _curve(positive, score)
    gain = true_rate - false_rate
    return float(thresholds[np.argmax(gain >= gain.max() - 1e-12)])


def sensitivity_threshold(
    positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"], minimum: float = 0.95
) -> float:
    """The highest score from which on to call disease with at least that sensitivity (a rule-out point).

    NaN where only one class is given.
    """
    _, true_rate, thresholds = _curve(positive, score)
    return float(thresholds[np.argmax(true_rate >= minimum - 1e-12)])


def _curve(
    positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ROC curve without its first point, at which nothing is called; one point of NaN where only one class is given."""
    if positive.all() or not positive.any():
        return np.full(1, np.nan), np.full(1, np.nan), np.full(1, np.nan)
    false_rate, true_rate, thresholds = roc_curve(positive, score, drop_intermediate=False)
    return false_rate[1:], true_rate[1:], thresholds[1:]
