"""Classification metrics under many weightings of the rows at once.

scikit-learn takes one weighting a call; 2,000 resamples of a dozen metrics would take minutes.
These are sums over sorted rows or over the confusion table, and the tests hold each to
scikit-learn's value with ``sample_weight``.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Num


def ratio(numerator: Num[np.ndarray, ...], denominator: Num[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    """Quotient; NaN, without a warning, where the denominator is 0."""
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator != 0)


def confusion(
    target: Int[np.ndarray, " n"],
    predicted: Int[np.ndarray, " n"],
    n_categories: int,
    weights: Float[np.ndarray, "b n"],
) -> Float[np.ndarray, "b k k1"]:
    """Weighted cross-tabulations, true category by predicted one; the last column is "redundant"."""
    columns = n_categories + 1
    cells = np.eye(n_categories * columns)[target * columns + predicted]
    return (weights @ cells).reshape(len(weights), n_categories, columns)


def confusion_metrics(table: Float[np.ndarray, "b k k1"]) -> dict[str, Float[np.ndarray, " b"]]:
    """What a cross-tabulation says; the names are explained in ``classification.metrics``."""
    k = table.shape[1]
    total, support, called = table.sum((1, 2)), table.sum(2), table.sum(1)
    right = np.diagonal(table, axis1=1, axis2=2)
    accuracy = ratio(right.sum(1), total)
    f1 = np.nan_to_num(ratio(2 * right, support + called[:, :k]))
    by_chance = ratio((support * called[:, :k]).sum(1), total**2)
    return {
        "accuracy": accuracy,
        "sensitivity": ratio(table[:, 1:, 1:k].sum((1, 2)), support[:, 1:].sum(1)),
        "specificity": ratio(table[:, 0, 0], support[:, 0]),
        "recall_weighted": accuracy,
        "f1_weighted": ratio((support * f1).sum(1), total),
        "kappa": ratio(accuracy - by_chance, 1 - by_chance),
    }


def roc_auc(
    positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    """Area under the ROC curve: the probability that a positive outscores a negative, ties half.

    NaN for a weighting that leaves one class only.
    """
    hits, alarms = _by_threshold(positive, score, weights)
    negatives = alarms.sum(1, keepdims=True)
    outscored = negatives - alarms.cumsum(1) + alarms / 2
    return ratio((hits * outscored).sum(1), hits.sum(1) * negatives[:, 0])


def average_precision(
    positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    """Area under the precision-recall curve as scikit-learn's ``average_precision_score``; NaN without a positive."""
    hits, alarms = _by_threshold(positive, score, weights)
    found = hits.cumsum(1)
    precision = np.nan_to_num(ratio(found, found + alarms.cumsum(1)))
    return ratio((hits * precision).sum(1), hits.sum(1))


def _by_threshold(
    positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> tuple[Float[np.ndarray, "b u"], Float[np.ndarray, "b u"]]:
    """Weight of positives and of negatives at each distinct score, highest first."""
    if not len(score):
        return weights, weights
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(score[order]) != 0))
    hits = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    return hits, np.add.reduceat(weights[:, order], starts, axis=1) - hits
