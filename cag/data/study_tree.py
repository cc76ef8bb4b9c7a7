"""What lies in a study's folder or archive: its files in order, without following anything out of it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cag.data.archives import ArchiveLimits, is_archive, members
from cag.settings import InputError

#: A folder with more files is no study; walking it would only look like hanging.
MAX_FILES = 100_000
_REMEDY = "Give the folder, or the zip or tar archive, that holds a patient's DICOM files"


@dataclass(frozen=True)
class FoundFile:
    """A file of a study.

    Attributes
    ----------
    name : str
        Below the study, with slashes; a file of an archive is named after the archive.
    path : Path or None
        Where to read it, until the next is asked for; None where it must not be read.
    problem : str
        Why not.
    """

    name: str
    path: Path | None
    problem: str = ""


def tree_entries(source: Path) -> list[FoundFile]:
    """Files of a folder at any depth, sorted by name; archives are single entries, links and devices refused.

    Parameters
    ----------
    source : a folder, or an archive

    Raises
    ------
    InputError
        If it is neither, holds no file, or more than `MAX_FILES`.
    """
    if source.is_file() and is_archive(source):
        return [FoundFile(source.name, source)]
    if not source.is_dir():
        raise InputError("is neither a folder nor an archive", field="study", remedy=_REMEDY)
    paths = []
    for place, folders, names in os.walk(source, followlinks=False):
        paths += [Path(place) / name for name in names]
        paths += [Path(place) / name for name in folders if (Path(place) / name).is_symlink()]
        if len(paths) > MAX_FILES:
            raise InputError(f"holds more than {MAX_FILES} files", field="study", remedy=_REMEDY)
    if not paths:
        raise InputError("holds no file", field="study", remedy=_REMEDY)
    named = sorted((path.relative_to(source).as_posix(), path) for path in paths)
    return [_entry(name, path) for name, path in named]


def _entry(name: str, path: Path) -> FoundFile:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return FoundFile(name, None, "is a link, and links are not followed")
    if not stat.S_ISREG(mode):
        return FoundFile(name, None, "is no plain file")
    return FoundFile(name, path)


def opened(entries: Sequence[FoundFile], limits: ArchiveLimits | None = None) -> Iterator[FoundFile]:
    """The entries, with archives replaced by their files; an archive within an archive is refused.

    Unpacked is one file at a time, in a temporary folder; an archive that breaks ends there, with the reason.
    """
    for entry in entries:
        if entry.path is None or not is_archive(entry.path):
            yield entry
            continue
        try:
            with tempfile.TemporaryDirectory(prefix="cag-") as scratch:
                for member in members(entry.path, Path(scratch), limits):
                    name = f"{entry.name}/{member.name}"
                    if member.path is not None and is_archive(Path(member.name)):
                        yield FoundFile(name, None, "is an archive within an archive")
                    else:
                        yield FoundFile(name, member.path, member.problem)
        except InputError as error:
            yield FoundFile(entry.name, None, error.problem)
