"""COCO's average precision and recall: under many weightings at once, and by torchmetrics and pycocotools."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from cag.metrics.boxes import check_boxes, corners
from cag.metrics.localization import metrics
from cag.metrics.matching import Matches
from cag.metrics.ranking import IOU_THRESHOLDS, average_precision

_NAMES = {"ap": "map", "ap50": "map_50", "ap75": "map_75", "ar1": "mar_1", "ar10": "mar_10", "ar100": "mar_100"}


def coco_metrics(
    matches: Sequence[Matches], weights: Float[np.ndarray, "b n"] | None = None
) -> dict[str, Float[np.ndarray, " b"]]:
    """COCO's ``ap`` and ``ar`` (at most 100 detections an image) as means over matches at its ten overlaps.

    Parameters
    ----------
    matches : sequence of Matches
        At each of ``ranking.IOU_THRESHOLDS``; without any there is no result.
    weights : array [b, n], optional
        Over the images, the same in all of ``matches``.
    """
    if not matches:
        return {}
    precision = [average_precision(own, weights) for own in matches]
    recall = [metrics(own, weights)["recall"] for own in matches]
    return {"ap": np.mean(precision, axis=0), "ar": np.mean(recall, axis=0)}


def coco_scores(images: pd.DataFrame, detections: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """COCO's scores of one class, areas of every size.

    Parameters
    ----------
    images, detections, truth : DataFrame
        As for ``matching.match_detections``.

    Returns
    -------
    dict of float
        ``ap`` (mean over IoU .5 to .95), ``ap50, ap75``, ``ar1, ar10, ar100`` (mean recall with so many
        detections an image), 0 to 1; NaN without a lesion.

    Raises
    ------
    InputError
        Boxes that cannot be used, see ``boxes.check_boxes``.
    """
    check_boxes(images, detections, truth)
    # torchmetrics makes its default thresholds in float32, where a recall of 5 in 25 falls short of .20.
    metric = MeanAveragePrecision(
        iou_thresholds=list(IOU_THRESHOLDS), rec_thresholds=np.linspace(0, 1, 101).tolist(), backend="pycocotools"
    )
    metric.warn_on_many_detections = False
    found, lesions = detections.groupby("image_id").indices, truth.groupby("image_id").indices
    predictions, targets = [], []
    for image_id in sorted(images["image_id"]):
        rows = detections.iloc[found.get(image_id, [])]
        scores = torch.tensor(rows["score"].to_numpy(dtype=float))
        predictions.append(_boxes(rows) | {"scores": scores})
        targets.append(_boxes(truth.iloc[lesions.get(image_id, [])]))
    metric.update(predictions, targets)
    result = metric.compute()
    values = {name: float(result[key]) for name, key in _NAMES.items()}
    return {name: value if value >= 0 else float("nan") for name, value in values.items()}


def _boxes(rows: pd.DataFrame) -> dict[str, Tensor]:
    return {"boxes": torch.tensor(corners(rows)), "labels": torch.zeros(len(rows), dtype=torch.long)}
