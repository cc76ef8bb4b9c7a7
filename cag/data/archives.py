"""The files of a folder or of an archive of unknown origin: within limits, and nothing outside is reached."""

import gzip
import io
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from cag.settings import InputError, escaped

#: Files are taken for archives by their names; other compressions may ask for gigabytes to open one byte.
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_FILES = 100_000  #: A folder with more files is no study; walking it would only look like hanging.
#: Entries of an archive, and the bytes that they unpack to. Neither library unpacks more than an entry declares.
MAX_MEMBERS, MAX_BYTES = 20_000, 2**35
_MAX_READ = 2**24
#: Name and size of each file that an archive declares, why it is not read, how to open it.
_Entries = Iterator[tuple[str, int, str, Callable[[], IO[bytes] | None]]]
_LINK = "is a link, and links are not followed. Put the file itself there"
_NO_FILE = "is a link or no plain file. Put the file itself there, or leave it out"
_CLOSED = "is a folder that cannot be opened. Check that you may read it"
_LEADS_OUT = "its name leads out of the archive. Pack it again by a name below one folder"
_NESTED = "is an archive within an archive. Unpack it first"
_AGAIN = "Unpack it yourself with a tool you trust, or export it again"
_STUDY = "Give the folder, or the zip or tar archive, that holds a patient's DICOM files"


class FoundFile(NamedTuple):
    """A file of a folder or an archive: its name below the study, and where to read it or why it must not be read."""

    name: str  #: Made printable, and never to be used as a path.
    path: Path | None  #: Holds until the next file is asked for.
    problem: str = ""


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive this module opens."""
    return path.name.lower().endswith(SUFFIXES)


def tree_entries(source: Path) -> list[FoundFile]:
    """Files of a folder (else `InputError`) at any depth, sorted by name; archives are entries, links refused."""
    if source.is_file() and is_archive(source):
        return [FoundFile(escaped(source.name), source)]
    if not source.is_dir():
        raise InputError(f"is neither a folder nor an archive ({', '.join(SUFFIXES)})", field="study", remedy=_STUDY)
    paths, closed = list[Path](), list[OSError]()
    for place, folders, names in os.walk(source, onerror=closed.append):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        paths += [Path(place) / name for name in [*names, *links]]
        if len(paths) > MAX_FILES:
            raise InputError(f"holds more than {MAX_FILES} files", field="study", remedy=_STUDY)
    paths += [Path(error.filename) for error in closed]
    if not paths:
        raise InputError("holds no file", field="study", remedy=_STUDY)
    paths.sort(key=os.fsencode)
    whys = [
        _LINK if own.is_symlink() else _CLOSED if own.is_dir() else "" if own.is_file() else _NO_FILE for own in paths
    ]
    names = [escaped(path.relative_to(source).as_posix()) for path in paths]
    return [FoundFile(name, None if why else path, why) for name, path, why in zip(names, paths, whys, strict=True)]


def opened(entries: Iterable[FoundFile]) -> Iterator[FoundFile]:
    """The entries, with archives replaced by their files, one at a time in a temporary folder, or by why they end."""
    for entry in entries:
        if entry.path is None or not is_archive(entry.path):
            yield entry
            continue
        try:
            with tempfile.TemporaryDirectory(prefix="cag-") as scratch:
                for member in members(entry.path, Path(scratch)):
                    found = member._replace(name=f"{entry.name}/{member.name}")
                    nested = member.path is not None and is_archive(Path(member.name))
                    yield found._replace(path=None, problem=_NESTED) if nested else found
        except InputError as error:
            yield FoundFile(entry.name, None, error.reason)


def members(archive: Path, scratch: Path) -> Iterator[FoundFile]:
    """The files of an archive, each copied to the same file in ``scratch``, or why not (`InputError` if damaged)."""
    left, count = MAX_BYTES, 0
    entries = _zip_entries if archive.name.lower().endswith(".zip") else _tar_entries
    try:
        for count, (name, size, problem, content) in enumerate(entries(archive), start=1):
            left -= abs(size)
            if count > MAX_MEMBERS or left < 0:
                problem = f"holds more than {MAX_MEMBERS} entries or {MAX_BYTES} bytes"
                raise InputError(problem, file=archive.name, remedy=_AGAIN)
            problem = problem or (_LEADS_OUT if leads_out(name) else "")
            if problem:
                yield FoundFile(escaped(name), None, problem)
                continue
            copy = scratch / f"member_{count}"  # a name of its own, since digests are remembered by it
            with content() as source, copy.open("wb") as file:  # type: ignore[union-attr]  # plain files have content
                shutil.copyfileobj(source, file)
            yield FoundFile(escaped(name), copy)
            copy.unlink()
        if not count:
            raise InputError("holds no file", file=archive.name, remedy=_AGAIN)
    except InputError:
        raise
    except Exception as error:  # both libraries raise nearly every built-in exception, and may quote a name
        problem = f"cannot be unpacked ({type(error).__name__}); it is damaged or no such archive"
        raise InputError(problem, file=archive.name, remedy=_AGAIN) from None


def leads_out(name: str) -> bool:
    """Whether a member's name is absolute, climbs up, or names a drive."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or "\0" in name or any(":" in part for part in path.parts[:1])


def _zip_entries(path: Path) -> _Entries:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            foreign = info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            problem = "is compressed in a way that is not read. Unpack it first" if foreign else ""
            problem = "is encrypted. Unpack it first, with its password" if info.flag_bits & 1 else problem
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
                problem = _NO_FILE
            if not info.is_dir():
                yield info.filename, info.file_size, problem, partial(archive.open, info)


def _tar_entries(path: Path) -> _Entries:
    with path.open("rb", buffering=0) as file:
        stream = gzip.GzipFile(fileobj=file) if path.suffix.lower() in (".gz", ".tgz") else file
        with _Bounded(stream) as bounded, tarfile.TarFile(fileobj=bounded) as archive:
            for info in archive:
                problem = "" if info.isreg() else _NO_FILE
                if not info.isdir():
                    yield info.name, info.size, problem, partial(archive.extractfile, info)


class _Bounded(io.BufferedReader):
    """A stream that gives no more at once than an honest tar header asks for."""

    def read(self, size: int | None = -1, /) -> bytes:
        """At most so many bytes."""
        if size is None or not 0 <= size <= _MAX_READ:
            raise tarfile.HeaderError("a header of absurd size")
        return super().read(size)
