"""The trained networks of a study as its bundle holds them, and what they know of a patient."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jaxtyping import Float
from pydantic import TypeAdapter
from torch import Tensor

from cag.anatomy import ARTERIES, NO_STANDARD_VIEW, THREE_CATEGORIES, TWO_CATEGORIES, VIEWS, view_from_angles
from cag.chapters.bundle import PARTS, Part, load_part
from cag.chapters.classification.operating import OperatingPoint
from cag.chapters.classification.settings import CellSettings
from cag.chapters.classification.training import Start, frozen_trunk, load_classifier
from cag.chapters.frames.selector import FrameSelector, load_frame_selector
from cag.chapters.localization.training import FpnSettings, new_detector
from cag.data.dicom_write import derived_uid
from cag.data.fingerprint import file_digest
from cag.data.pseudonyms import pseudonym
from cag.networks.classifier import StenosisClassifier
from cag.networks.detector import StenosisDetector
from cag.networks.weights import weights_digest

#: What the angles of a run say by themselves: a standard view of the left artery alone, of the right, of both, of none.
ANGLES = ("LCA", "RCA", "both", "neither")


class Known(NamedTuple):
    """A patient of the networks' own cohort, by the name there; networks of ``fold`` have not seen him."""

    patient_id: str
    fold: int
    selector_trained: bool


class Networks(NamedTuple):
    """What reads the chosen frames of a run: classifiers of two and of three categories, if any, and the detector."""

    two: list[StenosisClassifier]
    three: list[StenosisClassifier]
    detector: StenosisDetector
    threshold: float  #: The score from which the detector's boxes count.
    size: int  #: Pixels a side that the classifiers read, and the detector.
    detector_size: int


@dataclass(frozen=True)
class ReadingModels:
    """Everything that reading a study needs; networks run on ``device``."""

    parts: Mapping[str, Part]  #: Of the bundle, by name.
    operating: OperatingPoint  #: The probability from which one is called diseased, and what such calls are worth.
    runs: pd.DataFrame  #: Of the networks' own cohort; see ``bundle``.
    selector: FrameSelector
    triage: ArteryTriage
    #: By weights file: every detector, and the classifiers that share a frozen trunk; others are loaded when asked for.
    detectors: Mapping[str, StenosisDetector]
    classifiers: Mapping[str, StenosisClassifier]
    device: str

    @property
    def image_size(self) -> int:
        """Pixels a side that the classifiers read."""
        return self.parts["classification"].settings["image_size"]

    def networks(self, view: str, fold: int | None) -> Networks:
        """The classifiers of a view, of one fold or of all, and the detector, of that fold or the first."""
        model = VIEWS[view].model if view in VIEWS else ""
        part, localization = self.parts["classification"], self.parts["localization"]
        found: dict[tuple[float, ...], list[StenosisClassifier]] = {TWO_CATEGORIES: [], THREE_CATEGORIES: []}
        for file, own in _cells(part).items():
            if own.model_view == model and fold in (None, own.fold) and own.cut_points in found:
                network = self.classifiers.get(file) or load_classifier(own, part.folder.load_weights(file))
                found[own.cut_points].append(network)
        file = next(file for file, own in localization.facts["cells"].items() if own["fold"] == (fold or 0))
        sizes = self.image_size, localization.settings["image_size"]
        two, three = found.values()
        return Networks(two, three, self.detectors[file], localization.facts["thresholds"][file], *sizes)

    def own_patients(self, key: bytes) -> dict[str, Known]:
        """The patients of the networks' own cohort, by all that tells one in a study.

        Everyone is told by the SHA-256 of a run's file; a simulated patient, whose names are no secret, by the
        pseudonym of a run by ``key`` too.
        """
        folds, tested = self.parts["classification"].facts["folds"], self.parts["frames"].facts["tested"]
        known = {}
        for run in self.runs.itertuples():
            patient = str(run.patient_id)
            own = Known(patient, folds.get(patient, 0), patient not in tested)
            known[str(run.sha256)] = own
            if run.source == "simulated":
                known[pseudonym(str(derived_uid("run", patient, patient, str(run.run_id))), "run", key)] = own
        return known

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of all that the bundle holds."""
        files = sorted(path for part in self.parts.values() for path in part.folder.path.iterdir())
        parts = [f"{path.parent.name}/{path.name} {file_digest(path)}" for path in files]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def load_models(folder: Path, *, device: str = "auto") -> ReadingModels:
    """The networks of a study, by its results folder ``results/<profile>`` or by the bundle within it.

    Raises `InputError` if a part is not there, with the notebook that exports it.
    """
    parts = {name: load_part(folder, name) for name in PARTS}
    facts, heads, found = parts["classification"].facts, parts["classification"].folder, parts["localization"]
    cells = {file: own for file, own in _cells(parts["classification"]).items() if own.trainable == "head"}
    return ReadingModels(
        parts,
        TypeAdapter(OperatingPoint).validate_python(facts["operating"]),
        heads.load_table("runs"),
        load_frame_selector(parts["frames"]),
        ArteryTriage(**parts["triage"].folder.load_weights("triage")),
        {file: _detector(own, found.folder.load_weights(file)) for file, own in found.facts["cells"].items()},
        {file: load_classifier(own, heads.load_weights(file)) for file, own in cells.items()},
        device,
    )


def _cells(part: Part) -> dict[str, CellSettings]:
    """Weights file -> settings of the classifier."""
    return {file: CellSettings(**own) for file, own in part.facts["cells"].items()}


def _detector(settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> StenosisDetector:
    """A detector in evaluation mode; one frozen trunk serves classifiers and detectors."""
    cell = FpnSettings(**settings)
    seed = cell.seed if cell.weights == "random" else 0
    start = Start(cell.weights, weights_digest(cell.weights, cell.backbone), cell.backbone, seed)
    return new_detector(cell, frozen_trunk(start) if cell.trainable == "head" else None, weights).eval()


@dataclass(frozen=True)
class ArteryTriage:
    """Left or right: one linear classifier for each patient fold, and what the angles add to its log-odds.

    ``angles`` holds the log-odds of the right artery by ``ANGLES``, among the runs of the other folds.
    """

    weight: Float[Tensor, "k f"]
    bias: Float[Tensor, " k"]
    angles: Float[Tensor, "k 4"]

    def right(self, pooled: Float[Tensor, "n f"], angles: int | None = None, fold: int | None = None) -> float:
        """Probability, 0 to 1, that a run shows the right coronary artery, by pooled features of its chosen frames.

        Without ``angles`` (see ``angle_class``) the images decide alone; ``fold`` asks the classifier that has not
        seen this fold's patients, without it all are averaged.
        """
        odds = (pooled.float() @ self.weight.T + self.bias).mean(dim=0)
        odds = odds if angles is None else odds + self.angles[:, angles]
        probability = odds.sigmoid()
        return float(probability.mean() if fold is None else probability[fold])


def angle_class(primary: float | None, secondary: float | None) -> int:
    """Index into ``ANGLES`` of a run's C-arm angles (degrees, LAO+ and CRA+; None where unknown)."""
    left, right = (view_from_angles(primary, secondary, artery) != NO_STANDARD_VIEW for artery in ARTERIES)
    return 2 if left and right else 0 if left else 1 if right else 3
