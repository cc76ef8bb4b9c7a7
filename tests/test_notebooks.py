"""A notebook is an argument, the package is machinery."""

import ast
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch
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


def test_the_playground_and_every_chapter_are_there_and_plumbing_is_told_from_science():
    assert [path.stem for path in SOURCES] == ["00_playground", *CHAPTERS]
    assert [path.stem[:2] for path in SOURCES] == [f"{number:02d}" for number in range(12)]
    cell = "import os\npage = open_page(settings)\nfor k in x:\n    page.table('a', k)\n    y = f(k)"
    assert [is_plumbing(node) for node in statements(cell)] == [True, True, False, True, False]


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


def is_plumbing(statement: ast.stmt) -> bool:
    """Whether a statement imports, opens the page, or hands something to it or its store."""
    if hasattr(statement, "body") or isinstance(statement, ast.Import | ast.ImportFrom):
        return not hasattr(statement, "body")
    called = [ast.unparse(node.func) for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return any(name in ("notebook_parameters", "open_page") or name.startswith("page.") for name in called)


def statements(source: str) -> list[ast.stmt]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]


@pytest.mark.parametrize("path", SOURCES[2:8], ids=lambda path: path.stem)
def test_most_of_a_chapter_is_its_science(path):
    """At most a quarter of its statements fetch, store or show."""
    plumbing = [is_plumbing(node) for cell in code_cells(path) for node in statements(cell.source)]
    assert 0 < sum(plumbing) <= len(plumbing) / 4


def test_no_batch_of_the_training_on_more_and_more_patients_holds_one_category_alone():
    (cell,) = [cell for cell in code_cells(SOURCES[10]) if "def as_many_of_each" in cell.source]
    made = {"torch": torch, "settings": SimpleNamespace(images=960, fit=SimpleNamespace(epochs=1))}
    exec(cell.source, made)
    target = torch.arange(300) // 100
    drawn = target[made["as_many_of_each"](target)(torch.Generator().manual_seed(0))]
    assert drawn.bincount().tolist() == [320] * 3 and all(len(part.unique()) == 3 for part in drawn.split(32))
