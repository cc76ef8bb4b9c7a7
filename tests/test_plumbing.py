"""A chapter's code is its science: at most a quarter of its lines fetch, store or show."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator

import pytest

from cag.settings import ROOT

#: Names whose calls are plumbing, as are those of the page and of its store.
CALLS = {"notebook_parameters", "open_page"}
SHARE = 0.25  #: At most, of a chapter's lines.
CHAPTERS = ("02_frame_selection", "03_stenosis_classification", "04_two_vs_three_categories")
CHAPTERS += ("05_redundancy_ablation", "06_cam_vs_fpn", "07_reading_a_study")


def parts(node: ast.AST) -> Iterator[ast.AST]:
    """A statement and the expressions in it, but neither its sentences nor the statements below it."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt) and not is_sentence(child):
            yield from parts(child)


def is_sentence(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def is_plumbing(statement: ast.stmt) -> bool:
    """Whether a statement imports, opens the page, or hands something to it or its store."""
    called = {ast.unparse(node.func) for node in parts(statement) if isinstance(node, ast.Call)}
    imports = isinstance(statement, ast.Import | ast.ImportFrom)
    return imports or any(name in CALLS or name.startswith("page.") for name in called)


def counted(source: str) -> tuple[int, int]:
    """Lines of plumbing and lines in all; plumbing is one line a statement, and lines of sentences do not count."""
    plumbing = every = 0
    for statement in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)):
        end = min((below.lineno for below in getattr(statement, "body", [])), default=statement.end_lineno + 1)
        lines = set(range(statement.lineno, end))
        for node in ast.walk(statement):
            lines -= set(range(node.lineno, node.end_lineno + 1)) if is_sentence(node) else set()
        lines |= {node.lineno for node in parts(statement) if isinstance(node, ast.expr)}
        if is_plumbing(statement):
            plumbing, every = plumbing + 1, every + 1
        elif not is_sentence(getattr(statement, "value", statement)):
            every += len(lines)
    return plumbing, every


@pytest.mark.parametrize("name", CHAPTERS)
def test_most_of_a_chapter_is_its_science(name: str) -> None:
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    lines = [counted("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    plumbing, every = (sum(part) for part in zip(*lines, strict=True))
    assert plumbing / every <= SHARE, f"{plumbing} of {every} lines"


def test_captions_are_one_line_and_sentences_none() -> None:
    science = "\n".join(["for k in range(3):", "    x = f(", "        k,", "    )"])
    assert counted(science) == (0, 4)
    assert counted('page.table(\n    "name",\n    frame[keys],\n    "A long "\n    "caption",\n)\n') == (1, 1)
    assert counted('import os\ncaption = "A sentence"\nsettings = notebook_parameters(globals(), "s", S)') == (2, 2)
    assert counted('text = (\n    "one"\n    "two",\n)\ny = 1') == (0, 3), "a bracket counts, a sentence does not"
