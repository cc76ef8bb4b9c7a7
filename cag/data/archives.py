"""The files of a folder or of an archive of unknown origin: within limits, and nothing outside is reached."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from cag.settings import InputError

#: Files are taken for archives by their names; other compressions may ask for gigabytes to open one byte.
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
#: A folder with more files is no study; walking it would only look like hanging.
MAX_FILES = 100_000
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_CHUNK = 2**20
_AGAIN = "Unpack it yourself with a tool you trust, or export the study again"
_STUDY = "Give the folder, or the zip or tar archive, that holds a patient's DICOM files"

#: Name of an entry, why it is not read, and how to open it (None for a folder).
_Entries = Iterator[tuple[str, str, Callable[[], Any] | None]]


@dataclass(frozen=True)
class ArchiveLimits:
    """Entries and unpacked bytes an archive may hold; counted while it is unpacked, since its own table may lie."""

    members: int = 20_000
    member_bytes: int = 2**31
    total_bytes: int = 2**35


@dataclass(frozen=True)
class FoundFile:
    """A file of a folder or an archive.

    Attributes
    ----------
    name : str
        Below the study, with slashes; of an archive as the archive has it, never to be used as a path by itself.
    path : Path or None
        Where to read it (of an archive: until the next is asked for); None where it must not be read.
    problem : str
        Why not.
    """

    name: str
    path: Path | None
    problem: str = ""


class ArchiveError(InputError):
    """An archive that cannot be read or holds more than it may."""

    def __init__(self, problem: str, archive: Path) -> None:
        super().__init__(problem, file=archive.name, remedy=_AGAIN)


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive this module opens."""
    return path.name.lower().endswith(SUFFIXES)


def tree_entries(source: Path) -> list[FoundFile]:
    """Files of a folder at any depth, sorted by name; archives are single entries, links and devices refused.

    Raises
    ------
    InputError
        If it is neither a folder nor an archive, holds no file, or more than `MAX_FILES`.
    """
    if source.is_file() and is_archive(source):
        return [FoundFile(source.name, source)]
    if not source.is_dir():
        raise InputError("is neither a folder nor an archive", field="study", remedy=_STUDY)
    paths = []
    for place, folders, names in os.walk(source, followlinks=False):
        paths += [Path(place) / name for name in names]
        paths += [Path(place) / name for name in folders if (Path(place) / name).is_symlink()]
        if len(paths) > MAX_FILES:
            raise InputError(f"holds more than {MAX_FILES} files", field="study", remedy=_STUDY)
    if not paths:
        raise InputError("holds no file", field="study", remedy=_STUDY)
    return [_entry(name, path) for name, path in sorted((path.relative_to(source).as_posix(), path) for path in paths)]


def _entry(name: str, path: Path) -> FoundFile:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return FoundFile(name, None, "is a link, and links are not followed")
    return FoundFile(name, path) if stat.S_ISREG(mode) else FoundFile(name, None, "is no plain file")


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


def unpack(archive: Path, folder: Path, scratch: Path, limits: ArchiveLimits | None = None) -> None:
    """Unpack into a folder; a member that is a link, encrypted or named outside the archive is an `ArchiveError`."""
    for count, member in enumerate(members(archive, scratch, limits), start=1):
        if member.path is None:
            raise ArchiveError(f"member {count} {member.problem}", archive)
        target = folder / PurePosixPath(member.name.replace("\\", "/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        member.path.replace(target)


def members(archive: Path, scratch: Path, limits: ArchiveLimits | None = None) -> Iterator[FoundFile]:
    """The files of an archive, one after another, each copied to the same file in ``scratch``.

    Links, devices, encrypted files and names that lead out of the archive are not copied but reported.

    Raises
    ------
    ArchiveError
        If it is damaged, or holds more files or bytes than ``limits``.
    """
    limits, total, copy = limits or ArchiveLimits(), 0, scratch / "member"
    entries = _zip_entries(archive) if archive.name.lower().endswith(".zip") else _tar_entries(archive, limits)
    try:
        with closing(entries):  # type: ignore[type-var]  # both are generators
            for count, (name, problem, content) in enumerate(entries, start=1):
                if count > limits.members:
                    raise ArchiveError(f"holds more than {limits.members} entries", archive)
                problem = problem or ("its name leads out of the archive" if leads_out(name) else "")
                if content is not None and problem:
                    yield FoundFile(name, None, problem)
                elif content is not None:
                    total += _copy(content(), copy, min(limits.member_bytes, limits.total_bytes - total), archive)
                    yield FoundFile(name, copy)
    except InputError:
        raise
    except Exception as error:  # both libraries raise nearly every built-in exception on broken archives
        problem = f"cannot be unpacked ({type(error).__name__}); it is damaged or no such archive"
        raise ArchiveError(problem, archive) from None


def leads_out(name: str) -> bool:
    """Whether a member's name is absolute, climbs up, or names a drive."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or "\0" in name or any(":" in part for part in path.parts[:1])


def _copy(source: IO[bytes], target: Path, most: int, archive: Path) -> int:
    """Copy at most ``most`` bytes; more is refused as soon as it is there."""
    size = 0
    with source, target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > most:
                raise ArchiveError("unpacks to more bytes than are read", archive)
            file.write(chunk)
    return size


def _zip_entries(path: Path) -> _Entries:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            problem = ""
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
                problem = "is a link or no plain file"
            elif info.flag_bits & 1:
                problem = "is encrypted"
            elif info.compress_type not in _ZIP_METHODS:
                problem = "is compressed in a way that is not read"
            yield info.filename, problem, None if info.is_dir() else partial(archive.open, info)


def _tar_entries(path: Path, limits: ArchiveLimits) -> _Entries:
    packed = path.suffix.lower() in (".gz", ".tgz")
    with cast(IO[bytes], gzip.open(path, "rb") if packed else path.open("rb")) as stream:
        bounded = cast(IO[bytes], _Bounded(stream, limits.total_bytes, path))
        with tarfile.TarFile(fileobj=bounded) as archive:
            while (info := archive.next()) is not None:
                vars(archive)["members"].clear()  # the library keeps every header it has seen
                problem = "" if info.isreg() else "is a link or no plain file"
                yield info.name, problem, None if info.isdir() else partial(archive.extractfile, info)


class _Bounded(io.RawIOBase):
    """An unpacked stream that refuses to give more at once, or in all, than an honest archive asks for."""

    def __init__(self, stream: IO[bytes], total: int, archive: Path) -> None:
        self._stream, self._total, self._archive = stream, total, archive

    def read(self, size: int = -1) -> bytes:
        if size > 16 * _CHUNK or size < 0:
            raise ArchiveError("has a header of absurd size", self._archive)
        return self._stream.read(size)

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, position: int, whence: int = 0) -> int:
        if position > self._total:
            raise ArchiveError("unpacks to more bytes than are read", self._archive)
        return self._stream.seek(position, whence)
