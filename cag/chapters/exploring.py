"""Stored predictions as the explorers of the book need them: scores beside severity, boxes beside lesions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cag.chapters.classification.scores import labeled_frames, leading, level_scores, outputs_of
from cag.chapters.localization.frames import working_pixels
from cag.chapters.store import Store
from cag.metrics.boxes import corners, enlarge
from cag.metrics.matching import pairwise_iou
from cag.settings import InputError

#: Boxes of one method and image that the explorer keeps, best first, and the least overlap that it keeps: more would
#: only lengthen the page.
KEPT_BOXES, LEAST_OVERLAP = 20, 0.05
#: Least side of a box, in pixels of a 512 px frame.
BOX_MINIMUM = 35.0


def stored(store: Store, name: str) -> pd.DataFrame:
    """A published table of this profile. Raises `InputError` if the notebook that makes it has not run."""
    path = store.table(name)
    if not path.exists():
        raise InputError("was not computed yet", file=path.name, remedy="Run the earlier notebooks of this profile")
    return pd.read_parquet(path)


def outer_frames(store: Store) -> pd.DataFrame:
    """Out-of-fold frames of the leading system with ``score``, the probability of any stenosis (clean arm)."""
    rows = labeled_frames(leading(stored(store, "classification")))
    return rows.assign(score=np.clip(outputs_of(rows).score, 0, 1))


def score_groups(store: Store) -> dict[str, pd.DataFrame]:
    """Scores beside the reference: ``patient_id, score, percent_stenosis`` of patients, arteries and frames."""
    frames, reference = outer_frames(store), stored(store, "classification_reference")
    groups = {"Patients": level_scores(frames, reference, "patient")}
    arteries = level_scores(frames, reference, "artery")
    for artery in ("LCA", "RCA"):
        groups[f"{artery}, arteries"] = arteries[arteries["artery"] == artery]
        groups[f"{artery}, frames"] = frames[frames["artery"] == artery]
    columns = ["patient_id", "score", "percent_stenosis"]
    return {name: table[columns].reset_index(drop=True) for name, table in groups.items() if len(table)}


def box_overlaps(store: Store, box_minimum: float = BOX_MINIMUM) -> dict[str, dict[str, Any]]:
    """What each method of the clean arm found: how many ``images`` and ``lesions``, and its ``boxes``, best first.

    A box is ``[image, score, pairs]``, a pair a lesion and the overlap (IoU) with it; images and lesions are numbered.
    """
    images = stored(store, "localization_images").query("arm == 'clean'")
    detections = stored(store, "localization_detections").query("arm == 'clean'")
    truth, minimum = stored(store, "localization_truth"), working_pixels(box_minimum, int(images["width"].iloc[0]))
    found = {}
    for method, own in images.groupby("method"):
        boxes = detections[detections["method"] == method]
        lesions, rows = truth[truth["image_id"].isin(own["image_id"])].reset_index(drop=True), []
        for number, name in enumerate(own["image_id"]):
            best = boxes[boxes["image_id"] == name].nlargest(KEPT_BOXES, "score")
            true = lesions[lesions["image_id"] == name]
            overlaps = pairwise_iou(enlarge(corners(best), minimum), enlarge(corners(true), minimum))
            for score, row in zip(best["score"], overlaps, strict=True):
                pairs = [(lesion, round(float(iou), 3)) for lesion, iou in zip(true.index, row, strict=True)]
                rows.append([number, score, [pair for pair in pairs if pair[1] >= LEAST_OVERLAP]])
        rows.sort(key=lambda row: (-row[1], row[0]))
        shown = [[number, float(f"{score:.5g}"), pairs] for number, score, pairs in rows]
        found[str(method)] = {"images": len(own), "lesions": len(lesions), "boxes": shown}
    return found
