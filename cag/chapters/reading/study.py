"""Reading a study: from a folder of DICOM runs to each artery's and each patient's result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from pydantic import Field

from cag.anatomy import ARTERIES, Artery
from cag.chapters.reading.models import Known, ReadingModels
from cag.chapters.reading.run import RunReading, read_run
from cag.data.cohort import Cohort
from cag.data.dicom_write import write_cine
from cag.data.study import StudyFile, study_files
from cag.settings import ROOT, InputError, StudySettings


class ReadingSettings(StudySettings):
    """What notebook 07 is told; folders from the project's root."""

    study: str = ""  #: Folder with patients' DICOM files; empty for the first whom the frame selector has not seen.
    models: str = ""  #: Results folder of a study that was run, or its bundle; empty for this profile's own.
    artery: Artery | None = None  #: Injected artery of every run, where it is known; None lets the networks tell.
    file_names: bool = False  #: Show files by their names, which may hold identifiers, instead of pseudonyms.
    chain_frames: int = Field(default=2, ge=0, le=5)  #: Of each run in the comparison of links; 0 leaves it out.

    @property
    def models_path(self) -> Path:
        """Folder whose networks read."""
        return (ROOT / self.models).resolve() if self.models else self.results


@dataclass(frozen=True)
class StudyReading:
    """What was found in a study."""

    runs: list[RunReading]
    refused: list[StudyFile]  #: Files that are no run, with the reason.
    files: dict[str, str]  #: Pseudonym -> file name; for the reader alone, never for a report.
    known: dict[str, Known | None]  #: Each patient, and whether the networks' own cohort has them.
    models: ReadingModels

    @property
    def images(self) -> pd.DataFrame:
        """Predictions, a row a chosen frame: its run, artery and view, and the columns of ``RunReading.images``."""
        columns = ["patient_id", "run_id", "run", "artery", "view", "frame", "p_contrast", "score", "p_redundant"]
        parts = [
            own.images.assign(patient_id=own.cine.patient_id, run_id=own.cine.run_id, run=own.number).assign(
                artery=own.artery, view=own.view
            )
            for own in self.runs
            if len(own.images)
        ]
        table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        return table.reindex(columns=[*columns, *(f"p3_{category}" for category in range(3))])

    @property
    def arteries(self) -> pd.DataFrame:
        """The result of each patient and artery, both listed: see ``_pooled``; one that was not read has no score."""
        return self._pooled(["patient_id", "artery"], [(own, artery) for own in self.known for artery in ARTERIES])

    @property
    def patients(self) -> pd.DataFrame:
        """The result of each patient, the higher of both arteries: see ``_pooled``.

        ``missing`` names arteries of which no run was classified: then a low score excludes nothing.
        """
        table, arteries = self._pooled(["patient_id"], [(own,) for own in self.known]), self.arteries
        unread = arteries[arteries.score.isna()].groupby("patient_id").artery.agg(", ".join)
        return table.assign(missing=[str(unread.get(patient, "")) for patient in table.patient_id])

    def threshold(self, patient_id: str) -> float:
        """The score from which a patient's arteries are called diseased."""
        own = self.known.get(patient_id)
        return self.models.operating.of(own.fold if own else None)

    def _pooled(self, keys: list[str], every: list[tuple[str, ...]]) -> pd.DataFrame:
        """``keys, score, p_occlusion, n_runs, n_images, called``: the highest probabilities, and what they come to.

        A total occlusion is never more probable than a stenosis of 25 % or more: where another network says so, the
        latter counts. ``called`` is missing where nothing was read or calls are no better than chance.
        """
        groups = self.images.dropna(subset=["score"]).groupby(keys)
        counts = {"n_runs": groups.run_id.nunique(), "n_images": groups.size()}
        table = pd.DataFrame({"score": groups.score.max(), "p_occlusion": groups.p3_2.max(), **counts})
        index = pd.MultiIndex.from_tuples(every, names=keys) if len(keys) > 1 else [own[0] for own in every]
        table = table.reindex(index).rename_axis(keys).reset_index()
        table["p_occlusion"] = table.p_occlusion.clip(upper=table.score)
        table = table.fillna({"n_runs": 0, "n_images": 0}).astype({"n_runs": int, "n_images": int})
        called = (table.score >= table.patient_id.map(self.threshold)).astype("boolean")
        return table.assign(
            called=called.mask(table.score.isna() | (not self.models.operating.patient.better_than_chance))
        )


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
    reading = StudyReading([], [], {}, {}, models)
    for file in study_files(source, key, progress=progress):
        reading.files[file.label] = file.name
        if file.cine is None:
            reading.refused.append(file)
            continue
        patient = str(file.cine.patient_id)
        own = reading.known.get(patient) or models.known(str(file.cine.run_id), file.sha256, key)
        reading.known[patient] = own
        run = read_run(file.cine, models, fold=own.fold if own else None, artery=artery)
        reading.runs.append(replace(run, number=len(reading.runs) + 1, file=file.label, notes=file.notes))
    if not reading.runs:
        found = "; ".join(sorted({file.reason for file in reading.refused})[:3])
        problem = f"{len(reading.refused)} files and no angiogram among them ({found})"
        raise InputError(problem, field="study", remedy="Give the folder that holds the XA cine runs")
    return reading


def study_folder(settings: ReadingSettings, cohort: Cohort, models: ReadingModels) -> Path:
    """The folder to read: the one given, or a cohort's patient whom the frame selector has not seen.

    The runs of a cohort that is rendered on demand are written as DICOM first.

    Raises
    ------
    InputError
        If none is given and the cohort's files do not lie in one folder a patient.
    """
    if settings.study:
        return (ROOT / Path(settings.study).expanduser()).resolve()
    patient = min(models.parts["frames"].facts["tested"])
    own = cohort.manifest.patient_id == patient
    if cohort.folder is None:
        return _written(cohort, cohort.manifest[own], settings.results / "reading" / patient)
    parents, others = ({Path(path).parent for path in cohort.manifest.path[mine]} for mine in (own, ~own))
    if len(parents) != 1 or parents & others:
        remedy = "Give the folder of a patient's DICOM files: -p study FOLDER"
        raise InputError("this cohort's files are not in one folder a patient", field="study", remedy=remedy)
    return cohort.folder / parents.pop()


def _written(cohort: Cohort, runs: pd.DataFrame, folder: Path) -> Path:
    """The folder with the runs as DICOM files; those already there are kept."""
    for _, run in runs.iterrows():
        file = folder / f"{run.run_id}.dcm"
        if not file.exists():
            frames = cohort.frames(run.run_id).cpu().numpy()
            fps, *angles = (float(run[name]) for name in ("fps", "primary_angle", "secondary_angle"))
            names = {"patient_id": str(run.patient_id), "run_id": str(run.run_id)}
            write_cine(file, frames, fps=fps, primary_angle=angles[0], secondary_angle=angles[1], **names)
    return folder
