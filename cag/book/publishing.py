"""From a profile's results to what can be committed and deposited: the published run, and a zip with checksums."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cag.book.build import PUBLISHED
from cag.book.execute import CHAPTERS as SECTIONS
from cag.book.swap import replace_folder
from cag.settings import ROOT, InputError

#: What a book is built from, and what its numbers can be recomputed from.
_KEPT = ("notebooks", "tables", "exhibits")
#: What a repository takes without harm: bytes of one file, and of the whole run.
LARGEST_FILE, LARGEST_RUN = 16_000_000, 40_000_000
#: What a run may be published without, in the order in which it goes.
_DISPENSABLE = (".png", ".parquet")
_CHECKSUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Publication:
    """What was published, and what stayed behind.

    Attributes
    ----------
    folder : Path
    size : int
        Bytes of the run's files.
    too_large : tuple of str
        Files left out to keep the run small: pictures for print, then prediction tables, largest first.
    working : dict of str to int
        Folders of the profile that are never published (networks, features, frames), and their bytes.
    """

    folder: Path
    size: int
    too_large: tuple[str, ...]
    working: dict[str, int]

    def __str__(self) -> str:
        lines = [f"{self.folder.parent.name}/{self.folder.name}: {self.size / 1e6:.1f} MB"]
        if self.too_large:
            lines.append(f"left out to stay below {LARGEST_RUN / 1e6:.0f} MB: {', '.join(self.too_large)}")
        if self.working:
            names, size = ", ".join(self.working), sum(self.working.values())
            lines.append(f"left out, as they are no part of the book: {names} ({size / 1e6:.0f} MB)")
        return "\n".join(lines)


def publish_run(profile: str) -> Publication:
    """Put a profile's executed notebooks, tables, exhibits and prediction tables in ``results/published``.

    Those of the run before go; whatever else lies there stays. Trained networks, features and frames stay
    behind: they are large, and the book shows none of them.

    Raises
    ------
    InputError
        If a notebook of the profile is not finished, or the run is too large for a repository.
    """
    source, target = ROOT / "results" / profile, ROOT / "results" / PUBLISHED
    _check_finished(source, profile)
    kept, left_out = _within_limits({path: path.stat().st_size for path in _published_files(source)}, source)

    def fill(draft: Path) -> None:
        if target.is_dir():
            shutil.copytree(target, draft, ignore=_of_a_run(target), dirs_exist_ok=True)
        for path in kept:
            copy = draft / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        for path in left_out:
            _withdraw_download(draft / path.relative_to(source))

    replace_folder(target, fill)
    working = {
        folder.name: sum(path.stat().st_size for path in _files(folder))
        for folder in sorted(source.iterdir())
        if folder.is_dir() and not folder.name.startswith(".") and folder.name not in _KEPT
    }
    names = tuple(path.relative_to(source).as_posix() for path in left_out)
    return Publication(target, sum(kept.values()), names, working)


def _check_finished(source: Path, profile: str) -> None:
    """Refuse what no book can be built from, by name."""
    remedy = f"Run `make study PROFILE={profile}` to its end first, and publish that profile"
    if profile == PUBLISHED:
        raise InputError("is the published run itself", file=f"results/{profile}", remedy="Publish another profile")
    missing = [
        name
        for name in SECTIONS
        if not all((source / "notebooks" / f"{name}.{end}").exists() for end in ("ipynb", "json"))
    ]
    if missing:
        raise InputError(f"not executed yet: {', '.join(missing)}", file=f"results/{profile}", remedy=remedy)
    absent = [name for name in _KEPT if not (source / name).is_dir()]
    if absent:
        raise InputError(f"has no {' and no '.join(absent)}", file=f"results/{profile}", remedy=remedy)


def _of_a_run(target: Path) -> Callable[[str, list[str]], set[str]]:
    """Which names at the top of ``target`` come from a profile: they go when another is published."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        run = {name for name in names if name in _KEPT or name.endswith(".parquet")}
        return run if Path(folder) == target else set()

    return ignored


def _within_limits(sizes: dict[Path, int], source: Path) -> tuple[dict[Path, int], list[Path]]:
    """The files that fit, and those left out: a figure is there as SVG too, and the pages need no prediction table.

    Raises
    ------
    InputError
        If what the book needs is too large by itself.
    """
    dispensable = sorted((path for path in sizes if path.suffix in _DISPENSABLE), key=lambda path: -sizes[path])
    left_out = [path for path in dispensable if sizes[path] > LARGEST_FILE]
    for suffix in _DISPENSABLE:
        for path in (path for path in dispensable if path.suffix == suffix and path not in left_out):
            if sum(sizes.values()) - sum(sizes[out] for out in left_out) > LARGEST_RUN:
                left_out.append(path)
    kept = {path: size for path, size in sizes.items() if path not in left_out}
    largest = max(kept, key=lambda path: kept[path])
    if kept[largest] > LARGEST_FILE or sum(kept.values()) > LARGEST_RUN:
        problem = (
            f"too large to publish ({sum(kept.values()) / 1e6:.0f} MB in all, this file {kept[largest] / 1e6:.0f})"
        )
        remedy = f"Have it show less: {LARGEST_FILE / 1e6:.0f} MB a file and {LARGEST_RUN / 1e6:.0f} MB in all"
        raise InputError(problem, file=largest.relative_to(source).as_posix(), remedy=remedy)
    return kept, left_out


def _withdraw_download(path: Path) -> None:
    """Take a picture that was left out from the record of its figure, so that no page offers it."""
    record = path.with_suffix(".json")
    if path.suffix == ".png" and record.exists():
        told = json.loads(record.read_text())
        told["files"] = [suffix for suffix in told["files"] if suffix != "png"]
        record.write_text(json.dumps(told, indent=1))


def _published_files(profile: Path) -> Iterator[Path]:
    """Prediction tables, executed notebooks, tables and exhibits of a profile."""
    yield from (path for path in sorted(profile.glob("*.parquet")) if not path.name.startswith("."))
    for folder in _KEPT:
        yield from _files(profile / folder)


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
    """What could be published of every profile that has anything."""
    for profile in sorted(path for path in (ROOT / "results").glob("[!.]*") if path.is_dir()):
        yield from _published_files(profile)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
