"""Places in the reference, versions, checklists, and the ways to install, which name the same packages."""

import re
import shlex
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import cag
from cag.settings import ROOT

BOOK = ROOT / "book"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_every_module_has_its_place_in_the_reference():
    pages = "\n".join(path.read_text() for path in (BOOK / "reference").glob("*.md"))
    shown = " ".join(re.findall(r"package-reference:: (.+)", pages)).split()
    package = Path(cag.__file__).parent
    modules = {path.stem for path in package.glob("[!_]*.py")}
    modules |= {path.parent.name for path in package.glob("*/__init__.py")}
    assert sorted(shown) == sorted(f"cag.{name}" for name in modules)


def test_citation_file_is_complete_the_version_told_alike_and_drawings_hold_no_outside_reference():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version", "date-released", "license"} <= set(citation)
    assert citation["version"] == VERSION and citation["license"] == "MIT"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", citation["date-released"])
    assert citation["references"][0]["doi"] == "10.3389/fcvm.2023.944135"
    assert f"## {VERSION} " in (ROOT / "CHANGELOG.md").read_text()
    assert "{cite-study}" in (BOOK / "use" / "cite.md").read_text()
    for path in (BOOK / "_static").glob("*.svg"):
        drawing = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http" not in drawing and "<script" not in drawing, f"{path.name} refers to nothing outside"


CHECKLISTS = BOOK / "scrutiny" / "checklists.md"
STATES = {"answered", "in part", "not applicable", "not done"}
ANSWERS = {"yes", "probably yes", "probably no", "no"}
#: Sub-items: item -> how many letters.
TRIPOD = {3: 3, 5: 2, 6: 3, 8: 3, 9: 3, 12: 7, 18: 6, 20: 3, 23: 2, 27: 3}
STARD = {15: 4, 16: 3, 17: 2, 26: 2, 40: 2}
#: Questions of each domain; D and E are the analysis of development and of evaluation.
PROBAST = {"1": 3, "2": 4, "3": 4, "D 4": 5, "E 4": 7}


def lettered(last, letters):
    return [f"{item}{letter}" for item in range(1, last + 1) for letter in "abcdefg"[: letters.get(item, 0)] or [""]]


EXPECTED = {
    "tab-claim": lettered(44, {}),
    "tab-tripod": lettered(27, TRIPOD),
    "tab-stard": lettered(40, STARD),
    "tab-probast": [f"{domain}.{item}" for domain, count in PROBAST.items() for item in range(1, count + 1)],
}


def source(page: str) -> str:
    """Prose of a page that a ``doc`` role of the checklists points at: a chapter's is in its notebook."""
    place = (CHECKLISTS.parent / page if page[0] != "/" else BOOK / page[1:]).resolve()
    if place.parent.name == "notebooks":
        cells = nbformat.read(ROOT / "notebooks" / f"{place.name}.ipynb", as_version=4).cells
        return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return place.with_suffix(".md").read_text()


@pytest.mark.parametrize("name", EXPECTED)
def test_every_item_of_a_checklist_is_a_row_that_says_its_state_and_where_or_why(name):
    table = re.search(rf"```{{list-table}}[^\n]*\n:name: {name}\n(.*?)```", CHECKLISTS.read_text(), re.DOTALL)
    assert table
    rows = [re.split(r"\n  - ", row.strip()) for row in re.split(r"^\* - ", table[1], flags=re.MULTILINE)[2:]]
    assert [row[0] for row in rows] == EXPECTED[name]
    for item, _, state, place in rows:
        assert state in (ANSWERS if name == "tab-probast" else STATES), item
        assert place.startswith("Not applicable because") == (state == "not applicable"), item
        if state in ("answered", "in part"):
            assert re.search(r"\{(doc|numref|ref)\}`", place) or "`" in place or place.startswith("No patient"), item
        for page, words in re.findall(r"\{doc\}`([^`]+)`, (\*[^*]+\*(?: and \*[^*]+\*)*)", place):
            for section in re.findall(r"\*([^*]+)\*", words):
                assert re.search(rf"^(?:#+ |){re.escape(section)}$", source(page), re.MULTILINE), f"{item}: {section}"
        for file in re.findall(r"(?<!\})`([\w./]+)`", place):
            assert Path(ROOT, file).is_file(), f"{item}: {file}"


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(lines: list[str]) -> set[tuple[str, str]]:
    parsed = [Requirement(line) for line in lines]
    return {(canonicalize_name(one.name), str(one.specifier)) for one in parsed}


def test_environment_constraints_and_binder_name_the_packages_of_pyproject_within_their_ranges():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    by_pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    assert requirements(by_pip) == requirements(PROJECT["dependencies"])
    assert f"python{PROJECT['requires-python']}" in entries
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pinned = {canonicalize_name(one.name): one for one in map(Requirement, filter(None, lines))}
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    for requirement in map(Requirement, wanted):
        exact = re.fullmatch(r"==([^,]+)", str(pinned[canonicalize_name(requirement.name)].specifier))
        assert exact, f"{requirement.name} is not fixed to one version"
        assert requirement.specifier.contains(exact[1], prereleases=True), requirement
    python, *others = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text())["dependencies"]
    version = re.fullmatch(r"python=(\d+\.\d+)", python)
    assert others == ["pip"] and version and SpecifierSet(PROJECT["requires-python"]).contains(version[1])
    script = ROOT / "binder" / "postBuild"
    commands = [shlex.split(line) for line in script.read_text().splitlines() if line and line[0] not in "#"]
    install = "python -m pip install --no-cache-dir --constraint constraints.txt --editable ."
    assert commands == [["set", "-euo", "pipefail"], install.split()]
    assert script.stat().st_mode & 0o111, "Binder runs it as a program"
