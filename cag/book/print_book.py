"""The whole book as one PDF: a single-page build, printed by Chromium with its outline."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bs4 import BeautifulSoup, Tag

from cag.settings import ROOT, InputError

_PRINT_STYLE = """
@page { size: A4; margin: 18mm 16mm; @bottom-center { content: counter(page); font: 8pt sans-serif; } }
.bd-sidebar-primary, .bd-sidebar-secondary, .bd-header, .bd-header-article, .bd-footer, .prev-next-footer,
.headerlink, #pst-skip-link, .pst-async-banner-revealer, dialog, .copybtn, #jb-print-toc { display: none !important; }
html { font-size: 10.5pt; }
body, .bd-main, .bd-content, .bd-article-container, .bd-article { display: block !important;
  max-width: none !important; width: auto !important; padding: 0 !important; margin: 0 !important; }
span[id^="document-"] + section { break-before: page; }
h2, h3, h4, .caption-text { break-after: avoid; }
figure, .cag-explorer, tr, pre, .sd-card { break-inside: avoid; }
figure img, .cell_output img { max-width: 100%; max-height: 200mm; }
table { font-size: 8pt; } pre { white-space: pre-wrap; }
"""
#: Marks the beginning of a chapter in a page that holds them all.
_CHAPTER = re.compile("^document-")


def print_book(out: Path) -> Path:
    """Print the book that was last laid out (``make book``); ``CHROMIUM`` names a browser that is not found.

    Raises
    ------
    InputError
        If no book was laid out, the single page does not build, or no browser is found or prints.
    """
    if not (ROOT / "book" / "notebooks").is_dir():
        raise InputError("nothing is laid out yet", file="book/notebooks", remedy="Run `make book` first")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not browser:
        raise InputError("no Chromium found", field="CHROMIUM", remedy="Install chromium, or name its path in CHROMIUM")
    program = str(Path(sys.executable).with_name("jupyter-book"))
    command = [
        program,
        "build",
        "book",
        "--config",
        "_config.yml",
        "--path-output",
        ".",
        "--builder",
        "singlehtml",
        "-q",
    ]
    page = ROOT / "_build" / "singlehtml" / "index.html"
    if subprocess.run(command, cwd=ROOT, check=False).returncode or not page.exists():
        raise InputError("the single page does not build", file="_build/singlehtml", remedy="Mend what is named above")
    page.write_text(prepare(page.read_text(encoding="utf-8")), encoding="utf-8")
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-pdf-header-footer",
        f"--print-to-pdf={out}",
    ]
    command += ["--generate-pdf-document-outline", "--virtual-time-budget=60000", page.as_uri()]
    if subprocess.run(command, capture_output=True, check=False).returncode or not out.exists():
        remedy = "See that it runs: chromium --version"
        raise InputError("Chromium did not print the page", file=out.name, remedy=remedy)
    return out


def prepare(source: str) -> str:
    """Add a print style, open what is folded, and let links stay inside the page.

    The package reference and the code of the notebooks are left out: they fill hundreds of pages, and are read on
    a screen.
    """
    soup = BeautifulSoup(source, "html.parser")
    style = soup.new_tag("style")
    style.string = _PRINT_STYLE
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
