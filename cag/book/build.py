"""From a profile's executed notebooks to the pages of the book."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from cag.book.execute import CHAPTERS, NOTEBOOKS
from cag.book.swap import restore_folder
from cag.settings import ROOT, InputError, write_atomically

BOOK = ROOT / "book"
#: Where `make book` looks first: the run that is part of the project.
PUBLISHED = "published"


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
    for folder, target in (("notebooks", "notebooks"), ("tables", "_generated"), ("exhibits", "_exhibits")):
        shutil.rmtree(BOOK / target, ignore_errors=True)
        ignored = shutil.ignore_patterns("*.json" if folder == "notebooks" else "", ".*")
        shutil.copytree(results / folder, BOOK / target, ignore=ignored)
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
