"""Stored work: a task is a plain function of settings that fills one folder, made once and found again by its key.

The key holds the settings, the cohort, the weights it starts from and the code that the task runs. A folder is
moved into place when it is whole, so a process killed at any moment leaves the store as it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
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
COUNTED = ("cag.anatomy", "cag.metrics", "cag.networks", "cag.chapters", "cag.data.splits", "cag.data.frames")
#: Of these, what only keeps and sends work.
NOT_COUNTED = ("cag.chapters.store", "cag.chapters.mapped", "cag.chapters.bundle")

#: Seconds between looks at the work that another process is doing.
PAUSE = 0.5


@dataclass(frozen=True)
class Store:
    """All stored work of one profile, below one folder, and where more of it is done."""

    root: Path
    device: str = "auto"  #: Where tasks compute, ``cpu`` or ``cuda``; no part of their key.
    scheduler: str = ""  #: Address of a Dask scheduler whose workers do the tasks; empty for this process.

    @property
    def working(self) -> Path:
        """Where unfinished work and locks lie, out of sight of those who look for results."""
        return self.root / ".working"

    def table(self, name: str) -> Path:
        """Path of a published table, ``<root>/<name>.parquet``."""
        return self.root / f"{name}.parquet"

    def publish(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """Store a table at the top of the profile, where figures, pages and readers find it."""
        RunFolder(self.root, self).save_table(name, table)
        return table


@dataclass(frozen=True)
class RunFolder:
    """One piece of work on disk: tables, weights, settings; ``store`` is where further work is found or done."""

    path: Path
    store: Store

    @property
    def complete(self) -> bool:
        """Whether the work was finished and everything it stores is there."""
        return (self.path / "complete.json").exists()

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


def run_tasks(kind: str, work: Work, settings: Sequence[Settings], cohort: Cohort, store: Store) -> list[RunFolder]:
    """Do what is not stored yet, in order, and return the folder of each task.

    Several processes may work at one store: each takes what the others have not taken. ``kind`` names the tasks'
    folder in the store. ``work(cohort, settings, folder)``, a named function of a module, stores all its results in
    an empty ``folder``; what several tasks share (frames, maps) belongs into cached functions. ``settings`` hold for
    each task all that it depends on besides the cohort. Raises `InputError` if a task refuses its input, the results
    cannot be written, or the cluster is gone.
    """
    folders = [task_folder(kind, work, own, cohort, store) for own in settings]
    waiting = [(work, own, folder) for own, folder in zip(settings, folders, strict=True) if not folder.complete]
    with tqdm(total=len(waiting), desc=kind, unit="task", disable=len(waiting) < 2) as bar:
        if store.scheduler and waiting:
            from cag.chapters.mapped import map_tasks  # a study of one process needs no cluster

            map_tasks(_fill_there, waiting, cohort, store.scheduler, bar.update)
            if not all(folder.complete for folder in folders):
                remedy = "Put the project's folder on a disk that all machines see at the same place"
                raise InputError("a worker does not see the results folder", file=store.root.name, remedy=remedy)
            return folders
        while waiting:
            taken = []
            for task in waiting:
                if fill(cohort, *task):
                    bar.update()
                else:
                    taken.append(task)
            if len(taken) == len(waiting):
                bar.set_postfix_str("another process is at the rest")
                time.sleep(PAUSE)
            waiting = taken
    return folders


def run_task(kind: str, work: Work, settings: Settings, cohort: Cohort, store: Store) -> RunFolder:
    """One task, done in this process where it is not stored yet: for work that other tasks build on."""
    return run_tasks(kind, work, [settings], cohort, replace(store, scheduler=""))[0]


def task_folder(kind: str, work: Work, settings: Settings, cohort: Cohort, store: Store) -> RunFolder:
    """The folder of a task, ``<root>/<kind>/<key>``, done or not."""
    code = code_digest(work.__module__, COUNTED, NOT_COUNTED)
    parts = (settings.digest(), cohort.digest(), trunk_digest(settings.model_dump(mode="json")), code)
    key = hashlib.sha256(":".join(parts).encode()).hexdigest()[:16]
    return RunFolder(store.root / kind / key, store)


def fill(cohort: Cohort, work: Work, settings: Settings, folder: RunFolder) -> bool:
    """Do a task in a folder of its own and move it into place; False while another process is at it.

    The lock goes with the process that holds it, however that ends.
    """
    draft = RunFolder(folder.store.working / f"{folder.path.parent.name}-{folder.path.name}", folder.store)
    with ExitStack() as held:
        with writing(draft.path.name):
            draft.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(FileLock(f"{draft.path}.lock", blocking=False))
            except Timeout:
                return False
        if folder.complete:
            return True
        shutil.rmtree(draft.path, ignore_errors=True)  # what a killed process left
        held.callback(shutil.rmtree, draft.path, ignore_errors=True)
        start = time.monotonic()
        work(cohort, settings, draft)
        draft.save_json("settings", settings.model_dump(mode="json"))
        draft.save_json("complete", {"seconds": round(time.monotonic() - start, 2)})
        move_into_place(draft, folder.path)
    return True


def move_into_place(draft: RunFolder, path: Path) -> None:
    """Put a whole folder in the place of an earlier one."""
    with writing(path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(path, ignore_errors=True)
        draft.path.replace(path)


def _fill_there(task: tuple[Work, Settings, RunFolder], *, cohort: Cohort) -> InputError | None:
    """Do a task on a worker's machine; what it refuses is returned."""
    try:
        while not fill(cohort, *task):  # another worker, taken for dead, may still be at it
            time.sleep(PAUSE)
    except InputError as error:
        return error
    return None


def trunk_digest(settings: Mapping[str, Any]) -> str:
    """What identifies the study's own weights where settings, or settings within them, start from them; else empty."""
    starts = set()

    def note(values: dict[str, Any]) -> None:
        if values.get("weights") in OWN_WEIGHTS:  # a list of them names variants
            starts.add((values["weights"], values.get("backbone", "inception_v3")))

    json.loads(json.dumps(settings), object_hook=note)
    return "".join(weights_digest(*start) for start in sorted(starts))
