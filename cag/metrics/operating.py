"""Thresholds on a score: chosen on inner data, applied to outer data; and what a decision would gain."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped
from sklearn.metrics import roc_curve

from cag.metrics.intervals import resample_weights
from cag.metrics.weighted import ratio


def youden_threshold(positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> float:
    """The score from which on to call disease so that sensitivity + specificity is largest.

    Equal sums go to the higher threshold. NaN where only one class is given.
    """
    curve = _curve(positive, score)
    if curve is None:
        return float("nan")
    false_rate, true_rate, thresholds = curve
    gain = true_rate - false_rate
    return float(thresholds[np.argmax(gain >= gain.max() - 1e-12)])


def sensitivity_threshold(
    positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"], minimum: float = 0.95
) -> float:
    """The highest score from which on to call disease with at least that sensitivity (a rule-out point).

    NaN where only one class is given.
    """
    curve = _curve(positive, score)
    if curve is None:
        return float("nan")
    _, true_rate, thresholds = curve
    return float(thresholds[np.argmax(true_rate >= minimum - 1e-12)])


def at_threshold(
    positive: Bool[np.ndarray, " n"],
    score: Float[np.ndarray, " n"],
    threshold: float,
    weights: Float[np.ndarray, "b n"] | None = None,
) -> dict[str, Float[np.ndarray, " b"]]:
    """Sensitivity, specificity, predictive values and share called when disease is a score of threshold or more.

    Returns
    -------
    dict of arrays [b]
        ``sensitivity, specificity, ppv, npv, called``; NaN where there is nothing to divide by.
    """
    weights = np.ones((1, len(score))) if weights is None else weights
    called = score >= threshold
    hit, alarm = weights @ (called & positive), weights @ (called & ~positive)
    miss, pass_ = weights @ (~called & positive), weights @ (~called & ~positive)
    return {
        "sensitivity": ratio(hit, hit + miss),
        "specificity": ratio(pass_, pass_ + alarm),
        "ppv": ratio(hit, hit + alarm),
        "npv": ratio(pass_, pass_ + miss),
        "called": ratio(hit + alarm, weights.sum(1)),
    }


def net_benefit(
    positive: Bool[np.ndarray, " n"],
    score: Float[np.ndarray, " n"],
    thresholds: Float[np.ndarray, " t"],
    weights: Float[np.ndarray, "b n"] | None = None,
) -> Float[np.ndarray, "b t"]:
    """True calls less false ones at their exchange rate p / (1 - p), per image (Vickers and Elkin 2006).

    Parameters
    ----------
    thresholds : array [t], 0 <= p < 1
        Probability of disease at which one would act.
    """
    weights = np.ones((1, len(score))) if weights is None else weights
    called = score[:, None] >= thresholds
    hits, alarms = weights @ (called & positive[:, None]), weights @ (called & ~positive[:, None])
    return ratio(hits - alarms * thresholds / (1 - thresholds), weights.sum(1, keepdims=True))


def decision_curve(
    positive: Bool[np.ndarray, " n"],
    score: Float[np.ndarray, " n"],
    thresholds: Float[np.ndarray, " t"],
    *,
    n: int,
    rng: np.random.Generator,
    groups: Shaped[np.ndarray, " n"] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Net benefit of the score beside acting on everyone and on no one.

    Parameters
    ----------
    n : int
        Resamples behind the pointwise interval.
    groups : array [n] of ids, optional
        Patient of each row; each row its own when not given.

    Returns
    -------
    DataFrame
        ``threshold, net_benefit, low, high, act_on_all, act_on_none``.
    """
    whose = np.arange(len(score)) if groups is None else groups
    drawn = net_benefit(positive, score, thresholds, resample_weights(whose, n, rng))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return pd.DataFrame(
        {
            "threshold": thresholds,
            "net_benefit": net_benefit(positive, score, thresholds)[0],
            "low": low,
            "high": high,
            "act_on_all": net_benefit(positive, np.ones(len(score)), thresholds)[0],
            "act_on_none": 0.0,
        }
    )


def _curve(
    positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """ROC curve without its first point, at which nothing is called; None where only one class is given."""
    if positive.all() or not positive.any():
        return None
    false_rate, true_rate, thresholds = roc_curve(positive, score, drop_intermediate=False)
    return false_rate[1:], true_rate[1:], thresholds[1:]
