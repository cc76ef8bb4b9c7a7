"""Tasks that worker processes of the tests find by their names."""

import os
import signal
import time
from functools import lru_cache
from pathlib import Path

import pandas as pd

from cag.chapters.store import RunFolder
from cag.data.cohort import Cohort
from cag.settings import LabelError, Settings


class Number(Settings):
    number: int


@lru_cache
def runs_of(cohort: Cohort, log: Path) -> int:
    """What tasks share: read from the cohort once a process, which leaves a trace in ``log``."""
    with log.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(cohort.manifest)


def count(cohort: Cohort, settings: Number, folder: RunFolder) -> None:
    """A number computed from the cohort, the settings and what is shared."""
    shared = runs_of(cohort, folder.store.root.with_suffix(".log"))
    folder.save_table("result", pd.DataFrame({"value": [settings.number * shared + len(cohort.lesions)]}))


def twice(cohort: Cohort, settings: Number, folder: RunFolder) -> None:
    """Work that builds on other work."""
    from cag.chapters.store import run_task

    below = run_task("count", count, settings, cohort, folder.store)
    folder.save_table("result", 2 * below.load_table("result"))


def refuse(cohort: Cohort, settings: Number, folder: RunFolder) -> None:
    """An input that is refused."""
    raise LabelError("there is none", field="boxes", remedy="Add some")


def die_once(cohort: Cohort, settings: Number, folder: RunFolder) -> None:
    """The first process that comes here is killed in the middle of its work."""
    folder.save_table("half", pd.DataFrame({"value": [0]}))
    mark = folder.store.root / "mark"
    if settings.number == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    folder.save_table("result", pd.DataFrame({"value": [settings.number]}))


def wait(cohort: Cohort, settings: Number, folder: RunFolder) -> None:
    """Takes its time until ``go`` is there, and notes that it has begun."""
    (folder.store.root / f"begun-{settings.number}").touch()
    while settings.number > 0 and not (folder.store.root / "go").exists():
        time.sleep(0.1)
    folder.save_table("result", pd.DataFrame({"value": [settings.number]}))
