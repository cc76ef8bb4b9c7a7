"""Bring a public set here: where it is to be had, download, digest, safe unpacking, and one look at it."""

import csv
import json
import shutil
import socket
import tempfile
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlretrieve

from tqdm import tqdm

from cag.data.archives import is_archive
from cag.data.fingerprint import file_digest
from cag.data.public import PublicCohort, is_public, read_public
from cag.settings import InputError, writing

RECORD = "source.json"  #: Written last, in the unpacked set: where it came from.
#: The license of every set, by which it is fetched and cited.
LICENSE = "Creative Commons Attribution 4.0 (https://creativecommons.org/licenses/by/4.0/)"


class PublicSource(NamedTuple):
    """A public set: its title, page and archive, digest (empty where the publisher packs anew), and citation."""

    title: str
    page: str
    url: str
    sha256: str
    citation: str


with Path(__file__).with_name("sources.csv").open(encoding="utf-8") as _file:
    SOURCES = {row.pop("name"): PublicSource(**row) for row in csv.DictReader(_file)}


def describe(source: PublicSource) -> str:
    """What is to be known before a download, line by line."""
    digest = source.sha256 or f"not published; that of the download is written into {RECORD}"
    told = {"Set": source.title, "Page": source.page, "Address": source.url, "SHA-256": digest}
    told |= {"License": LICENSE, "Cite": source.citation}
    return "\n".join(f"{name + ':':10}{text}" for name, text in told.items())


def fetch(name: str, out: Path, *, archive: Path | None = None, progress: bool = True) -> tuple[Path, PublicCohort]:
    """Bring a public set, from ``archive`` if given, into ``out/<name>``, if it is not there already, and read it."""
    if name not in SOURCES:
        raise InputError(f"{name!r} is no known set", field="fetch", remedy=f"Known: {', '.join(SOURCES)}")
    source, folder, packed = SOURCES[name], out / name, archive or out / f"{name}.zip"
    if (folder / RECORD).is_file():
        return folder, read_public(folder)
    with writing(out.name):
        out.mkdir(parents=True, exist_ok=True)
    if archive is None and not (packed.is_file() and source.sha256 in ("", file_digest(packed))):
        _download(source, packed, progress)
    if not packed.is_file() or not is_archive(packed):
        remedy = f"Give the archive that {source.page} offers"
        raise InputError("is no zip or tar archive", file=packed.name, remedy=remedy)
    if source.sha256 not in ("", found := file_digest(packed)):
        remedy = f"Download it again, or look at {source.page} what changed there"
        raise InputError(f"SHA-256 is {found} instead of {source.sha256}", file=packed.name, remedy=remedy)
    _unpack(packed, folder, {"url": source.url, "sha256": found, "license": LICENSE, "cite": source.citation})
    return folder, read_public(folder)


def _download(source: PublicSource, archive: Path, progress: bool) -> None:
    part = archive.with_name(f"{archive.name}.part")
    socket.setdefaulttimeout(60)  # a server that falls silent; a process that fetches has no other connections
    try:
        with tqdm(unit="B", unit_scale=True, disable=not progress) as bar:
            urlretrieve(source.url, part, lambda block, size, total: bar.update(size))
    except OSError as error:
        problem = f"{source.url} cannot be downloaded ({getattr(error, 'code', None) or type(error).__name__})"
        remedy = f"Run it again, or download it from {source.page} and give the file with --archive"
        raise InputError(problem, field="fetch", remedy=remedy) from None
    part.replace(archive)


def _unpack(packed: Path, folder: Path, record: dict[str, str]) -> None:
    """Unpack beside the final place, archives inside too, and move the set itself there when all is there."""
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        whole = Path(name)
        try:
            _extract(packed, whole)
            for inner in [path for path in whole.rglob("*") if path.is_file() and is_archive(path)]:
                _extract(inner, inner.parent)
        except Exception as error:  # the libraries raise nearly every built-in exception on broken archives
            problem = f"cannot be unpacked ({type(error).__name__}); it is damaged or no such archive"
            raise InputError(problem, file=packed.name, remedy="Download it again") from None
        below = sorted(whole.rglob("*/"), key=lambda path: len(path.parts))
        root = next(filter(is_public, below), None)
        if root is None:
            remedy = "Look at the set's page, unpack it yourself and give the notebook its folder"
            raise InputError("does not hold the set's known layout", file=packed.name, remedy=remedy)
        (root / RECORD).write_text(json.dumps(record, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        root.replace(folder)


def _extract(archive: Path, folder: Path) -> None:
    """Unpack an archive without its links and the names that lead out of it, which a zip file's reader leaves out."""
    options = {} if archive.suffix == ".zip" else {"filter": "data"}
    shutil.unpack_archive(archive, folder, **options)  # type: ignore[arg-type]
