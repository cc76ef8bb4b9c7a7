"""Who trains, who chooses, who is scored: patient folds, or the published image folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from cag.data.cohort import Cohort
from cag.data.severity import low_quality, patient_severity
from cag.data.splits import inner_split, leaky_image_folds, patient_folds
from cag.settings import LabelError

Arm = Literal["clean", "as_published"]
ARMS: tuple[Arm, Arm] = ("clean", "as_published")
PARTS = ("train", "inner", "outer", "left out")


def fold_strata(cohort: Cohort) -> dict[str, int]:
    """What stratifies the patients' folds: severity as in classification, one stratum where none is known."""
    if not len(cohort.lesions):
        return dict.fromkeys(cohort.manifest.patient_id.unique(), 0)
    return patient_severity(cohort)


@dataclass(frozen=True)
class Split:
    """One fold of a split: how it is drawn, which of how many, from which seed."""

    arm: Arm
    fold: int
    folds: int
    seed: int


def split_images(cohort: Cohort, images: pd.DataFrame, split: Split) -> np.ndarray:
    """The part of each image in one fold, one of ``PARTS``.

    ``clean``: patients are split; ``inner`` patients belong to the training fold and choose epoch and
    thresholds, and studies of low quality are scored, never trained on, as in classification.
    ``as_published``: images are split, and there is no inner part.

    Raises
    ------
    LabelError
        If a part that is needed has no image.
    """
    if split.arm == "as_published":
        is_outer = leaky_image_folds(len(images), split.folds, split.seed) == split.fold
        parts = np.where(is_outer, "outer", "train").astype(object)
    else:
        parts = _patient_parts(cohort, images.patient_id, split)
    needed = ("train", "outer") if split.arm == "as_published" else ("train", "inner", "outer")
    for part in needed:
        if not (parts == part).any():
            remedy = "Use fewer folds, more patients or more frames a run"
            raise LabelError(
                f"fold {split.fold + 1} of {split.folds} has no lesion frame in its {part} part", remedy=remedy
            )
    return parts


def _patient_parts(cohort: Cohort, patients: pd.Series, split: Split) -> np.ndarray:
    strata = fold_strata(cohort)
    folds = patient_folds(strata, split.folds, split.seed)
    parts_of = inner_split(folds, strata, split.fold, seed=split.seed).set_index("patient_id")["part"]
    parts = patients.map(parts_of).to_numpy(dtype=object)
    parts[(parts != "outer") & patients.isin(low_quality(cohort)).to_numpy()] = "left out"
    return parts
