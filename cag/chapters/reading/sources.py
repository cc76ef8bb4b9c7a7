"""What notebook 07 starts from: networks that are ready to read, and a study where none is given."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cag.chapters.bundle import load_part
from cag.chapters.frames.reading import load_frame_selector
from cag.chapters.reading.models import ReadingModels, load_models
from cag.chapters.reading.reading import ReadingSettings
from cag.chapters.reading.triage import train_triage
from cag.chapters.stages import load_stage
from cag.chapters.store import Store
from cag.data.cohort import Cohort
from cag.data.dicom_write import write_cine
from cag.settings import ROOT, InputError, SettingsError


def open_networks(settings: ReadingSettings, cohort: Cohort, store: Store) -> tuple[ReadingModels, pd.DataFrame]:
    """Train this profile's artery triage if it is not stored yet, and open the networks that read.

    Returns
    -------
    networks, triage
        The published table ``artery_triage`` (``reading_triage.train_triage``).

    Raises
    ------
    InputError
        If another stage was not trained yet.
    SettingsError
        If the parameter ``weights`` is not what the networks started from.
    """
    stage = load_stage(store, "classification").settings
    if stage["weights"] != settings.weights:
        remedy = f"Set it to {stage['weights']}, or train the other notebooks with {settings.weights}"
        problem = f"{settings.weights!r}, but the networks of this profile started from {stage['weights']!r}"
        raise SettingsError(problem, field="weights", remedy=remedy)
    selection = load_frame_selector(load_part(store.root, "frames")).settings
    triage = train_triage(cohort, store, selection, folds=stage["folds"], seed=stage["seed"])
    own = store if settings.models_path.resolve() == store.root.resolve() else None
    return load_models(settings.models_path, device=settings.device, store=own), triage


def study_folder(settings: ReadingSettings, cohort: Cohort, store: Store) -> Path:
    """The folder to read: the one given, or a cohort's patient whom the frame selector has not seen.

    The runs of a cohort that is rendered on demand are written as DICOM first.

    Raises
    ------
    InputError
        If none is given and the cohort's files do not lie in one folder a patient.
    """
    if settings.study:
        return (ROOT / Path(settings.study).expanduser()).resolve()
    tested = pd.read_parquet(store.table("frame_selection_runs"), columns=["patient_id"]).patient_id
    patient = str(tested.min())
    runs = cohort.manifest[cohort.manifest.patient_id == patient]
    if cohort.folder is None:
        return _written(cohort, runs, store.root / "reading" / patient)
    parents = {Path(path).parent for path in runs.path}
    others = {Path(path).parent for path in cohort.manifest.path[cohort.manifest.patient_id != patient]}
    if len(parents) != 1 or parents & others:
        remedy = "Give the folder of a patient's DICOM files: -p study FOLDER"
        raise InputError("this cohort's files are not in one folder a patient", field="study", remedy=remedy)
    return cohort.folder / parents.pop()


def _written(cohort: Cohort, runs: pd.DataFrame, folder: Path) -> Path:
    """The folder with the runs as DICOM files; those already there are kept."""
    for _, run in runs.iterrows():
        file = folder / f"{run.run_id}.dcm"
        if not file.exists():
            write_cine(
                file,
                cohort.frames(run.run_id).cpu().numpy(),
                fps=float(run.fps),
                primary_angle=float(run.primary_angle),
                secondary_angle=float(run.secondary_angle),
                patient_id=run.patient_id,
                run_id=run.run_id,
            )
    return folder
