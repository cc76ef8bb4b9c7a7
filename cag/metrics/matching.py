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
    """Detections matched one to one with lesions at one IoU threshold.

    Attributes
    ----------
    images : DataFrame
        As given, sorted by ``image_id``; weights of the metrics are over these rows.
    detections : DataFrame
        By falling score: the given columns and ``image`` (row of ``images``), ``truth`` (row of
        ``truth``, -1 for none), ``hit`` (bool), ``iou`` (with its lesion; for a miss, the largest
        with any lesion).
    truth : DataFrame
        The given columns and ``image``, ``found`` (bool), ``found_score``, ``found_iou``,
        ``distance`` (pixels between centers; all NaN where not found), ``diagonal`` (of the image, pixels).
    iou_threshold : float
    """

    images: pd.DataFrame
    detections: pd.DataFrame
    truth: pd.DataFrame
    iou_threshold: float


def match_detections(
    images: pd.DataFrame,
    detections: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    iou_threshold: float = 0.5,
    box_minimum: float = 0.0,
    rule: Rule = "clean",
    max_detections: int = MAX_DETECTIONS,
) -> Matches:
    """Match greedily, best score first, as COCO does.

    Each detection takes the lesion of highest IoU that is still free and reaches the threshold
    (of equal ones the later); a second detection of a lesion is a false positive. Detections of
    equal score are taken in the order of their coordinates, so that the order of rows is immaterial.

    Parameters
    ----------
    images : DataFrame
        ``image_id, patient_id, width, height`` and any other; images without boxes count too.
    detections : DataFrame
        ``image_id, x1, y1, x2, y2, score``.
    truth : DataFrame
        ``image_id, x1, y1, x2, y2`` and any other (``segment``, ``percent_stenosis``).
    iou_threshold : float, 0 to 1
    box_minimum : float
        Sides shorter than that many pixels are enlarged first, in truth and detections alike.
    rule : {'clean', 'as_published'}
        How boxes are enlarged, see ``enlarge``.
    max_detections : int
        Of each image only the highest scores are kept.

    Raises
    ------
    InputError
        Boxes that cannot be used, see ``check_boxes``.
    """
    check_boxes(images, detections, truth)
    images = images.sort_values("image_id", ignore_index=True)
    found = _prepare(detections, images, box_minimum, rule)
    found = found.sort_values(["score", "image", *CORNERS], ascending=[False] + [True] * 5, ignore_index=True)
    found = found[found.groupby("image").cumcount() < max_detections].reset_index(drop=True)
    lesions = _prepare(truth, images, box_minimum, rule)
    lesions = lesions.sort_values(["image", *CORNERS], kind="stable", ignore_index=True)
    partner, overlap = _match_all(found, lesions, iou_threshold)
    found = found.assign(truth=partner, hit=partner >= 0, iou=overlap)
    return Matches(images, found, _describe_truth(lesions, found, images), iou_threshold)


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


def _match_all(
    found: pd.DataFrame, lesions: pd.DataFrame, threshold: float
) -> tuple[Int[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    partner, overlap = np.full(len(found), -1), np.zeros(len(found))
    found_boxes, lesion_boxes = corners(found), corners(lesions)
    of_image = lesions.groupby("image").indices
    for image, rows in found.groupby("image").indices.items():
        if image not in of_image:
            continue
        own = of_image[image]
        iou = pairwise_iou(found_boxes[rows], lesion_boxes[own])
        match = match_image(iou, threshold)
        partner[rows] = np.where(match >= 0, own[match], -1)
        overlap[rows] = np.where(match >= 0, iou[np.arange(len(rows)), match], iou.max(1))
    return partner, overlap


def _describe_truth(lesions: pd.DataFrame, found: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    hits = found[found["hit"]]
    rows = hits["truth"].to_numpy()
    score, overlap, distance = (np.full(len(lesions), np.nan) for _ in range(3))
    score[rows], overlap[rows] = hits["score"], hits["iou"]
    distance[rows] = np.linalg.norm(centers(corners(hits)) - centers(corners(lesions))[rows], axis=1)
    diagonal = np.hypot(images["width"].to_numpy(dtype=float), images["height"].to_numpy(dtype=float))
    return lesions.assign(
        found=np.isfinite(overlap),
        found_score=score,
        found_iou=overlap,
        distance=distance,
        diagonal=diagonal[lesions["image"].to_numpy()],
    )
