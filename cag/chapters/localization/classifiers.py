"""The classifiers of notebook 03, as they lie in the bundle of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cag.anatomy import TWO_CATEGORIES
from cag.chapters.bundle import Part, load_part
from cag.chapters.classification.settings import CellSettings
from cag.chapters.classification.training import load_classifier
from cag.networks.classifier import StenosisClassifier


@dataclass(frozen=True)
class Classifiers:
    """For every (fold, model view) the classifier that has not seen the fold's patients: weights file and settings.

    Two categories (below 25 %, 25 % and more) with redundancy training, as in the workflow.
    """

    part: Part
    cells: Mapping[tuple[int, str], tuple[str, CellSettings]]

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
