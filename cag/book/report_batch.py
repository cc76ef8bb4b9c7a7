"""Reading many studies: one report a study, those already finished found again, and a page over all."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from html import escape
from pathlib import Path

import pandas as pd

from cag.anatomy import Artery
from cag.book.figures.report_page import table_page
from cag.book.report import ReportRequest, save_report
from cag.chapters.reading.models import ReadingModels, load_models
from cag.chapters.reading.reading import read_study
from cag.chapters.reading.words import NOT_A_DEVICE
from cag.chapters.stages import load_stage
from cag.chapters.store import RunFolder, Store, write_atomically
from cag.chapters.tasks import Task, run_tasks
from cag.data.archives import is_archive, tree_entries
from cag.data.cohort import Cohort
from cag.data.fingerprint import file_digest
from cag.data.pseudonyms import pseudonym
from cag.data.tables import empty_table
from cag.settings import InputError, Settings

#: Which pseudonym stands for which study's folder: for whoever owns the files.
STUDIES = "studies_private.csv"
KIND = "studies"


class StudySettings(Settings):
    """What the reading of one study depends on besides the networks.

    Attributes
    ----------
    study : str
        Pseudonym of the name of its folder or archive.
    content : str
        Digest of its files' names, sizes and times: a study that changed is read again.
    artery : {'LCA', 'RCA'} or None
    """

    study: str
    content: str
    artery: Artery | None = None


def write_batch(request: ReportRequest, *, scheduler: str | None = None) -> Path:
    """Read every study of a folder, one subfolder or archive each, and write a report for each and a page over all.

    A study that cannot be read is listed with the reason and stops nothing. Called again, it reads only
    what is new, changed or was interrupted.

    Parameters
    ----------
    scheduler : str, optional
        Whose workers read, a study each: see ``mapped.open_scheduler``; this process by default.

    Returns
    -------
    Path
        The page over all, ``index.html``.

    Raises
    ------
    InputError
        If there is no study, the networks are not there, or the cluster is gone.
    """
    request.make_folder()
    key, store = request.key, Store(request.out)
    places = {_label(place, key): place for place in _studies(request.source)}
    networks = _networks_as_cohort(request.models)
    _opened(request.models.resolve(), request.device, networks.origin)  # refused now rather than by a worker
    tasks = [_task(label, place, request, networks.origin) for label, place in places.items()]
    with contextlib.ExitStack() as stack:
        address = None
        if scheduler is not None:
            from cag.chapters.mapped import open_scheduler  # one process needs no cluster

            address = stack.enter_context(open_scheduler(scheduler))
        folders = run_tasks(tasks, networks, store, progress=request.progress, scheduler=address)
    found = dict(zip(places, folders, strict=True))
    names = pd.DataFrame({"pseudonym": list(places), "study": [place.name for place in places.values()]})
    write_atomically(request.out / STUDIES, lambda path: names.to_csv(path, index=False))
    return _write_index(found, request.out)


def _task(label: str, place: Path, request: ReportRequest, networks: str) -> Task:
    """The reading of one study, as it may go to another machine: with places that hold there too, and no secret."""
    settings = StudySettings(study=label, content=_content(place), artery=request.artery)
    own = replace(request, source=place.resolve(), models=request.models.resolve(), out=request.out.resolve())
    return Task(KIND, settings, partial(_read, request=own, networks=networks))


def _studies(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError("is not a folder", field="study", remedy="Give the folder that holds one folder a study")
    places = sorted(place for place in folder.iterdir() if not place.is_symlink())
    studies = [place for place in places if place.is_dir() or (place.is_file() and is_archive(place))]
    if not studies:
        remedy = "Give the folder that holds one folder or archive a study, or leave out --batch"
        raise InputError("holds no study", field="study", remedy=remedy)
    return studies


def _label(place: Path, key: bytes) -> str:
    return pseudonym(place.name, "study", key)


def _content(place: Path) -> str:
    """Digest of what a study's files look like from outside."""
    try:
        entries = tree_entries(place)
    except InputError as error:
        return hashlib.sha256(error.problem.encode()).hexdigest()[:16]
    lines = []
    for entry in entries:
        status = entry.path.lstat() if entry.path else None
        lines.append(f"{entry.name}\0{status.st_size if status else ''}\0{status.st_mtime_ns if status else ''}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _networks_as_cohort(models: Path) -> Cohort:
    """A cohort without runs that stands for the networks: other networks are other results."""
    stage = load_stage(Store(models), "classification")
    files = [models / f"{name}.parquet" for name in ("classification", "artery_triage", "localization_operating")]
    files += sorted((models / "models").rglob("*.safetensors"))
    digests = [file_digest(path) for path in files if path.is_file()]
    origin = f"{stage.cohort_digest}:{sorted(stage.settings.items())}:{digests}"
    manifest, patients = empty_table("data_manifest"), empty_table("patients")
    return Cohort(manifest, patients, empty_table("lesions"), empty_table("boxes"), folder=None, origin=origin)


@lru_cache(maxsize=1)
def _opened(models: Path, device: str, networks: str) -> ReadingModels:
    """The networks, once a process; ``networks`` tells those of now from those a worker has kept."""
    return load_models(models, device=device)


def _read(_: Cohort, settings: StudySettings, folder: RunFolder, *, request: ReportRequest, networks: str) -> None:
    """One study's report, or why there is none.

    What this machine does not see is no property of the study: it stops the batch.
    """
    if not request.source.exists():
        problem, remedy = "a study is not there", "Put the studies on a disk that all machines see at the same place"
        raise InputError(problem, field=settings.study, remedy=remedy)
    opened = _opened(request.models, request.device, networks)
    try:
        reading = read_study(request.source, opened, key=request.key, artery=settings.artery, progress=False)
    except InputError as error:
        folder.save_json("refused", {"reason": error.problem})
        return
    save_report(reading, folder.path)


def _write_index(found: Mapping[str, RunFolder], out: Path) -> Path:
    """The page over all studies, its table as CSV, and all predictions together."""
    rows = [row for label, folder in found.items() for row in _rows(label, folder, out)]
    table = pd.DataFrame(rows, columns=["Study", "Report", "Result", "P(≥25 %)", "Patient", "Runs", "Files refused"])
    table = table.astype({"Runs": "Int64", "Files refused": "Int64"})  # also where a study was not read
    write_atomically(out / "studies.csv", lambda path: table.to_csv(path, index=False))
    parts = [
        folder.load_table("predictions").assign(study=label)
        for label, folder in found.items()
        if folder.has("predictions.parquet")
    ]
    if parts:
        whole = pd.concat(parts, ignore_index=True)
        write_atomically(out / "predictions.parquet", lambda path: whole.to_parquet(path, index=False))
    page = table_page(f"{len(found)} angiography studies", escape(NOT_A_DEVICE), table, link="Report")
    return write_atomically(out / "index.html", lambda path: path.write_text(page, encoding="utf-8"))


def _rows(label: str, folder: RunFolder, out: Path) -> list[dict[str, object]]:
    """A row for each patient of a study, or one that says why it was not read."""
    if folder.has("refused.json"):
        return [{"Study": label, "Result": f"not read: {folder.load_json('refused')['reason']}"}]
    numbers = folder.load_json("report")
    common = {
        "Study": label,
        "Runs": len(numbers["runs"]),
        "Files refused": len(numbers["refused"]),
        "Report": (folder.path / "report.html").relative_to(out).as_posix(),
    }
    called = {True: "stenosis of 25 % or more", False: "below the threshold", None: "not classified"}
    return [
        common
        | {
            "Patient": patient["patient_id"],
            "P(≥25 %)": patient["score"],
            "Result": called[patient["called"]] + (f" ({patient['missing']} not read)" if patient["missing"] else ""),
        }
        for patient in numbers["patients"]
    ]
