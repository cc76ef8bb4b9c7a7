"""Task functions that worker processes of the tests find by their names."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from cag.chapters.store import RunFolder
from cag.data.cohort import Cohort
from cag.settings import LabelError, Settings


class Number(Settings):
    number: int


@dataclass(frozen=True)
class Shared:
    """What the tasks share: read from the cohort once a process, which leaves a trace in ``log``."""

    cohort: Cohort
    log: Path

    @cached_property
    def runs(self) -> int:
        with self.log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return len(self.cohort.manifest)


def count(cohort: Cohort, settings: Number, folder: RunFolder, *, shared: Shared) -> None:
    """A number computed from the cohort, the settings and what is shared."""
    folder.save_table("result", pd.DataFrame({"value": [settings.number * shared.runs + len(cohort.lesions)]}))


def refuse(cohort: Cohort, settings: Number, folder: RunFolder) -> None:
    """An input that is refused."""
    raise LabelError("there is none", field="boxes", remedy="Add some")


def die_once(cohort: Cohort, settings: Number, folder: RunFolder, *, mark: Path) -> None:
    """The first process that comes here is killed in the middle of its work."""
    folder.save_table("half", pd.DataFrame({"value": [0]}))
    if settings.number == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    folder.save_table("result", pd.DataFrame({"value": [settings.number]}))


def wait(cohort: Cohort, settings: Number, folder: RunFolder, *, mark: Path) -> None:
    """Takes its time until ``mark`` is there, and notes that it has begun."""
    (mark.parent / f"begun-{settings.number}").touch()
    while settings.number > 0 and not mark.exists():
        time.sleep(0.1)
    folder.save_table("result", pd.DataFrame({"value": [settings.number]}))
