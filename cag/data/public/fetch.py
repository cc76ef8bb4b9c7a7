"""Download a public set, check its digest, unpack it safely, and read it once to see that it is the set."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cag.data.archives import is_archive, unpack
from cag.data.fingerprint import file_digest
from cag.data.public import PublicCohort, is_public, read_public
from cag.data.public.download import download
from cag.data.public.sources import SOURCES, PublicSource
from cag.settings import InputError

#: Written last, beside the unpacked set: where it came from.
RECORD = "source.json"
_DEPTH = 4


def fetch(name: str, out: Path, *, archive: Path | None = None, progress: bool = True) -> tuple[Path, PublicCohort]:
    """Bring a public set into ``out/<name>``; what is already there is checked by reading it, and not fetched again.

    A download that was interrupted goes on where it stopped.

    Parameters
    ----------
    name : one of ``SOURCES``
    archive : Path, optional
        The set's archive where you have downloaded it yourself.

    Returns
    -------
    folder, cohort
        The folder to give to a notebook as its ``manifest``, and what was read there.

    Raises
    ------
    InputError
        If the name is unknown, the download fails, its digest is another, or it is not the set.
    """
    if name not in SOURCES:
        raise InputError(f"{name!r} is no known set", field="fetch", remedy=f"Known: {', '.join(SOURCES)}")
    source, folder = SOURCES[name], out / name
    if not (folder / RECORD).is_file():
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot be made ({error.strerror})", field="--out", remedy="Choose another") from None
        packed = _given(archive, source) if archive else download(source, out, progress=progress)
        _unpack(packed, folder, source)
    return folder, read_public(folder)


def _given(archive: Path, source: PublicSource) -> Path:
    if not archive.is_file() or not is_archive(archive):
        remedy = f"Give the archive that {source.page} offers"
        raise InputError("is no zip or tar archive", file=archive.name, remedy=remedy)
    found = file_digest(archive)
    if source.sha256 not in (None, found):
        remedy = f"Download it again from {source.page}"
        raise InputError(f"SHA-256 is {found} instead of {source.sha256}", file=archive.name, remedy=remedy)
    return archive


def _unpack(packed: Path, folder: Path, source: PublicSource) -> None:
    """Unpack beside the final place, archives inside too, and move the set itself there when all is there."""
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        scratch, whole = Path(name), Path(name) / "set"
        whole.mkdir()
        unpack(packed, whole, scratch)
        for inner in [path for path in whole.rglob("*") if path.is_file() and is_archive(path)]:
            unpack(inner, inner.parent, scratch)
            inner.unlink()
        root = _root(whole)
        record = {"url": source.url, "sha256": file_digest(packed), "license": source.license, "cite": source.citation}
        (root / RECORD).write_text(json.dumps(record, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        root.replace(folder)


def _root(folder: Path) -> Path:
    """The folder, at or below this one, that has a known set's layout."""
    for candidate in _folders(folder, _DEPTH):
        if is_public(candidate):
            return candidate
    remedy = "Look at the set's page, unpack it yourself and give the notebook its folder"
    raise InputError("does not hold the set's known layout", file=folder.name, remedy=remedy)


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """Folders from above to below, breadth first."""
    level = [folder]
    for _ in range(depth + 1):
        yield from level
        level = [below for above in level for below in sorted(above.iterdir()) if below.is_dir()]
