"""What the localization experiment is told, and the settings of each of its folds."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import Literal

from pydantic import Field

from cag.chapters.localization.anchors import scaled_preset
from cag.chapters.localization.cam import BorrowedCamSettings, CamSettings
from cag.chapters.localization.classifiers import FoldClassifiers
from cag.chapters.localization.data import FrameChoice
from cag.chapters.localization.material import FpnSettings
from cag.chapters.stages import load_stage
from cag.chapters.store import Store
from cag.data.cohort import Cohort
from cag.data.splits import Arm
from cag.networks.cam import CamMethod
from cag.networks.detector import DetectorSettings
from cag.networks.training import FitSettings
from cag.networks.trunk import Trainable
from cag.settings import ROOT, SettingsError, StudySettings

#: The classifier whose trunk a detector of all views starts from: that of the view with most segments.
START_VIEW = "LCA RAO caudal"


class LocalizationSettings(StudySettings):
    """What notebook 06 is told.

    Attributes
    ----------
    manifest : str
        As everywhere; a folder of a public set will do, and ``$NAME`` stands for an environment variable.
    image_size : int
        Width and height of a frame as the networks see it (pixels).
    folds : int
        Patient folds; those of notebook 03 where the CAM takes part.
    arms : sequence of {'clean', 'as_published'}
    min_percent : float
        Least percent stenosis of a box that counts.
    frames_per_run : int
        Frames taken from each run, spread over those that have a box.
    max_images : int
        Most frames in all, whole patients; 0 takes every one.
    trainable : {'all', 'head'}
        ``all`` starts from the fold's classifier and trains every layer, as published; ``head`` keeps the
        initial trunk frozen, and trains pyramid and heads on its maps.
    anchors : {'fitted', 'published'}
        Preset of anchors and losses (``models.stenosis_detector.DETECTOR_PRESETS``).
    channels : int
        Width of the pyramid and of the heads.
    epochs, patience, batch_size, learning_rate, clip_norm, schedule : see ``engine.FitSettings``
    augmented_copies : int
        Augmented copies of each image whose maps are kept, where the trunk is frozen.
    box_minimum : float
        Least side of a box in the clean arm, in pixels of a frame of 512.
    iou : float
        Overlap that counts as found in the clean arm.
    false_positives : float
        False boxes an image at which the clean operating point is set, on inner images.
    cam_method : {'gradcam', 'hirescam', 'layercam'}
    cam_profile : str
        Results folder whose classifiers explain the frames of a cohort that can train none (one without
        views, such as ARCADE); empty leaves the CAM out there.
    transfer_manifest : str
        Another cohort, as ``manifest``: detectors are trained on either, tested on the other, and
        fine-tuned; empty leaves the transfer out.
    """

    image_size: int = Field(256, ge=96, le=1024)
    folds: int = Field(4, ge=2, le=20)
    arms: tuple[Arm, ...] = ("clean", "as_published")
    min_percent: float = Field(25.0, gt=0, le=100)
    frames_per_run: int = Field(2, ge=1)
    max_images: int = Field(0, ge=0)
    trainable: Trainable = "head"
    backbone: str = "inception_v3"
    anchors: Literal["fitted", "published"] = "fitted"
    channels: int = Field(64, ge=8)
    epochs: int = Field(12, ge=1)
    patience: int = Field(12, ge=1)
    batch_size: int = Field(4, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    clip_norm: float = Field(1.0, ge=0)
    schedule: Literal["constant", "one_cycle"] = "one_cycle"
    augmented_copies: int = Field(2, ge=0)
    box_minimum: float = Field(35.0, ge=0)
    iou: float = Field(0.5, gt=0, lt=1)
    false_positives: float = Field(1.0, gt=0)
    cam_method: CamMethod = "gradcam"
    cam_profile: str = ""
    transfer_manifest: str = ""

    @property
    def manifest_path(self) -> Path:
        """The manifest or public folder, from the project's root, environment variables filled in.

        Raises
        ------
        SettingsError
            For a variable that is not set.
        """
        filled = os.path.expandvars(self.manifest)
        if "$" in filled:
            remedy = "Set it to the folder that holds the public sets, or give the path: -p manifest PATH"
            raise SettingsError(f"{self.manifest!r} names a variable that is not set", field="manifest", remedy=remedy)
        return (ROOT / filled).resolve()


def find_classifiers(cohort: Cohort, settings: LocalizationSettings, store: Store) -> FoldClassifiers | None:
    """The classifiers of this cohort's folds; None for a cohort without views, where none can be trained."""
    if not cohort.manifest["view"].notna().any():
        return None
    return FoldClassifiers.find(store, cohort.digest(), folds=settings.folds, seed=settings.seed)


def borrowed_classifiers(settings: LocalizationSettings) -> FoldClassifiers | None:
    """The classifiers of another profile's cohort, for a cohort that can train none; None where none are named.

    Raises
    ------
    InputError
        If that profile has no trained classifiers.
    """
    if not settings.cam_profile:
        return None
    store = Store(ROOT / "results" / settings.cam_profile)
    stage = load_stage(store, "classification")
    folds, seed = int(stage.settings["folds"]), int(stage.settings["seed"])
    return FoldClassifiers.find(store, stage.cohort_digest, folds=folds, seed=seed)


def frame_choice(settings: LocalizationSettings, classifiers: FoldClassifiers | None) -> FrameChoice:
    """Which frames take part: only views that have a classifier, where there are any."""
    names = set(FrameChoice.model_fields) - {"model_views"}
    return FrameChoice(**settings.model_dump(include=names), model_views=classifiers.views if classifiers else ())


def fpn_cells(settings: LocalizationSettings, classifiers: FoldClassifiers | None) -> list[FpnSettings]:
    """Settings of every fold of the detector, the clean arm first."""
    names = {"folds", "seed", "weights", "backbone", "trainable", "iou"}
    shared = settings.model_dump(include=names) | {
        "choice": frame_choice(settings, classifiers),
        "detector": detector_settings(settings),
        "fit": FitSettings.checked(settings.model_dump(include=set(FitSettings.model_fields))),
        "copies": settings.augmented_copies,
        "box_minimum": settings.box_minimum * settings.image_size / 512,
    }
    cells = []
    for arm, fold in product(settings.arms, range(settings.folds)):
        start = classifiers.cells[fold, START_VIEW] if classifiers and settings.trainable == "all" else None
        cells.append(FpnSettings(**shared, arm=arm, fold=fold, start=start))
    return cells


def detector_settings(settings: LocalizationSettings) -> DetectorSettings:
    """The preset's anchors, scaled from the size they are meant for to this image size."""
    preset = scaled_preset(settings.anchors, settings.image_size)
    # Average precision needs the low scores as well; the published arm cuts and suppresses in its own way.
    kept = {"score_threshold": 0.02, "nms_threshold": preset.nms_threshold or 0.5, "max_detections": 50}
    return preset.model_copy(update={"channels": settings.channels, **kept})


def borrowed_cam_cells(settings: LocalizationSettings, classifiers: FoldClassifiers) -> list[CamSettings]:
    """Settings of every clean fold explained by the first fold's classifiers of another cohort."""
    own = classifiers.cells
    return [
        BorrowedCamSettings(
            choice=frame_choice(settings, None),
            arm="clean",
            fold=fold,
            folds=settings.folds,
            seed=settings.seed,
            method=settings.cam_method,
            classifiers=tuple(own[0, view] for view in classifiers.views),
            box_minimum=settings.box_minimum * settings.image_size / 512,
            iou=settings.iou,
            borrowed_from=classifiers.cohort_digest,
        )
        for fold in range(settings.folds)
    ]


def cam_cells(settings: LocalizationSettings, classifiers: FoldClassifiers) -> list[CamSettings]:
    """Settings of every fold of the CAM; as published the first fold's classifiers score everything."""
    pairs = [(arm, fold) for arm in settings.arms for fold in range(settings.folds if arm == "clean" else 1)]
    return [
        CamSettings(
            choice=frame_choice(settings, classifiers),
            arm=arm,
            fold=fold,
            folds=settings.folds,
            seed=settings.seed,
            method=settings.cam_method,
            classifiers=tuple(classifiers.cells[fold, view] for view in classifiers.views),
            box_minimum=settings.box_minimum * settings.image_size / 512,
            iou=settings.iou,
        )
        for arm, fold in pairs
    ]
