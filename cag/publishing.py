"""From a profile's results to what can be committed and deposited: the published run, and a zip with checksums."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

from cag.errors import InputError
from cag.settings import ROOT
from cag.study import PUBLISHED, SECTIONS

#: What a book is built from, and what its numbers can be recomputed from.
_KEPT = ("notebooks", "tables", "exhibits")
_CHECKSUMS = "SHA256SUMS"


def publish_run(profile: str) -> Path:
    """Copy executed notebooks, tables, exhibits and prediction tables to ``results/published``.

    Trained networks, features and frames stay behind: they are large, and the book shows none of them.

    Raises
    ------
    InputError
        If a notebook of the profile was not executed yet.
    """
    source, target = ROOT / "results" / profile, ROOT / "results" / PUBLISHED
    missing = [name for name in SECTIONS if not (source / "notebooks" / f"{name}.ipynb").exists()]
    if missing or profile == PUBLISHED:
        problem = f"not executed yet: {', '.join(missing)}" if missing else "is the published run itself"
        remedy = "Run `make study` first, and publish that profile"
        raise InputError(problem, file=f"results/{profile}", remedy=remedy)
    shutil.rmtree(target, ignore_errors=True)
    for folder in _KEPT:
        shutil.copytree(source / folder, target / folder, ignore=shutil.ignore_patterns(".*"))
    for table in sorted(source.glob("*.parquet")):
        shutil.copyfile(table, target / table.name)
    return target


def write_archive(out: Path) -> Path:
    """Write a zip that can be deposited: project files, the book, the results behind it, and checksums.

    The project's files are those that git knows or does not ignore.

    Raises
    ------
    InputError
        If no book has been built, or the folder is no git checkout.
    """
    book = ROOT / "_build" / "html"
    if not (book / "index.html").exists():
        raise InputError("there is no built book", file="_build/html", remedy="Run `make book` first")
    parts = {
        "project": [(path, ROOT) for path in _project_files()],
        "book": [(path, book) for path in _files(book)],
        "results": [(path, ROOT / "results") for path in _result_files()],
    }
    pdf = ROOT / "_build" / "book.pdf"
    if pdf.exists():
        parts["pdf"] = [(pdf, pdf.parent)]
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".part")
    lines = []
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, files in parts.items():
            for path, base in files:
                name = f"{part}/{path.relative_to(base).as_posix()}"
                content = path.read_bytes()
                archive.writestr(_entry(name), content)
                lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}")
        archive.writestr(_entry(_CHECKSUMS), "\n".join(lines) + "\n")
    temporary.replace(out)
    return out


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry whose date does not change from one archive to the next."""
    entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _project_files() -> Iterator[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        raise InputError("git does not know this folder", file="the project", remedy="Archive from a git checkout")
    for name in sorted(filter(None, listed.stdout.split("\0"))):
        path = ROOT / name
        if path.is_file() and not name.startswith("results/"):
            yield path


def _result_files() -> Iterator[Path]:
    """Prediction tables, executed notebooks and exhibits of every profile that has any."""
    for profile in sorted(path for path in (ROOT / "results").glob("*") if path.is_dir()):
        yield from sorted(profile.glob("*.parquet"))
        for folder in _KEPT:
            yield from _files(profile / folder)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
