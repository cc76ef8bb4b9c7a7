"""Reading many studies: one report a study, those already finished found again, and a page over all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import pandas as pd
from distributed import Client
from distributed.scheduler import KilledWorker
from tqdm import tqdm

from cag.book.figures.cine_player import template
from cag.book.report import ReportRequest, save_report
from cag.chapters.mapped import open_scheduler
from cag.chapters.reading.models import ReadingModels, load_models
from cag.chapters.reading.study import read_study
from cag.chapters.reading.words import NOT_A_DEVICE
from cag.data.archives import is_archive, tree_entries
from cag.data.pseudonyms import pseudonym
from cag.settings import InputError, write_atomically

#: Which pseudonym stands for which study's folder: for whoever owns the files.
STUDIES = "studies_private.csv"
#: Seconds after which a scheduler that does not answer is given up.
PATIENCE = 30.0


def write_batch(request: ReportRequest, *, scheduler: str | None = None) -> Path:
    """Read every study of a folder, one subfolder or archive each; returns the page over all, ``index.html``.

    A study that cannot be read is listed with the reason and stops nothing. Called again, it reads only
    what is new, changed or was interrupted. ``scheduler`` names a Dask cluster whose workers read, a study each.

    Raises
    ------
    InputError
        If there is no study, the networks are not there, or the cluster is gone.
    """
    request.make_folder()
    own = replace(request, **{name: getattr(request, name).resolve() for name in ("source", "models", "out")})
    places = _studies(own.source, own.key)
    work = partial(_read, request=own, networks=load_models(own.models, device=own.device).digest)
    with tqdm(total=len(places), desc="Studies", unit="study", disable=not own.progress) as bar:
        if scheduler is None:
            for label in places:
                work(label)
                bar.update()
        else:
            _read_on_cluster(work, list(places), scheduler, bar.update)
    names = pd.DataFrame({"pseudonym": list(places), "study": [place.name for place in places.values()]})
    write_atomically(own.out / STUDIES, lambda path: names.to_csv(path, index=False))
    return _write_index(list(places), request.out)


def _studies(folder: Path, key: bytes) -> dict[str, Path]:
    """Folders and archives of a folder by their pseudonyms."""
    if not folder.is_dir():
        raise InputError("is not a folder", field="study", remedy="Give the folder that holds one folder a study")
    places = sorted(place for place in folder.iterdir() if not place.is_symlink())
    studies = [place for place in places if place.is_dir() or (place.is_file() and is_archive(place))]
    if not studies:
        remedy = "Give the folder that holds one folder or archive a study, or leave out --batch"
        raise InputError("holds no study", field="study", remedy=remedy)
    return {pseudonym(place.name, "study", key): place for place in studies}


def _read(label: str, *, request: ReportRequest, networks: str) -> None:
    """One study's report, or why there is none; nothing where that is done. A worker is told no file name."""
    place, out = _studies(request.source, request.key).get(label), request.out / "studies" / label
    if place is None:
        problem, remedy = "a study is not there", "Put the studies on a disk that all machines see at the same place"
        raise InputError(problem, field=label, remedy=remedy)
    made_of = [networks, request.artery, *_content(place)]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    if (out / "done.json").exists() and json.loads((out / "done.json").read_text())["digest"] == digest:
        return
    shutil.rmtree(out, ignore_errors=True)
    refused = ""
    try:
        models = _opened(request.models, request.device, networks)
        reading = read_study(place, models, key=request.key, artery=request.artery, progress=False)
    except InputError as error:
        refused = error.problem
    else:
        save_report(reading, out)
    done = json.dumps({"digest": digest, "refused": refused})
    write_atomically(out / "done.json", lambda path: path.write_text(done))


@lru_cache(maxsize=1)
def _opened(models: Path, device: str, networks: str) -> ReadingModels:
    """The networks, once a process; ``networks`` tells those of now from those a worker has kept."""
    return load_models(models, device=device)


def _content(place: Path) -> list[object]:
    """What a study's files look like from outside: a study that changed is read again."""
    try:
        stats = [(entry.name, entry.path.lstat() if entry.path else None) for entry in tree_entries(place)]
    except InputError as error:
        return [error.problem]
    return [(name, own and own.st_size, own and own.st_mtime_ns) for name, own in stats]


def _read_on_cluster(
    work: Callable[[str], None], labels: Sequence[str], scheduler: str, done: Callable[[], object]
) -> None:
    remedy = "Start it again, or choose another with --scheduler, and run the same command: finished studies are kept"
    try:
        with (
            open_scheduler(scheduler) as address,
            Client(address, timeout=PATIENCE, set_as_default=False) as client,
        ):
            for future in client.map(work, labels, retries=2, pure=False):
                future.result()
                done()
    except (OSError, CancelledError, KilledWorker) as error:
        problem = f"the Dask cluster does not answer, or is gone ({type(error).__name__})"
        raise InputError(problem, field="--scheduler", remedy=remedy) from None


def _write_index(labels: Sequence[str], out: Path) -> Path:
    """The page over all studies, its table as CSV, and all predictions together."""
    rows: list[dict[str, object]] = []
    parts = []
    for label in labels:
        folder = out / "studies" / label
        refused = json.loads((folder / "done.json").read_text())["refused"]
        if refused:
            rows.append({"Study": label, "Result": f"not read: {refused}"})
            continue
        parts.append(pd.read_parquet(folder / "predictions.parquet").assign(study=label))
        told = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        common: dict[str, object] = {"Study": label, "Report": f"studies/{label}/report.html"}
        common |= {"Runs": len(told["runs"]), "Files refused": len(told["refused"])}
        for own in told["patients"]:
            rows.append(common | {"Patient": own["patient_id"], "P(≥25 %)": own["score"], "Result": own["result"]})
    columns = ["Study", "Report", "Result", "P(≥25 %)", "Patient", "Runs", "Files refused"]
    table = pd.DataFrame(rows, columns=columns).astype({"Runs": "Int64", "Files refused": "Int64"})
    write_atomically(out / "studies.csv", lambda path: table.to_csv(path, index=False))
    if parts:
        whole = pd.concat(parts, ignore_index=True)
        write_atomically(out / "predictions.parquet", lambda path: whole.to_parquet(path, index=False))
    title = f"{len(labels)} angiography studies"
    page = template("report.html.j2").render(title=title, warnings=[NOT_A_DEVICE], studies=table)
    return write_atomically(out / "index.html", lambda path: path.write_text(page, encoding="utf-8"))
