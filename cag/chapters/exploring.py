"""Stored predictions as the explorers of the book need them: scores beside severity, boxes beside lesions, errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field

from cag.anatomy import TWO_CATEGORIES
from cag.chapters.classification.scores import labeled_frames, level_scores, outputs_of, system
from cag.chapters.localization.frames import PUBLISHED_SIZE
from cag.chapters.store import Store
from cag.data.cohort import Cohort
from cag.data.severity import artery_severity
from cag.metrics.boxes import corners, enlarge
from cag.metrics.matching import pairwise_iou
from cag.settings import InputError, StudySettings

#: Boxes of one method and image that the explorer keeps, best first; more would only lengthen the page.
KEPT_BOXES = 20


class ExploreSettings(StudySettings):
    """What notebook 09 is told: which of the stored systems it opens.

    Attributes
    ----------
    n_categories : int
        Categories of the classifiers shown.
    redundancy : bool
        Whether they had redundancy training.
    box_minimum : float
        Least side of a box, in pixels of a frame of 512.
    """

    n_categories: int = Field(2, ge=2, le=5)
    redundancy: bool = True
    box_minimum: float = Field(35.0, ge=0)


@dataclass(frozen=True)
class Overlaps:
    """What one method found: every box with its overlap with every lesion of its image.

    Attributes
    ----------
    images, lesions : int
        How many were asked about.
    boxes : DataFrame
        ``image`` (number), ``score``, ``pairs`` (list of (lesion, IoU), lesions numbered over all images).
    """

    images: int
    lesions: int
    boxes: pd.DataFrame


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


def score_groups(store: Store, cohort: Cohort, settings: ExploreSettings) -> dict[str, pd.DataFrame]:
    """Scores beside the reference: ``patient_id, score, percent_stenosis`` of patients, arteries and frames."""
    frames = outer_frames(store, settings)
    worst = artery_severity(cohort)
    reference = worst.assign(target=(worst["percent_stenosis"] >= TWO_CATEGORIES[0]).astype(int))
    groups = {"Patients": level_scores(frames, reference, "patient")}
    arteries = level_scores(frames, reference, "artery")
    for artery in ("LCA", "RCA"):
        groups[f"{artery}, arteries"] = arteries[arteries["artery"] == artery]
        groups[f"{artery}, frames"] = frames[frames["artery"] == artery]
    columns = ["patient_id", "score", "percent_stenosis"]
    return {name: table[columns].reset_index(drop=True) for name, table in groups.items() if len(table)}


def box_overlaps(store: Store, settings: ExploreSettings) -> dict[str, Overlaps]:
    """Boxes of every method of the clean arm, with their overlaps, best 20 an image."""
    images = stored(store, "localization_images").query("arm == 'clean'")
    truth, detections = stored(store, "localization_truth"), stored(store, "localization_detections")
    minimum = settings.box_minimum * float(images["width"].iloc[0]) / PUBLISHED_SIZE
    found = {}
    for method, own in images.groupby("method"):
        boxes = detections[(detections["arm"] == "clean") & (detections["method"] == method)]
        lesions = truth[truth["image_id"].isin(own["image_id"])].reset_index(drop=True)
        rows = [_image_overlaps(number, name, boxes, lesions, minimum) for number, name in enumerate(own["image_id"])]
        found[str(method)] = Overlaps(len(own), len(lesions), pd.concat(rows, ignore_index=True))
    return found


def _image_overlaps(
    number: int, image_id: str, boxes: pd.DataFrame, lesions: pd.DataFrame, minimum: float
) -> pd.DataFrame:
    own = boxes[boxes["image_id"] == image_id].nlargest(KEPT_BOXES, "score")
    true = lesions[lesions["image_id"] == image_id]
    iou = pairwise_iou(enlarge(corners(own), minimum), enlarge(corners(true), minimum))
    pairs = [_pairs(row, true.index.to_numpy()) for row in iou]
    return pd.DataFrame({"image": number, "score": own["score"].to_numpy(), "pairs": pairs})


def _pairs(row: Float[np.ndarray, " t"], lesions: np.ndarray) -> list[tuple[int, float]]:
    return [(int(lesion), round(float(iou), 3)) for lesion, iou in zip(lesions, row, strict=True) if iou >= 0.05]


def surest_errors(store: Store, settings: ExploreSettings, each: int = 2) -> pd.DataFrame:
    """The frames called most surely wrong, one a patient: false alarms first, then misses, of each artery.

    Returns
    -------
    DataFrame
        ``error`` ('false alarm', 'missed'), ``artery, view, run_id, frame, percent_stenosis, score``.
    """
    frames = outer_frames(store, settings)
    diseased = frames["target"].gt(0)
    wrong = frames.assign(
        error=np.where(diseased, "missed", "false alarm"), surety=np.where(diseased, 1 - frames.score, frames.score)
    )
    wrong = wrong[wrong["surety"] > 0.5].sort_values(
        ["error", "artery", "surety", "run_id"], ascending=[True, True, False, True]
    )
    wrong = wrong.drop_duplicates(["error", "artery", "patient_id"]).groupby(["error", "artery"]).head(each)
    columns = ["error", "artery", "view", "run_id", "frame", "percent_stenosis", "score"]
    return wrong[columns].reset_index(drop=True)
