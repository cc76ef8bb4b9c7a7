"""Files that are whole or not there, and one sentence where they cannot be written."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import SafetensorError

from cag.errors import InputError


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, then move it into place.

    Raises
    ------
    InputError
        If the folder cannot be written, naming it and the remedy.
    """
    with writing(path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made by open, which heeds the umask: a file of mkstemp would be readable by its owner alone.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{path.suffix}")
        temporary.open("xb").close()
        try:
            write(temporary)
            _reach_the_disk(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


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
                _reach_the_disk(file)
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


@contextlib.contextmanager
def writing(name: str) -> Iterator[None]:
    """Say in one sentence what kept ``name`` from being written.

    Raises
    ------
    InputError
        For a full disk, a folder that may not be written to, and the like.
    """
    try:
        yield
    except OSError as error:
        raise _not_written(name, os.strerror(error.errno) if error.errno else str(error)) from error
    except SafetensorError as error:  # its writer reports a full disk in its own way
        raise _not_written(name, str(error).partition("I/O error: ")[2] or str(error)) from error


def _not_written(name: str, why: str) -> InputError:
    remedy = "Free some space or choose a results folder you may write to, and run again: finished work is kept"
    return InputError(f"cannot be written ({why})", file=name, remedy=remedy)


def _reach_the_disk(path: Path) -> None:
    """A file that is renamed before its bytes are on the disk may be empty after a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
