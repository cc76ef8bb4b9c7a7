"""Clean localization metrics, all from one table of matches and under many weightings of the images at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.metrics import cohen_kappa_score

from cag.errors import InputError
from cag.metrics.boxes import corners
from cag.metrics.intervals import wilson
from cag.metrics.matching import Matches, match_image, pairwise_iou
from cag.metrics.weighted import ratio

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


def lesion_agreement(
    first: Matches, second: Matches, *, first_threshold: float = 0.0, second_threshold: float = 0.0
) -> dict[str, float]:
    """How far two methods find the same lesions of the same truth.

    Returns
    -------
    dict
        ``both, only_first, only_second, neither`` (lesions), ``kappa`` (Cohen's; NaN where both
        find all or both find none).

    Raises
    ------
    InputError
        The two were matched with different true boxes.
    """
    own, other = first.truth, second.truth
    if len(own) != len(other) or not (own["image_id"].to_numpy() == other["image_id"].to_numpy()).all():
        raise InputError("the two methods were matched with different true boxes", field="truth")
    a = (own["found"] & (own["found_score"] >= first_threshold)).to_numpy()
    b = (other["found"] & (other["found_score"] >= second_threshold)).to_numpy()
    kappa = cohen_kappa_score(a, b) if len(np.union1d(a, b)) > 1 else float("nan")
    table = {"both": a & b, "only_first": a & ~b, "only_second": ~a & b, "neither": ~a & ~b}
    return {name: float(rows.sum()) for name, rows in table.items()} | {"kappa": float(kappa)}


def box_agreement(
    first: pd.DataFrame, second: pd.DataFrame, images: pd.DataFrame, *, iou_threshold: float = 0.5
) -> pd.DataFrame:
    """How far two sets of boxes (methods, or readers) agree, whatever the truth.

    Parameters
    ----------
    first, second : DataFrame
        ``image_id, x1, y1, x2, y2``; the first's rows are matched in order of ``score`` where there is one.
    images : DataFrame
        ``image_id, patient_id``.

    Returns
    -------
    DataFrame
        ``image_id, patient_id, n_first, n_second, pairs``: agreement is 2 pairs / (n_first + n_second), the F1
        of one set against the other.
    """
    if "score" in first:
        first = first.sort_values("score", ascending=False, kind="stable")
    boxes, rows = (corners(first), corners(second)), (first.groupby("image_id"), second.groupby("image_id"))
    found = []
    for image_id in images["image_id"]:
        a, b = (box[group.indices.get(image_id, [])] for box, group in zip(boxes, rows, strict=True))
        pairs = int((match_image(pairwise_iou(a, b), iou_threshold) >= 0).sum()) if len(a) and len(b) else 0
        found.append((len(a), len(b), pairs))
    sums = pd.DataFrame(found, columns=["n_first", "n_second", "pairs"], index=images.index)
    return pd.concat([images[["image_id", "patient_id"]], sums], axis=1)


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
