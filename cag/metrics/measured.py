"""What is measured of a prediction table: its metrics under any weighting of its rows, and whose rows they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from cag.metrics import classification, frame_selection, localization, published, ranking
from cag.metrics.boxes import Rule
from cag.metrics.intervals import Metrics
from cag.metrics.matching import match_detections
from cag.settings import InputError

FROC_NAMES = tuple(f"froc_{rate:g}" for rate in ranking.FROC_RATES)


@dataclass(frozen=True)
class Measured:
    """Rows of predictions with the metrics that are to be computed of them.

    Attributes
    ----------
    metrics : callable
        ``weights [b, n] -> {name: [b]}``.
    groups : array [n]
        Patient of each row.
    values : mapping, optional
        The metrics on all rows where scikit-learn computes them.
    undefined : callable
        Why a metric is NaN, by its name.
    """

    metrics: Metrics
    groups: Shaped[np.ndarray, " n"]
    undefined: Callable[[str], str]
    values: Mapping[str, float] | None = None


def of_classification(predictions: pd.DataFrame, rule: classification.Rule = "clean") -> Measured:
    """Image-level metrics of rows of the classification table, all of one number of categories.

    Parameters
    ----------
    predictions : DataFrame
        ``patient_id, n_categories, target, p_0 .. p_{k-1}`` and, where trained so, ``p_redundant``.

    Raises
    ------
    InputError
        Mixed numbers of categories, or outputs that are no probabilities.
    """
    outputs, target = outputs_of(predictions, rule), predictions["target"].to_numpy(dtype=int)
    many = partial(classification.metrics, target, outputs)
    values = classification.values(target, outputs)
    return Measured(many, predictions["patient_id"].to_numpy(), classification.UNDEFINED.__getitem__, values)


def outputs_of(predictions: pd.DataFrame, rule: classification.Rule = "clean") -> classification.Scored:
    """Scores and predicted categories of rows of the classification table; see ``classification.scored``."""
    categories = predictions["n_categories"].unique()
    if len(categories) != 1:
        problem = f"{len(categories)} numbers of categories in one table of metrics"
        raise InputError(problem, field="n_categories", remedy="Give rows of one, such as with by=['n_categories']")
    columns = [f"p_{index}" for index in range(int(categories[0]))]
    redundant = predictions["p_redundant"].to_numpy(dtype=float) if "p_redundant" in predictions else None
    return classification.scored(predictions[columns].to_numpy(dtype=float), redundant, rule)


def of_scores(table: pd.DataFrame, threshold: float | Float[np.ndarray, " n"] = 0.5) -> Measured:
    """The same metrics for scores of any stenosis alone, such as of ``aggregation.aggregate``.

    Parameters
    ----------
    table : DataFrame
        ``patient_id, score`` (0 to 1), ``target`` (1 or more is stenosis).
    threshold : float or array [n]
        Called stenosis from this score on; one for all rows or one for each.
    """
    score, target = table["score"].to_numpy(dtype=float), (table["target"].to_numpy() > 0).astype(int)
    outputs = classification.Scored(np.column_stack([1 - score, score]), score, (score >= threshold).astype(int))
    many = partial(classification.metrics, target, outputs)
    values = classification.values(target, outputs)
    return Measured(many, table["patient_id"].to_numpy(), classification.UNDEFINED.__getitem__, values)


def of_frame_selection(runs: pd.DataFrame) -> Measured:
    """Frame selection metrics of rows of ``frame_selection_runs``; see ``frame_selection``."""
    many = partial(frame_selection.metrics, frame_selection.run_errors(runs))
    return Measured(many, runs["patient_id"].to_numpy(), frame_selection.why_undefined)


def of_localization(
    images: pd.DataFrame,
    detections: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    box_minimum: float = 0.0,
) -> Measured:
    """Clean localization metrics of one method.

    Those of ``localization.metrics`` at both thresholds; ``ap`` (at the IoU threshold), ``ap_coco``
    (mean over IoU .5 to .95), ``froc_<rate>`` and their mean ``froc`` over all scores.
    """
    at = partial(match_detections, images, detections, truth, box_minimum=box_minimum)
    matches, at_each = at(iou_threshold=iou_threshold), [at(iou_threshold=value) for value in ranking.IOU_THRESHOLDS]

    def many(weights: Float[np.ndarray, "b n"]) -> dict[str, Float[np.ndarray, " b"]]:
        result = localization.metrics(matches, weights, score_threshold=score_threshold)
        result["ap"] = ranking.average_precision(matches, weights)
        result["ap_coco"] = np.mean([ranking.average_precision(each, weights) for each in at_each], axis=0)
        froc = ranking.froc_sensitivity(matches, weights)
        return result | dict(zip(FROC_NAMES, froc.T, strict=True)) | {"froc": froc.mean(1)}

    return Measured(many, matches.images["patient_id"].to_numpy(), _why_not_localized)


def of_published(
    images: pd.DataFrame,
    detections: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    iou_threshold: float,
    box_minimum: float,
    rule: Rule = "as_published",
) -> Measured:
    """The four published localization numbers of one method; see ``published``."""
    counts = published.image_counts(
        images, detections, truth, iou_threshold=iou_threshold, box_minimum=box_minimum, rule=rule
    )
    return Measured(
        partial(published.metrics, counts), counts["patient_id"].to_numpy(), published.UNDEFINED.__getitem__
    )


def _why_not_localized(metric: str) -> str:
    return localization.UNDEFINED.get(metric, "no lesion")
