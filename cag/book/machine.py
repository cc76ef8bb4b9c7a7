"""What a computation ran on and how long it took: the record beside every executed notebook."""

from __future__ import annotations

import contextlib
import json
import platform
import resource
import sys
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from dask.system import cpu_count as cores
from distributed.system import memory_limit

#: Packages whose versions decide a result.
_PACKAGES = ("cag", "torch", "torchvision", "scikit-learn", "pydicom")


def memory_gb() -> float:
    """Memory in GB that the machine, or the container this runs in, has."""
    return memory_limit() / 1e9


def end_children() -> None:
    """Ask every process that this one started to end, and theirs."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, graphics card and versions; nothing that names the machine or its user."""
    card = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": cores(),
        "memory_gb": round(memory_gb(), 1),
        "card": card,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def peak_memory_of_children_gb() -> float:
    """Most memory that one finished child process held at once, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e9, 2)


def longest_before(stamp: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The longest execution of the same notebook before, where this one found work of unknown duration.

    Parameters
    ----------
    stamp : Path
        Where the record of the execution before lies.
    record : mapping
        That of this execution, with ``tasks`` (``tasks.tasks_used``).

    Returns
    -------
    dict
        ``before`` with ``seconds`` and ``date``; empty where nothing is unknown, or nothing is known of before.
    """
    if None not in record["tasks"]["found"].values() or not stamp.exists():
        return {}
    last = json.loads(stamp.read_text())
    if last["profile"] != record["profile"] or last["overrides"] != record["overrides"]:
        return {}
    executions = [{"seconds": last["seconds"], "date": last.get("date", "")}, last.get("before")]
    return {"before": max(filter(None, executions), key=lambda one: one["seconds"])}


def _processor() -> str:
    """Name of the processor, as the system tells it."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
