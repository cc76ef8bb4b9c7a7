"""The trained networks of a study as its bundle holds them, and what they know of a patient."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter

from cag.chapters.bundle import PARTS, Part, load_part
from cag.chapters.classification.operating import OperatingPoint
from cag.chapters.classification.settings import CellSettings
from cag.chapters.classification.training import Start, frozen_trunk, load_classifier
from cag.chapters.frames.reading import FrameSelector, load_frame_selector
from cag.chapters.localization.training import FpnSettings, new_detector
from cag.chapters.reading.triage import ArteryTriage
from cag.data.dicom_write import derived_uid
from cag.data.fingerprint import file_digest
from cag.data.pseudonyms import pseudonym
from cag.networks.classifier import StenosisClassifier
from cag.networks.detector import StenosisDetector
from cag.networks.weights import weights_digest


@dataclass(frozen=True)
class Known:
    """A patient of the networks' own cohort, by the name there; networks of ``fold`` have not seen him."""

    patient_id: str
    fold: int
    selector_trained: bool


@dataclass(frozen=True)
class ReadingModels:
    """Everything that reading a study needs: ``parts`` of the bundle by name; networks run on ``device``."""

    parts: dict[str, Part]
    selector: FrameSelector
    triage: ArteryTriage
    device: str
    _heads: dict[str, StenosisClassifier] = field(default_factory=dict, repr=False)
    _detectors: dict[str, StenosisDetector] = field(default_factory=dict, repr=False)

    @cached_property
    def operating(self) -> OperatingPoint:
        """The probability from which an artery or patient is called, and what its calls are worth."""
        return TypeAdapter(OperatingPoint).validate_python(self.parts["classification"].facts["operating"])

    @cached_property
    def cells(self) -> dict[str, CellSettings]:
        """Weights file -> settings of the classifier, by fold."""
        cells = {file: CellSettings(**own) for file, own in self.parts["classification"].facts["cells"].items()}
        return dict(sorted(cells.items(), key=lambda cell: cell[1].fold))

    @property
    def image_size(self) -> int:
        """Pixels a side that the classifiers read."""
        return next(iter(self.cells.values())).image_size

    def classifiers(self, n_categories: int, view: str, fold: int | None) -> list[StenosisClassifier]:
        """The classifiers of a model view, of one fold or of all; none where no such classifier was trained."""
        wanted = {file: own for file, own in self.cells.items() if own.model_view == view and fold in (None, own.fold)}
        return [self._classifier(file) for file, own in wanted.items() if own.n_categories == n_categories]

    def detector(self, fold: int | None) -> tuple[StenosisDetector, float]:
        """The detector of a fold (the first where none is asked for) and the score from which its boxes count."""
        part = self.parts["localization"]
        file = next(file for file, own in part.facts["cells"].items() if own["fold"] == (fold or 0))
        if file not in self._detectors:
            cell = FpnSettings(**part.facts["cells"][file])
            seed = cell.seed if cell.weights == "random" else 0  # one frozen trunk serves classifiers and detectors
            start = Start(cell.weights, weights_digest(cell.weights, cell.backbone), cell.backbone, seed)
            trunk = frozen_trunk(start) if cell.trainable == "head" else None
            self._detectors[file] = new_detector(cell, trunk, part.folder.load_weights(file)).eval()
        return self._detectors[file], part.facts["thresholds"][file]

    def known(self, run_id: str, sha256: str, key: bytes) -> Known | None:
        """Whether a run's patient belongs to the networks' own cohort.

        Simulated patients are recognized by their names, which are no secret, others by the bytes of a file;
        ``run_id`` is the pseudonym of the run by ``key``.
        """
        part = self.parts["classification"]
        runs, facts = part.folder.load_table("runs"), part.facts
        simulated = runs[runs.source == "simulated"]
        pairs = zip(simulated.patient_id, simulated.run_id, strict=True)
        named = [pseudonym(str(derived_uid("run", own, own, run)), "run", key) == run_id for own, run in pairs]
        patients = [*runs.patient_id[runs.sha256 == sha256], *simulated.patient_id[named]]
        if not patients:
            return None
        tested = self.parts["frames"].facts["tested"]
        return Known(patients[0], int(facts["folds"].get(patients[0], 0)), patients[0] not in tested)

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of all that the bundle holds."""
        files = sorted(path for part in self.parts.values() for path in part.folder.path.iterdir())
        parts = [f"{path.parent.name}/{path.name} {file_digest(path)}" for path in files]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def _classifier(self, file: str) -> StenosisClassifier:
        """A classifier in evaluation mode; a head on a shared frozen trunk is kept, a whole network is not."""
        if file in self._heads:
            return self._heads[file]
        model = load_classifier(self.cells[file], self.parts["classification"].folder.load_weights(file))
        return self._heads.setdefault(file, model) if model.trainable == "head" else model


def load_models(folder: Path, *, device: str = "auto") -> ReadingModels:
    """The networks of a study, by its results folder ``results/<profile>`` or by the bundle within it.

    Raises
    ------
    InputError
        If a part is not there, with the notebook that exports it.
    """
    parts = {name: load_part(folder, name) for name in PARTS}
    triage = ArteryTriage(**parts["triage"].folder.load_weights("triage"))
    return ReadingModels(parts, load_frame_selector(parts["frames"]), triage, device)
