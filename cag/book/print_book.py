"""The whole book as one PDF: a single-page build, a table of contents in front, printed by Chromium."""

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
.exhibit-tools button, .headerlink, #pst-skip-link, .pst-async-banner-revealer, dialog, .copybtn, #jb-print-toc {
  display: none !important; }
html { font-size: 10.5pt; }
body, .bd-main, .bd-content, .bd-article-container, .bd-article { display: block !important;
  max-width: none !important; width: auto !important; padding: 0 !important; margin: 0 !important; }
span[id^="document-"] + section, nav.contents { break-before: page; }
h2, h3, h4, .caption-text { break-after: avoid; }
figure, .cag-explorer, tr, pre, .sd-card { break-inside: avoid; }
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
    """Add contents and print style, open what is folded, and let links stay inside the page.

    The package reference and the code of the notebooks are left out: they fill hundreds of pages, and are read on
    a screen.
    """
    soup = BeautifulSoup(source, "html.parser")
    style = soup.new_tag("style")
    style.string = _PRINT_STYLE
    (soup.head or soup).append(style)
    article = soup.find("article")
    if not isinstance(article, Tag):
        raise InputError("holds no article", file="_build/singlehtml", remedy="Build the book anew: make clean book")
    _leave_out(article)
    for folded in soup.find_all("details"):
        folded["open"] = ""
    contents = _contents(soup, article)
    first = article.find("span", id=_CHAPTER)
    (first.insert_before if isinstance(first, Tag) else article.append)(contents)
    _keep_links_inside(soup)
    return str(soup)


#: Marks the beginning of a chapter in a page that holds them all.
_CHAPTER = re.compile("^document-")


def _leave_out(article: Tag) -> None:
    """Remove chapters that list the package's names, and the folded code of cells."""
    for mark in article.find_all("span", id=_CHAPTER):
        chapter = mark.find_next_sibling("section")
        if isinstance(chapter, Tag) and chapter.find("dl", class_="py") and not chapter.find("span", id=_CHAPTER):
            chapter.decompose()
            mark.decompose()
    for code in article.select("details.hide.above-input"):
        code.decompose()


def _keep_links_inside(soup: BeautifulSoup) -> None:
    """Point links of the single page at itself; those whose target was left out become text."""
    known = {str(tag["id"]) for tag in soup.find_all(id=True)}
    for link in soup.find_all("a", href=True):
        target = str(link["href"]).removeprefix("index.html")
        if target.startswith("#"):
            link["href"] = target
            if target[1:] not in known:
                link.unwrap()


def _contents(soup: BeautifulSoup, article: Tag) -> Tag:
    """A list of all chapters, linked."""
    nav = soup.new_tag("nav", attrs={"class": "contents", "aria-label": "Contents"})
    title, items = soup.new_tag("h2"), soup.new_tag("ol")
    title.string = "Contents"
    for mark in article.find_all("span", id=_CHAPTER):
        heading = mark.find_next(["h1", "h2", "h3"])
        if heading is not None:
            entry, link = soup.new_tag("li"), soup.new_tag("a", href=f"#{mark['id']}")
            link.string = heading.get_text().rstrip("#")
            entry.append(link)
            items.append(entry)
    nav.extend([title, items])
    return nav
