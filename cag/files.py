"""Files that are whole or not there, and one sentence where they cannot be written."""

from __future__ import annotations

import contextlib
import os
import secrets
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
