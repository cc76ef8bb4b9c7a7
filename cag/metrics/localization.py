"""Clean localization metrics, all from one table of matches and under many weightings of the images at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.metrics.boxes import corners
from cag.metrics.intervals import wilson
from cag.metrics.matching import Matches
from cag.metrics.weighted import ratio
from cag.settings import InputError

#: Why a metric is NaN, by its name.
UNDEFINED: dict[str, str] = {
    "recall": "no lesion",
    "precision": "no detection",
    "f1": "neither lesion nor detection",
    "image_sensitivity": "no image with a lesion",
    "false_positives": "no image",
    "distance_found": "no lesion found",
    "distance_with_misses": "no lesion",
}


def metrics(
    matches: Matches, weights: Float[np.ndarray, "b n"] | None = None, *, score_threshold: float = 0.0
) -> dict[str, Float[np.ndarray, " b"]]:
    """Metrics at one score threshold.

    ``recall`` (lesions found), ``precision`` (detections that found one; duplicates are false),
    ``f1``, ``image_sensitivity`` (images with lesions in which at least one was found),
    ``false_positives`` (an image), ``distance_found`` (pixels between centers of found lesions and
    their detections), ``distance_with_misses`` (a lesion not found counts the image's diagonal).

    Parameters
    ----------
    matches : Matches
    weights : array [b, n], optional
        Over ``matches.images``.
    score_threshold : float
        Detections below it are ignored. Greedy matching by falling score makes that exact.

    Returns
    -------
    dict of arrays [b]
        NaN where undefined, for the reason in ``UNDEFINED``.
    """
    weights = np.ones((1, len(matches.images))) if weights is None else weights
    sums = dict(zip(_COLUMNS, (weights @ _image_sums(matches, score_threshold)).T, strict=True))
    far = sums["distance"] + sums["missed_diagonal"]
    return {
        "recall": ratio(sums["found"], sums["lesions"]),
        "precision": ratio(sums["hits"], sums["detections"]),
        "f1": ratio(2 * sums["found"], sums["lesions"] + sums["detections"]),
        "image_sensitivity": ratio(sums["any_found"], sums["any_lesion"]),
        "false_positives": ratio(sums["detections"] - sums["hits"], weights.sum(1)),
        "distance_found": ratio(sums["distance"], sums["found"]),
        "distance_with_misses": ratio(far, sums["lesions"]),
    }


def recall_by(
    matches: Matches,
    column: str,
    *,
    bins: Sequence[float | int] | None = None,
    score_threshold: float = 0.0,
    weights: Float[np.ndarray, "b n"] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Share of lesions found, by a property of the lesion (severity, segment, size, foreshortening).

    Parameters
    ----------
    column : str
        A column of ``matches.truth``, or ``size``: the square root of the box's area in pixels.
    bins : increasing numbers, optional
        Edges [low, high); each value is its own stratum when not given. Lesions outside all bins,
        or without a value, are left out.
    weights : array [b, n], optional
        Resamples of the images (``intervals.resample_weights`` of their patients); the
        percentiles are the interval. Without them it is Wilson's, which takes lesions as independent.

    Returns
    -------
    DataFrame
        ``<column>, n, found, recall, low, high``.

    Raises
    ------
    InputError
        No such column.
    """
    truth = matches.truth
    if column == "size":
        box = corners(truth)
        truth = truth.assign(size=np.sqrt((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])))
    if column not in truth:
        raise InputError("true boxes have no such column", field=column)
    found = (truth["found"] & (truth["found_score"] >= score_threshold)).to_numpy()
    strata = truth[column] if bins is None else pd.cut(truth[column], list(bins), right=False)
    rows = []
    for value, index in truth.groupby(strata, observed=True, sort=True).indices.items():
        share = wilson(int(found[index].sum()), len(index), level)
        low, high = share.low, share.high
        if weights is not None:
            own = weights[:, truth["image"].to_numpy()[index]]
            drawn = ratio(own @ found[index], own.sum(1))
            drawn = drawn[np.isfinite(drawn)]
            low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) if len(drawn) else (np.nan, np.nan)
        rows.append((value, len(index), int(found[index].sum()), share.value, low, high))
    return pd.DataFrame(rows, columns=[column, "n", "found", "recall", "low", "high"])


_COLUMNS = ("lesions", "found", "any_lesion", "any_found", "distance", "missed_diagonal", "detections", "hits")


def _image_sums(matches: Matches, score_threshold: float) -> Float[np.ndarray, "n m"]:
    """The sums of each image that the metrics are ratios of, by ``_COLUMNS``."""
    n = len(matches.images)
    truth, detections = matches.truth, matches.detections[matches.detections["score"] >= score_threshold]
    found = (truth["found"] & (truth["found_score"] >= score_threshold)).to_numpy()
    image = truth["image"].to_numpy()

    def per_image(values: Float[np.ndarray, " l"]) -> Float[np.ndarray, " n"]:
        return np.bincount(image, values, minlength=n).astype(float)

    lesions, hits = per_image(np.ones(len(truth))), per_image(found.astype(float))
    distance = per_image(np.where(found, truth["distance"].to_numpy(), 0.0))
    missed = per_image(np.where(found, 0.0, truth["diagonal"].to_numpy()))
    boxes = detections["image"].to_numpy()
    every = np.bincount(boxes, minlength=n)
    true = np.bincount(boxes, detections["hit"].to_numpy(dtype=float), minlength=n)
    return np.column_stack([lesions, hits, lesions > 0, hits > 0, distance, missed, every, true]).astype(float)
