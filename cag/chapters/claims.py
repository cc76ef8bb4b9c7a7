"""Who fills a folder of the store: one process at a time, and nobody sees it before it is whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from cag.chapters.store import RunFolder, Store
from cag.settings import Settings, writing


def fill(store: Store, folder: RunFolder, settings: Settings, work: Callable[[RunFolder], None]) -> bool:
    """Let ``work`` fill a folder of the store, unless another process is at it.

    The work is done in a folder of its own that is moved into place when it is whole. A process killed at
    any moment leaves the store as it was, and its claim ends with it.

    Parameters
    ----------
    work : callable
        Given an empty folder, stores all its results there.

    Returns
    -------
    bool
        Whether the folder is complete now; False while another process holds the claim.

    Raises
    ------
    InputError
        If the results folder cannot be written.
    """
    name = f"{folder.path.parent.name}-{folder.path.name}"
    draft = RunFolder(store.working / name)
    with claim(store.working / f"{name}.lock") as mine:
        if not mine:
            return False
        if not folder.complete:
            draft.clear()  # what a killed process left
            try:
                work(draft)
                draft.finish(settings)
                _move(draft, folder)
            finally:
                draft.clear()
    return True


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold a lock file that the system lets go when the process ends, however it ends.

    Yields
    ------
    bool
        False if another process, or another thread, holds it.
    """
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


def _move(draft: RunFolder, folder: RunFolder) -> None:
    with writing(folder.path.name):
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder.path, ignore_errors=True)
        draft.path.replace(folder.path)
