"""The same tasks on the workers of a Dask cluster, which write into the same store."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError

from distributed import Client, as_completed
from distributed.scheduler import KilledWorker

from cag.chapters.store import PAUSE, RunFolder, Store, Work, fill
from cag.data.cohort import Cohort
from cag.settings import InputError, Settings

#: Seconds after which a scheduler that does not answer is given up.
PATIENCE = 30.0
#: Times a task is tried again after an error that is no refused input, such as a lost connection.
RETRIES = 2


def run_on_cluster(
    work: Work, tasks: Sequence[tuple[Settings, RunFolder]], cohort: Cohort, store: Store, done: Callable[[], object]
) -> None:
    """Map tasks over a cluster; ``done`` is called after each. Where a worker offers ``GPU``, each task takes one.

    The results folder and the cohort's files must lie at the same place on every machine.

    Raises
    ------
    InputError
        If no scheduler answers, its workers died again and again, or a task refuses its input.
    """
    remedy = "Start it again, or choose another with --scheduler, and run the same command: finished work is kept"
    try:
        with Client(store.scheduler, timeout=PATIENCE, set_as_default=False) as client:
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
            resources = {"GPU": 1} if any("GPU" in worker.get("resources", {}) for worker in workers) else None
            held = client.submit(_same, cohort, key=f"cohort-{cohort.digest()}")  # travels once, and again where lost
            futures = client.map(
                _fill_there, tasks, work=work, cohort=held, retries=RETRIES, resources=resources, pure=False
            )
            for _, refused in as_completed(futures, with_results=True, loop=client.loop):
                if refused is not None:
                    raise refused
                done()
        if not all(folder.complete for _, folder in tasks):
            where = "Put the project's folder on a disk that all machines see at the same place"
            raise InputError("a worker does not see the results folder", file=store.root.name, remedy=where)
    except KilledWorker:
        remedy = "Give each worker more memory, or start fewer on a machine, and run again"
        raise InputError("its workers died again and again", field=store.scheduler, remedy=remedy) from None
    except (OSError, ValueError, CancelledError) as error:
        if isinstance(error, InputError):
            raise
        problem = f"the Dask scheduler does not answer, or is gone ({type(error).__name__})"
        raise InputError(problem, field=store.scheduler, remedy=remedy) from None


def _same(cohort: Cohort) -> Cohort:
    return cohort


def _fill_there(task: tuple[Settings, RunFolder], *, work: Work, cohort: Cohort) -> InputError | None:
    """Do a task on this machine; a refusal is returned, so that it is not tried again."""
    settings, folder = task
    try:
        while not fill(work, cohort, settings, folder):  # another worker, taken for dead, may still be at it
            time.sleep(PAUSE)
    except InputError as error:
        return error
    return None
