"""The four localization numbers of the publication, exactly as its code computes them.

They appear only beside the clean metrics: one lesion may be matched by any number of detections,
none of which is wrong for it, and the "MSE" is a mean distance that forgets lesions nobody looked at.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.spatial.distance import cdist

from cag.metrics.boxes import Rule, centers, check_boxes, corners, enlarge
from cag.metrics.matching import pairwise_iou
from cag.metrics.weighted import ratio

_COLUMNS = ["any_lesion", "any_found", "lesions", "found", "detections", "overlapping", "measured", "distance"]


def image_counts(
    images: pd.DataFrame,
    detections: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    iou_threshold: float,
    box_minimum: float = 0.0,
    rule: Rule = "as_published",
) -> pd.DataFrame:
    """The sums of each image that the published numbers are ratios of, one row an image, sorted by ``image_id``.

    Tables, ``box_minimum`` (published: 50 for the FPN, 75 for the CAM), ``rule`` and refusals are those of
    ``matching.match_detections``. An overlap counts above ``iou_threshold`` ("IoU > 0.5"): .5 for the FPN; .1 for the
    CAM, which the paper calls .2.
    """
    check_boxes(images, detections, truth)
    found, lesions = (enlarge(corners(table), box_minimum, rule) for table in (detections, truth))
    of_found, of_lesions = (table.groupby("image_id").indices for table in (detections, truth))
    rows = [
        _image_sums(found[of_found.get(name, [])], lesions[of_lesions.get(name, [])], iou_threshold)
        for name in images["image_id"].sort_values()
    ]
    return pd.DataFrame(np.reshape(rows, (len(images), len(_COLUMNS))), columns=_COLUMNS)


def metrics(
    counts: pd.DataFrame, weights: Float[np.ndarray, "b n"] | None = None
) -> dict[str, Float[np.ndarray, " b"]]:
    """The published numbers, under many weightings of the images at once; NaN where undefined.

    ``global_sensitivity`` is the share of images (with a lesion; all of theirs have one) in which at
    least one lesion is overlapped, ``sens_s`` the share of lesions that are, ``spec_s`` the share of
    detections that overlap any lesion (duplicates forgiven), ``mse`` the mean distance in pixels from
    each detection's center to the nearest true center of its image; lesions without a detection cost nothing.
    """
    weights = np.ones((1, len(counts))) if weights is None else weights
    sums = dict(zip(_COLUMNS, (weights @ counts[_COLUMNS].to_numpy(dtype=float)).T, strict=True))
    return {
        "global_sensitivity": ratio(sums["any_found"], sums["any_lesion"]),
        "sens_s": ratio(sums["found"], sums["lesions"]),
        "spec_s": ratio(sums["overlapping"], sums["detections"]),
        "mse": ratio(sums["distance"], sums["measured"]),
    }


def _image_sums(
    found: Float[np.ndarray, "d 4"], lesions: Float[np.ndarray, "t 4"], threshold: float
) -> Float[np.ndarray, " m"]:
    if not len(found) or not len(lesions):
        return np.array([len(lesions) > 0, 0, len(lesions), 0, len(found), 0, 0, 0], dtype=float)
    over, nearest = pairwise_iou(found, lesions) > threshold, cdist(centers(found), centers(lesions)).min(1)
    overlapped = over.any(), len(lesions), over.any(0).sum(), len(found), over.any(1).sum()
    return np.array([True, *overlapped, len(found), nearest.sum()], dtype=float)
