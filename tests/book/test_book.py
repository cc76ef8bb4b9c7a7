"""The book's parts fit together: contents, citations, glue, package pages, citation file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

import cag
from cag.settings import ROOT

BOOK = ROOT / "book"
PAGES = [path for path in BOOK.rglob("*.md") if path.relative_to(BOOK).parts[0] not in ("notebooks", "_generated")]
#: Chapters: the playground (00) is in JupyterLab only.
NOTEBOOKS = sorted((ROOT / "notebooks").glob("0[1-9]_*.ipynb"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def chapters(entry: dict) -> list[str]:
    """Every page at and below an entry of the table of contents, as a path without suffix."""
    own = [entry[key] for key in ("root", "file") if key in entry]
    below = [child for key in ("parts", "chapters", "sections") for child in entry.get(key, [])]
    return own + [name for child in below for name in chapters(child)]


CHAPTERS = chapters(yaml.safe_load((BOOK / "_toc.yml").read_text()))


def markdown_of(path: Path) -> str:
    """The prose of a page or notebook."""
    if path.suffix == ".md":
        return path.read_text()
    return "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")


def test_contents_list_every_page_and_notebook_once() -> None:
    pages = {path.relative_to(BOOK).with_suffix("").as_posix() for path in PAGES}
    assert len(CHAPTERS) == len(set(CHAPTERS))
    assert set(CHAPTERS) == pages | {f"notebooks/{path.stem}" for path in NOTEBOOKS}


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=lambda path: path.stem)
def test_citations_resolve(path: Path) -> None:
    known = set(re.findall(r"^@\w+\{([^,]+),", (BOOK / "references.bib").read_text(), re.MULTILINE))
    groups = re.findall(r"\{cite[^}]*\}`([^`]+)`", markdown_of(path))
    cited = {key.strip() for group in groups for key in group.split(",")}
    assert cited <= known


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_glue_names_a_notebook_and_a_format(path: Path) -> None:
    for target in re.findall(r"\{glue:text\}`([^`]+)`", path.read_text()):
        notebook, _, key = target.partition("::")
        assert Path(notebook.lstrip("/")).stem in {source.stem for source in NOTEBOOKS}, target
        assert re.fullmatch(r"\w+:\+?(?:\.\df|d|s)", key), target


def test_every_module_has_its_place_in_the_reference() -> None:
    pages = "\n".join(path.read_text() for path in (BOOK / "reference").glob("*.md"))
    shown = " ".join(re.findall(r"package-reference:: (.+)", pages)).split()
    package = Path(cag.__file__).parent
    modules = {path.stem for path in package.glob("[!_]*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    assert sorted(shown) == sorted(f"cag.{name}" for name in modules)


def test_citation_file_is_complete() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version", "date-released", "license"} <= set(citation)
    assert citation["version"] == VERSION and citation["license"] == "MIT"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", citation["date-released"])
    assert citation["references"][0]["doi"] == "10.3389/fcvm.2023.944135"


def test_version_is_told_alike_everywhere() -> None:
    assert f"## {VERSION} " in (ROOT / "CHANGELOG.md").read_text()
    assert f"version = {{{VERSION}}}" in (BOOK / "use" / "cite.md").read_text()


@pytest.mark.parametrize("name", ["workflow.svg", "logo.svg"])
def test_drawings_hold_no_outside_reference(name: str) -> None:
    drawing = (BOOK / "_static" / name).read_text().replace("http://www.w3.org/2000/svg", "")
    assert "http" not in drawing and "<script" not in drawing
