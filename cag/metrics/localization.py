"""Clean localization metrics, all from one table of matches and under many weightings of the images at once.

At one score threshold, and over all of them: average precision and the free-response curve (FROC).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.sparse import csr_array

from cag.metrics.matching import Matches
from cag.metrics.weighted import ratio

#: The IoU thresholds that COCO averages over.
IOU_THRESHOLDS = tuple(float(value) for value in np.linspace(0.5, 0.95, 10).round(2))

_RECALLS = np.linspace(0.0, 1.0, 101)


def metrics(matches: Matches, weights: Float[np.ndarray, "b n"] | None = None) -> dict[str, Float[np.ndarray, " b"]]:
    """Metrics of all matched detections.

    ``recall`` (lesions found), ``precision`` (detections that found one; duplicates are false),
    ``f1``, ``image_sensitivity`` (images with lesions in which at least one was found),
    ``false_positives`` (an image), ``distance_found`` (pixels between centers of found lesions and
    their detections), ``distance_with_misses`` (a lesion not found counts the image's diagonal).
    NaN where undefined; the weights are over ``matches.images``.
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


def average_precision(matches: Matches, weights: Float[np.ndarray, "b n"] | None = None) -> Float[np.ndarray, " b"]:
    """COCO's average precision at the IoU of the matches: interpolated precision at 101 recalls; NaN without a lesion.

    Equal to pycocotools at that IoU (``precision[..., all areas, 100 detections]``), and fast enough
    for thousands of weightings of the images.
    """
    weights = np.ones((1, len(matches.images))) if weights is None else weights
    found, alarms = _cumulative(matches, matches.detections, weights)
    precision = np.nan_to_num(ratio(found, found + alarms))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.hstack([best, np.zeros((len(best), 1))])
    lesions = _lesions(matches, weights)
    recall = ratio(found, lesions[:, None])
    reached = [row_best[np.searchsorted(row, _RECALLS)] for row, row_best in zip(recall, best, strict=True)]
    return np.where(lesions > 0, np.mean(reached, axis=1), np.nan)


def coco_metrics(
    matches: Sequence[Matches], weights: Float[np.ndarray, "b n"] | None = None
) -> dict[str, Float[np.ndarray, " b"]]:
    """COCO's ``ap`` and ``ar`` as means over matches of the same images at each of ``IOU_THRESHOLDS``; none without."""
    if not matches:
        return {}
    precision = [average_precision(own, weights) for own in matches]
    recall = [metrics(own, weights)["recall"] for own in matches]
    return {"ap": np.mean(precision, axis=0), "ar": np.mean(recall, axis=0)}


def froc_sensitivity(
    matches: Matches, weights: Float[np.ndarray, "b n"], rates: Sequence[float]
) -> Float[np.ndarray, "b r"]:
    """Share of lesions found at the lowest threshold that keeps within so many false positives an image.

    A second detection of a lesion is a false positive; every listed image counts, with lesions or
    without. A detector that never reaches a rate is given the sensitivity of all its detections.
    NaN without a lesion.
    """
    found, alarms = _cumulative(matches, _by_threshold(matches), weights)
    found = np.hstack([np.zeros((len(found), 1)), found])
    limits = np.outer(weights.sum(1), rates)
    steps = np.stack([np.searchsorted(row, limit, side="right") for row, limit in zip(alarms, limits, strict=True)])
    return ratio(np.take_along_axis(found, steps, axis=1), _lesions(matches, weights)[:, None])


def score_at_rate(matches: Matches, rate: float) -> float:
    """The lowest score threshold that keeps within so many false positives an image; infinite where none does."""
    detections = _by_threshold(matches)
    false = (~detections["hit"]).cumsum().groupby(detections["score"]).max()
    return float(min(false.index[false / len(matches.images) <= rate], default=np.inf))


def _by_threshold(matches: Matches) -> pd.DataFrame:
    """Detections by falling score; among equal scores the false first, so that no threshold splits them."""
    return matches.detections.sort_values(["score", "hit"], ascending=[False, True], kind="stable", ignore_index=True)


def _lesions(matches: Matches, weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
    return weights @ np.bincount(matches.truth["image"], minlength=len(matches.images))


def _cumulative(
    matches: Matches, detections: pd.DataFrame, weights: Float[np.ndarray, "b n"]
) -> tuple[Float[np.ndarray, "b h"], Float[np.ndarray, "b h"]]:
    """Weight of lesions found and of false detections up to each hit, in the order of ``detections``.

    Only hits move either curve's maximum, so that the false ones between two hits are added at once.
    """
    hit, image = detections["hit"].to_numpy(dtype=bool), detections["image"].to_numpy()
    step = np.cumsum(hit) - hit
    n_hits, n_images = int(hit.sum()), len(matches.images)

    def spread(rows: np.ndarray) -> Float[np.ndarray, "b h"]:
        cells = csr_array((np.ones(len(rows)), (step[rows], image[rows])), shape=(n_hits + 1, n_images))
        return np.cumsum((cells @ weights.T).T[:, :n_hits], axis=1)

    return spread(np.flatnonzero(hit)), spread(np.flatnonzero(~hit))
