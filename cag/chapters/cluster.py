"""Tasks on the workers of a Dask cluster: nothing is computed twice, and nobody waits for a cluster that is gone."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distributed import Client, Future
from distributed.comm import CommClosedError

from cag.chapters.cluster_work import Parcel, pack, work_there
from cag.chapters.progress import Progress
from cag.chapters.store import Store
from cag.chapters.task import Open
from cag.data.cohort import Cohort
from cag.settings import InputError, writing

#: Seconds after which a scheduler that does not answer is given up.
PATIENCE = 30.0
#: Seconds between looks at the futures.
PAUSE = 0.2
#: Times a task is tried again after an error that is no refused input, such as a lost connection.
RETRIES = 2

_AGAIN = "Start it again, or choose another with --scheduler, and run the same command: finished work is kept"


def run_on_cluster(
    waiting: Sequence[Open], cohort: Cohort, store: Store, address: str, digest: str, bar: Progress
) -> None:
    """Have tasks done by a cluster's workers, which write into the same store.

    The results folder and the cohort's files must lie at the same place on every machine. Where a worker
    offers the resource ``GPU``, each task takes one.

    Raises
    ------
    InputError
        If a task cannot be sent or refuses its input, its workers died again and again, the machines do not
        share the results folder, or the scheduler is gone (told within a minute).
    OutOfTime
        If the study's hours are over.
    """
    if not waiting:
        return
    parcels = [pack(one.task, one.folder, cohort) for one in waiting]
    with _connected(address) as client, _mark(store) as mark:
        # As a task of its own the cohort travels once, from worker to worker, and is made anew where one is lost.
        held = client.submit(_same, cohort, key=f"cohort-{digest}-{mark}")
        resources = _resources(client)
        futures = {_submitted(client, parcel, held, store.root, mark, resources): parcel.name for parcel in parcels}
        _watch(client, futures, address, bar)


def _submitted(
    client: Client, parcel: Parcel, held: Future, root: Path, mark: str, resources: dict[str, int] | None
) -> Future:
    key = f"{parcel.name}-{mark}"
    return client.submit(work_there, parcel, held, root, mark, key=key, retries=RETRIES, resources=resources)


def _same(cohort: Cohort) -> Cohort:
    return cohort


def _resources(client: Client) -> dict[str, int] | None:
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return {"GPU": 1} if any("GPU" in worker.get("resources", {}) for worker in workers) else None


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        problem = f"no Dask scheduler answers there ({type(error).__name__})"
        raise InputError(problem, field=address, remedy=_AGAIN) from None
    try:
        yield client
    finally:
        client.close(timeout=2)


@contextlib.contextmanager
def _mark(store: Store) -> Iterator[str]:
    """A file by which workers see that they share the results folder; its name marks this call."""
    mark = uuid.uuid4().hex[:8]
    path = store.working / f"shared-{mark}"
    with writing(path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    try:
        yield mark
    finally:
        path.unlink(missing_ok=True)


def _watch(client: Client, futures: dict[Future, str], address: str, bar: Progress) -> None:
    """Until all are done; the first refusal, the scheduler's end and the study's end stop it."""
    answered = time.monotonic()
    while futures:
        bar.check()
        for future in [future for future in futures if future.status in ("finished", "error")]:
            name = futures.pop(future)
            try:
                _result(future, name)
            except CommClosedError:  # it went between its last word and the fetching of a result
                raise _gone(address, bar) from None
            bar.step()
        if client.status == "running" and not any(future.cancelled() for future in futures):
            answered = time.monotonic()
        elif time.monotonic() - answered > PATIENCE or client.status in ("closed", "closing"):
            raise _gone(address, bar)
        time.sleep(PAUSE)


def _gone(address: str, bar: Progress) -> InputError:
    problem = f"the Dask scheduler is gone: {bar.done} of {bar.total} open tasks were done"
    return InputError(problem, field=address, remedy=_AGAIN)


def _result(future: Future, name: str) -> None:
    error: Any = future.exception() if future.status == "error" else future.result()
    if type(error).__name__ == "KilledWorker":
        remedy = "Give each worker more memory, or start fewer on a machine, and run again"
        raise InputError("its workers died again and again", field=name, remedy=remedy)
    if error is not None:
        raise error
