"""The trained networks of a study, found again in its results folder, and what they were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pandas as pd

from cag.anatomy import THREE_CATEGORIES, TWO_CATEGORIES
from cag.chapters.bundle import load_part
from cag.chapters.classification.training import (
    CellSettings,
    ClassificationSettings,
    cell_folder,
    grid,
    load_classifier,
)
from cag.chapters.frames.reading import FrameSelector, load_frame_selector
from cag.chapters.localization.settings import LocalizationSettings
from cag.chapters.localization.training import FpnSettings, new_detector
from cag.chapters.reading.operating import OperatingPoint, operating_point
from cag.chapters.reading.triage import ArteryTriage, load_triage
from cag.chapters.stages import Stage, load_stage, training_runs
from cag.chapters.store import Store
from cag.data.dicom_write import derived_uid
from cag.data.pseudonyms import pseudonym
from cag.networks.backbones import build_trunk
from cag.networks.classifier import StenosisClassifier
from cag.networks.detector import StenosisDetector
from cag.networks.trunk import Trunk
from cag.settings import InputError, Weights

#: Number of categories -> cut points of the two systems that read a study.
SYSTEMS = {2: TWO_CATEGORIES, 3: THREE_CATEGORIES}


@dataclass(frozen=True)
class Known:
    """What the study's networks know of a patient who belongs to its own cohort.

    Attributes
    ----------
    patient_id : str
        The cohort's name of the patient.
    fold : int
        Networks of this fold were neither trained nor tuned on the patient.
    selector_trained : bool
        Whether the frame selector was trained on the patient.
    """

    patient_id: str
    fold: int
    selector_trained: bool


@dataclass(frozen=True)
class ReadingModels:
    """Everything that reading a study needs.

    Attributes
    ----------
    selector : FrameSelector
    triage : ArteryTriage
    cells : mapping of (n_categories, model view, fold) to CellSettings
        Classifiers with redundancy training; three categories only where they were trained.
    localization : LocalizationSettings
    operating : OperatingPoint
    stage : Stage
        Record of the classifiers: settings and cohort.
    device : str
    """

    store: Store
    selector: FrameSelector
    triage: ArteryTriage
    cells: Mapping[tuple[int, str, int], CellSettings]
    localization: LocalizationSettings
    operating: OperatingPoint
    stage: Stage
    device: str
    _heads: dict[tuple[int, str, int], StenosisClassifier] = field(default_factory=dict, repr=False)
    _detectors: dict[int, tuple[StenosisDetector, float]] = field(default_factory=dict, repr=False)

    @property
    def image_size(self) -> int:
        """Pixels a side that the classifiers read."""
        return next(iter(self.cells.values())).image_size

    @property
    def folds(self) -> int:
        """Networks of each kind."""
        return int(self.stage.settings["folds"])

    @property
    def seed(self) -> int:
        """Seed of the patient folds."""
        return int(self.stage.settings["seed"])

    def classifiers(self, n_categories: int, view: str, fold: int | None) -> list[StenosisClassifier]:
        """The classifiers of a model view: that of one fold, or of all.

        An empty list where no classifier of this view or category system was trained.
        """
        folds = range(self.folds) if fold is None else [fold]
        keys = [(n_categories, view, own) for own in folds if (n_categories, view, own) in self.cells]
        return [self._classifier(key) for key in keys]

    def detector(self, fold: int | None) -> tuple[StenosisDetector, float]:
        """The detector of a fold (the first where none is asked for) and the score from which its boxes count.

        Raises
        ------
        InputError
            If it was not trained.
        """
        chosen = fold or 0
        if chosen not in self._detectors:
            self._detectors[chosen] = _load_detector(self.store, chosen)
        return self._detectors[chosen]

    def known(self, run_ids: set[str], digests: set[str], key: bytes) -> Known | None:
        """Whether a patient belongs to the cohort the networks were trained on.

        Simulated runs are recognized by their names, which are no secret, others by their bytes.

        Parameters
        ----------
        run_ids : pseudonyms of the patient's runs, made with ``key``
        digests : SHA-256 of their files
        """
        runs = training_runs(self.store, self.stage)
        simulated = runs[runs.source == "simulated"]
        names = [_simulated_pseudonym(p, r, key) for p, r in zip(simulated.patient_id, simulated.run_id, strict=True)]
        patients = [*runs.patient_id[runs.sha256.isin(digests)], *simulated.patient_id[[n in run_ids for n in names]]]
        if not patients:
            return None
        folds = _patient_folds(self.store)
        tested = set(pd.read_parquet(self.store.table("frame_selection_runs"), columns=["patient_id"]).patient_id)
        return Known(str(patients[0]), int(folds.get(patients[0], 0)), patients[0] not in tested)

    def _classifier(self, key: tuple[int, str, int]) -> StenosisClassifier:
        """A classifier in evaluation mode; small ones on a shared frozen trunk are kept, whole networks are not."""
        cell = self.cells[key]
        if cell.trainable == "all":
            return load_classifier(cell, cell_folder(cell, self.stage.cohort_digest, self.store))
        if key not in self._heads:
            trunk = frozen_trunk(cell.weights, cell.seed, cell.backbone)
            outputs = len(cell.cut_points) + 1 + int(cell.redundancy)
            model = StenosisClassifier(trunk, outputs, head=cell.head, trainable="head")
            folder = cell_folder(cell, self.stage.cohort_digest, self.store)
            model.head.load_state_dict(folder.load_weights("classifier"))
            self._heads[key] = model.eval()
        return self._heads[key]


def load_models(results: Path, *, device: str = "auto", store: Store | None = None) -> ReadingModels:
    """The networks of a study by its results folder, ``results/<profile>``.

    Parameters
    ----------
    store : Store, optional
        That folder where it is open already, so that it remembers the tables that are read.

    Raises
    ------
    InputError
        If a stage was not trained there, naming the notebook that trains it.
    """
    if not results.is_dir():
        remedy = "Run `make study`, or name the results folder of a study that was run"
        raise InputError("is not a results folder", file=results.name, remedy=remedy)
    store = store or Store(results)
    selector = load_frame_selector(load_part(store.root, "frames"))
    stage, localization = load_stage(store, "classification"), load_part(store.root, "localization")
    settings = ClassificationSettings.checked(stage.settings)
    triage = load_triage(store, selector.settings, stage.cohort_digest, folds=settings.folds, seed=settings.seed)
    return ReadingModels(
        store=store,
        selector=selector,
        triage=triage,
        cells=_cells(store, settings, stage.cohort_digest),
        localization=LocalizationSettings.checked(localization.settings),
        operating=operating_point(pd.read_parquet(store.table("classification"))),
        stage=stage,
        device=device,
    )


@cache
def frozen_trunk(weights: Weights, seed: int, backbone: str) -> Trunk:
    """The initial trunk, one copy for every network that keeps it frozen."""
    return build_trunk(weights, seed, backbone).eval().requires_grad_(False)


def _cells(store: Store, settings: ClassificationSettings, digest: str) -> dict[tuple[int, str, int], CellSettings]:
    """Trained classifiers with redundancy training; all of 2-CAT must be there."""
    both = settings.model_copy(update={"cut_points": tuple(SYSTEMS.values()), "redundancy": (True,)})
    cells = {(len(cell.cut_points) + 1, cell.model_view, cell.fold): cell for cell in grid(both)}
    trained = {key for key, cell in cells.items() if cell_folder(cell, digest, store).complete}
    for system, view, fold in cells.keys() - trained:
        if system == 2:
            problem = f"holds no trained 2-CAT classifier with redundancy training for {view}, fold {fold + 1}"
            raise InputError(problem, file=store.root.name, remedy="Execute notebook 03 with this profile first")
        trained -= {(3, view, own) for own in range(settings.folds)}
    return {key: cells[key] for key in sorted(trained)}


def _load_detector(store: Store, fold: int) -> tuple[StenosisDetector, float]:
    part = load_part(store.root, "localization")
    name, values = next((name, own) for name, own in part.facts["cells"].items() if own["fold"] == fold)
    cell = FpnSettings.checked(values)
    trunk = frozen_trunk(cell.weights, cell.seed, cell.backbone) if cell.trainable == "head" else None
    detector = new_detector(cell, trunk, state=part.folder.load_weights(name))
    return detector.eval(), float(part.facts["thresholds"][name])


def _patient_folds(store: Store) -> dict[str, int]:
    table = pd.read_parquet(store.table("classification"), columns=["patient_id", "fold", "part"])
    outer = table[table.part == "outer"].drop_duplicates("patient_id")
    return dict(zip(outer.patient_id, outer.fold, strict=True))


def _simulated_pseudonym(patient_id: str, run_id: str, key: bytes) -> str:
    """Pseudonym of a run that ``write_cine`` wrote from these names."""
    return pseudonym(str(derived_uid("run", patient_id, patient_id, run_id)), "run", key)
