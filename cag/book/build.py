"""From a profile's executed notebooks to the pages of the book, and to one PDF of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bs4 import BeautifulSoup, Tag

from cag.book.execute import CHAPTERS, require_executed
from cag.settings import ROOT, InputError, write_atomically

BOOK = ROOT / "book"
#: Where `make book` looks first: the run that is part of the project.
PUBLISHED = "published"
#: Marks the beginning of a chapter in a page that holds them all.
_CHAPTER = re.compile("^document-")


def profile_to_show() -> str:
    """The published run where there is one, otherwise the demo; a table that lies there alone is no run."""
    return PUBLISHED if (ROOT / "results" / PUBLISHED / "notebooks").is_dir() else "demo"


def lay_out_book(profile: str) -> None:
    """Copy a profile's executed notebooks, tables, exhibits and records to where the book's pages find them.

    A notebook that was not executed yet is an `InputError`.
    """
    results = ROOT / "results" / profile
    require_executed(results)
    record = BOOK / "_exhibits" / "run.json"
    if not record.exists() or json.loads(record.read_text())["shown"] != profile:
        # Sphinx goes by the times of files, and a run that was executed earlier looks unchanged to it.
        for built in ("html", ".doctrees"):
            shutil.rmtree(ROOT / "_build" / built, ignore_errors=True)
    for folder, target, ignored in (("notebooks", "notebooks", "*.json"), ("exhibits", "_exhibits", "")):
        shutil.rmtree(BOOK / target, ignore_errors=True)
        shutil.copytree(results / folder, BOOK / target, ignore=shutil.ignore_patterns(ignored, ".*"))
    (BOOK / "_exhibits" / "rows").mkdir()
    for table in results.glob("*.parquet"):
        shutil.copy(table, BOOK / "_exhibits" / "rows")
    records = {name: json.loads((results / "notebooks" / f"{name}.json").read_text()) for name in CHAPTERS}
    sections = {name: chapter.section for name, chapter in CHAPTERS.items()}
    run = {"shown": profile, "sections": sections, "notebooks": records}
    write_atomically(record, lambda path: path.write_text(json.dumps(run, indent=1)))


def build_book(profile: str) -> Path:
    """Render the book of a profile, strictly; returns its first page. An error or a warning is an `InputError`."""
    lay_out_book(profile)
    return _jupyter_book("html", "-W", "--keep-going", "-n")


def _jupyter_book(builder: str, *options: str) -> Path:
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", "book", "--config", "_config.yml"]
    command += ["--path-output", ".", "--builder", builder, "-q", *options]
    page = ROOT / "_build" / builder / "index.html"
    if subprocess.run(command, cwd=ROOT, check=False).returncode or not page.exists():
        remedy = "Mend the pages named and build again"
        raise InputError("the book has warnings or errors (listed above)", file=f"_build/{builder}", remedy=remedy)
    return page


def print_book(out: Path) -> Path:
    """Print the book that was last laid out (``make book``); ``CHROMIUM`` names a browser that is not found.

    No book laid out, a page that does not build, and no browser that prints are an `InputError`.
    """
    if not (ROOT / "book" / "notebooks").is_dir():
        raise InputError("nothing is laid out yet", file="book/notebooks", remedy="Run `make book` first")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not browser:
        raise InputError("no Chromium found", field="CHROMIUM", remedy="Install chromium, or name its path in CHROMIUM")
    page = _jupyter_book("singlehtml")
    page.write_text(prepare(page.read_text(encoding="utf-8")), encoding="utf-8")
    out.parent.mkdir(parents=True, exist_ok=True)
    options = "--headless --no-sandbox --disable-gpu --no-pdf-header-footer --generate-pdf-document-outline"
    command = [browser, *options.split(), "--virtual-time-budget=60000", f"--print-to-pdf={out}", page.as_uri()]
    if subprocess.run(command, capture_output=True, check=False).returncode or not out.exists():
        remedy = "See that it runs: chromium --version"
        raise InputError("Chromium did not print the page", file=out.name, remedy=remedy)
    return out


def prepare(source: str) -> str:
    """Add a print style, open what is folded, keep links inside; leave package reference and notebooks' code out."""
    soup = BeautifulSoup(source, "html.parser")
    style = soup.new_tag("style")
    style.string = Path(__file__).with_name("print.css").read_text(encoding="utf-8")
    (soup.head or soup).append(style)
    for mark in soup.find_all("span", id=_CHAPTER):
        chapter = mark.find_next_sibling("section")
        if isinstance(chapter, Tag) and chapter.find("dl", class_="py") and not chapter.find("span", id=_CHAPTER):
            chapter.decompose()
            mark.decompose()
    for code in soup.select("details.hide.above-input"):
        code.decompose()
    for folded in soup.find_all("details"):
        folded["open"] = ""
    known = {str(tag["id"]) for tag in soup.find_all(id=True)}
    for link in soup.find_all("a", href=re.compile("^(index.html)?#")):
        link["href"] = str(link["href"]).removeprefix("index.html")
        if link["href"][1:] not in known:
            link.unwrap()
    return str(soup)
