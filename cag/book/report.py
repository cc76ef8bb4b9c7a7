"""The reading report: a page, its numbers as JSON, its predictions as a table."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import UInt8
from PIL import Image

from cag.anatomy import Artery
from cag.book.figures.cine_player import picture, player_values, template
from cag.book.figures.reading import run_title
from cag.chapters.reading.models import load_models
from cag.chapters.reading.run import RunReading
from cag.chapters.reading.study import StudyReading, read_study
from cag.chapters.reading.words import (
    no_better_than_chance,
    refused_table,
    result_text,
    results_table,
    runs_table,
    statements,
)
from cag.data.manifest import KEY_FILE
from cag.data.pseudonyms import pseudonym, study_key
from cag.settings import ROOT, InputError, write_atomically

#: Which pseudonym stands for which file: for whoever owns the files, to be shared no more than the key.
FILES = "files_private.csv"
#: Where a report goes unless told otherwise; git ignores it.
READINGS = ROOT / "results" / "reading"


@dataclass(frozen=True)
class ReportRequest:
    """What to read, with which networks, and where the report goes.

    Attributes
    ----------
    source : Path
        Folder with DICOM files at any depth, or an archive of one; for many studies the folder that holds them.
    models : Path
        Results folder of a study that was run, ``results/<profile>``, or its bundle.
    out : Path
        Folder of the report, not inside ``source``, which is only read; and of the pseudonyms' key.
    artery : {'LCA', 'RCA'}, optional
        Of every run, where it is known.
    device : {'auto', 'cpu', 'cuda'}
    progress : bool
    """

    source: Path = field(repr=False)  # its name may be a patient's
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


def default_folder(source: Path) -> Path:
    """Where the report of a study goes by default: a folder named by a pseudonym, since the study's may be a name."""
    READINGS.mkdir(parents=True, exist_ok=True)
    return READINGS / pseudonym(str(source.resolve()), "study", study_key(READINGS / KEY_FILE))


def write_report(request: ReportRequest) -> Path:
    """Read a study with trained networks, write its report and return the page.

    The folder then holds ``report.html`` (self-contained), ``report.json`` and ``predictions.parquet``, which
    name everything by pseudonyms, and for the owner ``files_private.csv`` and the pseudonyms' key.

    Raises
    ------
    InputError
        If a folder is not what it should be, or a part of the networks is not there.
    """
    request.make_folder()
    networks = load_models(request.models, device=request.device)
    reading = read_study(request.source, networks, key=request.key, artery=request.artery, progress=request.progress)
    return save_report(reading, request.out)


def save_report(reading: StudyReading, out: Path) -> Path:
    """Write page, numbers, predictions and the private list of files; returns the page."""
    images, page = reading.images, report_page(reading)
    files = pd.DataFrame({"pseudonym": list(reading.files), "file": list(reading.files.values())})
    write_atomically(out / "predictions.parquet", lambda path: images.to_parquet(path, index=False))
    write_atomically(out / "report.json", lambda path: path.write_text(json.dumps(report_json(reading), indent=1)))
    write_atomically(out / FILES, lambda path: files.to_csv(path, index=False))
    return write_atomically(out / "report.html", lambda path: path.write_text(page, encoding="utf-8"))


def report_page(reading: StudyReading) -> str:
    """The whole page, as text; files, too, are named by pseudonyms."""
    runs, said, chance = runs_table(reading), statements(reading), no_better_than_chance(reading.models)
    runs.insert(1, "File", [run.file for run in reading.runs])
    return template("report.html.j2").render(
        title="Reading of a coronary angiography study",
        warnings=[text for text in (chance, said[0]) if text],
        statements=[text for text in said[1:] if text != chance],
        results=results_table(reading),
        runs=runs,
        sections=[_section(run) for run in reading.runs],
        refused=refused_table(reading),
    )


def counted(page: Path) -> str:
    """How many runs of a written report were read and how many files were not, in a line for the terminal."""
    told = json.loads(page.with_name("report.json").read_text(encoding="utf-8"))
    return f"{len(told['runs'])} runs read, {len(told['refused'])} files not read (the report says why)\n"


def report_json(reading: StudyReading) -> dict[str, object]:
    """The report's numbers: statements, results, runs, refusals."""
    operating, part = reading.models.operating, reading.models.parts["classification"]
    patients = reading.patients
    results = [result_text(*row) for row in zip(patients.score, patients.called, patients.missing, strict=True)]
    return {
        "statements": statements(reading),
        "decision": {"rule": operating.rule, "threshold": operating.threshold, "origin": operating.origin},
        "thresholds": {patient: reading.threshold(patient) for patient in reading.known},
        "trained_on": {name: getattr(part, name) for name in ("profile", "cohort", "cohort_digest", "settings")},
        "patients": _records(patients.assign(result=results)),
        "arteries": _records(reading.arteries),
        "runs": [_run(run) for run in reading.runs],
        "refused": [{"file": file.label, "reason": file.reason} for file in reading.refused],
    }


def _run(run: RunReading) -> dict[str, object]:
    header = ("patient_id", "study_id", "run_id", "n_frames", "fps", "primary_angle", "secondary_angle", "plane")
    finding = run.finding
    return {
        **{name: getattr(run.cine, name) for name in header},
        **{name: getattr(run, name) for name in ("number", "file", "artery", "view", "reason")},
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


def _section(run: RunReading) -> dict[str, Any]:
    """What the page's template is given of a run."""
    finding = run.finding
    return {
        "title": run_title(run),
        "notes": [text for text in (run.reason, *run.notes) if text],
        "player": player_values(run.cine.frames, finding.probability, None, finding.interval, finding.candidates),
        "heated": run.heatmaps is not None,
        "frames": [_frame(run, place) for place in range(len(run.frames))],
    }


def _frame(run: RunReading, place: int) -> dict[str, Any]:
    row = run.images.iloc[place]
    caption = f"frame {int(row.frame)}: contrast {row.p_contrast:.2f}"
    return {
        **{"width": run.frames.shape[2], "height": run.frames.shape[1], "picture": picture(run.frames[place])},
        "heat": _heat(run.heatmaps[place]) if run.heatmaps is not None else "",
        "boxes": run.boxes[run.boxes.frame == row.frame].to_dict("records"),
        "caption": caption + (f", P(≥25 %) {row.score:.2f}" if "score" in row else ""),
    }


def _heat(heatmap: UInt8[np.ndarray, "s s"]) -> str:
    """A heatmap as a small colored picture that is the more transparent the less it says."""
    small = np.asarray(Image.fromarray(heatmap).resize((64, 64), Image.Resampling.BILINEAR))
    colored = (mpl.colormaps["inferno"](small) * 255).round().astype(np.uint8)
    colored[..., 3] = (small * 0.6).astype(np.uint8)
    return picture(colored)
