"""Tasks mapped over the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from copy import copy
from typing import Any

import torch
from dask.system import cpu_count as cores
from distributed import Client, LocalCluster, as_completed
from distributed.scheduler import KilledWorker

from cag.data.cohort import Cohort
from cag.settings import InputError, SettingsError

Task = Callable[..., InputError | None]

#: Seconds after which a scheduler that does not answer is given up.
PATIENCE = 30.0
#: Times a task is tried again after an error that is no refused input, such as a lost connection.
RETRIES = 2


def map_tasks(do: Task, tasks: Sequence[Any], cohort: Cohort, scheduler: str, done: Callable[[], object]) -> None:
    """Have ``do(task, cohort=cohort)`` done for every task by a cluster's workers; ``done`` is called after each.

    ``do``, a named function, returns what it refuses, so that a refusal is not tried again. Where a worker offers the
    resource ``GPU``, each task takes one. Raises `InputError` if no scheduler answers, its workers died again and
    again, or a task refuses its input.
    """
    try:
        with Client(scheduler, timeout=PATIENCE, set_as_default=False) as client:
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
            resources = {"GPU": 1} if any("GPU" in worker.get("resources", {}) for worker in workers) else None
            held = client.submit(copy, cohort, key=f"cohort-{cohort.digest()}")  # travels once, and again where lost
            futures = client.map(do, tasks, cohort=held, retries=RETRIES, resources=resources, pure=False)
            for _, refused in as_completed(futures, with_results=True, loop=client.loop):
                if refused is not None:
                    raise refused
                done()
    except KilledWorker:
        remedy = "Give each worker more memory, or start fewer on a machine, and run again"
        raise InputError("its workers died again and again", field=scheduler, remedy=remedy) from None
    except InputError:
        raise
    except (OSError, ValueError, CancelledError) as error:
        remedy = "Start it again, or choose another with --scheduler, and run the same command: finished work is kept"
        problem = f"the Dask scheduler does not answer, or is gone ({type(error).__name__})"
        raise InputError(problem, field=scheduler, remedy=remedy) from None


@contextlib.contextmanager
def open_scheduler(where: str) -> Iterator[str]:
    """The address of a running scheduler, or of a cluster on this machine for the time being.

    ``where`` is ``tcp://HOST:PORT`` (or ``tls://``), or ``local:N`` for N worker processes here, which share its cores;
    where there are cards, each worker offers one as ``GPU``.
    """
    kind, _, rest = where.partition(":")
    if kind in ("tcp", "tls", "ucx") and rest.startswith("//"):
        yield where
    elif kind == "local" and rest.isdigit() and int(rest) > 0:
        threads = str(max(1, cores() // int(rest)))
        environment = {name: threads for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        cards = {"GPU": 1} if torch.cuda.is_available() else {}
        shape = {"n_workers": int(rest), "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
        with LocalCluster(**shape, env=environment, resources=cards, host="127.0.0.1", silence_logs=50) as cluster:
            yield cluster.scheduler_address
    else:
        remedy = "Write tcp://HOST:PORT, or local:4 for four worker processes on this machine"
        raise SettingsError(f"{where!r} is no scheduler", field="--scheduler", remedy=remedy)
