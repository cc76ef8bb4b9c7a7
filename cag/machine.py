"""What a computation ran on and how long it took: the record beside every executed notebook."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

#: Packages whose versions decide a result.
_PACKAGES = ("cag", "torch", "torchvision", "scikit-learn", "pydicom")


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gb() -> float:
    """Memory of the machine in GB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


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


def _processor() -> str:
    """Name of the processor, as the system tells it."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
