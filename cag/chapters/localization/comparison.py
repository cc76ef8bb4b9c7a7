"""CAM against FPN: every fold a task, both arms (book/study/methods), one table of boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from cag.chapters.bundle import export_part
from cag.chapters.classification.operating import Classifiers
from cag.chapters.localization.cam import CamSettings, cam_fold
from cag.chapters.localization.frames import LesionFrames, choose_frames
from cag.chapters.localization.scores import Scored, scoring_rule
from cag.chapters.localization.settings import LocalizationSettings, cam_cells, fpn_cells
from cag.chapters.localization.training import KIND, FpnSettings, train_fold
from cag.chapters.store import RunFolder, Store, run_tasks
from cag.data.cohort import Cohort
from cag.data.splits import Arm, LeakError, fold_strata, patient_folds
from cag.metrics.localization import score_at_rate
from cag.networks.detector import PUBLISHED_DETECTOR

#: Settings and folder of a finished fold.
Fold = tuple[FpnSettings | CamSettings, RunFolder]


@dataclass(frozen=True)
class Localization:
    """What the experiment found."""

    frames: LesionFrames
    folds: Sequence[Fold]  #: The detectors of the clean arm come first.
    images: pd.DataFrame  #: Scored images of every arm, method and fold.
    detections: pd.DataFrame  #: Their boxes, with ``operating``.
    operating: pd.DataFrame  #: ``arm, method, fold, threshold``: the score from which a box counts.
    sides: Mapping[tuple[Arm, str], Scored]

    def detectors(self) -> list[tuple[FpnSettings, RunFolder]]:
        """Settings and folder of the clean arm's detector of each fold."""
        return [(own, at) for own, at in self.folds if isinstance(own, FpnSettings) and own.arm == "clean"]

    def heat(self) -> dict[str, np.ndarray]:
        """The class activation of each image in the clean arm, 64 x 64 in 0-1; empty where there is no CAM."""
        heat: dict[str, np.ndarray] = {}
        for cell, folder in self.folds:
            if isinstance(cell, CamSettings) and cell.arm == "clean":
                maps, parts = folder.load_weights("heatmaps")["heatmaps"], folder.load_table("parts")
                heat |= {parts.image_id[row]: maps[row].numpy() / 255 for row in np.flatnonzero(parts.part == "outer")}
        return heat


def localize(cohort: Cohort, settings: LocalizationSettings, store: Store) -> Localization:
    """Train and score what is not stored yet, and publish images, detections, operating points and truth."""
    own = own_classifiers(cohort, settings, store)
    lent = own or (Classifiers.of(store.root.parent / settings.cam_profile) if settings.cam_profile else None)
    folds = train_detectors(fpn_cells(settings, own), cohort, store)
    if lent:
        cells = cam_cells(settings, lent, borrowed=own is None)
        folds += zip(cells, run_tasks("localization_cam", cam_fold, cells, cohort, store), strict=True)
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
    """The classifiers of this cohort's folds; None for a cohort without views, where none can be trained.

    Raises `LeakError` if, being of another cohort or of other folds, they may have seen patients they would be asked.
    """
    if not cohort.manifest["view"].notna().any():
        return None
    lent = Classifiers.of(store.root)
    folds = patient_folds(fold_strata(cohort), settings.folds, settings.seed).set_index("patient_id").fold
    known = pd.Series(lent.part.facts["folds"])
    if lent.part.cohort_digest != cohort.digest() or (folds.reindex(known.index) != known).any():
        problem = f"the classifiers are not of this cohort in {settings.folds} folds, seed {settings.seed}"
        raise LeakError(problem, field="folds", remedy="Run notebook 03 with this cohort, folds and seed first")
    return lent


def train_detectors(cells: Sequence[FpnSettings], cohort: Cohort, store: Store) -> list[Fold]:
    """Folds of the detector, trained where they are not stored yet."""
    return list(zip(cells, run_tasks(KIND, train_fold, cells, cohort, store), strict=True))


def gather(cohort: Cohort, folds: Sequence[Fold], settings: LocalizationSettings) -> Localization:
    """What finished folds found, with the operating points that their inner images give.

    From the operating score on a box counts. ``clean``: the lowest that keeps to ``false_positives`` false boxes an
    image on the inner images. ``as_published``: .35 for the FPN; every box of the CAM.
    """
    frames = choose_frames(cohort, folds[0][0].choice)
    images, detections, operating = [], [], []
    for cell, folder in folds:
        parts = folder.load_table("parts").set_index("image_id").part
        found = folder.load_table("detections")
        inner = frames.take(np.flatnonzero(frames.images.image_id.map(parts) == "inner"))
        methods = ["cam"] if isinstance(cell, CamSettings) else ["fpn", "prior"] if cell.arm == "clean" else ["fpn"]
        for method in methods:
            boxes = found[found.method == method]
            part = boxes.image_id.map(parts)
            threshold = PUBLISHED_DETECTOR.score_threshold if method == "fpn" else 0.0
            if cell.arm == "clean":
                matches = inner.match(boxes[part == "inner"], settings.iou, settings.least_side)
                threshold = score_at_rate(matches, settings.false_positives)
            key = {"arm": cell.arm, "fold": cell.fold, "method": method}
            operating.append({"arm": cell.arm, "method": method, "fold": cell.fold, "threshold": threshold})
            images.append(parts[parts == "outer"].reset_index()[["image_id"]].assign(**key))
            detections.append(boxes[part == "outer"].assign(**key, operating=boxes.score >= threshold))
    scored = frames.images.merge(pd.concat(images), on="image_id")
    boxes = pd.concat(detections, ignore_index=True)
    sides = {}
    for arm, method in product(settings.arms, ("fpn", "cam", "prior")):
        own, counted = (table[(table.arm == arm) & (table.method == method)] for table in (scored, boxes))
        if len(own):
            rule = scoring_rule(arm, method, settings.iou, settings.box_minimum)
            sides[arm, method] = Scored(own, counted, frames.truth, rule)
    return Localization(frames, folds, scored, boxes, pd.DataFrame(operating), sides)
