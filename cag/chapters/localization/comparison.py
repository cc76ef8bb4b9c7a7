"""CAM against FPN: every fold a task, both arms, one table of boxes.

The clean arm splits patients and gives every method the same images, boxes, IoU and way to its operating point. The
published arm splits images, keeps overlapping detections, and scores the CAM on everything at a looser IoU
(book/study/methods).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

from cag.chapters.bundle import export_part
from cag.chapters.localization.cam import CamSettings, cam_fold
from cag.chapters.localization.classifiers import Classifiers
from cag.chapters.localization.frames import LesionFrames, choose_frames
from cag.chapters.localization.scores import Scored, scoring_rule
from cag.chapters.localization.settings import LocalizationSettings, cam_cells, fpn_cells
from cag.chapters.localization.training import FpnSettings, train_fold
from cag.chapters.store import RunFolder, Store, run_tasks
from cag.data.cohort import Cohort
from cag.data.splits import Arm
from cag.metrics.localization import score_at_rate
from cag.metrics.matching import match_detections
from cag.networks.detector import PUBLISHED_DETECTOR
from cag.settings import InputError

#: A finished fold: its method, its settings, its folder.
Fold = tuple[str, FpnSettings | CamSettings, RunFolder]


@dataclass(frozen=True)
class Localization:
    """What the experiment found.

    Attributes
    ----------
    frames : LesionFrames
    folds : sequence of Fold
        The detectors of the clean arm come first.
    images, detections : DataFrame
        Scored images of every arm, method and fold; their boxes, with ``operating``.
    operating : DataFrame
        ``arm, method, fold, threshold``: the score from which a box counts.
    sides : mapping of (arm, method) to Scored
    """

    frames: LesionFrames
    folds: Sequence[Fold]
    images: pd.DataFrame
    detections: pd.DataFrame
    operating: pd.DataFrame
    sides: Mapping[tuple[Arm, str], Scored]

    def detectors(self) -> list[tuple[FpnSettings, RunFolder]]:
        """Settings and folder of the clean arm's detector of each fold."""
        return [(own, at) for _, own, at in self.folds if isinstance(own, FpnSettings) and own.arm == "clean"]

    def heat(self, image_id: str) -> np.ndarray | None:
        """The stored class activation of an image in the clean arm, 64 x 64 in 0-1; None where there is no CAM."""
        own = self.images.query("image_id == @image_id and method == 'cam' and arm == 'clean'")
        folders = {cell.fold: at for method, cell, at in self.folds if (method, cell.arm) == ("cam", "clean")}
        if own.empty:
            return None
        place = int(np.flatnonzero(self.frames.images.image_id == image_id)[0])
        return folders[int(own.fold.iloc[0])].load_weights("heatmaps")["heatmaps"][place].numpy() / 255


def localize(cohort: Cohort, settings: LocalizationSettings, store: Store) -> Localization:
    """Train and score what is not stored yet, and publish images, detections, operating points and truth.

    Raises
    ------
    LabelError
        If the cohort has no boxes, or a fold no frame.
    InputError
        If the cohort has views and the classifiers of notebook 03 are missing or of other folds.
    """
    own = own_classifiers(cohort, settings, store)
    lent = own or (Classifiers.of(store.root.parent / settings.cam_profile) if settings.cam_profile else None)
    folds = train_detectors(cohort, settings, own, store)
    if lent:
        cells = cam_cells(settings, lent, borrowed=own is None)
        done = run_tasks("localization_cam", cam_fold, cells, cohort, store)
        folds += [("cam", cell, at) for cell, at in zip(cells, done, strict=True)]
    found = gather(cohort, folds, settings)
    for name in ("images", "detections", "operating"):
        store.publish(f"localization_{name}", getattr(found, name))
    store.publish("localization_truth", found.frames.truth)
    return found


def export_detectors(found: Localization, cohort: Cohort, settings: LocalizationSettings, store: Store) -> None:
    """Put the detectors of the clean arm into the profile's bundle, each with its settings and operating score."""
    points = found.operating.query("arm == 'clean' and method == 'fpn'").set_index("fold").threshold
    named = {f"detector-{cell.fold}": (cell, folder) for cell, folder in found.detectors()}
    facts = {
        "cells": {name: cell.model_dump(mode="json") for name, (cell, _) in named.items()},
        "thresholds": {name: float(points[cell.fold]) for name, (cell, _) in named.items()},
    }
    weights = {name: folder.load_weights("detector") for name, (_, folder) in named.items()}
    export_part(store, "localization", settings=settings, cohort=cohort, weights=weights, facts=facts)


def own_classifiers(cohort: Cohort, settings: LocalizationSettings, store: Store) -> Classifiers | None:
    """The classifiers of this cohort's folds; None for a cohort without views, where none can be trained."""
    if not cohort.manifest["view"].notna().any():
        return None
    lent = Classifiers.of(store.root)
    trained = (lent.part.cohort_digest, lent.part.settings["folds"], lent.part.settings["seed"])
    if trained != (cohort.digest(), settings.folds, settings.seed):
        problem = (
            f"the classifiers of notebook 03 are not of this cohort in {settings.folds} folds, seed {settings.seed}"
        )
        raise InputError(problem, field="folds", remedy="Run notebook 03 with this cohort, folds and seed first")
    return lent


def train_detectors(
    cohort: Cohort, settings: LocalizationSettings, own: Classifiers | None, store: Store
) -> list[Fold]:
    """Every fold of the detector, trained where it is not stored yet."""
    cells = fpn_cells(settings, own)
    done = run_tasks("localization_fpn", train_fold, cells, cohort, store)
    return [("fpn", cell, at) for cell, at in zip(cells, done, strict=True)]


def gather(cohort: Cohort, folds: Sequence[Fold], settings: LocalizationSettings) -> Localization:
    """What finished folds found, with the operating points that their inner images give."""
    frames = choose_frames(cohort, folds[0][1].choice)
    found = pd.concat([at.load_table("detections") for _, _, at in folds], ignore_index=True)
    found = found[(found.arm == "clean") | (found.method != "prior")]
    parts = pd.concat([_scored_parts(*fold) for fold in folds], ignore_index=True)
    operating = operating_points(frames, found, parts, settings)
    found = found.merge(operating, on=["arm", "method", "fold"])
    found = found.assign(operating=found.score >= found.threshold)
    images = frames.images.merge(parts[parts.part == "outer"].drop(columns="part"), on="image_id")
    detections = found[found.part == "outer"].drop(columns=["part", "threshold"])
    sides: dict[tuple[Arm, str], Scored] = {}
    for arm, method in product(settings.arms, ("fpn", "cam", "prior")):
        own = images[(images.arm == arm) & (images.method == method)]
        boxes = detections[(detections.arm == arm) & (detections.method == method)]
        if len(own):
            sides[arm, method] = Scored(
                own, boxes, frames.truth, scoring_rule(arm, method, settings.iou, settings.box_minimum)
            )
    return Localization(frames, folds, images, detections, operating, sides)


def _scored_parts(method: str, cell: FpnSettings | CamSettings, folder: RunFolder) -> pd.DataFrame:
    """Part of each image for each method that a fold scores: image_id, part, arm, method, fold."""
    methods = ["fpn", "prior"] if (method, cell.arm) == ("fpn", "clean") else [method]
    parts = folder.load_table("parts").query("part in ['inner', 'outer']").assign(arm=cell.arm, fold=cell.fold)
    return pd.concat([parts.assign(method=name) for name in methods], ignore_index=True)


def operating_points(
    frames: LesionFrames, found: pd.DataFrame, parts: pd.DataFrame, settings: LocalizationSettings
) -> pd.DataFrame:
    """The score from which a box counts, for each arm, method and fold.

    ``clean``: the lowest score that keeps to ``false_positives`` false boxes an image on the inner images.
    ``as_published``: .35 for the FPN; every box of the CAM.
    """
    rows = []
    for (arm, method, fold), own in parts.groupby(["arm", "method", "fold"], sort=False):
        threshold = PUBLISHED_DETECTOR.score_threshold if method == "fpn" else 0.0
        if arm == "clean":
            inner = own.image_id[own.part == "inner"]
            kept = frames.take(np.flatnonzero(frames.images.image_id.isin(inner)))
            boxes = found[(found.arm == arm) & (found.method == method) & (found.fold == fold)]
            match = partial(match_detections, iou_threshold=settings.iou, box_minimum=settings.least_side)
            matches = match(kept.images, boxes[boxes.part == "inner"], kept.truth)
            threshold = score_at_rate(matches, settings.false_positives)
        rows.append((arm, method, fold, threshold))
    return pd.DataFrame(rows, columns=["arm", "method", "fold", "threshold"])
