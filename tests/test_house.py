"""The package is built in floors: imports go down or stay level, and never in a circle."""

import ast
import json
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import cag
from cag.book.execute import CHAPTERS
from cag.settings import ROOT

PACKAGE = Path(cag.__file__).parent

#: The rooms from the ground up: a module imports from its own room and from those below.
ROOMS = (("settings", "anatomy"), ("metrics",), ("data",), ("networks",), ("simulator",), ("chapters",), ("book",))
FLOORS = (*ROOMS, ("__main__",))
#: Lines of code at most; what users gain by a line must be worth its reading.
BUDGET = {"simulator": 5500, "the rest": 12_000, "tests": 10_000}
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}


def module_name(path: Path) -> str:
    """Dotted name below the package; a package is named by its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"}


def imported_names(tree: ast.AST) -> set[str]:
    """Dotted names below ``cag`` that a module imports; of ``from cag import x``, ``x``."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("cag.") for name in names if name.startswith("cag.")}


def imports_of(module: str) -> set[str]:
    """The modules of the package that a module imports."""
    found = set()
    for name in imported_names(ast.parse(MODULES[module].read_text())):
        parts = name.split(".")
        known = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        found |= {next((candidate for candidate in known if candidate in MODULES), parts[0])}
    return found - {module}


def test_the_package_has_nine_entries_and_imports_make_no_circle():
    entries = {path.stem for path in PACKAGE.iterdir() if path.name not in ("__init__.py", "py.typed", "__pycache__")}
    assert entries == set(FLOOR_OF)
    order = TopologicalSorter({module: imports_of(module) for module in MODULES}).static_order()
    assert set(order) >= set(MODULES)


def lines_of(folder: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in folder.rglob("*.py"))


def test_the_house_stays_small():
    simulator = lines_of(PACKAGE / "simulator")
    lines = {
        "simulator": simulator,
        "the rest": lines_of(PACKAGE) - simulator,
        "tests": lines_of(Path(__file__).parent),
    }
    assert all(lines[part] <= BUDGET[part] for part in BUDGET), lines


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down_or_stay_level(module):
    floor = FLOOR_OF[module.split(".")[0]]
    above = {name for name in imports_of(module) if FLOOR_OF[name.split(".")[0]] > floor}
    assert not above, f"floor {floor} imports from above"


def test_metrics_know_neither_networks_nor_files():
    foreign = {"torch.nn", "pathlib", "pydicom", "cag.networks"}
    for module in (name for name in MODULES if name.startswith("metrics")):
        nodes = list(ast.walk(ast.parse(MODULES[module].read_text())))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not names & foreign, module


def modules_behind(notebook: Path) -> set[str]:
    """Every module of the package that a notebook's code reaches."""
    cells = json.loads(notebook.read_text())["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
    names = imported_names(ast.parse("\n".join(line for line in lines if not line.startswith("%"))))
    open_modules = {module for name in names for module in MODULES if name == module or name.startswith(f"{module}.")}
    found: set[str] = set()
    while open_modules:
        module = open_modules.pop()
        found.add(module)
        open_modules |= imports_of(module) - found
    return found


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_is_executed_again_for_real_data_is_every_notebook_that_reads_them(name):
    readers = {module for module, path in MODULES.items() if '"CAG_DATA"' in path.read_text()}
    assert readers, "some modules read real data"
    told = any("CAG_DATA" in place for place in CHAPTERS[name].shows)
    assert told == bool(modules_behind(ROOT / "notebooks" / f"{name}.ipynb") & readers)
