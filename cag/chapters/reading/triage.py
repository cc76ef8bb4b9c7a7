"""Artery triage: left or right, from the features that the frame selector reads and from the C-arm angles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from cag.anatomy import ARTERIES, NO_STANDARD_VIEW, view_from_angles
from cag.chapters.classification.samples import contrast_frames
from cag.chapters.frames.settings import FeatureSettings
from cag.chapters.frames.training import run_features
from cag.chapters.store import RunFolder
from cag.data.cohort import Cohort
from cag.data.severity import patient_severity
from cag.data.splits import patient_folds
from cag.settings import LabelError, Settings

#: What the angles of a run say by themselves: a standard view of the left artery alone, of the right, of both, of none.
ANGLES = ("LCA", "RCA", "both", "neither")


class TriageSettings(Settings):
    """What the artery triage depends on besides the cohort."""

    features: FeatureSettings  #: Whose pooled features are read.
    folds: int = Field(default=4, ge=2)  #: The patient folds of every stage, and their seed.
    seed: int = 0
    frames_per_run: int = Field(default=8, ge=1)  #: Contrast frames of each training run.
    strength: float = Field(default=1e-3, gt=0)  #: Inverse weight of the ridge penalty on standardized features.
    prior_runs: int = Field(default=5, ge=1)  #: Added to each count of angles, so that few runs make none certain.


@dataclass(frozen=True)
class ArteryTriage:
    """One linear classifier for each patient fold, and what the angles add to its log-odds.

    ``angles`` holds the log-odds of the right artery by ``ANGLES``, among the runs of the other folds.
    """

    weight: Float[Tensor, "k f"]
    bias: Float[Tensor, " k"]
    angles: Float[Tensor, "k 4"]

    def right(self, pooled: Float[Tensor, "n f"], angles: int | None = None, fold: int | None = None) -> float:
        """Probability, 0 to 1, that a run shows the right coronary artery.

        Parameters
        ----------
        pooled : pooled features of the run's chosen frames
        angles : int, optional
            What the run's angles say (``angle_class``); without it the images decide alone.
        fold : int, optional
            Ask the classifier that has not seen this fold's patients; all are averaged by default.
        """
        odds = (pooled.float() @ self.weight.T + self.bias).mean(dim=0)
        odds = odds if angles is None else odds + self.angles[:, angles]
        probability = odds.sigmoid()
        return float(probability.mean() if fold is None else probability[fold])


def angle_class(primary: float | None, secondary: float | None) -> int:
    """Index into ``ANGLES`` of a run's C-arm angles (degrees, LAO+ and CRA+; None where unknown)."""
    left, right = (view_from_angles(primary, secondary, artery) != NO_STANDARD_VIEW for artery in ARTERIES)
    return 2 if left and right else 0 if left else 1 if right else 3


def train_triage(cohort: Cohort, settings: TriageSettings, folder: RunFolder) -> None:
    """Fit one classifier a fold on the other folds' patients and read the fold's own runs.

    Stores weights ``triage``, and table ``predictions``: ``run_id, patient_id, artery, fold, p_right``, and
    ``p_right_images`` by the images alone; a row a run with contrast and a known artery.

    Raises
    ------
    LabelError
        If the cohort knows no artery or no contrast interval, or a fold is left with one artery.
    """
    cohort.require("artery", "contrast")
    pooled = run_features(cohort, settings.features, folder.store).load_weights("clean")
    runs = cohort.manifest.dropna(subset=["artery", "contrast_begin", "contrast_end"])
    rows = [_rows(pooled, run, settings.frames_per_run) for _, run in runs.iterrows()]
    is_right, split = (
        runs.artery.eq("RCA").to_numpy(),
        patient_folds(patient_severity(cohort), settings.folds, settings.seed),
    )
    fold = runs.patient_id.map(split.set_index("patient_id").fold).to_numpy()
    said = np.array([angle_class(*pair) for pair in runs[["primary_angle", "secondary_angle"]].to_numpy(dtype=float)])
    fitted = []
    for own in range(settings.folds):
        others = np.flatnonzero(fold != own)
        right = np.repeat(is_right[others], [len(rows[other]) for other in others])
        weight, bias = _fit(torch.cat([rows[other] for other in others]).numpy(), right, settings.strength)
        fitted.append((weight, bias, _angle_odds(said[others], is_right[others], settings.prior_runs)))
    triage = ArteryTriage(*(torch.from_numpy(np.stack(part)) for part in zip(*fitted, strict=True)))
    asked = list(zip(rows, said, fold, strict=True))
    table = runs[["run_id", "patient_id", "artery"]].assign(
        fold=fold,
        p_right=[triage.right(*one) for one in asked],
        p_right_images=[triage.right(row, None, own) for row, _, own in asked],
    )
    folder.save_table("predictions", table.reset_index(drop=True))
    folder.save_weights("triage", vars(triage))


def _angle_odds(said: Int[np.ndarray, " n"], right: Bool[np.ndarray, " n"], prior: int) -> Float[np.ndarray, " 4"]:
    """Log-odds of the right artery for each angle class, both arteries taken as equally frequent overall."""
    counts = np.stack([np.bincount(said[right == side], minlength=len(ANGLES)) for side in (False, True)])
    share = (counts + prior) / (counts.sum(axis=1, keepdims=True) + prior * len(ANGLES))
    return np.log(share[1] / share[0]).astype(np.float32)


def _rows(pooled: dict[str, Tensor], run: pd.Series, count: int) -> Float[Tensor, "k f"]:
    frames = contrast_frames(int(run.contrast_begin), int(run.contrast_end), count)
    return pooled[run.run_id][torch.from_numpy(frames)].float()


def _fit(inputs: np.ndarray, right: np.ndarray, strength: float) -> tuple[np.ndarray, np.float32]:
    """Weights and bias of a logistic regression in the units of the raw features."""
    if right.all() or not right.any():
        remedy = "Use fewer folds or more patients"
        raise LabelError("a training fold shows one artery only", field="artery", remedy=remedy)
    # lbfgs starts from zero and is deterministic; the arteries' shares must not decide the bias
    regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=500)
    scaler = make_pipeline(StandardScaler(), regression).fit(inputs, right)[0]
    weight = regression.coef_[0] / scaler.scale_
    bias = regression.intercept_[0] - (scaler.mean_ * weight).sum()
    return weight.astype(np.float32), np.float32(bias)
