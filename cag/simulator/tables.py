"""The tables of a simulated cohort: what its plan says of each run, without rendering a frame."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from dask.system import cpu_count as cores
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from tqdm import tqdm

from cag.data.fingerprint import code_digest
from cag.data.tables import COLUMNS, CORNERS, CohortTables
from cag.simulator import phantom
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, lesions_table, patients_table, plan_cohort
from cag.simulator.phantom.plan import PatientPlan, RunPlan
from cag.simulator.phantom.run import RunRenderer

_BOX_COLUMNS = list(COLUMNS["boxes"])
#: Frames of a cohort from which its tables are made in several processes: starting these takes seconds.
MANY_FRAMES = 8_000


def plan_tables(settings: CohortSettings, device: str = "cpu", workers: int = 0) -> tuple[CohortTables, str]:
    """Tables of a simulated cohort without rendering it, and what identifies it.

    In place of a file's digest stands that of the run's plan; there are no fingerprints.

    Parameters
    ----------
    settings : CohortSettings
    device : {'auto', 'cpu', 'cuda'}
    workers : int
        Processes, which change no number; 0 takes every core for a large cohort on the CPU, else this process.
    """
    plan, device = plan_cohort(settings), present(device)
    if not workers:
        workers = cores() if device == "cpu" and sum(run.n_frames for run in plan.runs) >= MANY_FRAMES else 1
    runs: dict[str, list[RunPlan]] = {patient.patient_id: [] for patient in plan.patients}
    for run in plan.runs:
        runs[run.patient_id].append(run)
    jobs = [(patient, runs[patient.patient_id], device) for patient in plan.patients]
    told: list[tuple[dict[str, object], pd.DataFrame]] = []
    with tqdm(total=len(plan.runs), desc="Planning", unit="run") as bar:
        for of_patient in in_processes(_told_of_patient, jobs, workers):
            told += of_patient
            bar.update(len(of_patient))
    return cohort_tables(plan, *zip(*told, strict=True)), f"{settings.digest()}:{simulator_digest()}"


def present(device: str) -> str:
    """The device by its name here and now."""
    return device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def in_processes(work: Callable[..., Any], jobs: Sequence[tuple], workers: int, ordered: bool = True) -> Iterator[Any]:
    """Results of ``work(*job)``, each process on one thread; in this process for one worker.

    Parameters
    ----------
    work : callable
        A named function of a module.
    ordered : bool
        In the order of the jobs, or as they are finished.
    """
    workers = min(workers, len(jobs))
    if workers <= 1 or multiprocessing.current_process().daemon:  # such a process may not start others
        yield from (work(*job) for job in jobs)
        return
    with parallel_config(backend="loky", inner_max_num_threads=1):
        pool = Parallel(workers, return_as="generator" if ordered else "generator_unordered")
        try:
            yield from pool(delayed(work)(*job) for job in jobs)
        finally:
            get_reusable_executor().shutdown(wait=True, kill_workers=True)  # they would keep their memory for minutes


def _told_of_patient(
    patient: PatientPlan, runs: Sequence[RunPlan], device: str
) -> list[tuple[dict[str, object], pd.DataFrame]]:
    """Row and boxes of each run of a patient."""
    renderers = [RunRenderer(patient, run, device) for run in runs]
    return [(run_row(own, plan_digest(patient, own.run), None), run_boxes(own)) for own in renderers]


@lru_cache
def simulator_digest() -> str:
    """Digest of the code and data that decide a simulated cohort, and of what is told of a box.

    Comments and docstrings are no part of it: a cohort stays the same cohort when they are edited.
    """
    code = code_digest(__name__, (phantom.__name__, "cag.anatomy"))
    whole = hashlib.sha256(f"{code}:{','.join(_BOX_COLUMNS)}".encode())
    for file in sorted(Path(str(phantom.__file__)).parent.glob("*.csv")):
        whole.update(f"{file.name}\0".encode() + file.read_bytes())
    return whole.hexdigest()[:16]


def run_row(renderer: RunRenderer, digest: str, picture: str | None) -> dict[str, object]:
    """A run's row of the manifest; ``picture`` is the fingerprint of its frames, where they were rendered."""
    run, truth = renderer.run, renderer.truth
    return {
        "run_id": run.run_id,
        "patient_id": run.patient_id,
        "path": relative_path(run).as_posix(),
        "sha256": digest,
        "source": "simulated",
        "n_frames": run.n_frames,
        "rows": run.rows,
        "columns": run.columns,
        "fps": run.fps,
        "primary_angle": rounded_angle(run.primary_angle),
        "secondary_angle": rounded_angle(run.secondary_angle),
        "artery": run.artery,
        "view": run.view,
        "contrast_begin": truth.contrast_begin,
        "contrast_end": truth.contrast_end,
        "end_censored": truth.end_censored,
        "fingerprint": picture,
    }


def run_boxes(renderer: RunRenderer) -> pd.DataFrame:
    """Boxes of every frame, to a hundredth of a pixel."""
    boxes = renderer.boxes(None).assign(run_id=renderer.run.run_id)[_BOX_COLUMNS]
    return boxes.astype({corner: float for corner in (*CORNERS, "percent_stenosis")}).round(2)


def cohort_tables(plan: CohortPlan, rows: Iterable[dict[str, object]], boxes: Iterable[pd.DataFrame]) -> CohortTables:
    """The four tables from a row and the boxes of each run."""
    filled = [table for table in boxes if len(table)]
    joined = pd.concat(filled, ignore_index=True) if filled else None
    return CohortTables.checked(pd.DataFrame(list(rows)), patients_table(plan), lesions_table(plan), joined)


def relative_path(run: RunPlan) -> Path:
    """Where a run's file lies in the cohort's folder."""
    return Path(run.patient_id) / f"{run.run_id}.dcm"


def rounded_angle(angle: float) -> float:
    """Degrees to a hundredth, as file and manifest hold them."""
    return round(float(angle), 2)


def plan_digest(patient: PatientPlan, run: RunPlan) -> str:
    """What tells a planned run from every other."""
    return hashlib.sha256(f"{patient!r}\0{run!r}".encode()).hexdigest()
