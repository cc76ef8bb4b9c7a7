"""The reading report of a study (a page, its numbers as JSON, its predictions as a table), and of many studies."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from cag.anatomy import Artery
from cag.book.figures.cine_player import picture, player_values, shown_run, template
from cag.chapters.reading import words
from cag.chapters.reading.models import ReadingModels, load_models
from cag.chapters.reading.study import RunReading, StudyReading, read_study
from cag.data.archives import is_archive
from cag.data.manifest import KEY_FILE
from cag.data.pseudonyms import pseudonym, study_key
from cag.settings import ROOT, InputError, printable, write_atomically, writing

#: Which pseudonym stands for which file, and for which study: for their owner, to be shared no more than the key.
FILES, STUDIES = "files_private.csv", "studies_private.csv"
#: Where a report goes unless told otherwise; git ignores it.
READINGS = ROOT / "results" / "reading"


@dataclass(frozen=True)
class ReportRequest:
    """What to read, with which networks, and where the report goes."""

    #: Folder with DICOM files at any depth, or an archive of one; for many studies the folder that holds them.
    source: Path = field(repr=False)  # its name may be a patient's
    models: Path  # Results folder of a study that was run, ``results/<profile>``, or its bundle
    out: Path  # Folder of the report and of the pseudonyms' key; not inside ``source``, which is only read
    artery: Artery | None = None  # Of every run, where it is known
    device: str = "auto"  # auto, cpu or cuda
    progress: bool = True

    @property
    def key(self) -> bytes:
        """Secret of the pseudonyms, kept beside the report."""
        return study_key(self.out / KEY_FILE)

    def make_folder(self) -> None:
        """Make the folder of the report; one inside the study, or that cannot be made, is an `InputError`."""
        if self.source.is_dir() and self.out.resolve().is_relative_to(self.source.resolve()):
            remedy = "Choose a folder outside the study"
            raise InputError("lies inside the study, where it would be read again", field="out", remedy=remedy)
        with writing("the report's folder"):
            self.out.mkdir(parents=True, exist_ok=True)


def default_folder(source: Path) -> Path:
    """Where the report of a study goes by default: a folder named by a pseudonym, since the study's may be a name."""
    READINGS.mkdir(parents=True, exist_ok=True)
    return READINGS / pseudonym(str(source.resolve()), "study", study_key(READINGS / KEY_FILE))


def write_report(request: ReportRequest) -> Path:
    """Read a study with trained networks, write its report and return the page."""
    request.make_folder()
    networks = load_models(request.models, device=request.device)
    reading = read_study(request.source, networks, key=request.key, artery=request.artery, progress=request.progress)
    return save_report(reading, request.out)


def save_report(reading: StudyReading, out: Path) -> Path:
    """Write page, numbers and predictions, all by pseudonyms, and the private list of files; returns the page."""
    numbers, page = json.dumps(report_json(reading), indent=1), report_page(reading)
    files = pd.Series(reading.files, name="file").rename_axis("pseudonym")
    write_atomically(out / "predictions.parquet", lambda path: reading.images.to_parquet(path, index=False))
    write_atomically(out / "report.json", lambda path: path.write_text(numbers))
    write_atomically(out / FILES, files.to_csv)
    return write_atomically(out / "report.html", lambda path: path.write_text(page, encoding="utf-8"))


def report_page(reading: StudyReading) -> str:
    """The whole page, as text; files, too, are named by pseudonyms."""
    runs, said = words.runs_table(reading), words.statements(reading)
    chance = words.no_better_than_chance(reading.models)
    runs.insert(1, "File", [run.file for run in reading.runs])
    return template("report.html.j2").render(
        title="Reading of a coronary angiography study",
        warnings=[text for text in (chance, said[0]) if text],
        statements=[text for text in said[1:] if text != chance],
        results=words.results_table(reading),
        runs=runs,
        sections=[_section(run) for run in reading.runs],
        refused=words.refused_table(reading),
    )


def _section(run: RunReading) -> dict[str, Any]:
    """What the page's template is given of a run."""
    shown = shown_run(run)
    return {
        "title": shown.title,
        "notes": [text for text in (run.reason, *run.notes) if text],
        "player": player_values(shown),
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


def report_json(reading: StudyReading) -> dict[str, Any]:
    """The report's numbers: statements, results, runs, refusals; missing ones are null."""
    operating, part = reading.models.operating, reading.models.parts["classification"]
    patients = reading.patients
    results = [words.result_text(*row) for row in zip(patients.score, patients.called, patients.missing, strict=True)]
    return {
        "statements": words.statements(reading),
        "decision": {"rule": operating.rule, "threshold": operating.threshold, "origin": operating.origin},
        "thresholds": {patient: reading.threshold(patient) for patient in reading.known},
        "trained_on": {name: getattr(part, name) for name in ("profile", "cohort", "cohort_digest", "settings")},
        **{"patients": _records(patients.assign(result=results)), "arteries": _records(reading.arteries)},
        "runs": [_run(run) for run in reading.runs],
        "refused": [{"file": file.label, "reason": file.reason} for file in reading.refused],
    }


def _run(run: RunReading) -> dict[str, Any]:
    header = ("patient_id", "study_id", "run_id", "n_frames", "fps", "primary_angle", "secondary_angle", "plane")
    return {
        **{name: getattr(run.cine, name) for name in header},
        **{name: getattr(run, name) for name in ("number", "file", "artery", "view", "reason")},
        **{"notes": list(run.notes), "p_right": None if pd.isna(run.p_right) else run.p_right},
        **{"interval": run.finding.interval, "p_contrast": run.finding.probability.round(4).tolist()},
        **{"images": _records(run.images), "boxes": _records(run.boxes)},
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(table.to_json(orient="records", double_precision=5))


def write_batch(request: ReportRequest) -> Path:
    """Read every study of a folder, one subfolder or archive each; returns the page over all, ``index.html``.

    A study that cannot be read is listed with the reason. Called again, it reads what is new, changed or unfinished.
    """
    request.make_folder()
    places, networks = _studies(request), load_models(request.models, device=request.device)
    for label in tqdm(places, desc="Studies", unit="study", disable=not request.progress):
        _read(places[label], request.out / "studies" / label, request, networks)
    names = pd.Series({label: printable(place.name) for label, place in places.items()}, name="study")
    write_atomically(request.out / STUDIES, names.rename_axis("pseudonym").to_csv)
    return _write_index(list(places), request.out)


def _studies(request: ReportRequest) -> dict[str, Path]:
    """Folders and archives of a folder by their pseudonyms."""
    if not request.source.is_dir():
        raise InputError("is not a folder", field="study", remedy="Give the folder that holds one folder a study")
    places = sorted(place for place in request.source.iterdir() if not place.is_symlink())
    studies = [place for place in places if place.is_dir() or (place.is_file() and is_archive(place))]
    if not studies:
        remedy = "Give the folder that holds one folder or archive a study, or leave out --batch"
        raise InputError("holds no study", field="study", remedy=remedy)
    key = request.key
    return {pseudonym(place.name, "study", key): place for place in studies}


def _read(place: Path, out: Path, request: ReportRequest, networks: ReadingModels) -> None:
    """One study's report, or why there is none; nothing where that is done."""
    stats = [(path.name, path.lstat()) for path in [place, *sorted(place.rglob("*"))]]
    made_of = [networks.digest, request.artery, [(name, own.st_size, own.st_mtime_ns) for name, own in stats]]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    if (out / "done.json").exists() and json.loads((out / "done.json").read_text())["digest"] == digest:
        return
    shutil.rmtree(out, ignore_errors=True)
    refused = ""
    try:
        save_report(read_study(place, networks, key=request.key, artery=request.artery, progress=False), out)
    except InputError as error:
        refused = error.problem
    done = json.dumps({"digest": digest, "refused": refused})
    write_atomically(out / "done.json", lambda path: path.write_text(done))


def _write_index(labels: list[str], out: Path) -> Path:
    """The page over all studies, and its table as CSV."""
    rows = list[dict[str, Any]]()
    for label in labels:
        folder = out / "studies" / label
        refused = json.loads((folder / "done.json").read_text())["refused"]
        if refused:
            rows.append({"Study": label, "Result": f"not read: {refused}"})
            continue
        told = json.loads((folder / "report.json").read_text())
        common = {"Study": label, "Report": f"studies/{label}/report.html", "Runs": len(told["runs"])}
        common["Files refused"] = len(told["refused"])
        for own in told["patients"]:
            rows.append(common | {"Patient": own["patient_id"], "P(≥25 %)": own["score"], "Result": own["result"]})
    columns = ["Study", "Report", "Result", "P(≥25 %)", "Patient", "Runs", "Files refused"]
    table = pd.DataFrame(rows, columns=columns).astype({"Runs": "Int64", "Files refused": "Int64"})
    write_atomically(out / "studies.csv", lambda path: table.to_csv(path, index=False))
    title = f"{len(labels)} angiography studies"
    page = template("report.html.j2").render(title=title, warnings=[words.NOT_A_DEVICE], studies=table)
    return write_atomically(out / "index.html", lambda path: path.write_text(page, encoding="utf-8"))
