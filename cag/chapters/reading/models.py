"""The trained networks of a study as its bundle holds them, what they know of a patient, and the artery triage."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import TypeAdapter
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from cag.anatomy import ARTERIES, NO_STANDARD_VIEW, THREE_CATEGORIES, TWO_CATEGORIES, VIEWS, view_from_angles
from cag.chapters.bundle import PARTS, Part, export_part, load_part
from cag.chapters.classification.operating import OperatingPoint
from cag.chapters.classification.samples import contrast_frames
from cag.chapters.classification.settings import CellSettings
from cag.chapters.classification.training import Start, frozen_trunk, load_classifier
from cag.chapters.frames.selector import FrameSelector, load_frame_selector
from cag.chapters.frames.settings import CnnSettings, FrameSelectionSettings, TrunkSettings, features_of
from cag.chapters.frames.training import run_features
from cag.chapters.localization.training import FpnSettings, new_detector
from cag.chapters.store import RunFolder, Store, run_task
from cag.data.cohort import Cohort
from cag.data.dicom_write import derived_uid
from cag.data.fingerprint import file_digest
from cag.data.pseudonyms import pseudonym
from cag.data.splits import patient_folds, patient_severity
from cag.networks.classifier import StenosisClassifier
from cag.networks.detector import StenosisDetector
from cag.networks.weights import weights_digest
from cag.settings import LabelError, Settings

#: What the angles of a run say by themselves: a standard view of the left artery alone, of the right, of both, of none.
ANGLES = ("LCA", "RCA", "both", "neither")
#: Contrast frames of each run that the triage is trained on.
TRIAGE_FRAMES = 8
#: Inverse weight of the triage's ridge penalty on standardized features.
STRENGTH = 1e-3
#: Runs added to each count of angles, so that few runs make none certain.
PRIOR_RUNS = 5


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
    selector: FrameSelector
    triage: ArteryTriage
    #: By weights file: every detector, and the classifiers that share a frozen trunk; others are loaded when asked for.
    detectors: Mapping[str, StenosisDetector]
    classifiers: Mapping[str, StenosisClassifier]
    device: str

    @cached_property
    def operating(self) -> OperatingPoint:
        """The probability from which an artery or patient is called, and what its calls are worth."""
        return TypeAdapter(OperatingPoint).validate_python(self.parts["classification"].facts["operating"])

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
        part, tested, known = self.parts["classification"], self.parts["frames"].facts["tested"], {}
        for run in part.folder.load_table("runs").itertuples():
            patient = str(run.patient_id)
            own = Known(patient, part.facts["folds"].get(patient, 0), patient not in tested)
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
    heads, found = parts["classification"].folder, parts["localization"]
    cells = {file: own for file, own in _cells(parts["classification"]).items() if own.trainable == "head"}
    return ReadingModels(
        parts,
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


class TriageSettings(Settings):
    """What the artery triage depends on besides the cohort."""

    features: TrunkSettings | CnnSettings  #: The trunk whose pooled features are read.
    folds: int  #: The patient folds of every stage, and their seed.
    seed: int


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


def run_triage(cohort: Cohort, store: Store) -> pd.DataFrame:
    """Train the triage on the folds of the classifiers, export it, and publish its predictions as ``artery_triage``."""
    selection, classification = (load_part(store.root, name).settings for name in ("frames", "classification"))
    features = features_of(FrameSelectionSettings.checked(selection))
    settings = TriageSettings(features=features, folds=classification["folds"], seed=classification["seed"])
    folder = run_task("artery_triage", train_triage, settings, cohort, store)
    weights = {"triage": folder.load_weights("triage")}
    export_part(store, "triage", settings=settings, cohort=cohort, weights=weights, facts={})
    return store.publish("artery_triage", folder.load_table("predictions"))


def train_triage(cohort: Cohort, settings: TriageSettings, folder: RunFolder) -> None:
    """Fit one classifier a fold on the other folds' patients and read the fold's own runs.

    Stores weights ``triage``, and table ``predictions``: ``run_id, patient_id, artery, fold, p_right``, and
    ``p_right_images`` by the images alone; a row a run with contrast and a known artery. Raises `LabelError` if the
    cohort knows no artery or no contrast interval, or a fold is left with one artery.
    """
    cohort.require("artery", "contrast")
    pooled = run_features(cohort, settings.features, folder.store).load_weights("clean")
    runs = cohort.manifest.dropna(subset=["artery", "contrast_begin", "contrast_end"])
    spans = runs[["contrast_begin", "contrast_end"]].to_numpy(dtype=int)
    frames = [torch.from_numpy(contrast_frames(begin, end, TRIAGE_FRAMES)) for begin, end in spans.tolist()]
    rows = [pooled[run_id][own].float() for run_id, own in zip(runs.run_id, frames, strict=True)]
    folds = patient_folds(patient_severity(cohort), settings.folds, settings.seed).set_index("patient_id").fold
    right, fold = runs.artery.eq("RCA").to_numpy(), runs.patient_id.map(folds).to_numpy()
    said = np.array([angle_class(*pair) for pair in runs[["primary_angle", "secondary_angle"]].to_numpy(dtype=float)])
    fitted = [_fit(rows, said, right, np.flatnonzero(fold != own)) for own in range(settings.folds)]
    triage = ArteryTriage(*(torch.from_numpy(np.stack(part)) for part in zip(*fitted, strict=True)))
    table = runs[["run_id", "patient_id", "artery"]].assign(
        fold=fold,
        p_right=list(map(triage.right, rows, said, fold)),
        p_right_images=[triage.right(row, None, own) for row, own in zip(rows, fold, strict=True)],
    )
    folder.save_table("predictions", table.reset_index(drop=True))
    folder.save_weights("triage", vars(triage))


def _fit(
    rows: list[Tensor], said: np.ndarray, right: np.ndarray, train: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight and bias in the units of the raw features, and the angles' log-odds, by the training runs.

    Both arteries are taken as equally frequent: their shares must not decide.
    """
    inputs = torch.cat([rows[own] for own in train]).numpy()
    targets = np.repeat(right[train], [len(rows[own]) for own in train])
    if targets.all() or not targets.any():
        remedy = "Use fewer folds or more patients"
        raise LabelError("a training fold shows one artery only", field="artery", remedy=remedy)
    scaler = StandardScaler().fit(inputs)
    regression = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=500)  # lbfgs is deterministic
    weight = regression.fit(scaler.transform(inputs), targets).coef_[0] / scaler.scale_
    bias = regression.intercept_[0] - (scaler.mean_ * weight).sum()
    sides = [said[train][right[train] == side] for side in (False, True)]
    counts = np.stack([np.bincount(own, minlength=len(ANGLES)) for own in sides]) + PRIOR_RUNS
    share = counts / counts.sum(axis=1, keepdims=True)
    return weight.astype(np.float32), np.asarray(bias, np.float32), np.log(share[1] / share[0]).astype(np.float32)
