"""Reading a study: from a folder of DICOM runs, run by run, to each artery's and each patient's result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from pydantic import Field
from torch import Tensor

from cag.anatomy import ARTERIES, NO_STANDARD_VIEW, VIEWS, Artery, view_from_angles
from cag.chapters.frames.selector import FrameFinding, find_interval
from cag.chapters.reading.models import Known, Networks, ReadingModels, angle_class
from cag.data.dicom import Cine
from cag.data.frames import shrink
from cag.data.study import StudyFile, study_files
from cag.metrics.boxes import CORNERS
from cag.metrics.classification import scored
from cag.networks.cam import activation_from_maps, enlarge_activation
from cag.networks.classifier import StenosisClassifier
from cag.networks.training import Runtime
from cag.networks.transforms import scale
from cag.networks.trunk import STAGES, Trunk
from cag.settings import InputError, StudySettings

#: Side, in pixels, of the small copy of a run that is kept for looking through it.
SHOWN_SIDE = 192

#: Trunk and pixels a side to the trunk's maps of a run's chosen frames; see ``trunk_maps``.
Maps = Callable[[Trunk, int], dict[str, Float[Tensor, "k c y x"]]]


class ReadingSettings(StudySettings):
    """What notebook 07 is told."""

    #: Folder with patients' DICOM files, from the project's root; empty for the first whom the selector has not seen.
    study: str = ""
    artery: Artery | None = None  #: Injected artery of every run, where it is known; None lets the networks tell.
    chain_frames: int = Field(default=2, ge=1, le=5)  #: Of each run in the comparison of links.


@dataclass(frozen=True)
class RunReading:
    """What was found in one run."""

    cine: Cine  #: Header and pseudonyms of the run, and its frames, small.
    finding: FrameFinding  #: Contrast probability of every frame, interval, chosen frames.
    frames: UInt8[np.ndarray, "k h w"]  #: The chosen frames.
    images: pd.DataFrame  #: A row a chosen frame: ``frame, p_contrast``, and where classified those of ``classify``.
    boxes: pd.DataFrame  #: See ``find_boxes``.
    artery: Artery | None = None
    p_right: float = float("nan")  #: Probability of the right artery; NaN where the artery was given or not asked.
    view: str = NO_STANDARD_VIEW
    reason: str = ""  #: Why the run does not take part in the result; empty where it does.
    heatmaps: UInt8[np.ndarray, "k s s"] | None = None  #: See ``classify``.
    number: int = 0  #: Place among the study's runs, from 1.
    file: str = ""  #: Pseudonym of the file's name.
    notes: tuple[str, ...] = ()  #: What else a reader must know, such as text found in the picture.


@dataclass(frozen=True)
class StudyReading:
    """What was found in a study."""

    models: ReadingModels
    runs: list[RunReading] = field(default_factory=list)
    refused: list[StudyFile] = field(default_factory=list)  #: Files that are no run, with the reason.
    files: dict[str, str] = field(default_factory=dict)  #: Pseudonym -> file name; for the reader, never for a report.
    #: Each patient, and whether the networks' own cohort has them.
    known: dict[str, Known | None] = field(default_factory=dict)

    @property
    def images(self) -> pd.DataFrame:
        """Predictions, a row a chosen frame: its run, artery and view, and the columns of ``RunReading.images``."""
        parts = []
        for own in (run for run in self.runs if len(run.images)):
            whose = {"patient_id": own.cine.patient_id, "run_id": own.cine.run_id, "run": own.number}
            parts.append(own.images.assign(**whose, artery=own.artery, view=own.view))
        table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        columns = ["patient_id", "run_id", "run", "artery", "view", "frame", "p_contrast", "score", "p_redundant"]
        return table.reindex(columns=[*columns, "p3_0", "p3_1", "p3_2"])

    @property
    def arteries(self) -> pd.DataFrame:
        """The result of each patient and artery, both listed: see ``_pooled``; one that was not read has no score."""
        return self._pooled(["patient_id", "artery"], [(own, artery) for own in self.known for artery in ARTERIES])

    @property
    def patients(self) -> pd.DataFrame:
        """The result of each patient, the higher of both arteries: see ``_pooled``.

        ``missing`` names arteries of which no run was classified: then a low score excludes nothing.
        """
        table, arteries = self._pooled(["patient_id"], list(self.known)), self.arteries
        unread = arteries[arteries.score.isna()].groupby("patient_id").artery.agg(", ".join)
        return table.assign(missing=[str(unread.get(patient, "")) for patient in table.patient_id])

    def threshold(self, patient_id: str) -> float:
        """The score from which a patient's arteries are called diseased."""
        own = self.known.get(patient_id)
        return self.models.operating.of(own.fold if own else None)

    def _pooled(self, keys: list[str], every: Sequence[object]) -> pd.DataFrame:
        """``keys, score, p_occlusion, n_runs, n_images, called``: the highest probabilities, and what they come to.

        A total occlusion is never more probable than a stenosis of 25 % or more: where another network says so, the
        latter counts. ``called`` is missing where nothing was read or calls are no better than chance.
        """
        groups = self.images.dropna(subset=["score"]).groupby(keys)
        counts = {"n_runs": groups.run_id.nunique(), "n_images": groups.size()}
        table = pd.DataFrame({"score": groups.score.max(), "p_occlusion": groups.p3_2.max(), **counts})
        table = table.reindex(pd.Index(every)).rename_axis(keys).reset_index()
        table["p_occlusion"] = table.p_occlusion.clip(upper=table.score)
        table = table.fillna({"n_runs": 0, "n_images": 0}).astype({"n_runs": int, "n_images": int})
        called = (table.score >= table.patient_id.map(self.threshold)).astype("boolean")
        chance = not self.models.operating.patient.better_than_chance
        return table.assign(called=called.mask(table.score.isna() | chance))


def read_study(
    source: Path, models: ReadingModels, *, key: bytes, artery: Artery | None = None, progress: bool = True
) -> StudyReading:
    """Read every XA run of a folder or archive; ``key`` is the secret of the pseudonyms.

    A patient of the cohort that the networks were trained on is read by the networks of the fold that has not seen
    them; any other by the average over all folds. ``artery`` is that of every run, where it is known. Raises
    `InputError` if the source is neither folder nor archive, or holds no angiographic run.
    """
    reading, own_patients = StudyReading(models), models.own_patients(key)
    for file in study_files(source, key, progress=progress):
        reading.files[file.label] = file.name
        if file.cine is None:
            reading.refused.append(file)
            continue
        patient = str(file.cine.patient_id)
        known = reading.known.get(patient) or own_patients.get(str(file.cine.run_id)) or own_patients.get(file.sha256)
        reading.known[patient] = known
        run = read_run(file.cine, models, fold=known.fold if known else None, artery=artery)
        reading.runs.append(replace(run, number=len(reading.runs) + 1, file=file.label, notes=file.notes))
    if not reading.runs:
        found = "; ".join(sorted({file.reason for file in reading.refused})[:3])
        problem = f"{len(reading.refused)} files and no angiogram among them ({found})"
        raise InputError(problem, field="study", remedy="Give the folder that holds the XA cine runs")
    return reading


def read_run(cine: Cine, models: ReadingModels, *, fold: int | None = None, artery: Artery | None = None) -> RunReading:
    """Read one run; ``fold`` takes the networks that have not seen this fold's patients, all by default."""
    frames = torch.from_numpy(cine.frames)
    finding = find_interval(frames, models.selector)
    chosen = frames[torch.from_numpy(finding.candidates)]
    images = pd.DataFrame({"frame": finding.candidates, "p_contrast": finding.probability[finding.candidates]})
    no_box = pd.DataFrame(columns=["frame", *CORNERS, "score"], dtype=float).astype({"frame": int})
    small = replace(cine, frames=shrink(frames, SHOWN_SIDE).numpy())
    run = RunReading(small, finding, chosen.numpy(), images, no_box.assign(counts=False), artery, reason=finding.reason)
    if not len(chosen):
        return run
    if artery is None:
        angles = angle_class(cine.primary_angle, cine.secondary_angle)
        p_right = models.triage.right(finding.pooled, angles, fold)
        run = replace(run, p_right=p_right, artery="RCA" if p_right >= 0.5 else "LCA")
    view = view_from_angles(cine.primary_angle, cine.secondary_angle, run.artery)
    networks, maps = models.networks(view, fold), trunk_maps(chosen, models.device)
    run = replace(run, view=view, boxes=find_boxes(maps, networks, finding.candidates, cine))
    if not networks.two:
        return replace(run, reason=_unread(cine, view, run.artery))
    scores, heatmaps = classify(maps, networks)
    return replace(run, images=images.join(scores), heatmaps=heatmaps)


def trunk_maps(frames: UInt8[Tensor, "k h w"], device: str) -> Maps:
    """The three maps of a run's chosen frames, in single precision, computed once for each trunk and image size."""
    runtime = Runtime.choose(device)

    @cache
    @torch.no_grad()
    def stages(trunk: Trunk, size: int) -> dict[str, Tensor]:
        trunk.eval().to(runtime.device)
        with runtime.autocast():
            maps = trunk.stages(scale(shrink(frames, size).to(runtime.device)))
        return {name: own.float() for name, own in maps.items()}

    return stages


def classify(maps: Maps, networks: Networks) -> tuple[pd.DataFrame, UInt8[np.ndarray, "k s s"]]:
    """Probabilities of each chosen frame, and where the classifiers see a stenosis; means of the classifiers.

    The table has ``score`` (a stenosis of 25 % or more), ``p_redundant`` (no contrast) and ``p3_0 .. p3_2`` (three
    categories, where trained), 0 to 1; the class activation is 0-255.
    """
    two, size = networks.two, networks.size
    clean, redundant = probabilities(two, maps, size)
    images = pd.DataFrame({"score": clean[:, 1], "p_redundant": redundant})
    if networks.three:
        images[["p3_0", "p3_1", "p3_2"]] = probabilities(networks.three, maps, size)[0]
    cells = [activation_from_maps(own.head, maps(own.trunk, size)[STAGES[-1]], [1]) for own in two]
    heatmaps = enlarge_activation(np.mean(cells, axis=0), size, size, two[0].trunk)
    return images, (heatmaps * 255).round().astype(np.uint8)


def probabilities(
    classifiers: Sequence[StenosisClassifier], maps: Maps, size: int
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, " n"]]:
    """Mean probabilities of the categories, the redundant class dropped, and that class's own mean."""
    clean, redundant = [], []
    for model in classifiers:
        last = maps(model.trunk, size)[STAGES[-1]]
        with torch.no_grad():
            outputs = model.head.eval().to(last.device)(last).softmax(dim=1).double().cpu().numpy()
        clean.append(scored(outputs[:, :-1], outputs[:, -1], "clean").probabilities)
        redundant.append(outputs[:, -1])
    return np.mean(clean, axis=0), np.mean(redundant, axis=0)


def find_boxes(maps: Maps, networks: Networks, frames: Int[np.ndarray, " k"], cine: Cine) -> pd.DataFrame:
    """Boxes at or above the detector's operating score, else the best one of a frame.

    The table has ``frame, x1, y1, x2, y2, score`` in pixels of the stored frame, and ``counts``: whether the score
    reaches the operating point.
    """
    detector, size = networks.detector, networks.detector_size
    stages = maps(detector.trunk, size)
    found = detector.eval().to(next(iter(stages.values())).device).detect(stages, size)
    boxes, scores = (torch.cat([own[name] for own in found]).float().numpy() for name in ("boxes", "scores"))
    table = pd.DataFrame({"frame": np.repeat(frames, [len(own["scores"]) for own in found])})
    table[CORNERS] = boxes * (np.array([cine.columns, cine.rows] * 2) / size)
    table = table.assign(score=scores, counts=scores >= networks.threshold)
    best = table.groupby("frame").score.rank(ascending=False, method="first") == 1
    return table[table.counts | best].reset_index(drop=True)


def _unread(cine: Cine, view: str, artery: Artery | None) -> str:
    """Why no classifier reads a run."""
    if view != NO_STANDARD_VIEW:
        return f"No classifier was trained for {VIEWS[view].model}."
    primary, secondary = cine.primary_angle, cine.secondary_angle
    if primary is None or secondary is None:
        return "The file gives no C-arm angles, so no view and no classifier can be assigned."
    other: Artery = "LCA" if artery == "RCA" else "RCA"
    view = view_from_angles(primary, secondary, other)
    hint = f" (for the {other} it would be {view})" if view != NO_STANDARD_VIEW else ""
    angles = f"{primary:g}/{secondary:g} degrees"
    return f"C-arm angles {angles} are no standard view of the {artery}{hint}, so no classifier reads it."
