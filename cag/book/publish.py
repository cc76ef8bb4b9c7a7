"""What leaves a profile: the published run, a real run's tables beside it, and a zip to deposit, with checksums."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from cag.book.build import PUBLISHED, replace_folder
from cag.book.execute import CHAPTERS
from cag.book.page import readable_table
from cag.settings import ROOT, InputError

#: Folders of a profile that a book is built from; its prediction tables come with them.
_KEPT = ("notebooks", "exhibits")
#: What a repository takes without harm: bytes of one file, and of the whole run.
LARGEST_FILE, LARGEST_RUN = 16_000_000, 40_000_000
#: What a run may be published without, in the order in which it goes: a figure is there as SVG too, and the pages
#: need no prediction table.
_DISPENSABLE = (".png", ".parquet")
#: Figures of a real run that show neither pixels nor where the set's own boxes lie.
CURVES = ("fig-froc",)
#: Names of files that tell who a patient is, or show one.
PRIVATE = (".pseudonym_key", "files_private.csv", "report.html")


def publish_run(profile: str) -> str:
    """Put a profile's executed notebooks, exhibits and prediction tables in ``results/published``; tells what it did.

    Those of the run before go; whatever else lies there stays. Trained networks, features and frames stay behind.

    Raises
    ------
    InputError
        If a notebook of the profile is not finished, or the run is too large for a repository.
    """
    source, target = ROOT / "results" / profile, ROOT / "results" / PUBLISHED
    notebooks = [source / "notebooks" / f"{name}.{end}" for name in CHAPTERS for end in ("ipynb", "json")]
    missing = sorted({path.stem for path in notebooks if not path.exists()})
    if missing or profile == PUBLISHED:
        remedy = f"Run `make study PROFILE={profile}` to its end first, and publish that profile"
        problem = f"not executed yet: {', '.join(missing)}" if missing else "is the published run itself"
        raise InputError(problem, file=f"results/{profile}", remedy=remedy)
    files = [*source.glob("[!.]*.parquet"), *(path for folder in _KEPT for path in _files(source / folder))]
    kept, left_out = _within_limits({path: path.stat().st_size for path in sorted(files)}, source)

    def fill(draft: Path) -> None:
        if target.is_dir():
            shutil.copytree(target, draft, ignore=lambda *at: _of_a_run(target, *at), dirs_exist_ok=True)
        for path in kept:
            (draft / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, draft / path.relative_to(source))
        for record in (draft / path.relative_to(source).with_suffix(".json") for path in left_out):
            if record.exists():  # no page offers a picture that was left out
                told = json.loads(record.read_text())
                record.write_text(json.dumps(told | {"files": [end for end in told["files"] if end != "png"]}))

    replace_folder(target, fill)
    names = ", ".join(path.relative_to(source).as_posix() for path in left_out)
    too_large = f"; left out to stay below {LARGEST_RUN / 1e6:.0f} MB: {names}" if names else ""
    return f"results/{PUBLISHED}: {sum(kept.values()) / 1e6:.1f} MB{too_large}"


def _of_a_run(target: Path, folder: str, names: list[str]) -> set[str]:
    """Which names at the top of ``target`` come from a profile: they go when another is published."""
    run = {name for name in names if name in (*_KEPT, "tables") or name.endswith(".parquet")}
    return run if Path(folder) == target else set()


def _within_limits(sizes: dict[Path, int], source: Path) -> tuple[dict[Path, int], list[Path]]:
    """The files that fit, and those left out, largest first; refused is what the book needs and is too large."""
    kept, left_out = dict(sizes), list[Path]()
    spare = sorted(
        (path for path in sizes if path.suffix in _DISPENSABLE),
        key=lambda path: (sizes[path] <= LARGEST_FILE, _DISPENSABLE.index(path.suffix), -sizes[path]),
    )
    for path in spare:
        if sizes[path] > LARGEST_FILE or sum(kept.values()) > LARGEST_RUN:
            left_out.append(path)
            del kept[path]
    largest = max(kept, key=lambda path: kept[path])
    if kept[largest] > LARGEST_FILE or sum(kept.values()) > LARGEST_RUN:
        problem = f"too large to publish ({sum(kept.values()) / 1e6:.0f} MB in all, this {kept[largest] / 1e6:.0f} MB)"
        remedy = f"Have it show less: {LARGEST_FILE / 1e6:.0f} MB a file and {LARGEST_RUN / 1e6:.0f} MB in all"
        raise InputError(problem, file=largest.relative_to(source).as_posix(), remedy=remedy)
    return kept, left_out


def publish_real(profile: str, section: str = "localization") -> Path:
    """Put the tables, predictions and curves of a run on real angiograms in ``results/published/measured/<profile>``.

    Pictures stay behind, and so do true boxes and those of the place prior, which are some of them: all belong to the
    set, under its own license.

    Raises
    ------
    InputError
        If the profile has no such results.
    """
    source = ROOT / "results" / profile
    exhibits = source / "exhibits" / section
    if not (exhibits / "run_line.txt").exists():
        remedy = f"Execute its notebook with profile {profile} first"
        raise InputError(f"holds no results of the section {section}", file=f"results/{profile}", remedy=remedy)

    def fill(draft: Path) -> None:
        curves = [exhibits / f"{name}.svg" for name in CURVES if (exhibits / f"{name}.svg").exists()]
        for path in (exhibits / "run_line.txt", *curves):
            shutil.copyfile(path, draft / path.name)
        for path in sorted(exhibits.glob("tab-*.csv")):
            table = pd.read_csv(path)
            shown = [name for name in map(str, table) if not name.endswith((", value", ", low", ", high"))]
            readable_table(table[shown]).to_csv(draft / path.name, index=False)
        for path in sorted(source.glob(f"{section}*.parquet")):
            table = pd.read_parquet(path)
            if not path.stem.endswith("_truth"):
                boxes = {"method", "x1"} <= set(table.columns)
                (table[table["method"] != "prior"] if boxes else table).to_parquet(draft / path.name, index=False)

    return replace_folder(ROOT / "results" / PUBLISHED / "measured" / profile, fill)


def write_archive(out: Path) -> list[str]:
    """Write a zip that can be deposited: the files that git tracks, the built book, and checksums over all.

    Returns
    -------
    list of str
        What was left out although it lies in the project's folder.

    Raises
    ------
    InputError
        If no book has been built, the folder is no git checkout, or a file that must stay private is among them.
    """
    pages = ROOT / "_build" / "html"
    if not (pages / "index.html").exists():
        raise InputError("there is no built book", file="_build/html", remedy="Run `make book` first")
    files = {f"project/{name}": ROOT / name for name in _git("ls-files", "-z") if (ROOT / name).is_file()}
    files |= {f"book/{path.relative_to(pages).as_posix()}": path for path in _files(pages)}
    pdf = ROOT / "_build" / "book.pdf"
    files |= {"pdf/book.pdf": pdf} if pdf.exists() else {}
    for name, path in files.items():
        if path.name in PRIVATE:
            raise InputError("must stay private", file=name, remedy="Take it out of git with its folder, and run again")
    lines = []
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            content = path.read_bytes()
            archive.writestr(_entry(name), content)
            lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
        archive.writestr(_entry("SHA256SUMS"), "".join(lines))
    part.replace(out)
    return _git("ls-files", "-z", "--others", "--exclude-standard", "--directory")


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry whose date does not change from one archive to the next."""
    entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return entry


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError("git does not know this folder", file="the project", remedy="Archive from a git checkout")
    return sorted(filter(None, done.stdout.split("\0")))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
