"""The decision rule of a reading: from image probabilities to a call for each artery and the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cag.experiments.classification_tables import labeled_frames, outputs_of, system
from cag.metrics.aggregation import aggregate
from cag.metrics.operating import at_threshold, youden_threshold


@dataclass(frozen=True)
class OperatingPoint:
    """The probability from which an artery, and with it the patient, is called diseased.

    Attributes
    ----------
    threshold : float, 0-1
    origin : str
        Where the threshold comes from, as a sentence.
    artery, patient : dict
        ``sensitivity`` and ``specificity`` at the threshold on patients that no network has seen, and their ``count``.
    """

    threshold: float
    origin: str
    artery: dict[str, float]
    patient: dict[str, float]

    @property
    def rule(self) -> str:
        """The decision rule in one sentence."""
        return (
            "An artery's score is the highest probability of a stenosis of 25 % or more among its images, the "
            f"patient's the higher of both arteries; from {self.threshold:.2f} on it is called diseased."
        )


def operating_point(predictions: pd.DataFrame) -> OperatingPoint:
    """Choose the threshold on arteries of the inner patients, and measure it on the outer ones.

    One threshold serves arteries and patients, so that a patient is called exactly when an artery is.

    Parameters
    ----------
    predictions : the published table ``classification``
    """
    rows = system(predictions, 2, True)
    inner, outer = (labeled_frames(rows, part) for part in ("inner", "outer"))
    tuned = _levels(inner, "artery")
    threshold = youden_threshold(tuned.target.to_numpy() > 0, tuned.score.to_numpy())
    origin = "Chosen for the largest sum of sensitivity and specificity on arteries of patients set aside in training."
    if not np.isfinite(threshold):
        threshold, origin = 0.5, "Set to one half, since the patients set aside in training are all of one class."
    artery, patient = (_measured(_levels(outer, level), threshold) for level in ("artery", "patient"))
    return OperatingPoint(float(threshold), origin, artery, patient)


def _levels(images: pd.DataFrame, level: str) -> pd.DataFrame:
    """Score and target of each artery or patient; an inner patient counts once for each fold that set it aside."""
    scored = images.assign(score=outputs_of(images).score.clip(0, 1)) if len(images) else images.assign(score=[])
    parts = [
        aggregate(own, "max", level="artery" if level == "artery" else "patient") for _, own in scored.groupby("fold")
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"score": [], "target": []})


def _measured(table: pd.DataFrame, threshold: float) -> dict[str, float]:
    values = at_threshold(table.target.to_numpy() > 0, table.score.to_numpy(), threshold)
    return {name: float(values[name][0]) for name in ("sensitivity", "specificity")} | {"count": len(table)}
