"""The decision rule of a reading: from image probabilities to a call for each artery and the patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cag.chapters.classification.tables import labeled_frames, outputs_of, system
from cag.metrics.aggregation import aggregate
from cag.metrics.intervals import Estimate, bootstrap_many
from cag.metrics.operating import youden_threshold
from cag.metrics.weighted import confusion, confusion_metrics

#: Resamples of patients behind the interval of a rate.
RESAMPLES = 2000


@dataclass(frozen=True)
class Called:
    """How calls agree with the truth on patients that no network has seen, each called by his fold's threshold.

    Attributes
    ----------
    count : int
        Arteries or patients.
    sensitivity, specificity : Estimate
        Intervals resample patients.
    youden : Estimate
        Sensitivity plus specificity minus one: 0 is chance.
    """

    count: int
    sensitivity: Estimate
    specificity: Estimate
    youden: Estimate

    @property
    def better_than_chance(self) -> bool:
        """Whether the whole interval of ``youden`` lies above 0; not where no interval is defined."""
        return self.youden.low > 0


@dataclass(frozen=True)
class OperatingPoint:
    """The probability from which an artery, and with it the patient, is called diseased.

    Attributes
    ----------
    threshold : float, 0-1
        For patients whom no network knows: chosen on the inner patients of all folds.
    of_folds : mapping of fold to float
        For a patient of the networks' own cohort, whom one fold alone has not seen: chosen on the inner patients
        of that fold, among whom he is not.
    origin : str
        Where the thresholds come from, as a sentence.
    artery, patient : Called
        What the calls of arteries and patients are worth.
    """

    threshold: float
    of_folds: Mapping[int, float]
    origin: str
    artery: Called
    patient: Called

    def of(self, fold: int | None) -> float:
        """The threshold for a patient of a fold, or, without one, for a patient whom no network knows."""
        return self.threshold if fold is None else self.of_folds[fold]

    @property
    def score_rule(self) -> str:
        """How the score of an artery and of a patient comes about, as the beginning of a sentence."""
        return (
            "An artery's score is the highest probability of a stenosis of 25 % or more among its images, the "
            "patient's the higher of both arteries"
        )

    @property
    def rule(self) -> str:
        """The decision rule for a patient whom no network knows, in one sentence."""
        return f"{self.score_rule}; from {self.threshold:.2f} on it is called diseased."


def operating_point(predictions: pd.DataFrame) -> OperatingPoint:
    """Choose thresholds on arteries of the inner patients, and measure them on the outer ones.

    A patient is inner in some folds and outer in one. He is called by the threshold of the fold in which he is
    outer, so that his own scores have no part in it. One threshold serves arteries and patients: a patient is
    called exactly when an artery is.

    Parameters
    ----------
    predictions : the published table ``classification``
    """
    rows = system(predictions, 2, True)
    inner, outer = (labeled_frames(rows, part) for part in ("inner", "outer"))
    tuned = _levels(inner, "artery")
    chosen = {int(fold): _threshold(tuned[tuned.fold == fold]) for fold in sorted(rows.fold.unique())}
    halves = [fold for fold, value in chosen.items() if value is None]
    whole = _threshold(tuned)
    of_folds = {fold: 0.5 if value is None else value for fold, value in chosen.items()}
    artery, patient = (_measured(_levels(outer, level), of_folds) for level in ("artery", "patient"))
    return OperatingPoint(0.5 if whole is None else whole, of_folds, _origin(whole, halves), artery, patient)


def _threshold(arteries: pd.DataFrame) -> float | None:
    """The score with the largest sum of sensitivity and specificity; None where no score gains anything."""
    value = youden_threshold(arteries.target.to_numpy() > 0, arteries.score.to_numpy())
    return value if np.isfinite(value) else None


def _origin(whole: float | None, halves: list[int]) -> str:
    if whole is None:
        return "Set to one half, since no threshold tells the patients set aside in training apart."
    text = "Chosen for the largest sum of sensitivity and specificity on arteries of patients set aside in training."
    folds = ", ".join(str(fold + 1) for fold in halves)
    return text + (f" One half in fold {folds}, where none tells them apart." if halves else "")


def _levels(images: pd.DataFrame, level: str) -> pd.DataFrame:
    """Score, target and fold of each artery or patient; an inner patient counts for each fold that set it aside."""
    scored = images.assign(score=outputs_of(images).score.clip(0, 1)) if len(images) else images.assign(score=[])
    parts = [
        aggregate(own, "max", level="artery" if level == "artery" else "patient").assign(fold=fold)
        for fold, own in scored.groupby("fold")
    ]
    if not parts:
        return pd.DataFrame(columns=["patient_id", "score", "target", "fold"], dtype=float)
    return pd.concat(parts, ignore_index=True)


def _measured(table: pd.DataFrame, of_folds: Mapping[int, float]) -> Called:
    """Sensitivity and specificity when each row is called by its own fold's threshold."""
    diseased = (table.target > 0).to_numpy(dtype=int)
    called = (table.score >= table.fold.map(dict(of_folds))).to_numpy(dtype=int)

    def rates(weights: np.ndarray) -> dict[str, np.ndarray]:
        own = confusion_metrics(confusion(diseased, called, 2, weights))
        return own | {"youden": own["sensitivity"] + own["specificity"] - 1}

    found = bootstrap_many(rates, table.patient_id.to_numpy(), n=RESAMPLES, rng=np.random.default_rng(0))
    return Called(len(table), found["sensitivity"], found["specificity"], found["youden"])
