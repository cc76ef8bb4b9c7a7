"""From a profile's executed notebooks to the pages of the book."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cag.book.execute import CHAPTERS, NOTEBOOKS
from cag.settings import ROOT, InputError, reach_the_disk, write_atomically, writing

BOOK = ROOT / "book"
#: Where `make book` looks first: the run that is part of the project.
PUBLISHED = "published"
#: Bytes of a prediction table that the book offers beside what was computed from it.
LARGEST_ROWS = 1_000_000


def profile_to_show() -> str:
    """The published run where there is one, otherwise the demo; a table that lies there alone is no run."""
    restore_folder(ROOT / "results" / PUBLISHED)
    return PUBLISHED if (ROOT / "results" / PUBLISHED / "notebooks").is_dir() else "demo"


def lay_out_book(profile: str) -> None:
    """Copy a profile's executed notebooks, tables, exhibits and records to where the book's pages find them.

    Raises
    ------
    InputError
        If a notebook of the profile was not executed yet.
    """
    results = ROOT / "results" / profile
    missing = [name for name in CHAPTERS if not (results / "notebooks" / f"{name}.ipynb").exists()]
    if missing:
        raise InputError(f"not executed yet: {', '.join(missing)}", file=f"results/{profile}", remedy=_remedy(profile))
    record = BOOK / "_exhibits" / "run.json"
    if not record.exists() or json.loads(record.read_text())["shown"] != profile:
        # Sphinx goes by the times of files, and a run that was executed earlier looks unchanged to it.
        shutil.rmtree(ROOT / "_build" / "html", ignore_errors=True)
        shutil.rmtree(ROOT / "_build" / ".doctrees", ignore_errors=True)
    for folder, target, ignored in (("notebooks", "notebooks", "*.json"), ("exhibits", "_exhibits", "")):
        shutil.rmtree(BOOK / target, ignore_errors=True)
        shutil.copytree(results / folder, BOOK / target, ignore=shutil.ignore_patterns(ignored, ".*"))
    (BOOK / "_exhibits" / "rows").mkdir()
    for table in (path for path in results.glob("*.parquet") if path.stat().st_size < LARGEST_ROWS):
        shutil.copy(table, BOOK / "_exhibits" / "rows")
    records = {name: json.loads((results / "notebooks" / f"{name}.json").read_text()) for name in CHAPTERS}
    sections = {name: chapter.section for name, chapter in CHAPTERS.items()}
    run = {"shown": profile, "sections": sections, "notebooks": records}
    write_atomically(BOOK / "_exhibits" / "run.json", lambda path: path.write_text(json.dumps(run, indent=1)))


def _remedy(profile: str) -> str:
    """What to do about a profile that is not whole: a file of settings makes all of it, single notebooks do not."""
    if (NOTEBOOKS / "parameters" / f"{profile}.yaml").exists():
        return f"Run `make study PROFILE={profile}` first"
    exhibits = f"results/{profile}/exhibits"
    return f"A book needs all notebooks; tables and figures of those that were executed lie in {exhibits}"


def build_book(profile: str) -> Path:
    """Render the book of a profile, strictly; returns its first page.

    Raises
    ------
    InputError
        If the build reports an error or a warning.
    """
    lay_out_book(profile)
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", "book", "--config", "_config.yml"]
    command += ["--path-output", ".", "-W", "--keep-going", "-n", "-q"]
    done = subprocess.run(command, cwd=ROOT, check=False)
    page = ROOT / "_build" / "html" / "index.html"
    if done.returncode or not page.exists():
        raise InputError(
            "the book has warnings or errors (listed above)", remedy="Mend the pages named and build again"
        )
    return page


def replace_folder(folder: Path, fill: Callable[[Path], object]) -> Path:
    """Let ``fill`` make a new folder beside ``folder``, then put it in its place.

    Two renames put it there. A process killed between them leaves the old folder beside its place:
    ``restore_folder`` brings it back, and every later call begins so.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    with writing(folder.name):
        restore_folder(folder)
        for left in (new, old):  # what a killed process left
            shutil.rmtree(left, ignore_errors=True)
        new.mkdir(parents=True)
        try:
            fill(new)
            for file in (path for path in new.rglob("*") if path.is_file()):
                reach_the_disk(file)
            if folder.exists():
                folder.replace(old)
            new.replace(folder)
        finally:
            restore_folder(folder)
            shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return folder


def restore_folder(folder: Path) -> None:
    """Bring back what a ``replace_folder`` that was killed had set aside."""
    old = folder.with_name(f".{folder.name}.old")
    if old.is_dir() and not folder.exists():
        old.replace(folder)
