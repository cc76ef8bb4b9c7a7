"""Whether a score of 0.7 means 70 %: calibration line, expected calibration error, temperature."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax

from cag.metrics.intervals import bootstrap_many
from cag.metrics.weighted import ratio
from cag.settings import InputError

#: Scores are kept this far from 0 and 1 before their logit (about the resolution of a float32 softmax).
CLIP = 1e-6
BINS = 10
#: Range in which a temperature is looked for.
TEMPERATURES = (0.05, 20.0)


def calibration(
    positive: Bool[np.ndarray, " n"],
    score: Float[np.ndarray, " n"],
    weights: Float[np.ndarray, "b n"] | None = None,
) -> dict[str, Float[np.ndarray, " b"]]:
    """Slope and intercept of the calibration line and the expected calibration error.

    ``calibration_slope`` is the slope of a logistic regression of the outcome on the score's logit
    (1 is ideal, below 1 is overconfident); ``calibration_intercept`` is calibration in the large,
    the intercept with the slope fixed at 1 (0 is ideal). Van Calster et al. 2019, BMC Medicine 17:230.
    ``ece`` is the mean distance between score and outcome over ten bins of equal width, weighted
    by their size; chance pushes it up, and resampling pushes it up again, so that a percentile interval
    may lie above the value.

    Parameters
    ----------
    positive : array [n] of bool
    score : array [n], 0 to 1
    weights : array [b, n], optional
        One for each row when not given.

    Returns
    -------
    dict of arrays [b]
        The slope is NaN where the score separates the classes completely (it would be infinite),
        the intercept where only one class is left, the error without rows.
    """
    weights = np.ones((1, len(score))) if weights is None else weights
    x = logit(np.clip(score, CLIP, 1 - CLIP))
    both = ((weights @ positive) > 0) & ((weights @ ~positive) > 0)
    overlap = _overlapping(positive, x, weights)
    ones = np.ones_like(x)
    slope = _logistic(np.column_stack([ones, x]), np.zeros_like(x), positive, weights, overlap)
    intercept = _logistic(ones[:, None], x, positive, weights, both)
    return {
        "calibration_slope": slope[:, 1],
        "calibration_intercept": intercept[:, 0],
        "ece": _expected_calibration_error(positive, score, weights),
    }


def reliability_table(
    positive: Bool[np.ndarray, " n"],
    score: Float[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    *,
    n: int,
    rng: np.random.Generator,
    bins: int = BINS,
) -> pd.DataFrame:
    """Observed against predicted in bins of equal width, with intervals from resampling groups (patients).

    Returns
    -------
    DataFrame
        ``bin_low, bin_high, n, mean_score, observed, low, high``, one row a bin that is not empty.
    """
    place = _bin(score, bins)

    def observed(weights: Float[np.ndarray, "b n"]) -> dict[str, Float[np.ndarray, " b"]]:
        inside = {index: weights[:, place == index] for index in np.unique(place)}
        return {str(index): ratio(own @ positive[place == index], own.sum(1)) for index, own in inside.items()}

    rows = []
    for name, share in bootstrap_many(observed, groups, n=n, rng=rng).items():
        inside = place == int(name)
        low, high = int(name) / bins, (int(name) + 1) / bins
        rows.append((low, high, inside.sum(), score[inside].mean(), share.value, share.low, share.high))
    return pd.DataFrame(rows, columns=["bin_low", "bin_high", "n", "mean_score", "observed", "low", "high"])


def fit_temperature(probabilities: Float[np.ndarray, "n k"], target: Int[np.ndarray, " n"]) -> float:
    """The temperature that makes the targets likeliest (Guo et al. 2017); fit on inner patients only.

    Above 1 softens an overconfident network. It lies within ``TEMPERATURES``; data that every
    image gets right push it to the lower end.

    Raises
    ------
    InputError
        Without rows.
    """
    if not len(target):
        raise InputError("a temperature cannot be fitted without images", field="probabilities")
    logits = _logits(probabilities)

    def surprise(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(len(target)), target].mean())

    low, high = np.log(TEMPERATURES)
    return float(np.exp(minimize_scalar(surprise, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x))


def with_temperature(probabilities: Float[np.ndarray, "n k"], temperature: float) -> Float[np.ndarray, "n k"]:
    """Probabilities whose logits are divided by the temperature; the order of categories stays.

    Dropping the redundant class before or after makes no difference.
    """
    return softmax(_logits(probabilities) / temperature, axis=1)


def _logits(probabilities: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))


def _bin(score: Float[np.ndarray, " n"], bins: int) -> Int[np.ndarray, " n"]:
    return np.minimum((score * bins).astype(int), bins - 1)


def _expected_calibration_error(
    positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    inside = np.eye(BINS)[_bin(score, BINS)]
    excess = weights @ (inside * (positive - score)[:, None])
    return ratio(np.abs(excess).sum(1), weights.sum(1))


def _overlapping(
    positive: Bool[np.ndarray, " n"], x: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> Bool[np.ndarray, " b"]:
    """Whether some negative scores above some positive and the reverse, among rows that carry weight."""

    def extreme(rows: Bool[np.ndarray, " n"], sign: int) -> Float[np.ndarray, " b"]:
        return np.where((weights > 0) & rows, sign * x, -np.inf).max(1, initial=-np.inf)

    return (extreme(~positive, 1) > -extreme(positive, -1)) & (extreme(positive, 1) > -extreme(~positive, -1))


def _logistic(
    design: Float[np.ndarray, "n m"],
    offset: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, "b n"],
    solvable: Bool[np.ndarray, " b"],
) -> Float[np.ndarray, "b m"]:
    """Maximum-likelihood logistic regression for each weighting; NaN where there is no finite one."""
    m = design.shape[1]
    result = np.full((len(weights), m), np.nan)
    if not solvable.any():
        return result
    weights = weights[solvable]
    beta = _newton(design, offset, positive, weights.mean(0, keepdims=True), np.zeros((1, m)), 60)
    start = np.repeat(beta if np.isfinite(beta).all() else np.zeros((1, m)), len(weights), axis=0)
    result[solvable] = _newton(design, offset, positive, weights, start, 60)
    return result


def _newton(
    design: Float[np.ndarray, "n m"],
    offset: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, "b n"],
    beta: Float[np.ndarray, "b m"],
    steps: int,
) -> Float[np.ndarray, "b m"]:
    """Newton steps, at most 4 long; NaN where they have not settled."""
    n, m = design.shape
    products = (design[:, :, None] * design[:, None, :]).reshape(n, m * m)
    step = np.full_like(beta, np.inf)
    for _ in range(steps):
        chance = expit(beta @ design.T + offset)
        gradient = (weights * (positive - chance)) @ design
        curvature = ((weights * chance * (1 - chance)) @ products).reshape(-1, m, m) + 1e-12 * np.eye(m)
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        step *= np.minimum(1, 4 / np.maximum(np.abs(step).max(1, keepdims=True), 1e-300))
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    return np.where(np.abs(step).max(1, keepdims=True) < 1e-6, beta, np.nan)
