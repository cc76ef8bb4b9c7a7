"""Independent tasks: each a pure function of its settings that fills one folder of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from cag.cohort import Cohort
from cag.settings import Settings
from cag.store import RunFolder, Store


@dataclass(frozen=True)
class Task:
    """One piece of work that needs no other to run.

    Attributes
    ----------
    kind : str
        Name of its folder in the store.
    settings : Settings
        All it depends on besides the cohort.
    work : callable
        ``work(cohort, settings, folder)`` stores its results in ``folder``.
    """

    kind: str
    settings: Settings
    work: Callable[[Cohort, Any, RunFolder], None]


def run_tasks(tasks: Sequence[Task], cohort: Cohort, store: Store, *, progress: bool = True) -> list[RunFolder]:
    """Run the tasks that are not stored yet, in order, and return every task's folder.

    A task that was interrupted is started again from nothing; a finished one is never touched.
    """
    digest = cohort.digest()
    folders = [store.folder(task.kind, task.settings, digest) for task in tasks]
    open_tasks = [(task, folder) for task, folder in zip(tasks, folders, strict=True) if not folder.complete]
    label = tasks[0].kind if tasks else "tasks"
    for task, folder in tqdm(open_tasks, desc=label, unit="task", disable=not progress or not open_tasks):
        folder.clear()
        task.work(cohort, task.settings, folder)
        folder.finish(task.settings)
    return folders
