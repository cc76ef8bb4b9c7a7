"""Reading many studies: one report a study, those already finished found again, and a page over all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache, partial
from html import escape
from pathlib import Path

import pandas as pd

from cag.anatomy import Artery
from cag.archives import is_archive
from cag.cohort import Cohort
from cag.errors import InputError
from cag.experiments.reading import read_study
from cag.experiments.reading_models import ReadingModels, load_models
from cag.experiments.reading_words import NOT_A_DEVICE
from cag.figures.report_page import table_page
from cag.manifest import KEY_FILE
from cag.pseudonyms import pseudonym, study_key
from cag.report import prepared_folder, save_report
from cag.settings import Settings
from cag.store import RunFolder, Store, write_atomically
from cag.study_tree import tree_entries
from cag.tables import empty_table
from cag.tasks import Task, run_tasks

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


def write_batch(
    folder: Path,
    models: Path,
    out: Path,
    *,
    artery: Artery | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Read every study of a folder, one subfolder or archive each, and write a report for each and a page over all.

    A study that cannot be read is listed with the reason and stops nothing. Called again, it reads only
    what is new, changed or was interrupted.

    Returns
    -------
    Path
        The page over all, ``index.html``.

    Raises
    ------
    InputError
        If there is no study, or the networks are not there.
    """
    prepared_folder(folder, out)
    key = study_key(out / KEY_FILE)
    places = {_label(place, key): place for place in _studies(folder)}
    tasks = [
        Task(
            KIND,
            StudySettings(study=label, content=_content(place), artery=artery),
            partial(_read, place=place, models=models, key=key, device=device),
        )
        for label, place in places.items()
    ]
    store = Store(out)
    folders = run_tasks(tasks, _networks_as_cohort(_opened(models, device)), store, progress=progress)
    found = dict(zip(places, folders, strict=True))
    names = pd.DataFrame({"pseudonym": list(places), "study": [place.name for place in places.values()]})
    write_atomically(out / STUDIES, lambda path: names.to_csv(path, index=False))
    return _write_index(found, out)


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


@lru_cache(maxsize=1)
def _opened(models: Path, device: str) -> ReadingModels:
    return load_models(models, device=device)


def _networks_as_cohort(models: ReadingModels) -> Cohort:
    """A cohort without runs that stands for the networks: other networks are other results."""
    origin = f"{models.stage.cohort_digest}:{sorted(models.stage.settings.items())}:{models.operating.threshold}"
    manifest, patients = empty_table("data_manifest"), empty_table("patients")
    return Cohort(manifest, patients, empty_table("lesions"), empty_table("boxes"), folder=None, origin=origin)


def _read(
    _: Cohort, settings: StudySettings, folder: RunFolder, *, place: Path, models: Path, key: bytes, device: str
) -> None:
    """One study's report, or why there is none."""
    try:
        reading = read_study(place, _opened(models, device), key=key, artery=settings.artery, progress=False)
    except InputError as error:
        folder.save_json("refused", {"reason": error.problem})
        return
    save_report(reading, folder.path)


def _write_index(found: Mapping[str, RunFolder], out: Path) -> Path:
    """The page over all studies, its table as CSV, and all predictions together."""
    rows = [row for label, folder in found.items() for row in _rows(label, folder, out)]
    table = pd.DataFrame(rows, columns=["Study", "Patient", "Runs", "Files refused", "P(≥25 %)", "Result", "Report"])
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
