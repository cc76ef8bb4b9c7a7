"""A piece of work that needs no other to run, and the folder it fills."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from cag.chapters.claims import fill
from cag.chapters.store import RunFolder, Store
from cag.data.cohort import Cohort
from cag.settings import Settings


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
        ``work(cohort, settings, folder)`` stores its results in ``folder``. To go to another machine it must be
        a named function, or a ``partial`` of one. What it shares with others of its kind (frames, maps) belongs
        into a dataclass with cached properties: it is sent as its fields and computed once a process.
    here : bool
        Do it in this process even where there is a cluster: it holds too much to be sent.
    """

    kind: str
    settings: Settings
    work: Callable[[Cohort, Any, RunFolder], None]
    here: bool = False

    @property
    def timed(self) -> Task:
        """The same task, which also stores how long it took."""
        return replace(self, work=partial(_work_timed, self.work))


@dataclass(frozen=True)
class Open:
    """A task that is not stored yet, and the folder it fills."""

    task: Task
    folder: RunFolder

    def do(self, cohort: Cohort, store: Store) -> bool:
        """Do it; False while another process does. See ``claims.fill``."""
        return fill(
            store, self.folder, self.task.settings, lambda draft: self.task.work(cohort, self.task.settings, draft)
        )


def _work_timed(work: Callable[..., None], cohort: Cohort, settings: Settings, folder: RunFolder) -> None:
    start = time.monotonic()
    work(cohort, settings, folder)
    folder.save_seconds(time.monotonic() - start)
