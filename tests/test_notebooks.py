"""A notebook is an argument, the package is machinery."""

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
import yaml

from cag.book.execute import CHAPTERS
from cag.settings import ROOT

SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST_CELL = 32
#: Statements of a function that a notebook defines where it is the point, such as a loss.
LONGEST_FUNCTION = 5

every_notebook = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def parameters(path: Path) -> str:
    """Source of a notebook's one cell of parameters."""
    (cell,) = [cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", [])]
    return cell.source


def test_the_playground_and_every_chapter_are_there():
    assert [path.stem for path in SOURCES] == ["00_playground", *CHAPTERS]
    assert [path.stem[:2] for path in SOURCES] == [f"{number:02d}" for number in range(11)]


@every_notebook
def test_is_valid_and_stripped(path):
    nbformat.validate(read(path))
    for cell in code_cells(path):
        assert cell.outputs == [] and cell.execution_count is None
        assert not set(cell.metadata) & {"papermill", "execution"}
    assert not set(read(path).metadata) & {"papermill", "widgets"}


@every_notebook
def test_has_one_parameters_cell_that_explains_each_line(path):
    source = parameters(path)
    lines = [line for line in source.splitlines() if line.strip() and not line.startswith("#")]
    assert lines and not [line for line in lines if "#" not in line], "no comment"
    assert all(isinstance(node, ast.Assign | ast.AnnAssign) for node in ast.parse(source).body)


@every_notebook
def test_cells_are_short_define_little_and_follow_prose(path):
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= LONGEST_CELL, cell.source
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.ClassDef), cell.source
            if isinstance(node, ast.FunctionDef):
                assert len(node.body) <= LONGEST_FUNCTION, cell.source
    cells = read(path).cells
    assert cells[0].cell_type == "markdown" and "# " in cells[0].source
    for before, cell in pairwise(cells):
        if cell.cell_type == "code" and "hide-input" not in cell.metadata.get("tags", []):
            assert before.cell_type == "markdown", cell.source


@pytest.mark.parametrize("profile", ["demo", "two_cores", "paper"])
def test_the_cohort_page_counts_the_frames_that_the_classifiers_see(profile):
    told = {}
    for name, section in (("01_cohort", "cohort"), ("03_stenosis_classification", "classification")):
        source = parameters(ROOT / "notebooks" / f"{name}.ipynb")
        (default,) = [line for line in source.splitlines() if line.startswith("frames_per_run")]
        given = yaml.safe_load((ROOT / "notebooks" / "parameters" / f"{profile}.yaml").read_text()) or {}
        told[section] = given.get(section, {}).get("frames_per_run", int(default.split("=")[1].split("#")[0]))
    assert told["cohort"] == told["classification"]


#: Names whose calls are plumbing, as are those of the page and of its store.
CALLS = {"notebook_parameters", "open_page"}
SHARE = 0.25  #: At most, of a chapter's lines.


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


@pytest.mark.parametrize("path", SOURCES[2:8], ids=lambda path: path.stem)
def test_most_of_a_chapter_is_its_science(path):
    """At most a quarter of its lines fetch, store or show."""
    plumbing, every = (sum(part) for part in zip(*(counted(cell.source) for cell in code_cells(path)), strict=True))
    assert plumbing / every <= SHARE, f"{plumbing} of {every} lines"


def test_captions_are_one_line_and_sentences_none():
    science = "\n".join(["for k in range(3):", "    x = f(", "        k,", "    )"])
    assert counted(science) == (0, 4)
    assert counted('page.table(\n    "name",\n    frame[keys],\n    "A long "\n    "caption",\n)\n') == (1, 1)
    assert counted('import os\ncaption = "A sentence"\nsettings = notebook_parameters(globals(), "s", S)') == (2, 2)
    assert counted('text = (\n    "one"\n    "two",\n)\ny = 1') == (0, 3), "a bracket counts, a sentence does not"
