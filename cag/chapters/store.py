"""Stored work: a task is a plain function of settings that fills one folder, made once and found again by its key.

The key holds the settings, the cohort, the weights it starts from and the code that the task runs. A folder is
moved into place when it is whole, so a process killed at any moment leaves the store as it was.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from cag.data.cohort import Cohort
from cag.data.fingerprint import code_digest
from cag.networks.weights import OWN_WEIGHTS, weights_digest
from cag.settings import InputError, Settings, write_atomically, writing

Work = Callable[[Cohort, Any, "RunFolder"], None]

#: Modules whose code decides what a task computes; readers, the simulator, figures and pages do not. The cohort's own
#: digest stands for what was read or simulated.
COUNTED = (
    *("cag.anatomy", "cag.metrics", "cag.networks", "cag.chapters"),
    *("cag.data.splits", "cag.data.severity", "cag.data.frames"),
)
#: Of these, what only keeps and sends work.
NOT_COUNTED = ("cag.chapters.store", "cag.chapters.mapped", "cag.chapters.bundle")

_MARKER = "complete.json"
#: Seconds between looks at the work that another process is doing.
PAUSE = 0.5


@dataclass(frozen=True)
class Store:
    """All stored work of one profile, below one folder, and where more of it is done.

    Attributes
    ----------
    root : Path
    device : {'auto', 'cpu', 'cuda'}
        Where tasks compute; no part of their key.
    scheduler : str
        Address of a Dask scheduler whose workers do the tasks; this process where it is empty.
    """

    root: Path
    device: str = "auto"
    scheduler: str = ""

    @property
    def working(self) -> Path:
        """Where unfinished work lies, out of sight of those who look for results."""
        return self.root / ".working"

    def table(self, name: str) -> Path:
        """Path of a published table, ``<root>/<name>.parquet``."""
        return self.root / f"{name}.parquet"

    def publish(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """Store a table at the top of the profile, where figures, pages and readers find it."""
        write_atomically(self.table(name), lambda p: table.to_parquet(p, index=False))
        return table


@dataclass(frozen=True)
class RunFolder:
    """One piece of work on disk: tables, weights, settings; ``store`` is where further work is found or done."""

    path: Path
    store: Store

    @property
    def complete(self) -> bool:
        """Whether the work was finished and everything it stores is there."""
        return (self.path / _MARKER).exists()

    @property
    def seconds(self) -> float:
        """Seconds that the work took."""
        return float(self.load_json("complete")["seconds"])

    def save_table(self, name: str, table: pd.DataFrame) -> None:
        """Store a table as Parquet."""
        write_atomically(self.path / f"{name}.parquet", lambda p: table.to_parquet(p, index=False))

    def load_table(self, name: str) -> pd.DataFrame:
        """Load a stored table; a torn or foreign file is refused by name."""
        return self._load(f"{name}.parquet", pd.read_parquet)

    def save_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Store a mapping as JSON."""
        text = json.dumps(value, indent=1, sort_keys=True)
        write_atomically(self.path / f"{name}.json", lambda p: p.write_text(text))

    def load_json(self, name: str) -> dict[str, Any]:
        """Load a stored mapping."""
        return self._load(f"{name}.json", lambda p: json.loads(p.read_text()))

    def save_weights(self, name: str, state: Mapping[str, Tensor]) -> None:
        """Store a state dictionary as safetensors."""
        tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
        write_atomically(self.path / f"{name}.safetensors", lambda p: save_file(tensors, p))

    def load_weights(self, name: str) -> dict[str, Tensor]:
        """Load a stored state dictionary onto the CPU."""
        return self._load(f"{name}.safetensors", load_file)

    def _load(self, name: str, read: Callable[[Path], Any]) -> Any:
        try:
            return read(self.path / name)
        except (OSError, ValueError, SafetensorError) as error:
            remedy = "Delete its folder and run again: only this piece is computed anew"
            problem = f"stored result cannot be read ({type(error).__name__})"
            raise InputError(problem, file=f"{self.path.name}/{name}", remedy=remedy) from error


def run_tasks(
    kind: str, work: Work, settings: Sequence[Settings], cohort: Cohort, store: Store, *, progress: bool = True
) -> list[RunFolder]:
    """Do what is not stored yet, in order, and return the folder of each task.

    Several processes may work at one store: each takes what the others have not taken.

    Parameters
    ----------
    kind : str
        Name of the tasks' folder in the store.
    work : callable
        ``work(cohort, settings, folder)`` stores all its results in ``folder``, an empty one. A named function of a
        module; what several tasks share (frames, maps) belongs into cached functions of cohort and settings.
    settings : sequence of Settings
        One for each task: all that it depends on besides the cohort.

    Raises
    ------
    InputError
        If a task refuses its input, the results cannot be written, or the cluster is gone.
    """
    folders = [task_folder(kind, work, own, cohort, store) for own in settings]
    waiting = [number for number, folder in enumerate(folders) if not folder.complete]
    with tqdm(total=len(waiting), desc=kind, unit="task", disable=not progress or not waiting) as bar:
        if store.scheduler and waiting:
            from cag.chapters.mapped import map_tasks  # a study of one process needs no cluster

            tasks = [(work, settings[n], folders[n]) for n in waiting]
            map_tasks(_fill_there, tasks, cohort, store.scheduler, bar.update)
            if not all(folder.complete for folder in folders):
                remedy = "Put the project's folder on a disk that all machines see at the same place"
                raise InputError("a worker does not see the results folder", file=store.root.name, remedy=remedy)
            return folders
        while waiting:
            taken = []
            for number in waiting:
                if fill(work, cohort, settings[number], folders[number]):
                    bar.update()
                else:
                    taken.append(number)
            if len(taken) == len(waiting):
                bar.set_postfix_str("another process is at the rest")
                time.sleep(PAUSE)
            waiting = taken
    return folders


def run_task(kind: str, work: Work, settings: Settings, cohort: Cohort, store: Store) -> RunFolder:
    """One task, done in this process where it is not stored yet: for work that other tasks build on."""
    here = Store(store.root, store.device)
    return run_tasks(kind, work, [settings], cohort, here, progress=False)[0]


def task_folder(kind: str, work: Work, settings: Settings, cohort: Cohort | str, store: Store) -> RunFolder:
    """The folder of a task by its cohort or the cohort's digest, ``<root>/<kind>/<key>``, done or not."""
    digest = cohort if isinstance(cohort, str) else cohort.digest()
    code = code_digest(work.__module__, COUNTED, NOT_COUNTED)
    parts = (settings.digest(), digest, trunk_digest(settings), code)
    key = hashlib.sha256(":".join(parts).encode()).hexdigest()[:16]
    return RunFolder(store.root / kind / key, store)


def fill(work: Work, cohort: Cohort, settings: Settings, folder: RunFolder) -> bool:
    """Do a task in a folder of its own and move it into place; False while another process is at it.

    Raises
    ------
    InputError
        If the task refuses its input or the results folder cannot be written.
    """
    name = f"{folder.path.parent.name}-{folder.path.name}"
    draft = RunFolder(folder.store.working / name, folder.store)
    with _lock(folder.store.working / f"{name}.lock") as mine:
        if not mine:
            return False
        if folder.complete:
            return True
        shutil.rmtree(draft.path, ignore_errors=True)  # what a killed process left
        try:
            start = time.monotonic()
            work(cohort, settings, draft)
            draft.save_json("settings", settings.model_dump(mode="json"))
            draft.save_json("complete", {"seconds": round(time.monotonic() - start, 2)})
            with writing(folder.path.name):
                folder.path.parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(folder.path, ignore_errors=True)
                draft.path.replace(folder.path)
        finally:
            shutil.rmtree(draft.path, ignore_errors=True)
    return True


def _fill_there(task: tuple[Work, Settings, RunFolder], *, cohort: Cohort) -> InputError | None:
    """Do a task on a worker's machine; what it refuses is returned."""
    work, settings, folder = task
    try:
        while not fill(work, cohort, settings, folder):  # another worker, taken for dead, may still be at it
            time.sleep(PAUSE)
    except InputError as error:
        return error
    return None


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Hold a lock that the system lets go when the process ends, however it ends; False if another holds it."""
    with writing(path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        # The holder before may have removed the file after it was opened here: then this lock guards nothing.
        if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
            yield False
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)


def trunk_digest(settings: Settings) -> str:
    """What identifies the study's own weights where settings, or settings within them, start from them; else empty."""

    def starts(values: object) -> set[tuple[str, str]]:
        inner = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
        found = {start for value in inner for start in starts(value)}
        if isinstance(values, dict) and values.get("weights") in OWN_WEIGHTS:
            found.add((values["weights"], values.get("backbone", "inception_v3")))
        return found

    return "".join(weights_digest(*start) for start in sorted(starts(settings.model_dump(mode="json"))))
