"""What notebook 06 is told, and what each fold of its two methods is told."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import Literal

from pydantic import Field

from cag.chapters.classification.operating import Classifiers
from cag.chapters.localization.cam import CamSettings
from cag.chapters.localization.frames import FrameChoice, working_pixels
from cag.chapters.localization.training import FpnSettings
from cag.data.splits import Arm
from cag.networks.cam import CamMethod
from cag.networks.detector import DETECTOR_PRESETS, DetectorSettings
from cag.networks.training import FitSettings
from cag.networks.trunk import Trainable
from cag.settings import ROOT, SettingsError, StudySettings

#: The classifier whose trunk a detector of all views starts from: that of the view with most segments.
START_VIEW = "LCA RAO caudal"
#: The presets of anchors are meant for frames of these sizes.
PRESET_SIZES = {"published": 512, "fitted": 256}


class LocalizationSettings(StudySettings, FrameChoice):
    """What notebook 06 is told; in ``manifest``, also a public set's folder, ``$NAME`` is an environment variable."""

    folds: int = Field(4, ge=2, le=20)  #: Patient folds; those of notebook 03 where the CAM takes part.
    arms: tuple[Arm, ...] = ("clean", "as_published")
    #: ``all`` starts from the fold's classifier, where it has this trunk, and trains every layer, as published;
    #: ``head`` keeps the initial trunk frozen, and trains pyramid and heads on its maps.
    trainable: Trainable = "head"
    backbone: str = "inception_v3"
    anchors: Literal["fitted", "published"] = "fitted"  #: Preset of anchors and losses, ``DETECTOR_PRESETS``.
    channels: int = Field(64, ge=8)  #: Width of the pyramid and of the heads.
    epochs: int = Field(12, ge=1)  #: This and the next five: see ``networks.training.FitSettings``.
    patience: int = Field(12, ge=1)
    batch_size: int = Field(4, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    clip_norm: float = Field(1.0, ge=0)
    schedule: Literal["constant", "one_cycle"] = "one_cycle"
    augmented_copies: int = Field(2, ge=0)  #: Of each image, where the trunk is frozen: their maps are kept.
    box_minimum: float = Field(35.0, ge=0)  #: Least side of a box in the clean arm, in pixels of a frame of 512.
    iou: float = Field(0.5, gt=0, lt=1)  #: Overlap that counts as found in the clean arm.
    false_positives: float = Field(1.0, gt=0)  #: False boxes an inner image at the clean operating point.
    cam_method: CamMethod = "gradcam"
    #: Results folder whose classifiers explain the frames of a cohort that can train none (one without views, such
    #: as ARCADE); empty leaves the CAM out there.
    cam_profile: str = ""
    #: Another cohort, as ``manifest``: detectors are trained on either, tested on the other, and fine-tuned.
    transfer_manifest: str = ""

    @property
    def manifest_path(self) -> Path:
        """The manifest or public folder, from the project's root; a `SettingsError` for a variable that is not set."""
        filled = os.path.expandvars(self.manifest)
        if "$" in filled:
            remedy = "Set it to the folder that holds the public sets, or give the path: -p manifest PATH"
            raise SettingsError(f"{self.manifest!r} names a variable that is not set", field="manifest", remedy=remedy)
        return (ROOT / filled).resolve()

    @property
    def least_side(self) -> float:
        """Least side of a box in the clean arm, in working pixels."""
        return working_pixels(self.box_minimum, self.image_size)

    def choice(self, own: Classifiers | None) -> FrameChoice:
        """Which frames take part: only views that have a classifier of this cohort, where there are any."""
        views = {"model_views": own.views} if own else {}
        return FrameChoice(**self.model_dump(include=set(FrameChoice.model_fields)) | views)

    def detector(self) -> DetectorSettings:
        """The preset's anchors, scaled from the size they are meant for to this image size."""
        preset, factor = DETECTOR_PRESETS[self.anchors], self.image_size / PRESET_SIZES[self.anchors]
        # Average precision needs the low scores as well; the published arm cuts and suppresses in its own way.
        kept = {"score_threshold": 0.02, "nms_threshold": preset.nms_threshold or 0.5, "max_detections": 50}
        sizes = tuple(size * factor for size in preset.anchor_sizes)
        return preset.model_copy(update={"anchor_sizes": sizes, "channels": self.channels, **kept})


def fpn_cells(settings: LocalizationSettings, own: Classifiers | None) -> list[FpnSettings]:
    """Settings of every fold of the detector, the clean arm first."""
    shared = settings.model_dump(include={"folds", "seed", "weights", "backbone", "trainable", "iou"}) | {
        "choice": settings.choice(own),
        "detector": settings.detector(),
        "fit": FitSettings.checked(settings.model_dump(include=set(FitSettings.model_fields))),
        "copies": settings.augmented_copies,
        "box_minimum": settings.least_side,
    }
    cells = []
    for arm, fold in product(settings.arms, range(settings.folds)):
        classifier = own.cells[fold, START_VIEW][1] if own and settings.trainable == "all" else None
        start = classifier if classifier and classifier.backbone == settings.backbone else None
        cells.append(FpnSettings(**shared, arm=arm, fold=fold, start=start))
    return cells


def cam_cells(settings: LocalizationSettings, lent: Classifiers, *, borrowed: bool) -> list[CamSettings]:
    """Settings of every fold of the CAM; published once, by the first fold's classifiers, and not by borrowed ones."""
    shared = settings.model_dump(include={"folds", "seed", "iou"}) | {
        "choice": settings.choice(None if borrowed else lent),
        "method": settings.cam_method,
        "lender": settings.cam_profile if borrowed else "",
        "classifiers": tuple(cell for _, cell in lent.cells.values()),
        "trained_on": lent.part.cohort_digest,
        "box_minimum": settings.least_side,
    }
    arms = [arm for arm in settings.arms if arm == "clean" or not borrowed]
    pairs = [(arm, fold) for arm in arms for fold in range(settings.folds if arm == "clean" else 1)]
    return [CamSettings(**shared, arm=arm, fold=fold) for arm, fold in pairs]
