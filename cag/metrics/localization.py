"""Clean localization metrics, all from one table of matches and under many weightings of the images at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.metrics.boxes import corners
from cag.metrics.matching import Matches
from cag.metrics.weighted import ratio


def metrics(matches: Matches, weights: Float[np.ndarray, "b n"] | None = None) -> dict[str, Float[np.ndarray, " b"]]:
    """Metrics of all matched detections.

    ``recall`` (lesions found), ``precision`` (detections that found one; duplicates are false),
    ``f1``, ``image_sensitivity`` (images with lesions in which at least one was found),
    ``false_positives`` (an image), ``distance_found`` (pixels between centers of found lesions and
    their detections), ``distance_with_misses`` (a lesion not found counts the image's diagonal).

    Parameters
    ----------
    matches : Matches
    weights : array [b, n], optional
        Over ``matches.images``.

    Returns
    -------
    dict of arrays [b]
        NaN where undefined.
    """
    n, truth = len(matches.images), matches.truth
    weights = np.ones((1, n)) if weights is None else weights

    def summed(image: pd.Series, values: pd.Series | float = 1.0) -> Float[np.ndarray, " n"]:
        return np.bincount(image, np.broadcast_to(values, len(image)), minlength=n).astype(float)

    lesions, found = summed(truth["image"]), summed(truth["image"], truth["found"])
    boxes, hits = (summed(matches.detections["image"], of) for of in (1.0, matches.detections["hit"]))
    near = summed(truth["image"], truth["distance"].fillna(0.0))
    missed = summed(truth["image"], truth["diagonal"].mask(truth["found"], 0.0))
    sums = np.column_stack([lesions, found, lesions > 0, found > 0, near, missed, boxes, hits])
    lesions, found, any_lesion, any_found, near, missed, boxes, hits = (weights @ sums).T
    return {
        "recall": ratio(found, lesions),
        "precision": ratio(hits, boxes),
        "f1": ratio(2 * found, lesions + boxes),
        "image_sensitivity": ratio(any_found, any_lesion),
        "false_positives": ratio(boxes - hits, weights.sum(1)),
        "distance_found": ratio(near, found),
        "distance_with_misses": ratio(near + missed, lesions),
    }


def recall_by(
    matches: Matches, column: str, weights: Float[np.ndarray, "b n"], *, bins: Sequence[float] | None = None
) -> pd.DataFrame:
    """Share of lesions found, by a property of the lesion (severity, segment, size, foreshortening).

    Parameters
    ----------
    column : str
        A column of ``matches.truth``, or ``size``: the square root of the box's area in pixels.
    weights : array [b, n]
        Resamples of the images (``intervals.resample_weights`` of their patients); their percentiles are
        the 95 % interval.
    bins : increasing numbers, optional
        Edges [low, high); each value is its own stratum when not given. Lesions outside all bins,
        or without a value, are left out.

    Returns
    -------
    DataFrame
        ``<column>, n, found, recall, low, high``.
    """
    truth = matches.truth
    if column == "size":
        box = corners(truth)
        truth = truth.assign(size=np.sqrt((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])))
    strata = truth[column] if bins is None else pd.cut(truth[column], list(bins), right=False)
    rows = []
    for value, own in truth.groupby(strata, observed=True, sort=True):
        resampled = weights[:, own["image"]]
        drawn = ratio(resampled @ own["found"].to_numpy(), resampled.sum(1))
        drawn = drawn[np.isfinite(drawn)]
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
        rows.append((value, len(own), int(own["found"].sum()), own["found"].mean(), low, high))
    return pd.DataFrame(rows, columns=[column, "n", "found", "recall", "low", "high"])
