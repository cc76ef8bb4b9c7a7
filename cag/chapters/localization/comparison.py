"""Stenosis localization, CAM against FPN: every fold a task, both arms, one table of boxes.

The clean arm splits patients and gives every method the same images, boxes, IoU and way to its
operating point. The published arm splits images, keeps overlapping detections, and scores the CAM
on everything at a looser IoU (PROTOCOL section 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

from cag.chapters.localization.cam import CamMaterial, cam_fold
from cag.chapters.localization.classifiers import FoldClassifiers
from cag.chapters.localization.data import LesionFrames
from cag.chapters.localization.fpn import train_fold
from cag.chapters.localization.material import FpnSettings, LocalizationMaterial
from cag.chapters.localization.scores import PUBLISHED_SIZE, Scored, scoring_rule
from cag.chapters.localization.settings import (
    START_VIEW,
    LocalizationSettings,
    borrowed_cam_cells,
    borrowed_classifiers,
    cam_cells,
    find_classifiers,
    fpn_cells,
)
from cag.chapters.stages import record_stage
from cag.chapters.store import RunFolder, Store
from cag.chapters.tasks import Task, run_tasks
from cag.data.cohort import Cohort
from cag.data.splits import Arm
from cag.metrics.matching import match_detections
from cag.metrics.ranking import score_at_rate
from cag.networks.detector import PUBLISHED_DETECTOR

__all__ = ["Localization", "LocalizationSettings", "heatmap", "localize", "operating_points"]

NO_CLASSIFIER = (
    "not applicable: without images free of stenosis no classifier can be trained, and a CAM explains one; "
    "cam_profile may name a profile that lends its own"
)


@dataclass(frozen=True)
class Localization:
    """What the experiment found.

    Attributes
    ----------
    frames : LesionFrames
    images, detections, truth : DataFrame
        As published in the store: ``localization_images``, ``localization_detections`` (scored part),
        ``localization_truth``.
    operating : DataFrame
        ``arm, method, fold, score``: the score from which a box counts.
    sides : mapping of (arm, method) to Scored
    not_applicable : mapping of method to reason
    cam_folders : mapping of (arm, fold) to RunFolder
    material : LocalizationMaterial
        Frames and stored maps, for experiments that go on from here.
    cells : sequence of FpnSettings
        Settings of the detectors of the clean arm.
    """

    frames: LesionFrames
    images: pd.DataFrame
    detections: pd.DataFrame
    truth: pd.DataFrame
    operating: pd.DataFrame
    sides: Mapping[tuple[Arm, str], Scored]
    not_applicable: Mapping[str, str]
    cam_folders: Mapping[tuple[Arm, int], RunFolder]
    material: LocalizationMaterial
    cells: Sequence[FpnSettings]


def localize(cohort: Cohort, settings: LocalizationSettings, store: Store) -> Localization:
    """Train and score what is not stored yet, and publish images, detections and truth.

    Raises
    ------
    LabelError
        If the cohort has no boxes, or a fold no frame.
    InputError
        If the cohort has views and the classifiers of notebook 03 are missing.
    """
    classifiers = find_classifiers(cohort, settings, store)
    cells = fpn_cells(settings, classifiers)
    material = LocalizationMaterial(cohort, cells[0], settings.device)
    train = partial(_train, material=material, classifiers=classifiers)
    folders = run_tasks([Task("localization_fpn", cell, train) for cell in cells], cohort, store)
    cam_folders: dict[tuple[Arm, int], RunFolder] = {}
    borrowed = borrowed_classifiers(settings) if classifiers is None else None
    explained_by = classifiers or borrowed
    if explained_by is not None:
        shared = CamMaterial(cohort, material.frames, explained_by, settings.device)
        own = cam_cells(settings, explained_by) if borrowed is None else borrowed_cam_cells(settings, explained_by)
        work = partial(cam_fold, material=shared)
        done = run_tasks([Task("localization_cam", cell, work) for cell in own], cohort, store)
        cam_folders = {(cell.arm, cell.fold): folder for cell, folder in zip(own, done, strict=True)}
    record_stage(store, "localization", settings, cohort)
    reasons = {} if explained_by is not None else {"cam": NO_CLASSIFIER}
    tables = _gather(material.frames, [*folders, *cam_folders.values()], settings, store)
    clean = [cell for cell in cells if cell.arm == "clean"]
    return Localization(material.frames, *tables, reasons, cam_folders, material, clean)


def _train(
    cohort: Cohort,
    cell: FpnSettings,
    folder: RunFolder,
    *,
    material: LocalizationMaterial,
    classifiers: FoldClassifiers | None,
) -> None:
    trunk = classifiers.load(cell.fold, START_VIEW).trunk if classifiers and cell.start else None
    train_fold(cohort, cell, folder, material=material, trunk=trunk)


def _gather(
    frames: LesionFrames,
    folders: Sequence[RunFolder],
    settings: LocalizationSettings,
    store: Store,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[tuple[Arm, str], Scored]]:
    """Images, detections, truth and operating points, published, and what they give for each arm and method."""
    found = pd.concat([folder.load_table("detections") for folder in folders], ignore_index=True)
    found = found[(found.arm == "clean") | (found.method != "prior")]
    parts = pd.concat([_scored_parts(folder) for folder in folders], ignore_index=True).drop_duplicates()
    operating = store.publish("localization_operating", operating_points(frames, found, parts, settings))
    found = found.merge(operating, on=["arm", "method", "fold"])
    found = found.assign(operating=found.score >= found.threshold)
    outer = parts[parts.part == "outer"].drop(columns="part")
    images = store.publish("localization_images", frames.images.merge(outer, on="image_id"))
    detections = found[found.part == "outer"].drop(columns=["part", "threshold"])
    store.publish("localization_detections", detections)
    store.publish("localization_truth", frames.truth)
    sides: dict[tuple[Arm, str], Scored] = {}
    for arm, method in product(settings.arms, ("fpn", "cam", "prior")):
        own = images[(images.arm == arm) & (images.method == method)]
        boxes = detections[(detections.arm == arm) & (detections.method == method)]
        if len(own):
            rule = scoring_rule(arm, method, settings.iou, settings.box_minimum)
            sides[arm, method] = Scored(own, boxes, frames.truth, rule)
    return images, detections, frames.truth, operating, sides


def _scored_parts(folder: RunFolder) -> pd.DataFrame:
    """Part of each image for each method that a fold scores: image_id, part, arm, method, fold."""
    parts, cell = folder.load_table("parts"), folder.load_json("settings")
    methods = ["cam"] if "classifiers" in cell else ["fpn", "prior"] if cell["arm"] == "clean" else ["fpn"]
    parts = parts[parts.part.isin(["inner", "outer"])].assign(arm=cell["arm"], fold=cell["fold"])
    return pd.concat([parts.assign(method=method) for method in methods], ignore_index=True)


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
            same = (found.arm == arm) & (found.method == method) & (found.fold == fold)
            boxes = found[same & (found.part == "inner")]
            minimum = settings.box_minimum * settings.image_size / PUBLISHED_SIZE
            match = partial(match_detections, iou_threshold=settings.iou, box_minimum=minimum)
            threshold = score_at_rate(match(kept.images, boxes, kept.truth), settings.false_positives)
        rows.append((arm, method, fold, threshold))
    return pd.DataFrame(rows, columns=["arm", "method", "fold", "threshold"])


def heatmap(found: Localization, image_id: str, arm: Arm = "clean") -> np.ndarray | None:
    """The stored class activation of an image, 64 x 64 in 0-1; None where the CAM does not apply."""
    rows = found.images[
        (found.images.image_id == image_id) & (found.images.method == "cam") & (found.images.arm == arm)
    ]
    if rows.empty:
        return None
    folder = found.cam_folders[arm, int(rows.fold.iloc[0])]
    place = int(np.flatnonzero(found.frames.images.image_id == image_id)[0])
    return folder.load_weights("heatmaps")["heatmaps"][place].numpy() / 255
