"""The reporting checklists: every item has a row of its own, and each place that a row names is there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import nbformat
import pytest

from cag.settings import ROOT

BOOK = ROOT / "book"
CHECKLISTS = BOOK / "scrutiny" / "checklists.md"
STATES = {"answered", "in part", "not applicable", "not done"}
#: Sub-items of TRIPOD+AI: item -> how many letters.
LETTERS = {3: 3, 5: 2, 6: 3, 8: 3, 9: 3, 12: 7, 18: 6, 20: 3, 23: 2, 27: 3}
#: Items of CLAIM 2024 and, with their letters, of TRIPOD+AI.
EXPECTED = {
    "tab-claim": [str(number) for number in range(1, 45)],
    "tab-tripod": [
        f"{number}{letter}" for number in range(1, 28) for letter in "abcdefg"[: LETTERS.get(number, 0)] or [""]
    ],
}
ROLE = re.compile(r"\{(doc|numref|ref)\}`(?:[^`<]*<)?([^`>]+)>?`")


@cache
def source(page: str) -> str:
    """Prose of a page of the book, given without suffix: a chapter's is in its notebook."""
    if page.startswith("notebooks/"):
        cells = nbformat.read(ROOT / f"{page}.ipynb", as_version=4).cells
        return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return (BOOK / f"{page}.md").read_text()


def code(notebook: Path) -> str:
    """The code of a notebook, whose calls of ``page`` make labels."""
    return "\n".join(cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code")


def pages() -> list[str]:
    """Every page that is written by hand, and every chapter."""
    written = [path.relative_to(BOOK).with_suffix("").as_posix() for path in BOOK.rglob("*.md")]
    chapters = [f"notebooks/{path.stem}" for path in sorted((ROOT / "notebooks").glob("0[1-9]_*.ipynb"))]
    return sorted(page for page in written if page.split("/")[0] not in ("notebooks", "_generated")) + chapters


PAGES = pages()
SHOWN = re.compile(r'page\.(?:figure|table)\(\s*"([\w-]+)"')
LABELS = {
    label for page in PAGES for label in re.findall(r"^(?::name: |\((?=[\w-]+\)=))([\w-]+)", source(page), re.MULTILINE)
}
LABELS |= {label for path in (ROOT / "notebooks").glob("*.ipynb") for label in SHOWN.findall(code(path))}


def document(target: str, page: str) -> str:
    """Name of the page that a ``doc`` role on ``page`` points at."""
    folder = BOOK if target.startswith("/") else (BOOK / page).parent
    return (folder / target.lstrip("/")).resolve().relative_to(BOOK.resolve()).as_posix()


@pytest.mark.parametrize("page", PAGES)
def test_every_reference_of_a_page_has_its_target(page: str) -> None:
    for role, target in ROLE.findall(source(page)):
        if role == "doc":
            assert document(target, page) in PAGES, f"{page}: {target}"
        else:
            assert target in LABELS, f"{page}: {target}"


def rows(name: str) -> list[list[str]]:
    """Cells of a checklist, without its header."""
    table = re.search(rf"```{{list-table}}[^\n]*\n:name: {name}\n(.*?)```", CHECKLISTS.read_text(), re.DOTALL)
    assert table
    return [re.split(r"\n  - ", row.strip()) for row in re.split(r"^\* - ", table[1], flags=re.MULTILINE)[2:]]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_item_is_a_row(name: str) -> None:
    assert [row[0] for row in rows(name)] == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_row_says_its_state_and_where_or_why(name: str) -> None:
    for item, _, state, place in rows(name):
        assert state in STATES, item
        assert place.startswith("Not applicable because") == (state == "not applicable"), item
        if state in ("answered", "in part"):
            assert ROLE.search(place) or "`" in place or place.startswith("No patient"), item


@pytest.mark.parametrize("name", EXPECTED)
def test_named_sections_and_files_are_there(name: str) -> None:
    for item, *_, place in rows(name):
        for _, target, words in re.findall(r"\{(doc)\}`([^`]+)`, (\*[^*]+\*(?: and \*[^*]+\*)*)", place):
            text = source(document(target, "scrutiny/checklists"))
            for section in re.findall(r"\*([^*]+)\*", words):
                assert re.search(rf"^(?:#+ |){re.escape(section)}$", text, re.MULTILINE), f"{item}: {section}"
        for file in re.findall(r"(?<!\})`([\w./]+)`", place):
            assert Path(ROOT, file).is_file(), f"{item}: {file}"


def test_a_sub_item_that_was_left_out_would_be_seen() -> None:
    assert len(EXPECTED["tab-tripod"]) == 52 and EXPECTED["tab-tripod"][2:5] == ["3a", "3b", "3c"]
