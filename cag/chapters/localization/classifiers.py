"""The classifiers of notebook 03, found in the store by what they were trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from cag.anatomy import TWO_CATEGORIES
from cag.chapters.classification.training import CellSettings, cell_folder, load_classifier
from cag.chapters.store import Store
from cag.networks.classifier import StenosisClassifier
from cag.settings import InputError

_REMEDY = "Run notebook 03 (03_stenosis_classification) on this profile first, with the same folds and seed"


@dataclass(frozen=True)
class FoldClassifiers:
    """For every fold and view the classifier that has not seen the fold's patients.

    Two categories (below 25 %, 25 % and more) with redundancy training, as in the workflow.

    Attributes
    ----------
    store : Store
    cohort_digest : str
    cells : mapping of (fold, model view) to CellSettings
    """

    store: Store
    cohort_digest: str
    cells: Mapping[tuple[int, str], CellSettings]

    @classmethod
    def find(cls, store: Store, cohort_digest: str, *, folds: int, seed: int) -> FoldClassifiers:
        """The finished classifiers of this cohort with these folds; of several trainings the latest.

        Raises
        ------
        InputError
            If there is none, or a fold of the latest training is not finished.
        """
        trained: dict[str, dict[tuple[int, str], tuple[float, CellSettings]]] = {}
        for path in sorted((store.root / "classification").glob("*/settings.json")):
            cell = _cell_of(path)
            if cell is None or cell_folder(cell, cohort_digest, store).path.name != path.parent.name:
                continue
            if (cell.cut_points, cell.redundancy, cell.folds, cell.seed) != (TWO_CATEGORIES, True, folds, seed):
                continue
            shared = cell.model_copy(update={"fold": 0, "model_view": ""}).digest()
            trained.setdefault(shared, {})[cell.fold, cell.model_view] = (path.stat().st_mtime, cell)
        if not trained:
            problem = f"no classifiers of this cohort with {folds} folds and seed {seed} are stored"
            raise InputError(problem, field="folds", remedy=_REMEDY)
        latest = max(trained.values(), key=lambda cells: max(time for time, _ in cells.values()))
        views = sorted({view for _, view in latest})
        missing = [pair for pair in product(range(folds), views) if pair not in latest]
        if missing:
            fold, view = missing[0]
            raise InputError(f"the classifier of {view}, fold {fold + 1}, is not finished", remedy=_REMEDY)
        return cls(store, cohort_digest, {key: cell for key, (_, cell) in latest.items()})

    @property
    def views(self) -> tuple[str, ...]:
        """The model views that have classifiers."""
        return tuple(sorted({view for _, view in self.cells}))

    @property
    def image_size(self) -> int:
        """Pixels a side that the classifiers read."""
        return next(iter(self.cells.values())).image_size

    def load(self, fold: int, view: str) -> StenosisClassifier:
        """The classifier of a fold and view, in evaluation mode on the CPU."""
        cell = self.cells[fold, view]
        return load_classifier(cell, cell_folder(cell, self.cohort_digest, self.store))

    def parts(self, fold: int) -> dict[str, str]:
        """``inner`` or ``outer`` for each patient that no classifier of the fold was trained on.

        A patient without a frame in one view is known from the others: all views share their folds.
        """
        parts: dict[str, str] = {}
        for view in self.views:
            folder = cell_folder(self.cells[fold, view], self.cohort_digest, self.store)
            rows = folder.load_table("predictions")[["patient_id", "part"]].drop_duplicates()
            parts |= dict(zip(rows.patient_id, rows.part, strict=True))
        return parts


def _cell_of(path: Path) -> CellSettings | None:
    """Settings of a stored cell; None for one of another version of the study or not finished."""
    if not (path.parent / "complete.json").exists():
        return None
    try:
        return CellSettings.checked(json.loads(path.read_text()))
    except InputError:
        return None
