"""How far two methods, or two readers, agree: on the lesions they find, and on the boxes they draw."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.metrics.boxes import corners
from cag.metrics.matching import Matches, match_image, pairwise_iou
from cag.metrics.weighted import ratio
from cag.settings import InputError

LESION_COLUMNS = ("both", "only_first", "only_second", "neither")

#: Why a metric is NaN, by its name.
UNDEFINED: dict[str, str] = {"kappa": "both find all lesions or both none", "box_f1": "no box of either"}


def lesion_agreement(first: Matches, second: Matches) -> pd.DataFrame:
    """Lesions of each image that two methods found, of the same truth.

    Returns
    -------
    DataFrame
        ``image_id, patient_id`` and the counts of ``LESION_COLUMNS``, a row an image, sorted by ``image_id``.

    Raises
    ------
    InputError
        The two were matched with different images or true boxes.
    """
    same_images = first.images["image_id"].tolist() == second.images["image_id"].tolist()
    if not same_images or first.truth["image_id"].tolist() != second.truth["image_id"].tolist():
        raise InputError("the two methods were matched with different true boxes", field="truth")
    a, b = (side.truth["found"].to_numpy() for side in (first, second))
    image, n = first.truth["image"].to_numpy(), len(first.images)
    kinds = zip(LESION_COLUMNS, (a & b, a & ~b, ~a & b, ~a & ~b), strict=True)
    sums = {name: np.bincount(image[rows], minlength=n) for name, rows in kinds}
    return first.images[["image_id", "patient_id"]].assign(**sums)


def lesion_metrics(
    counts: pd.DataFrame, weights: Float[np.ndarray, "b n"] | None = None
) -> dict[str, Float[np.ndarray, " b"]]:
    """Shares of ``LESION_COLUMNS`` among all lesions, and Cohen's ``kappa``, under many weightings of the images.

    Cohen 1960: agreement beyond the one that the two recalls alone would give.
    """
    weights = np.ones((1, len(counts))) if weights is None else weights
    both, first, second, neither = (weights @ counts[list(LESION_COLUMNS)].to_numpy(dtype=float)).T
    total = both + first + second + neither
    observed = ratio(both + neither, total)
    chance = ratio((both + first) * (both + second) + (neither + second) * (neither + first), total**2)
    shares = {
        name: ratio(part, total) for name, part in zip(LESION_COLUMNS, (both, first, second, neither), strict=True)
    }
    return shares | {"kappa": ratio(observed - chance, 1 - chance)}


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
        ``image_id, patient_id, n_first, n_second, pairs``, in the order of ``images``.
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


def box_f1(counts: pd.DataFrame, weights: Float[np.ndarray, "b n"] | None = None) -> Float[np.ndarray, " b"]:
    """2 pairs / (boxes of the first + boxes of the second): the F1 of one set against the other, either way."""
    weights = np.ones((1, len(counts))) if weights is None else weights
    first, second, pairs = (weights @ counts[["n_first", "n_second", "pairs"]].to_numpy(dtype=float)).T
    return ratio(2 * pairs, first + second)
