"""What leaves a profile: the published run, a real run's tables beside it, and a zip to deposit, with checksums."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zipfile
from pathlib import Path

import pandas as pd

from cag.book.build import PUBLISHED
from cag.book.execute import require_executed
from cag.book.page import readable_table
from cag.settings import ROOT, InputError

#: Folders of a profile that a book is built from; its prediction tables come with them.
_KEPT = ("notebooks", "exhibits")
#: What a repository takes without harm: bytes of one file, and of the whole run.
LARGEST_FILE, LARGEST_RUN = 16_000_000, 40_000_000
#: What a run may be published without, pictures first: a figure is there as SVG too, and no page needs the tables.
_DISPENSABLE = (".png", ".parquet")
#: Figures of a real run that show neither pixels nor where the set's own boxes lie.
CURVES = ("fig-froc",)
#: Names of files that tell who a patient is, or show one.
PRIVATE = (".pseudonym_key", "files_private.csv", "studies_private.csv", "report.html")


def publish_run(profile: str) -> str:
    """Put a profile's executed notebooks, exhibits and prediction tables in ``results/published``; tells what it did.

    Those of the run before go; whatever else lies there stays. Trained networks, features and frames stay behind.
    A notebook that is not finished, and a run too large for a repository, are an `InputError`.
    """
    source, target = ROOT / "results" / profile, ROOT / "results" / PUBLISHED
    require_executed(source)
    if profile == PUBLISHED:
        raise InputError("is the published run itself", file=f"results/{profile}", remedy="Name the profile it shows")
    files = [*source.glob("[!.]*.parquet"), *(path for folder in _KEPT for path in (source / folder).rglob("[!.]*.*"))]
    kept, left_out = _within_limits({path: path.stat().st_size for path in sorted(files)}, source)
    for folder in _KEPT:
        shutil.rmtree(target / folder, ignore_errors=True)
    for table in target.glob("*.parquet"):
        table.unlink()
    for path in kept:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    names = ", ".join(path.relative_to(source).as_posix() for path in left_out)
    too_large = f"; left out to stay below {LARGEST_RUN / 1e6:.0f} MB: {names}" if names else ""
    return f"results/{PUBLISHED}: {sum(kept.values()) / 1e6:.1f} MB{too_large}"


def _within_limits(sizes: dict[Path, int], source: Path) -> tuple[dict[Path, int], list[Path]]:
    """The files that fit, and those left out; refused is what the book needs and is too large."""
    order = sorted(sizes, key=lambda path: (sizes[path] > LARGEST_FILE, path.suffix, sizes[path], path))
    kept, left_out, spare = dict(sizes), list[Path](), [path for path in order if path.suffix in _DISPENSABLE]
    while max(kept.values()) > LARGEST_FILE or sum(kept.values()) > LARGEST_RUN:
        if not spare:
            largest = max(kept, key=lambda path: kept[path])
            problem = f"too large to publish ({kept[largest] / 1e6:.0f} of {sum(kept.values()) / 1e6:.0f} MB in all)"
            remedy = f"Have it show less: {LARGEST_FILE / 1e6:.0f} MB a file and {LARGEST_RUN / 1e6:.0f} MB in all"
            raise InputError(problem, file=largest.relative_to(source).as_posix(), remedy=remedy)
        left_out.append(spare.pop())
        del kept[left_out[-1]]
    return kept, left_out


def publish_real(profile: str) -> Path:
    """Put the tables, predictions and curves of a run on real angiograms in ``results/published/measured/<profile>``.

    Pictures stay behind, and so do true boxes and those of the place prior, which are some of them: all belong to the
    set, under its own license. A profile without such results is an `InputError`.
    """
    source, target = ROOT / "results" / profile, ROOT / "results" / PUBLISHED / "measured" / profile
    exhibits = source / "exhibits" / "localization"
    if not (exhibits / "run_line.txt").exists():
        remedy = f"Execute its notebook with profile {profile} first"
        raise InputError("holds no results of the section localization", file=f"results/{profile}", remedy=remedy)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in (exhibits / "run_line.txt", *(exhibits / f"{name}.svg" for name in CURVES)):
        if path.exists():
            shutil.copyfile(path, target / path.name)
    for path in exhibits.glob("tab-*.csv"):
        table = pd.read_csv(path)
        shown = [name for name in map(str, table) if not name.endswith((", value", ", low", ", high"))]
        readable_table(table[shown]).to_csv(target / path.name, index=False)
    for path in source.glob("localization*.parquet"):
        table = pd.read_parquet(path)
        if not path.stem.endswith("_truth"):
            boxes = {"method", "x1"} <= set(table.columns)
            (table[table["method"] != "prior"] if boxes else table).to_parquet(target / path.name, index=False)
    return target


def write_archive(out: Path) -> list[str]:
    """Write a zip that can be deposited: the files of the last commit, the built book, and checksums over all.

    Returns what was left out: files of the project's folder that are not, or not so, in that commit. A book that was
    not built, a folder that is no git checkout, and a file that must stay private are an `InputError`.
    """
    pages, pdf = ROOT / "_build" / "html", ROOT / "_build" / "book.pdf"
    if not (pages / "index.html").exists():
        raise InputError("there is no built book", file="_build/html", remedy="Run `make book` first")
    part = out.with_suffix(".part")
    out.parent.mkdir(parents=True, exist_ok=True)
    _git("archive", "--format=zip", "--prefix=project/", f"--output={part}", "HEAD")
    files = {f"book/{path.relative_to(pages).as_posix()}": path for path in pages.rglob("[!.]*") if path.is_file()}
    files |= {"pdf/book.pdf": pdf} if pdf.exists() else {}
    with zipfile.ZipFile(part, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files.items()):
            archive.write(path, name)
        names = [name for name in archive.namelist() if not name.endswith("/")]
        for name in names:
            if name.rpartition("/")[2] in PRIVATE:
                part.unlink()
                remedy = "Take it out of git with its folder, commit, and run again"
                raise InputError("must stay private", file=name, remedy=remedy)
        sums = [f"{hashlib.sha256(archive.read(name)).hexdigest()}  {name}\n" for name in names]
        archive.writestr("SHA256SUMS", "".join(sums))
    part.replace(out)
    return [line[3:] for line in _git("status", "--porcelain").splitlines()]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError("git does not know this folder", file="the project", remedy="Archive from a git checkout")
    return done.stdout
