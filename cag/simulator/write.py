"""The simulated cohort as DICOM files with its tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
from dask.system import cpu_count as cores
from tqdm import tqdm

from cag.data.dicom_write import write_cine
from cag.data.fingerprint import file_digest, fingerprint, fingerprint_frames, same_picture
from cag.data.tables import COLUMNS, CohortTables, load_table
from cag.settings import ManifestError, write_atomically, writing
from cag.simulator.cohort import save_plan
from cag.simulator.phantom.cohort import CohortSettings, plan_cohort
from cag.simulator.phantom.plan import PatientPlan, RunPlan
from cag.simulator.phantom.run import RunRenderer
from cag.simulator.tables import (
    cohort_tables,
    in_processes,
    plan_digest,
    relative_path,
    rounded_angle,
    run_boxes,
    run_row,
    simulator_digest,
)

_RECORDS = ".records"


def write_simulated(
    settings: CohortSettings, out: Path, *, manifest_path: Path | None = None, progress: bool = True, workers: int = 0
) -> Path:
    """Render a simulated cohort and write it as DICOM XA cine runs with its tables.

    Runs already there are kept: a run is written again only if its plan, the simulator or its file
    changed. A manifest that differs from the new one by last bits alone (another processor) is left as it is.

    The files are ``out/<patient>/<run>.dcm`` beside ``patients.csv``, ``lesions.csv`` and ``boxes.csv``; the manifest,
    whose path is returned, is ``out/data_manifest.csv`` or lies in a folder above. ``workers`` 0 takes every core.

    Raises
    ------
    ManifestError
        If the manifest would not lie above the files.
    InputError
        If a file cannot be written; what was written stays and is found again.
    """
    manifest_path = manifest_path or out / "data_manifest.csv"
    if not out.resolve().is_relative_to(manifest_path.parent.resolve()):
        remedy = "Write it in the files' folder or a folder above"
        raise ManifestError("would not lie above its runs", file=manifest_path.name, remedy=remedy)
    plan, simulator = plan_cohort(settings), simulator_digest()
    jobs = {run.run_id: (plan.patient(run.patient_id), run, out, simulator) for run in plan.runs}
    stored = {run_id: _stored(*job) for run_id, job in jobs.items()}
    records = {run_id: record for run_id, record in stored.items() if record is not None}
    waiting = [job for run_id, job in jobs.items() if run_id not in records]
    with writing(out.name):
        finished = in_processes(_write_run, waiting, workers or cores(), ordered=False)
        for record in tqdm(finished, total=len(waiting), desc="Simulating", unit="run", disable=not progress):
            records[record["row"]["run_id"]] = record
    ordered = [records[run.run_id] for run in plan.runs]
    boxes = [pd.DataFrame(record["boxes"], columns=list(COLUMNS["boxes"])) for record in ordered]
    tables = cohort_tables(plan, [dict(record["row"]) for record in ordered], boxes)
    prefix = out.resolve().relative_to(manifest_path.parent.resolve())
    save_plan(settings, out)
    tables.manifest["path"] = [(prefix / path).as_posix() for path in tables.manifest.path]
    return _save(tables, manifest_path, out)


def _write_run(patient: PatientPlan, run: RunPlan, out: Path, simulator: str) -> dict:
    """Render and write one run; its record is written last."""
    renderer = RunRenderer(patient, run)
    frames = renderer.render(None).cpu().numpy()
    file = out / relative_path(run)
    write_cine(
        file,
        frames,
        fps=run.fps,
        primary_angle=rounded_angle(run.primary_angle),
        secondary_angle=rounded_angle(run.secondary_angle),
        patient_id=run.patient_id,
        run_id=run.run_id,
    )
    row = run_row(renderer, file_digest(file), fingerprint(frames[fingerprint_frames(run.n_frames)]))
    boxes = run_boxes(renderer).astype(object).where(lambda table: table.notna(), None)
    record = {
        "plan": f"{plan_digest(patient, run)}:{simulator}",
        "file": [file.stat().st_size, file.stat().st_mtime_ns],
        "row": row,
        "boxes": boxes.to_numpy().tolist(),
    }
    write_atomically(out / _RECORDS / f"{run.run_id}.json", lambda path: path.write_text(json.dumps(record)))
    return record


def _stored(patient: PatientPlan, run: RunPlan, out: Path, simulator: str) -> dict | None:
    """The record of a run that is already there as planned, else None."""
    file, place = out / relative_path(run), out / _RECORDS / f"{run.run_id}.json"
    try:
        record = json.loads(place.read_text())
        if record["plan"] != f"{plan_digest(patient, run)}:{simulator}":
            return None
        status = file.stat()
        if record["file"] == [status.st_size, status.st_mtime_ns] or file_digest(file) == record["row"]["sha256"]:
            return record
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no record, or a torn one: the run is rendered again
    return None


def _save(tables: CohortTables, manifest_path: Path, out: Path) -> Path:
    try:
        known = load_table(manifest_path, "data_manifest")
    except ManifestError:
        known = None  # none yet, or one to be replaced
    if known is not None and _equivalent(known, tables.manifest):
        tables = replace(tables, manifest=known)
    return tables.save(manifest_path, out)


def _equivalent(known: pd.DataFrame, new: pd.DataFrame) -> bool:
    """Whether two manifests are of one cohort, last bits apart."""
    exact = [column for column in COLUMNS["data_manifest"] if column not in ("sha256", "fingerprint")]
    if len(known) != len(new) or not known[exact].equals(new[exact]) or known["fingerprint"].isna().any():
        return False
    return all(map(same_picture, known["fingerprint"], new["fingerprint"]))
