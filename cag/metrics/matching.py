"""Which detection found which lesion: the table from which all clean localization metrics are computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torchvision.ops import box_iou

from cag.metrics.boxes import CORNERS, Rule, centers, check_boxes, corners, enlarge

#: COCO keeps this many detections an image.
MAX_DETECTIONS = 100


@dataclass(frozen=True)
class Matches:
    """Detections matched one to one with lesions at one IoU threshold."""

    images: pd.DataFrame  # As given, sorted by ``image_id``; weights of the metrics are over these rows
    #: By falling score: the given columns and ``image`` (row of ``images``), ``truth`` (row of ``truth``, -1 for
    #: none), ``hit`` (bool).
    detections: pd.DataFrame
    #: The given columns and ``image``, ``found`` (bool), ``distance`` (pixels between centers, NaN where not found),
    #: ``diagonal`` (of the image, pixels).
    truth: pd.DataFrame


def match_detections(
    images: pd.DataFrame,
    detections: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    iou_threshold: float = 0.5,
    box_minimum: float = 0.0,
    rule: Rule = "clean",
) -> Matches:
    """Match greedily, best score first, as COCO does.

    Each detection takes the lesion of highest IoU that is still free and reaches the threshold
    (of equal ones the later); a second detection of a lesion is a false positive. Detections of
    equal score are taken in the order of their coordinates, so that the order of rows is immaterial.

    Parameters
    ----------
    images : DataFrame
        ``image_id, patient_id, width, height`` and any other; images without boxes count too.
    detections, truth : DataFrame
        ``image_id, x1, y1, x2, y2`` and any other; of the detections also ``score``, and of each image the
        ``MAX_DETECTIONS`` highest are kept. Boxes that cannot be used are refused (``check_boxes``).
    box_minimum : float
        Sides shorter than that many pixels are enlarged first by the ``rule`` of ``enlarge``, in both tables.
    """
    check_boxes(images, detections, truth)
    images = images.sort_values("image_id", ignore_index=True)
    found, lesions = (_prepare(table, images, box_minimum, rule) for table in (detections, truth))
    found = found.sort_values(["score", "image", *CORNERS], ascending=[False] + [True] * 5, ignore_index=True)
    found = found[found.groupby("image").cumcount() < MAX_DETECTIONS].reset_index(drop=True)
    lesions = lesions.sort_values(["image", *CORNERS], kind="stable", ignore_index=True)
    partner = _partners(found, lesions, iou_threshold)
    hit, distance = partner >= 0, np.full(len(lesions), np.nan)
    apart = centers(corners(found))[hit] - centers(corners(lesions))[partner[hit]]
    distance[partner[hit]] = np.linalg.norm(apart, axis=1)
    diagonal = np.hypot(images["width"].to_numpy(dtype=float), images["height"].to_numpy(dtype=float))
    lesions = lesions.assign(found=np.isfinite(distance), distance=distance, diagonal=diagonal[lesions["image"]])
    return Matches(images, found.assign(truth=partner, hit=hit), lesions)


def match_image(iou: Float[np.ndarray, "d t"], threshold: float) -> Int[np.ndarray, " d"]:
    """Lesion of each detection, -1 for none; the detections come best first."""
    free = np.ones(iou.shape[1], dtype=bool)
    partner = np.full(len(iou), -1)
    for row, overlaps in enumerate(iou):
        open_overlaps = np.where(free, overlaps, -1.0)
        best = len(free) - 1 - int(open_overlaps[::-1].argmax())
        if open_overlaps[best] >= threshold:
            partner[row], free[best] = best, False
    return partner


def pairwise_iou(first: Float[np.ndarray, "n 4"], second: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every pair of boxes (torchvision); 0 with a box that has no area."""
    iou = box_iou(torch.as_tensor(first), torch.as_tensor(second)).numpy()
    return np.nan_to_num(iou, copy=False)


def _prepare(table: pd.DataFrame, images: pd.DataFrame, minimum: float, rule: Rule) -> pd.DataFrame:
    place = pd.Index(images["image_id"]).get_indexer(pd.Index(table["image_id"]))
    boxes = enlarge(corners(table), minimum, rule)
    return table.assign(image=place, **dict(zip(CORNERS, boxes.T, strict=True)))


def _partners(found: pd.DataFrame, lesions: pd.DataFrame, threshold: float) -> Int[np.ndarray, " d"]:
    """Row of the lesion of each detection, -1 for none."""
    partner, of_image = np.full(len(found), -1), lesions.groupby("image").indices
    found_boxes, lesion_boxes = corners(found), corners(lesions)
    for image, rows in found.groupby("image").indices.items():
        if image in of_image:
            own = of_image[image]
            match = match_image(pairwise_iou(found_boxes[rows], lesion_boxes[own]), threshold)
            partner[rows] = np.where(match >= 0, own[match], -1)
    return partner
