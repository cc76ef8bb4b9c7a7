"""Frames worth looking at: the best, a typical one, a missed lesion, a false box, each with its sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torchvision.ops import box_iou

from cag.chapters.localization.data import boxes_by_image
from cag.chapters.localization.failures import describe_lesion
from cag.metrics.boxes import CORNERS

CASES = ("best", "typical", "missed", "false")


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Best IoU of each of ``boxes`` ``[n, 4]`` with any of ``others`` ``[m, 4]``; 0 where there is none."""
    if not len(boxes) or not len(others):
        return np.zeros(len(boxes), "float32")
    return box_iou(torch.as_tensor(boxes), torch.as_tensor(others)).max(dim=1).values.numpy()


def choose_cases(images: pd.DataFrame, truth: pd.DataFrame, detections: pd.DataFrame) -> pd.DataFrame:
    """Pick one image for each of ``CASES`` by rule, so that no one picks by eye.

    ``best`` has every lesion found with the highest least overlap; ``typical`` the median of the
    mean overlap; ``missed`` the most severe lesion that no box touches (the largest where severity is
    unknown); ``false`` the box of highest score that touches no lesion. A case that does not occur is left out.

    Parameters
    ----------
    images, truth, detections : DataFrame
        One method's boxes above its operating score, and the truth, in working pixels.

    Returns
    -------
    DataFrame with case, image_id and sentence.
    """
    true, found = boxes_by_image(truth, images.image_id), boxes_by_image(detections, images.image_id)
    recall = [overlaps(boxes, others) for boxes, others in zip(true, found, strict=True)]
    summary = images[["image_id"]].assign(
        least=[x.min() if len(x) else 0.0 for x in recall],
        mean=[x.mean() if len(x) else 0.0 for x in recall],
        lesions=[len(x) for x in recall],
        found=[int((x > 0).sum()) for x in recall],
    )
    rows = [*_best(summary), *_typical(summary), *_missed(truth, recall, images), *_false(images, detections, true)]
    return pd.DataFrame(rows, columns=["case", "image_id", "sentence"])


def _best(summary: pd.DataFrame) -> Sequence[tuple[str, str, str]]:
    row = summary.sort_values(["least", "image_id"], ascending=[False, True]).iloc[0]
    if row["least"] == 0:
        return []
    lesions = "its lesion" if row["lesions"] == 1 else f"all {row['lesions']} lesions"
    return [("best", str(row["image_id"]), f"Best: {lesions} found, least overlap (IoU) {row['least']:.2f}")]


def _typical(summary: pd.DataFrame) -> Sequence[tuple[str, str, str]]:
    ordered = summary.sort_values(["mean", "image_id"], ignore_index=True)
    row = ordered.iloc[len(ordered) // 2]
    touched = f"{row['found']} of {row['lesions']} lesions touched by a box, mean overlap {row['mean']:.2f}"
    return [("typical", str(row["image_id"]), f"Typical: {touched}")]


def _missed(truth: pd.DataFrame, recall: list[np.ndarray], images: pd.DataFrame) -> Sequence[tuple[str, str, str]]:
    order = pd.Categorical(truth.image_id, categories=images.image_id)
    ordered = truth.assign(order=order).sort_values("order", kind="stable")
    lost = ordered[np.concatenate(recall) == 0]
    if lost.empty:
        return []
    area = (lost.x2 - lost.x1) * (lost.y2 - lost.y1)
    known = lost.percent_stenosis.astype(float)
    row = lost.loc[known.idxmax() if known.notna().any() else area.idxmax()]
    told = f"Missed: {describe_lesion(row)} that no box above the operating score touches"
    return [("missed", str(row["image_id"]), told)]


def _false(images: pd.DataFrame, detections: pd.DataFrame, true: list[np.ndarray]) -> Sequence[tuple[str, str, str]]:
    lookup = dict(zip(images.image_id, true, strict=True))
    for row in detections.sort_values("score", ascending=False).itertuples():
        box = np.array([[getattr(row, corner) for corner in CORNERS]], "float32")
        if overlaps(box, lookup[row.image_id])[0] == 0:
            return [("false", str(row.image_id), f"False: a box of score {row.score:.2f} that touches no lesion")]
    return []
