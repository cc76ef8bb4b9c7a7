"""Folders that are put in place whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from cag.settings import reach_the_disk, writing


def replace_folder(folder: Path, fill: Callable[[Path], object]) -> Path:
    """Let ``fill`` make a new folder beside ``folder``, then put it in its place.

    Two renames put it there. A process killed between them leaves the old folder beside its place:
    ``restore_folder`` brings it back, and every later call begins so.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    new, old = folder.with_name(f".{folder.name}.new"), _set_aside(folder)
    with writing(folder.name):
        restore_folder(folder)
        shutil.rmtree(new, ignore_errors=True)  # what a killed process left
        shutil.rmtree(old, ignore_errors=True)
        new.mkdir(parents=True)
        try:
            fill(new)
            for file in (path for path in new.rglob("*") if path.is_file()):
                reach_the_disk(file)
            if folder.exists():
                folder.replace(old)
            new.replace(folder)
        finally:
            restore_folder(folder)
            shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return folder


def restore_folder(folder: Path) -> None:
    """Bring back what a ``replace_folder`` that was killed had set aside."""
    if _set_aside(folder).is_dir() and not folder.exists():
        _set_aside(folder).replace(folder)


def _set_aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
