"""The reading report: a page, its numbers as JSON, its predictions as a table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cag.anatomy import Artery
from cag.book.figures.report_page import report_page
from cag.chapters.reading.models import load_models
from cag.chapters.reading.reading import StudyReading, read_study
from cag.chapters.reading.run import RunReading
from cag.chapters.reading.words import statements
from cag.chapters.store import write_atomically
from cag.data.manifest import KEY_FILE
from cag.data.pseudonyms import study_key
from cag.settings import InputError

#: Which pseudonym stands for which file: for whoever owns the files, to be shared no more than the key.
FILES = "files_private.csv"


@dataclass(frozen=True)
class ReportRequest:
    """What to read, with which networks, and where the report goes.

    Attributes
    ----------
    source : Path
        Folder with DICOM files at any depth, or an archive of one; for many studies the folder that holds them.
    models : Path
        Results folder of a study that was run, ``results/<profile>``.
    out : Path
        Folder of the report; not inside ``source``, which is only read.
    artery : {'LCA', 'RCA'}, optional
        Of every run, where it is known.
    device : {'auto', 'cpu', 'cuda'}
    progress : bool
    """

    source: Path
    models: Path
    out: Path
    artery: Artery | None = None
    device: str = "auto"
    progress: bool = True

    @property
    def key(self) -> bytes:
        """Secret of the pseudonyms, kept beside the report."""
        return study_key(self.out / KEY_FILE)

    def make_folder(self) -> None:
        """Make the folder of the report.

        Raises
        ------
        InputError
            If it lies inside the study, or cannot be made.
        """
        if self.source.is_dir() and self.out.resolve().is_relative_to(self.source.resolve()):
            remedy = "Choose a folder outside the study"
            raise InputError("lies inside the study, where it would be read again", field="out", remedy=remedy)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem, remedy = f"cannot be made ({error.strerror})", "Choose another folder"
            raise InputError(problem, field="out", remedy=remedy) from None


def write_report(request: ReportRequest) -> Path:
    """Read a study with the networks of a results folder and write its report.

    The folder then holds ``report.html`` (self-contained), ``report.json`` and ``predictions.parquet``, which
    name everything by pseudonyms, and for the owner ``files_private.csv`` and the pseudonyms' key.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If a folder is not what it should be, or a stage of the study was not trained.
    """
    request.make_folder()
    networks = load_models(request.models, device=request.device)
    reading = read_study(request.source, networks, key=request.key, artery=request.artery, progress=request.progress)
    return save_report(reading, request.out)


def save_report(reading: StudyReading, out: Path) -> Path:
    """Write page, numbers, predictions and the private list of files; returns the page."""
    images = reading.images
    files = pd.DataFrame({"pseudonym": list(reading.files), "file": list(reading.files.values())})
    write_atomically(out / "predictions.parquet", lambda path: images.to_parquet(path, index=False))
    write_atomically(out / "report.json", lambda path: path.write_text(json.dumps(report_json(reading), indent=1)))
    write_atomically(out / FILES, lambda path: files.to_csv(path, index=False))
    return write_atomically(out / "report.html", lambda path: path.write_text(report_page(reading), encoding="utf-8"))


def counted(page: Path) -> str:
    """How many runs of a written report were read and how many files were not, in a line for the terminal."""
    told = json.loads(page.with_name("report.json").read_text(encoding="utf-8"))
    return f"{len(told['runs'])} runs read, {len(told['refused'])} files not read (the report says why)\n"


def report_json(reading: StudyReading) -> dict[str, object]:
    """The report's numbers: statements, results, runs, refusals."""
    operating = reading.models.operating
    return {
        "statements": statements(reading),
        "decision": {"rule": operating.rule, "threshold": operating.threshold, "origin": operating.origin},
        "thresholds": {patient: reading.threshold(patient) for patient in reading.known},
        "trained_on": {
            "profile": reading.models.store.root.name,
            "cohort": reading.models.stage.cohort,
            "cohort_digest": reading.models.stage.cohort_digest,
            "settings": reading.models.stage.settings,
        },
        "patients": _records(reading.patients),
        "arteries": _records(reading.arteries),
        "runs": [_run(run) for run in reading.runs],
        "refused": [{"file": file.label, "reason": file.reason} for file in reading.refused],
    }


def _run(run: RunReading) -> dict[str, object]:
    names = ("number", "file", "patient_id", "study_id", "run_id", "n_frames", "fps", "primary_angle")
    finding = run.finding
    return {
        **{name: getattr(run, name) for name in (*names, "secondary_angle", "plane", "artery", "view", "reason")},
        "notes": list(run.notes),
        "p_right": None if pd.isna(run.p_right) else run.p_right,
        "interval": finding.interval,
        "p_contrast": [round(float(value), 4) for value in finding.probability],
        "images": _records(run.images),
        "boxes": _records(run.boxes),
    }


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as plain values; missing ones are null."""
    return json.loads(table.to_json(orient="records", double_precision=5))
