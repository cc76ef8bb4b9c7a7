"""The decision rule of a reading, and the classifiers that read with it as the bundle hands them on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cag.anatomy import THREE_CATEGORIES, TWO_CATEGORIES
from cag.chapters.bundle import Part, export_part, load_part
from cag.chapters.classification.scores import (
    LEVELS,
    labeled_frames,
    level_scores,
    operating_thresholds,
    system,
    threshold_of,
)
from cag.chapters.classification.settings import CellSettings, ClassificationSettings, grid
from cag.chapters.classification.training import KIND, load_classifier, train_cell
from cag.chapters.store import Store, run_tasks
from cag.data.cohort import Cohort
from cag.metrics.intervals import Estimate, bootstrap_many
from cag.metrics.weighted import confusion, confusion_metrics
from cag.networks.classifier import StenosisClassifier

#: Resamples of patients behind the interval of a rate.
RESAMPLES = 2000


@dataclass(frozen=True)
class Called:
    """How calls agree with the truth on patients that no network has seen, each called by his fold's threshold."""

    count: int  #: Arteries or patients.
    sensitivity: Estimate
    specificity: Estimate
    youden: Estimate  #: Sensitivity plus specificity minus one: 0 is chance.

    @property
    def better_than_chance(self) -> bool:
        """Whether the whole interval of ``youden`` lies above 0; not where no interval is defined."""
        return self.youden.low > 0


@dataclass(frozen=True)
class OperatingPoint:
    """The probability from which an artery, and with it the patient, is called diseased."""

    threshold: float  #: For patients whom no network knows: chosen on the inner patients of all folds.
    #: Fold -> threshold of a patient of the networks' own cohort whom that fold alone has not seen.
    of_folds: Mapping[int, float]
    origin: str  #: Where the thresholds come from, as a sentence.
    artery: Called  #: What the calls of arteries are worth.
    patient: Called

    #: How the score of an artery and of a patient comes about, as the beginning of a sentence.
    score_rule = (
        "An artery's score is the highest probability of a stenosis of 25 % or more among its images, the "
        "patient's the higher of both arteries"
    )

    def of(self, fold: int | None) -> float:
        """The threshold for a patient of a fold, or, without one, for a patient whom no network knows."""
        return self.threshold if fold is None else self.of_folds[fold]

    @property
    def rule(self) -> str:
        """The decision rule for a patient whom no network knows, in one sentence."""
        return f"{self.score_rule}; from {self.threshold:.2f} on it is called diseased."


def operating_point(predictions: pd.DataFrame, reference: pd.DataFrame) -> OperatingPoint:
    """Choose thresholds (``youden`` of ``scores.at_points``) on inner arteries, and measure them on outer ones.

    So a patient's own scores have no part in his call. One half stands where no threshold tells the inner patients
    apart. One threshold serves arteries and patients: a patient is called exactly when an artery is.
    """
    rows = system(predictions, 2, True)
    outer, inner = (level_scores(labeled_frames(rows, part), reference, "artery") for part in ("outer", "inner"))
    cuts = outer.assign(cut=operating_thresholds(outer, inner, "youden")).groupby("fold")["cut"].first()
    whole = threshold_of(inner, "youden")
    origin = "Chosen for the largest sum of sensitivity and specificity on arteries of patients set aside in training."
    if halves := [str(int(fold) + 1) for fold in cuts.index[cuts.isna()]]:
        origin += f" One half in fold {', '.join(halves)}, where none tells them apart."
    if np.isnan(whole):
        whole, origin = 0.5, "Set to one half, since no threshold tells the patients set aside in training apart."
    of_folds = {int(fold): float(cut) for fold, cut in cuts.fillna(0.5).items()}  # type: ignore[call-overload]
    worth = {level: _called(level_scores(labeled_frames(rows), reference, level), of_folds) for level in LEVELS}
    return OperatingPoint(whole, of_folds, origin, **worth)


@dataclass(frozen=True)
class Classifiers:
    """The bundle's classifiers of two categories with redundancy training, by fold (unseen patients) and model view."""

    part: Part
    cells: Mapping[tuple[int, str], tuple[str, CellSettings]]  #: Weights file and settings.

    @classmethod
    def of(cls, results: Path) -> Classifiers:
        """Those of a profile's results folder; an `InputError` if notebook 03 has exported none there."""
        part = load_part(results, "classification")
        named = [(name, CellSettings.checked(values)) for name, values in part.facts["cells"].items()]
        two = {(cell.fold, cell.model_view): (name, cell) for name, cell in named if cell.cut_points == TWO_CATEGORIES}
        return cls(part, two)

    @property
    def views(self) -> tuple[str, ...]:
        """The model views that have classifiers."""
        return tuple(sorted({view for _, view in self.cells}))

    def load(self, fold: int, view: str) -> StenosisClassifier:
        """The classifier of a fold and view, in evaluation mode on the CPU."""
        name, cell = self.cells[fold, view]
        return load_classifier(cell, self.part.folder.load_weights(name))


def export_classifiers(
    cohort: Cohort, settings: ClassificationSettings, store: Store, predictions: pd.DataFrame, reference: pd.DataFrame
) -> None:
    """Export the classifiers with redundancy training of two and three categories, and their operating point.

    Without those of two categories, by which a study is read, nothing is exported.
    """
    systems = (TWO_CATEGORIES, THREE_CATEGORIES)
    cells = [cell for cell in grid(settings) if cell.redundancy and cell.cut_points in systems]
    if not any(cell.cut_points == TWO_CATEGORIES for cell in cells):
        return
    named = {f"{cell.n_categories}-{cell.model_view}-{cell.fold}".replace(" ", "_"): cell for cell in cells}
    folders = run_tasks(KIND, train_cell, cells, cohort, store)
    weights = {name: folder.load_weights("classifier") for name, folder in zip(named, folders, strict=True)}
    folds = labeled_frames(predictions).drop_duplicates("patient_id").set_index("patient_id")["fold"]
    facts = {
        "cells": {name: cell.model_dump(mode="json") for name, cell in named.items()},
        "operating": asdict(operating_point(predictions, reference)),
        "folds": {str(patient): int(fold) for patient, fold in folds.items()},
    }
    export_part(store, "classification", settings=settings, cohort=cohort, weights=weights, facts=facts)


def _called(table: pd.DataFrame, of_folds: Mapping[int, float]) -> Called:
    """Sensitivity and specificity when each row is called by its own fold's threshold."""
    diseased = (table["target"] > 0).to_numpy(dtype=int)
    called = (table["score"] >= table["fold"].map(dict(of_folds))).to_numpy(dtype=int)

    def rates(weights: np.ndarray) -> dict[str, np.ndarray]:
        own = confusion_metrics(confusion(diseased, called, 2, weights))
        return own | {"youden": own["sensitivity"] + own["specificity"] - 1}

    found = bootstrap_many(rates, table["patient_id"].to_numpy(), n=RESAMPLES, rng=np.random.default_rng(0))
    return Called(len(table), found["sensitivity"], found["specificity"], found["youden"])
