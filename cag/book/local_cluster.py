"""A Dask cluster on this machine: worker processes that share its cores, and its graphics cards if there are any."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from distributed import Nanny, Scheduler, SpecCluster

from cag.settings import SettingsError


@contextlib.contextmanager
def open_scheduler(where: str) -> Iterator[str]:
    """The address of a scheduler: that of a running one, or of a cluster on this machine for the time being.

    Parameters
    ----------
    where : str
        ``tcp://HOST:PORT`` (or ``tls://``), or ``local:N`` for N worker processes here. On a machine with
        cards the workers are dealt out to them in turn: more workers than cards train several networks on
        one card side by side.

    Raises
    ------
    SettingsError
        If it is neither.
    """
    kind, _, rest = where.partition(":")
    if kind == "local" and rest.isdigit() and int(rest) > 0:
        with SpecCluster(workers=_workers(int(rest)), scheduler=_scheduler(), silence_logs=50) as cluster:
            yield cluster.scheduler_address
    elif kind in ("tcp", "tls", "ucx") and rest.startswith("//"):
        yield where
    else:
        remedy = "Write tcp://HOST:PORT, or local:4 for four worker processes on this machine"
        raise SettingsError(f"{where!r} is no scheduler", field="--scheduler", remedy=remedy)


def _scheduler() -> dict[str, Any]:
    return {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False}}


def _workers(count: int) -> dict[int, dict[str, Any]]:
    """One single-threaded worker a process, each with its share of the cores and its card."""
    cards = torch.cuda.device_count()
    threads = str(max(1, len(os.sched_getaffinity(0)) // count))
    return {number: {"cls": Nanny, "options": _options(number, cards, threads)} for number in range(count)}


def _options(number: int, cards: int, threads: str) -> dict[str, Any]:
    environment = {name: threads for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    options: dict[str, Any] = {"nthreads": 1, "memory_limit": 0, "host": "127.0.0.1", "dashboard": False}
    if not cards:
        return options | {"env": environment}
    return options | {"env": environment | {"CUDA_VISIBLE_DEVICES": _card(number, cards)}, "resources": {"GPU": 1}}


def _card(number: int, cards: int) -> str:
    """The card of a worker, by the name it has outside where only some are visible."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (visible or [str(card) for card in range(cards)])[number % cards]
