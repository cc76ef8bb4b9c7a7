"""Artery triage: left or right, from the features that the frame selector reads and from the C-arm angles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

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
from cag.chapters.frames.settings import FeatureSettings, FrameSelectionSettings, features_of
from cag.chapters.frames.training import run_features
from cag.chapters.store import RunFolder, Store
from cag.chapters.tasks import Task, run_tasks
from cag.data.cohort import Cohort
from cag.data.severity import patient_severity
from cag.data.splits import patient_folds
from cag.settings import InputError, LabelError, Settings

KIND = "artery_triage"

#: What the angles of a run say by themselves: a standard view of the left artery alone, of the right, of both, of none.
ANGLES = ("LCA", "RCA", "both", "neither")


class TriageSettings(Settings):
    """What the artery triage depends on besides the cohort.

    Attributes
    ----------
    features : FeatureSettings
        Whose pooled features are read.
    folds, seed : int
        The patient folds of every stage.
    frames_per_run : int
        Contrast frames of each training run.
    strength : float
        Inverse weight of the ridge penalty on standardized features.
    prior_runs : int
        Runs added to each count behind the weight of the angles, so that few runs do not make them certain.
    """

    features: FeatureSettings
    folds: int = Field(default=4, ge=2)
    seed: int = 0
    frames_per_run: int = Field(default=8, ge=1)
    strength: float = Field(default=1e-3, gt=0)
    prior_runs: int = Field(default=5, ge=1)


@dataclass(frozen=True)
class ArteryTriage:
    """One linear classifier for each patient fold, and what the angles add to its log-odds.

    Attributes
    ----------
    weight : Float[folds, f]
    bias : Float[folds]
    angles : Float[folds, 4]
        Log-odds of the right artery by ``ANGLES``, among the runs of the other folds.
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


def train_triage(
    cohort: Cohort, store: Store, selection: FrameSelectionSettings, *, folds: int, seed: int
) -> pd.DataFrame:
    """Train what is not stored yet and publish ``artery_triage``: every run read by the fold that has not seen it.

    Parameters
    ----------
    selection : settings of the frame selector, whose stored features are used

    Returns
    -------
    DataFrame
        ``run_id, patient_id, artery, fold, p_right``, and ``p_right_images`` by the images alone; runs
        with contrast and a known artery.

    Raises
    ------
    LabelError
        If the cohort knows no artery or no contrast interval.
    """
    cohort.require("artery", "contrast")
    settings = TriageSettings(
        features=features_of(selection, trained=selection.trainable == "all"), folds=folds, seed=seed
    )
    features = run_features(cohort, settings.features, store)
    work = partial(_train, features=features)
    folder = run_tasks([Task(KIND, settings, work)], cohort, store, progress=False)[0]
    return store.publish("artery_triage", folder.load_table("predictions"))


def load_triage(
    store: Store, selection: FrameSelectionSettings, cohort_digest: str, *, folds: int, seed: int
) -> ArteryTriage:
    """The trained triage of a study.

    Raises
    ------
    InputError
        If it was not trained yet.
    """
    settings = TriageSettings(
        features=features_of(selection, trained=selection.trainable == "all"), folds=folds, seed=seed
    )
    folder = store.folder(KIND, settings, cohort_digest)
    if not folder.complete:
        remedy = "Execute notebook 07 with this profile first"
        raise InputError("holds no trained artery triage", file=store.root.name, remedy=remedy)
    return ArteryTriage(**folder.load_weights("triage"))


def _train(cohort: Cohort, settings: TriageSettings, folder: RunFolder, *, features: RunFolder) -> None:
    """Fit one classifier a fold on the other folds' patients and read the fold's own runs."""
    pooled = features.load_weights("clean")
    runs = cohort.manifest.dropna(subset=["artery", "contrast_begin", "contrast_end"])
    rows = [_rows(pooled, run, settings.frames_per_run) for _, run in runs.iterrows()]
    counts = [len(row) for row in rows]
    inputs, right = torch.cat(rows).numpy(), np.repeat(runs.artery.eq("RCA").to_numpy(), counts)
    split = patient_folds(patient_severity(cohort), settings.folds, settings.seed).set_index("patient_id").fold
    run_fold = runs.patient_id.map(split).to_numpy()
    frame_fold = np.repeat(run_fold, counts)
    fitted = [_fit(inputs[frame_fold != fold], right[frame_fold != fold], settings) for fold in range(settings.folds)]
    said = np.array([angle_class(*pair) for pair in runs[["primary_angle", "secondary_angle"]].to_numpy(dtype=float)])
    is_right = runs.artery.eq("RCA").to_numpy()
    others = [run_fold != fold for fold in range(settings.folds)]
    odds = [_angle_odds(said[own], is_right[own], settings.prior_runs) for own in others]
    triage = ArteryTriage(
        torch.from_numpy(np.stack([weight for weight, _ in fitted])),
        torch.tensor([bias for _, bias in fitted]),
        torch.from_numpy(np.stack(odds)),
    )
    table = runs[["run_id", "patient_id", "artery"]].assign(
        fold=run_fold,
        p_right=[triage.right(*asked) for asked in zip(rows, said, run_fold, strict=True)],
        p_right_images=[triage.right(row, None, fold) for row, fold in zip(rows, run_fold, strict=True)],
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


def _fit(inputs: np.ndarray, right: np.ndarray, settings: TriageSettings) -> tuple[np.ndarray, float]:
    """Weights and bias of a logistic regression in the units of the raw features."""
    if right.all() or not right.any():
        remedy = "Use fewer folds or more patients"
        raise LabelError("a training fold shows one artery only", field="artery", remedy=remedy)
    # lbfgs starts from zero and is deterministic; the arteries' shares must not decide the bias
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=settings.strength, class_weight="balanced", max_iter=500)
    )
    model.fit(inputs, right)
    scaler, regression = model[0], model[1]
    weight = regression.coef_[0] / scaler.scale_
    bias = float(regression.intercept_[0] - (scaler.mean_ * weight).sum())
    return weight.astype(np.float32), bias
