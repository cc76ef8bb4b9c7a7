"""The whole book as one PDF: a single-page build, a table of contents in front, printed by Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bs4 import BeautifulSoup, Tag

from cag.errors import InputError
from cag.settings import ROOT

_PRINT_STYLE = """
@page { size: A4; margin: 18mm 16mm; }
.bd-sidebar-primary, .bd-sidebar-secondary, .bd-header, .bd-header-article, .bd-footer, .prev-next-footer,
.exhibit-tools button, .headerlink, #pst-skip-link, .pst-async-banner-revealer, dialog, .copybtn {
  display: none !important; }
html { font-size: 10.5pt; }
body, .bd-main, .bd-content, .bd-article-container, .bd-article { display: block !important;
  max-width: none !important; width: auto !important; padding: 0 !important; margin: 0 !important; }
section > h1 { break-before: page; }
figure, .cag-explorer, tr, pre { break-inside: avoid; }
figure img, .cell_output img { max-width: 100%; max-height: 200mm; }
table { font-size: 8pt; } pre { white-space: pre-wrap; }
nav.contents ol { list-style: none; } nav.contents a { text-decoration: none; }
"""


def find_chromium() -> str:
    """Path of a Chromium or Chrome; the environment variable CHROMIUM comes first.

    Raises
    ------
    InputError
        If there is none.
    """
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        raise InputError("no Chromium found", field="CHROMIUM", remedy="Install chromium, or name its path in CHROMIUM")
    return found


def print_book(out: Path) -> Path:
    """Print the book that was last laid out (``make book``).

    Raises
    ------
    InputError
        If no book was laid out, the single page does not build, or no browser is found.
    """
    if not (ROOT / "book" / "notebooks").is_dir():
        raise InputError("nothing is laid out yet", file="book/notebooks", remedy="Run `make book` first")
    browser = find_chromium()
    page = _single_page()
    page.write_text(prepare(page.read_text(encoding="utf-8")), encoding="utf-8")
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    command += [
        "--generate-pdf-document-outline",
        "--virtual-time-budget=60000",
        f"--print-to-pdf={out}",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not out.exists():
        raise InputError(
            "Chromium did not print the page", file=out.name, remedy="See that it runs: chromium --version"
        )
    return out


def _single_page() -> Path:
    """Build every page into one, below ``_build/singlehtml``."""
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
    done = subprocess.run(command, cwd=ROOT, check=False)
    page = ROOT / "_build" / "singlehtml" / "index.html"
    if done.returncode or not page.exists():
        raise InputError("the single page does not build", file="_build/singlehtml", remedy="Mend what is named above")
    return page


def prepare(source: str) -> str:
    """Add contents and print style, open what is folded, and let links stay inside the page."""
    soup = BeautifulSoup(source, "html.parser")
    style = soup.new_tag("style")
    style.string = _PRINT_STYLE
    (soup.head or soup).append(style)
    for folded in soup.find_all("details"):
        folded["open"] = ""
    for link in soup.find_all("a", href=True):
        target = str(link["href"])
        if target.startswith("index.html#"):
            link["href"] = target.removeprefix("index.html")
    article = soup.find("article")
    if not isinstance(article, Tag):
        raise InputError("holds no article", file="_build/singlehtml", remedy="Build the book anew: make clean book")
    article.insert(0, _contents(soup, article))
    return str(soup)


def _contents(soup: BeautifulSoup, article: Tag) -> Tag:
    """A list of all chapters, linked."""
    nav = soup.new_tag("nav", attrs={"class": "contents", "aria-label": "Contents"})
    title, items = soup.new_tag("h2"), soup.new_tag("ol")
    title.string = "Contents"
    for heading in article.find_all("h1"):
        place = heading.find_parent(id=True)
        if place is not None:
            entry, link = soup.new_tag("li"), soup.new_tag("a", href=f"#{place['id']}")
            link.string = heading.get_text().rstrip("#")
            entry.append(link)
            items.append(entry)
    nav.extend([title, items])
    return nav
