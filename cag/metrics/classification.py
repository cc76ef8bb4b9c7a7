"""Classification: two ways to score a network's outputs, the metrics of either, and thresholds on a score."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from sklearn.metrics import roc_curve

from cag.metrics import weighted
from cag.metrics.boxes import Rule
from cag.metrics.calibration import calibration
from cag.metrics.intervals import Measured
from cag.settings import InputError


@dataclass(frozen=True)
class Scored:
    """What is scored of a network's outputs."""

    probabilities: Float[np.ndarray, "n k"]  # Of the real categories; they sum to one under the clean rule only
    score: Float[np.ndarray, " n"]  # Of any stenosis, 0 to 1
    #: Category 0 to k - 1; k where "redundant" won, which is wrong for every image with contrast.
    predicted: Int[np.ndarray, " n"]


def scored(
    probabilities: Float[np.ndarray, "n k"],
    p_redundant: Float[np.ndarray, " n"] | None = None,
    rule: Rule = "clean",
) -> Scored:
    """Turn softmax outputs into scores and predicted categories under one of the study's two rules.

    ``clean`` drops P(redundant) and renormalizes the rest; an image whose real categories have all
    underflowed to zero says nothing about them and gets 1/k each. ``as_published`` takes the argmax
    over all outputs, so that an image with contrast called redundant is wrong, and 1 - P(normal)
    as score, so that P(redundant) counts as disease (book/scrutiny/arms). Equal probabilities go
    to the lower category.

    ``probabilities`` are those of the real categories, category 0 being normal; ``p_redundant`` is None or NaN where
    the network has no redundant class. Raises `InputError` for fewer than two categories, or rows that are not
    probabilities summing to one (within 0.001).
    """
    n, k = probabilities.shape
    if k < 2:
        raise InputError(f"{k} categories cannot be told apart", field="probabilities", remedy="Give two or more")
    redundant = np.zeros(n) if p_redundant is None else np.nan_to_num(p_redundant.astype(float))
    every = np.column_stack([probabilities.astype(float), redundant])
    wrong = ~((every >= 0).all(1) & (np.abs(every.sum(1) - 1) <= 1e-3))
    if wrong.any():
        problem = f"{wrong.sum()} rows are no probabilities, first row {wrong.argmax()}: {every[wrong][0].round(4)}"
        raise InputError(problem, field="probabilities", remedy="Give softmax outputs, which sum to one")
    if rule == "as_published":
        return Scored(every[:, :k], 1 - every[:, 0], every.argmax(1))
    real = every[:, :k]
    mass = real.sum(1, keepdims=True)
    real = np.divide(real, mass, out=np.full_like(real, 1 / k), where=mass > 0)
    return Scored(real, real[:, 1:].sum(1), real.argmax(1))


def metrics(
    target: Int[np.ndarray, " n"], outputs: Scored, weights: Float[np.ndarray, "b n"] | None = None
) -> dict[str, Float[np.ndarray, " b"]]:
    """Every classification metric of the study, under many weightings of the rows at once.

    ``sensitivity`` is the recall of any stenosis (a target of 1 or more called 1 or more, whichever
    category), ``specificity`` that of normal, ``recall_weighted`` the support-weighted mean recall
    (which equals accuracy, by arithmetic), ``auc``, ``pr_auc``, ``brier``, ``ece`` and the
    calibration line are of any stenosis against none, ``auc_ovr`` (three or more categories) is
    the mean over categories of each against the rest.

    They are scikit-learn's values with these sample weights; NaN, never a warning, where undefined. Raises `InputError`
    for a target that is no category, 0 to k - 1.
    """
    k = outputs.probabilities.shape[1]
    wrong = (target < 0) | (target >= k)
    if wrong.any():
        problem = f"{int(wrong.sum())} targets are no category of 0 to {k - 1}, first {target[wrong][0]}"
        raise InputError(problem, field="target")
    weights = np.ones((1, len(target))) if weights is None else weights
    any_true = target > 0
    result = weighted.confusion_metrics(weighted.confusion(target, outputs.predicted, k, weights))
    result["auc"] = weighted.roc_auc(any_true, outputs.score, weights)
    result["pr_auc"] = weighted.average_precision(any_true, outputs.score, weights)
    result["brier"] = weighted.ratio(weights @ (any_true - outputs.score) ** 2, weights.sum(1))
    if k > 2:
        each = [weighted.roc_auc(target == label, outputs.probabilities[:, label], weights) for label in range(k)]
        result["auc_ovr"] = np.mean(each, axis=0)
    return result | calibration(any_true, outputs.score, weights)


def of_classification(predictions: pd.DataFrame, rule: Rule = "clean") -> Measured:
    """Image-level metrics of rows of the classification table, all of one number of categories (else `InputError`).

    They have ``patient_id, n_categories, target, p_0 .. p_{k-1}`` and, where trained so, ``p_redundant``.
    """
    many = partial(metrics, predictions["target"].to_numpy(dtype=int), outputs_of(predictions, rule))
    return Measured(many, predictions["patient_id"].to_numpy())


def outputs_of(predictions: pd.DataFrame, rule: Rule = "clean") -> Scored:
    """Scores and predicted categories of rows of the classification table; see ``scored``."""
    categories = predictions["n_categories"].unique()
    if len(categories) != 1:
        problem = f"{len(categories)} numbers of categories in one table of metrics"
        raise InputError(problem, field="n_categories", remedy="Give rows of one, such as with by=['n_categories']")
    columns = [f"p_{index}" for index in range(int(categories[0]))]
    redundant = predictions["p_redundant"].to_numpy(dtype=float) if "p_redundant" in predictions else None
    return scored(predictions[columns].to_numpy(dtype=float), redundant, rule)


def of_scores(table: pd.DataFrame, threshold: float | Float[np.ndarray, " n"] = 0.5) -> Measured:
    """The same metrics for scores of any stenosis alone, such as of ``aggregation.aggregate``.

    ``table`` has ``patient_id, score`` (0 to 1), ``target`` (1 or more is stenosis); a row is called stenosis from the
    ``threshold`` on, one for all rows or one for each.
    """
    score, target = table["score"].to_numpy(dtype=float), (table["target"].to_numpy() > 0).astype(int)
    outputs = Scored(np.column_stack([1 - score, score]), score, (score >= threshold).astype(int))
    return Measured(partial(metrics, target, outputs), table["patient_id"].to_numpy())


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
