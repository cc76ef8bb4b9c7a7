"""Stored predictions as the explorers of the book need them: scores beside severity, boxes beside lesions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from cag.chapters.classification.scores import labeled_frames, level_scores, outputs_of, system
from cag.chapters.localization.frames import PUBLISHED_SIZE
from cag.chapters.store import Store
from cag.metrics.boxes import corners, enlarge
from cag.metrics.matching import pairwise_iou
from cag.settings import InputError, StudySettings

#: Boxes of one method and image that the explorer keeps, best first, and the least overlap that it keeps: more would
#: only lengthen the page.
KEPT_BOXES, LEAST_OVERLAP = 20, 0.05


class ExploreSettings(StudySettings):
    """What notebook 09 is told: which of the stored systems it opens, and the least side of a box (512 px frame)."""

    n_categories: int = Field(2, ge=2, le=5)
    redundancy: bool = True
    box_minimum: float = Field(35.0, ge=0)


def stored(store: Store, name: str) -> pd.DataFrame:
    """A published table of this profile.

    Raises
    ------
    InputError
        If the notebook that makes it has not run.
    """
    path = store.table(name)
    if not path.exists():
        raise InputError("was not computed yet", file=path.name, remedy="Run the earlier notebooks of this profile")
    return pd.read_parquet(path)


def outer_frames(store: Store, settings: ExploreSettings) -> pd.DataFrame:
    """Out-of-fold frames of the chosen system with ``score``, the probability of any stenosis (clean arm).

    Raises
    ------
    InputError
        If that system is not among the stored predictions.
    """
    table = stored(store, "classification")
    rows = system(labeled_frames(table), settings.n_categories, settings.redundancy)
    if rows.empty:
        problem = f"{settings.n_categories} categories, redundancy {settings.redundancy}: no such predictions"
        raise InputError(problem, field="n_categories", remedy="Choose a system that notebook 03 has trained")
    return rows.assign(score=np.clip(outputs_of(rows).score, 0, 1))


def score_groups(store: Store, settings: ExploreSettings) -> dict[str, pd.DataFrame]:
    """Scores beside the reference: ``patient_id, score, percent_stenosis`` of patients, arteries and frames."""
    frames, reference = outer_frames(store, settings), stored(store, "classification_reference")
    groups = {"Patients": level_scores(frames, reference, "patient")}
    arteries = level_scores(frames, reference, "artery")
    for artery in ("LCA", "RCA"):
        groups[f"{artery}, arteries"] = arteries[arteries["artery"] == artery]
        groups[f"{artery}, frames"] = frames[frames["artery"] == artery]
    columns = ["patient_id", "score", "percent_stenosis"]
    return {name: table[columns].reset_index(drop=True) for name, table in groups.items() if len(table)}


def box_overlaps(store: Store, settings: ExploreSettings) -> dict[str, dict[str, Any]]:
    """What each method of the clean arm found: how many ``images`` and ``lesions``, and its ``boxes``, best first.

    A box is ``[image, score, pairs]``, a pair a lesion and the overlap (IoU) with it; images and lesions are numbered.
    """
    images = stored(store, "localization_images").query("arm == 'clean'")
    detections = stored(store, "localization_detections").query("arm == 'clean'")
    truth = stored(store, "localization_truth")
    minimum = settings.box_minimum * float(images["width"].iloc[0]) / PUBLISHED_SIZE
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
