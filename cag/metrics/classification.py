"""Image-level classification: two ways to score a network's outputs, and scikit-learn's numbers for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    cohen_kappa_score,
    f1_score,
    recall_score,
    roc_auc_score,
)

from cag.metrics import weighted
from cag.metrics.calibration import calibration
from cag.settings import InputError

Rule = Literal["clean", "as_published"]

#: Why a metric is NaN, by its name; a table of metrics says so beside the value.
UNDEFINED: dict[str, str] = {
    "accuracy": "no rows",
    "sensitivity": "no image with stenosis",
    "specificity": "no image without stenosis",
    "recall_weighted": "no rows",
    "f1_weighted": "no rows",
    "kappa": "one category only, so agreement by chance is complete",
    "auc": "images of one class only",
    "auc_ovr": "a category without images",
    "pr_auc": "no image with stenosis",
    "brier": "no rows",
    "calibration_slope": "one class only, or classes that the score separates completely",
    "calibration_intercept": "images of one class only",
    "ece": "no rows",
}


@dataclass(frozen=True)
class Scored:
    """What is scored of a network's outputs.

    Attributes
    ----------
    probabilities : Float[n, k]
        Of the real categories; they sum to one under the clean rule only.
    score : Float[n]
        Of any stenosis, 0 to 1.
    predicted : Int[n]
        Category 0 to k - 1; k where "redundant" won, which is wrong for every image with contrast.
    """

    probabilities: Float[np.ndarray, "n k"]
    score: Float[np.ndarray, " n"]
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

    Parameters
    ----------
    probabilities : array [n, k], k >= 2
        Softmax outputs of the real categories, category 0 being normal.
    p_redundant : array [n], optional
        Softmax output of the redundant class; None or NaN where the network has none.
    rule : {'clean', 'as_published'}

    Raises
    ------
    InputError
        Fewer than two categories, or rows that are not probabilities summing to one (within 0.001).
    """
    n, k = probabilities.shape
    redundant = np.zeros(n) if p_redundant is None else np.nan_to_num(p_redundant.astype(float))
    every = np.column_stack([probabilities.astype(float), redundant])
    _check_probabilities(every, k)
    if rule == "as_published":
        return Scored(every[:, :k], 1 - every[:, 0], every.argmax(1))
    real = every[:, :k]
    mass = real.sum(1, keepdims=True)
    real = np.divide(real, mass, out=np.full_like(real, 1 / k), where=mass > 0)
    return Scored(real, real[:, 1:].sum(1), real.argmax(1))


def values(target: Int[np.ndarray, " n"], outputs: Scored) -> dict[str, float]:
    """Every classification metric of the study on all rows, by scikit-learn.

    ``sensitivity`` is the recall of any stenosis (a target of 1 or more called 1 or more, whichever
    category), ``specificity`` that of normal, ``recall_weighted`` the support-weighted mean recall
    (which equals accuracy, by arithmetic), ``auc``, ``pr_auc``, ``brier``, ``ece`` and the
    calibration line are of any stenosis against none, ``auc_ovr`` (three or more categories) is
    the mean over categories of each against the rest.

    Parameters
    ----------
    target : array [n] of category, 0 to k - 1
    outputs : Scored

    Returns
    -------
    dict of float
        NaN where undefined, for the reason in ``UNDEFINED``; never a warning.

    Raises
    ------
    InputError
        A target that is no category.
    """
    k = outputs.probabilities.shape[1]
    _check_target(target, k)
    any_true, any_called = target > 0, (outputs.predicted > 0) & (outputs.predicted < k)
    result = dict.fromkeys(metric_names(k), float("nan"))
    if not len(target):
        return result
    labels = list(range(k))
    result["accuracy"] = accuracy_score(target, outputs.predicted)
    result["f1_weighted"] = f1_score(target, outputs.predicted, labels=labels, average="weighted", zero_division=0.0)
    result["recall_weighted"] = recall_score(
        target, outputs.predicted, labels=labels, average="weighted", zero_division=0.0
    )
    if len(np.union1d(target, outputs.predicted)) > 1:
        result["kappa"] = cohen_kappa_score(target, outputs.predicted)
    if any_true.any():
        result["sensitivity"] = recall_score(any_true, any_called)
        result["pr_auc"] = average_precision_score(any_true, outputs.score)
    if not any_true.all():
        result["specificity"] = recall_score(target == 0, outputs.predicted == 0)
    if any_true.any() and not any_true.all():
        result["auc"] = roc_auc_score(any_true, outputs.score)
    result["brier"] = brier_score_loss(any_true, outputs.score, pos_label=True)
    if k > 2 and len(np.unique(target)) == k:
        result["auc_ovr"] = float(
            np.mean([roc_auc_score(target == label, outputs.probabilities[:, label]) for label in labels])
        )
    result |= {name: float(value[0]) for name, value in calibration(any_true, outputs.score).items()}
    return {name: float(value) for name, value in result.items()}


def metrics(
    target: Int[np.ndarray, " n"], outputs: Scored, weights: Float[np.ndarray, "b n"]
) -> dict[str, Float[np.ndarray, " b"]]:
    """The metrics of ``values`` under many weightings of the rows at once (for the bootstrap)."""
    k = outputs.probabilities.shape[1]
    _check_target(target, k)
    any_true: Bool[np.ndarray, " n"] = target > 0
    table = weighted.confusion(target, outputs.predicted, k, weights)
    result = weighted.confusion_metrics(table)
    result["auc"] = weighted.roc_auc(any_true, outputs.score, weights)
    result["pr_auc"] = weighted.average_precision(any_true, outputs.score, weights)
    result["brier"] = weighted.ratio(weights @ (any_true - outputs.score) ** 2, weights.sum(1))
    if k > 2:
        each = [weighted.roc_auc(target == label, outputs.probabilities[:, label], weights) for label in range(k)]
        result["auc_ovr"] = np.mean(each, axis=0)
    return result | calibration(any_true, outputs.score, weights)


def metric_names(n_categories: int) -> list[str]:
    """Names of the metrics for that many categories, in the order of a table."""
    return [name for name in UNDEFINED if name != "auc_ovr" or n_categories > 2]


def _check_probabilities(every: Float[np.ndarray, "n k1"], k: int) -> None:
    if k < 2:
        raise InputError(f"{k} categories cannot be told apart", field="probabilities", remedy="Give two or more")
    wrong = ~(np.isfinite(every).all(1) & (every >= 0).all(1) & (np.abs(every.sum(1) - 1) <= 1e-3))
    if wrong.any():
        row = int(wrong.argmax())
        problem = f"{int(wrong.sum())} rows are no probabilities, first row {row}: {every[row].round(4).tolist()}"
        raise InputError(problem, field="probabilities", remedy="Give softmax outputs, which sum to one")


def _check_target(target: Int[np.ndarray, " n"], k: int) -> None:
    wrong = (target < 0) | (target >= k)
    if wrong.any():
        problem = f"{int(wrong.sum())} targets are no category of 0 to {k - 1}, first {target[wrong][0]}"
        raise InputError(problem, field="target")
