"""Zip and tar archives of unknown origin: their files one by one, within limits, never written by their own names."""

from __future__ import annotations

import bz2
import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from cag.settings import InputError

#: Files are taken for archives by their names; other compressions may ask for gigabytes to open one byte.
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2")
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_CHUNK = 2**20
_AGAIN = "Unpack it yourself with a tool you trust, or export the study again"


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold at most; counted while it is unpacked, since its own table may lie.

    Attributes
    ----------
    members : int
    member_bytes, total_bytes : int
        Unpacked.
    """

    members: int = 20_000
    member_bytes: int = 2**31
    total_bytes: int = 2**35


@dataclass(frozen=True)
class Member:
    """A file of an archive, copied to ``path``, or not, and why.

    Attributes
    ----------
    name : str
        As the archive has it; never used as a path without `inside`.
    path : Path or None
        Where the copy lies until the next member is asked for.
    problem : str
    """

    name: str
    path: Path | None
    problem: str


class ArchiveError(InputError):
    """An archive that cannot be read or holds more than it may."""


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive this module opens."""
    return path.name.lower().endswith(SUFFIXES)


def members(archive: Path, scratch: Path, limits: ArchiveLimits | None = None) -> Iterator[Member]:
    """The files of an archive, one after another, each copied to the same file in ``scratch``.

    Links, devices, encrypted files and names that lead out of the archive are not copied but reported.

    Raises
    ------
    ArchiveError
        If it is damaged, or holds more files or bytes than ``limits``.
    """
    limits, total, count = limits or ArchiveLimits(), 0, 0
    copy = scratch / "member"
    try:
        with _opened(archive, limits) as opened:
            for name, problem, content in opened.files():
                count += 1
                if count > limits.members:
                    raise ArchiveError(f"holds more than {limits.members} entries", file=archive.name, remedy=_AGAIN)
                problem = problem or ("its name leads out of the archive" if leads_out(name) else "")
                if content is None:
                    continue
                if problem:
                    yield Member(name, None, problem)
                    continue
                total += _copy(content(), copy, min(limits.member_bytes, limits.total_bytes - total), archive)
                yield Member(name, copy, "")
    except InputError:
        raise
    except Exception as error:  # both libraries raise nearly every built-in exception on broken archives
        problem = f"cannot be unpacked ({type(error).__name__}); it is damaged or no such archive"
        raise ArchiveError(problem, file=archive.name, remedy=_AGAIN) from None


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
                raise ArchiveError("unpacks to more bytes than are read", file=archive.name, remedy=_AGAIN)
            file.write(chunk)
    return size


class _Content:
    """Opens one member when it is asked for."""

    def __init__(self, archive: zipfile.ZipFile | tarfile.TarFile, info: zipfile.ZipInfo | tarfile.TarInfo) -> None:
        self._archive, self._info = archive, info

    def __call__(self) -> IO[bytes]:
        if isinstance(self._archive, zipfile.ZipFile):
            return self._archive.open(cast(zipfile.ZipInfo, self._info))
        return cast(IO[bytes], self._archive.extractfile(cast(tarfile.TarInfo, self._info)))


class _Zip(AbstractContextManager["_Zip"]):
    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def files(self) -> Iterator[tuple[str, str, _Content | None]]:
        for info in self._archive.infolist():
            mode, problem = info.external_attr >> 16, ""
            if info.is_dir():
                yield info.filename, "", None
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                problem = "is a link or no plain file"
            elif info.flag_bits & 1:
                problem = "is encrypted"
            elif info.compress_type not in _ZIP_METHODS:
                problem = "is compressed in a way that is not read"
            yield info.filename, problem, _Content(self._archive, info)


class _Tar(AbstractContextManager["_Tar"]):
    def __init__(self, path: Path, limits: ArchiveLimits) -> None:
        self._stream = _decompressed(path)
        try:
            bounded = cast(IO[bytes], _Bounded(self._stream, limits.total_bytes, path.name))
            self._archive = tarfile.TarFile(fileobj=bounded)
        except BaseException:
            self._stream.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._archive.close()
        self._stream.close()

    def files(self) -> Iterator[tuple[str, str, _Content | None]]:
        while (info := self._archive.next()) is not None:
            vars(self._archive)["members"].clear()  # the library keeps every header it has seen
            if info.isdir():
                yield info.name, "", None
            else:
                yield info.name, "" if info.isreg() else "is a link or no plain file", _Content(self._archive, info)


def _decompressed(path: Path) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix in (".gz", ".tgz"):
        return cast(IO[bytes], gzip.open(path, "rb"))
    return cast(IO[bytes], bz2.open(path, "rb") if suffix == ".bz2" else path.open("rb"))


class _Bounded(io.RawIOBase):
    """An unpacked stream that refuses to give more at once, or in all, than an honest archive asks for."""

    def __init__(self, stream: IO[bytes], total: int, name: str) -> None:
        self._stream, self._total, self._name = stream, total, name

    def read(self, size: int = -1) -> bytes:
        if size > 16 * _CHUNK or size < 0:
            raise ArchiveError("has a header of absurd size", file=self._name, remedy=_AGAIN)
        return self._stream.read(size)

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, position: int, whence: int = 0) -> int:
        if position > self._total:
            raise ArchiveError("unpacks to more bytes than are read", file=self._name, remedy=_AGAIN)
        return self._stream.seek(position, whence)


def _opened(path: Path, limits: ArchiveLimits) -> _Zip | _Tar:
    return _Zip(path) if path.name.lower().endswith(".zip") else _Tar(path, limits)


def unpack(archive: Path, folder: Path, scratch: Path, limits: ArchiveLimits | None = None) -> int:
    """Unpack into a folder; returns the number of files. A member that is refused stops it.

    Raises
    ------
    ArchiveError
        As `members`, and for a member that is a link, encrypted or named outside the archive.
    """
    count = 0
    for member in members(archive, scratch, limits):
        if member.path is None:
            raise ArchiveError(f"member {count + 1} {member.problem}", file=archive.name, remedy=_AGAIN)
        target = folder / PurePosixPath(member.name.replace("\\", "/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        member.path.replace(target)
        count += 1
    return count
