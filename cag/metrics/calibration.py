"""Whether a score of 0.7 means 70 %: calibration line, expected calibration error, temperature."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax

from cag.metrics.intervals import bootstrap_many
from cag.metrics.weighted import ratio

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

    The slope is NaN where the score (0 to 1) separates the classes completely (it would be infinite),
    the intercept where only one class is left, the error without rows.
    """
    weights = np.ones((1, len(score))) if weights is None else weights
    x = logit(np.clip(score, CLIP, 1 - CLIP))
    both = ((weights @ positive) > 0) & ((weights @ ~positive) > 0)
    overlap = _overlapping(positive, x, weights)
    line = np.column_stack([np.ones_like(x), x])
    excess = weights @ (np.eye(BINS)[_bin(score)] * (positive - score)[:, None])
    return {
        "calibration_slope": _logistic(line, np.zeros_like(x), positive, weights, overlap)[:, 1],
        "calibration_intercept": _logistic(line[:, :1], x, positive, weights, both)[:, 0],
        "ece": ratio(np.abs(excess).sum(1), weights.sum(1)),
    }


def reliability_table(
    positive: Bool[np.ndarray, " n"],
    score: Float[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    *,
    n: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Observed against predicted in bins of equal width, with intervals from resampling groups (patients).

    Columns are ``bin_low, bin_high, n, mean_score, observed, low, high``, one row a bin that is not empty.
    """
    place = _bin(score)
    inside = {str(number): place == number for number in np.unique(place)}

    def observed(weights: Float[np.ndarray, "b n"]) -> dict[str, Float[np.ndarray, " b"]]:
        return {name: ratio(weights[:, own] @ positive[own], weights[:, own].sum(1)) for name, own in inside.items()}

    rows = []
    for name, share in bootstrap_many(observed, groups, n=n, rng=rng).items():
        low, own = int(name) / BINS, inside[name]
        rows.append((low, (int(name) + 1) / BINS, own.sum(), score[own].mean(), share.value, share.low, share.high))
    return pd.DataFrame(rows, columns=["bin_low", "bin_high", "n", "mean_score", "observed", "low", "high"])


def fit_temperature(probabilities: Float[np.ndarray, "n k"], target: Int[np.ndarray, " n"]) -> float:
    """The temperature that makes the targets likeliest (Guo et al. 2017); fit on inner patients only.

    Above 1 softens an overconfident network. It lies within ``TEMPERATURES``; data that every
    image gets right push it to the lower end.
    """
    logits = _logits(probabilities)

    def surprise(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(len(target)), target].mean())

    found = minimize_scalar(surprise, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def with_temperature(probabilities: Float[np.ndarray, "n k"], temperature: float) -> Float[np.ndarray, "n k"]:
    """Probabilities whose logits are divided by the temperature; the order of categories stays.

    Dropping the redundant class before or after makes no difference.
    """
    return softmax(_logits(probabilities) / temperature, axis=1)


def _logits(probabilities: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))


def _bin(score: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    return np.minimum((score * BINS).astype(int), BINS - 1)


def _overlapping(
    positive: Bool[np.ndarray, " n"], x: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> Bool[np.ndarray, " b"]:
    """Whether some negative scores above some positive and the reverse, among rows that carry weight."""

    def highest(rows: Bool[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " b"]:
        return np.where((weights > 0) & rows, values, -np.inf).max(1, initial=-np.inf)

    return (highest(~positive, x) > -highest(positive, -x)) & (highest(positive, x) > -highest(~positive, -x))


def _logistic(
    design: Float[np.ndarray, "n m"],
    offset: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, "b n"],
    solvable: Bool[np.ndarray, " b"],
) -> Float[np.ndarray, "b m"]:
    """Maximum-likelihood logistic regression for each weighting; NaN where there is no finite one."""
    result = np.full((len(weights), design.shape[1]), np.nan)
    if solvable.any():
        own = weights[solvable]
        start = _newton(design, offset, positive, own.mean(0, keepdims=True), np.zeros_like(result[:1]))
        result[solvable] = _newton(design, offset, positive, own, np.repeat(np.nan_to_num(start), len(own), axis=0))
    return result


def _newton(
    design: Float[np.ndarray, "n m"],
    offset: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, "b n"],
    beta: Float[np.ndarray, "b m"],
) -> Float[np.ndarray, "b m"]:
    """At most 60 Newton steps, each at most 4 long; NaN where they have not settled."""
    products = np.einsum("ni,nj->nij", design, design).reshape(len(design), -1)
    step = np.full_like(beta, np.inf)
    for _ in range(60):
        chance = expit(beta @ design.T + offset)
        gradient = (weights * (positive - chance)) @ design
        curvature = ((weights * chance * (1 - chance)) @ products).reshape(-1, *[design.shape[1]] * 2)
        step = np.linalg.solve(curvature + 1e-12 * np.eye(design.shape[1]), gradient[:, :, None])[:, :, 0]
        step *= np.minimum(1, 4 / np.maximum(np.abs(step).max(1, keepdims=True), 1e-300))
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    return np.where(np.abs(step).max(1, keepdims=True) < 1e-6, beta, np.nan)
