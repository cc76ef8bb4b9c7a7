"""Independent tasks: each a pure function of its settings that fills one folder of the store."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cag.chapters.progress import Progress
from cag.chapters.store import RunFolder, Store
from cag.chapters.task import Open, Task
from cag.data.cohort import Cohort

__all__ = ["Task", "run_tasks", "tasks_used"]

#: Set while a study runs on a cluster: the address of its scheduler.
SCHEDULER_VARIABLE = "CAG_SCHEDULER"

#: Set in the kernel of a study's notebook: the file in which it notes the tasks that it used.
USED_VARIABLE = "CAG_TASKS_USED"

#: Seconds between looks at the work that another process is doing.
PAUSE = 0.5


def run_tasks(
    tasks: Sequence[Task],
    cohort: Cohort,
    store: Store,
    *,
    progress: bool = True,
    scheduler: str | None = None,
) -> list[RunFolder]:
    """Run the tasks that are not stored yet, in order, and return every task's folder.

    A task that was interrupted is started again from nothing; a finished one is never touched. Several
    processes may work at one store: each takes what the others have not taken.

    Parameters
    ----------
    scheduler : str, optional
        Address of a Dask scheduler whose workers do the work; that of the running study by default.

    Raises
    ------
    OutOfTime
        If the study's hours are over before all is done.
    InputError
        If a task refuses its input, the results cannot be written, or the cluster is gone.
    """
    digest = cohort.digest()
    folders = [store.folder(task.kind, task.settings, digest) for task in tasks]
    stored = [folder.complete for folder in folders]
    waiting = [Open(task.timed, folder) for task, folder in zip(tasks, folders, strict=True) if not folder.complete]
    address = scheduler or os.environ.get(SCHEDULER_VARIABLE)
    label = tasks[0].kind if tasks else "tasks"
    with Progress(label, len(waiting), progress) as bar:
        if address and waiting:
            from cag.chapters.cluster import run_on_cluster  # a study of one process needs no cluster

            run_on_cluster([one for one in waiting if not one.task.here], cohort, store, address, digest, bar)
            waiting = [one for one in waiting if one.task.here]
        _run_here(waiting, cohort, store, bar)
    _note_used(folders, stored)
    return folders


def tasks_used(notes: Path) -> dict[str, Any]:
    """What a kernel noted of the tasks it used.

    Returns
    -------
    dict
        ``made``: the tasks that were done meanwhile. ``found``: tasks that were stored before, and the seconds that
        each had taken; None where that was not recorded. Tasks are named by their folders, ``<kind>/<key>``.
    """
    lines = notes.read_text().splitlines() if notes.exists() else []
    first: dict[str, dict[str, Any]] = {}
    for line in map(json.loads, lines):
        first.setdefault(line["task"], line)  # what was made here is found here from then on
    found = {name: line["seconds"] for name, line in first.items() if line["stored"]}
    return {"made": [name for name in first if name not in found], "found": found}


def _note_used(folders: Sequence[RunFolder], stored: Sequence[bool]) -> None:
    """A line for each task, where a study asked for it."""
    notes = os.environ.get(USED_VARIABLE)
    if not notes:
        return
    with Path(notes).open("a", encoding="utf-8") as file:
        for folder, before in zip(folders, stored, strict=True):
            name = f"{folder.path.parent.name}/{folder.path.name}"
            file.write(json.dumps({"task": name, "stored": before, "seconds": folder.seconds}) + "\n")


def _run_here(waiting: Sequence[Open], cohort: Cohort, store: Store, bar: Progress) -> None:
    """One after the other; what another process is doing is looked at again when the rest is done."""
    while waiting:
        taken = []
        for one in waiting:
            bar.check()
            with bar.timed():
                done = one.do(cohort, store)
            if done:
                bar.step()
            else:
                taken.append(one)
        if len(taken) == len(waiting):
            bar.say("another process is at the rest")
            time.sleep(PAUSE)
        waiting = taken
