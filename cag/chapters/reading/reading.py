"""Reading a study: from a folder of DICOM runs to frames, artery and view, probabilities, boxes, and a result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from pydantic import Field

from cag.anatomy import ARTERIES, Artery
from cag.chapters.reading.models import Known, ReadingModels
from cag.chapters.reading.run import RunReading, read_run
from cag.data.study import StudyFile, study_files
from cag.settings import ROOT, InputError, StudySettings


class ReadingSettings(StudySettings):
    """What notebook 07 is told.

    Attributes
    ----------
    study : str
        Folder with one or more patients' DICOM files at any depth, from the project's root; empty for
        the first simulated patient whom the frame selector has not seen.
    models : str
        Results folder of a study that was run, from the project's root; empty for this profile's own.
    artery : {'LCA', 'RCA'} or None
        Injected artery of every run, where it is known; None lets the networks tell.
    file_names : bool
        Show files by their names, which may hold identifiers, instead of pseudonyms.
    chain_frames : int
        Frames of each run in the comparison of the chain with its links; 0 leaves it out.
    """

    study: str = ""
    models: str = ""
    artery: Artery | None = None
    file_names: bool = False
    chain_frames: int = Field(default=2, ge=0, le=5)

    @property
    def models_path(self) -> Path:
        """Results folder whose networks read."""
        return (ROOT / self.models).resolve() if self.models else self.results


@dataclass(frozen=True)
class StudyReading:
    """What was found in a study.

    Attributes
    ----------
    runs : list of RunReading
    refused : list of StudyFile
        Files that are no run, with the reason.
    files : dict
        Label or run pseudonym -> file name; for the reader alone, never for a report.
    known : mapping of patient_id to Known or None
        Whether the networks' own cohort has this patient.
    models : ReadingModels
    """

    runs: list[RunReading]
    refused: list[StudyFile]
    files: dict[str, str]
    known: dict[str, Known | None]
    models: ReadingModels

    @property
    def images(self) -> pd.DataFrame:
        """Predictions, a row a chosen frame: its run, artery and view, and the columns of ``RunReading.images``."""
        parts = [
            run.images.assign(patient_id=run.patient_id, run_id=run.run_id, run=run.number).assign(
                artery=run.artery, view=run.view
            )
            for run in self.runs
        ]
        columns = ["patient_id", "run_id", "run", "artery", "view", "frame", "p_contrast", "score", "p_redundant"]
        columns += [f"p3_{category}" for category in range(3)]
        filled = [part for part in parts if len(part)]
        return (pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()).reindex(columns=columns)

    @property
    def arteries(self) -> pd.DataFrame:
        """The result of each patient and artery: ``patient_id, artery, score, p_occlusion, called, n_runs, n_images``.

        Both arteries of every patient are listed; one of which no run was classified has no score.
        """
        patients = list(dict.fromkeys(run.patient_id for run in self.runs))
        every = pd.MultiIndex.from_product([patients, ARTERIES], names=["patient_id", "artery"])
        return self._pooled(["patient_id", "artery"]).reindex(every).reset_index().pipe(self._called)

    @property
    def patients(self) -> pd.DataFrame:
        """The result of each patient, the higher of both arteries: columns as ``arteries``, and ``missing``.

        ``missing`` names arteries of which no run was classified: then a low score excludes nothing.
        """
        table = self._pooled(["patient_id"]).reindex(list(dict.fromkeys(run.patient_id for run in self.runs)))
        table = table.rename_axis("patient_id").reset_index().pipe(self._called)
        unread = self.arteries[self.arteries.score.isna()].groupby("patient_id").artery.agg(", ".join)
        return table.assign(missing=[str(unread.get(patient, "")) for patient in table.patient_id])

    def threshold(self, patient_id: str) -> float:
        """The score from which a patient's arteries are called diseased."""
        own = self.known.get(patient_id)
        return self.models.operating.of(own.fold if own else None)

    def _pooled(self, keys: list[str]) -> pd.DataFrame:
        images = self.images.dropna(subset=["score"])
        groups = images.groupby(keys)
        whole = {"score": groups.score.max(), "p_occlusion": groups.p3_2.max()}
        return pd.DataFrame({**whole, "n_runs": groups.run_id.nunique(), "n_images": groups.size()})

    def _called(self, table: pd.DataFrame) -> pd.DataFrame:
        thresholds = [self.threshold(patient) for patient in table.patient_id]
        called = (table.score >= thresholds).astype("boolean").mask(table.score.isna())
        counts = table[["n_runs", "n_images"]].fillna(0).astype(int)
        return table.assign(called=called, **counts)


def read_study(
    source: Path, models: ReadingModels, *, key: bytes, artery: Artery | None = None, progress: bool = True
) -> StudyReading:
    """Read every XA run of a folder or archive.

    A patient of the cohort that the networks were trained on is read by the networks of the fold
    that has not seen them; any other by the average over all folds.

    Parameters
    ----------
    key : secret of the pseudonyms
    artery : {'LCA', 'RCA'}, optional
        Of every run, where it is known; by default the networks tell.

    Raises
    ------
    InputError
        If the source is neither folder nor archive, or holds no angiographic run.
    """
    runs: list[RunReading] = []
    refused: list[StudyFile] = []
    names: dict[str, str] = {}
    known: dict[str, Known | None] = {}
    for file in study_files(source, key, progress=progress):
        names[file.label] = file.name
        if file.cine is None:
            refused.append(file)
            continue
        patient = str(file.cine.patient_id)
        if known.get(patient) is None:
            known[patient] = models.known({str(file.cine.run_id)}, {file.sha256}, key)
        own = known[patient]
        run = read_run(file.cine, models, fold=own.fold if own else None, artery=artery)
        runs.append(replace(run, number=len(runs) + 1, file=file.label, notes=file.notes))
    if not runs:
        found = "; ".join(sorted({file.reason for file in refused})[:3])
        remedy = "Give the folder that holds the XA cine runs"
        raise InputError(f"{len(refused)} files and no angiogram among them ({found})", field="study", remedy=remedy)
    return StudyReading(runs, refused, names, known, models)
