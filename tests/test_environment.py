"""The ways to install the project name the same packages."""

import re
import shlex
import tomllib

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from cag.settings import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(lines: list[str]) -> set[tuple[str, str]]:
    parsed = [Requirement(line) for line in lines]
    return {(canonicalize_name(one.name), str(one.specifier)) for one in parsed}


def test_environment_equals_pyproject():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    by_pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    assert requirements(by_pip) == requirements(PROJECT["dependencies"])
    assert f"python{PROJECT['requires-python']}" in entries


def test_constraints_fix_every_dependency_within_its_range():
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pinned = {canonicalize_name(one.name): one for one in map(Requirement, filter(None, lines))}
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    for requirement in map(Requirement, wanted):
        exact = re.fullmatch(r"==([^,]+)", str(pinned[canonicalize_name(requirement.name)].specifier))
        assert exact, f"{requirement.name} is not fixed to one version"
        assert requirement.specifier.contains(exact[1], prereleases=True), requirement


def test_binder_starts_from_a_python_that_the_project_takes_and_installs_its_fixed_versions():
    python, *others = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text())["dependencies"]
    version = re.fullmatch(r"python=(\d+\.\d+)", python)
    assert others == ["pip"] and version and SpecifierSet(PROJECT["requires-python"]).contains(version[1])
    script = ROOT / "binder" / "postBuild"
    commands = [shlex.split(line) for line in script.read_text().splitlines() if line and line[0] not in "#"]
    install = "python -m pip install --no-cache-dir --constraint constraints.txt --editable ."
    assert commands == [["set", "-euo", "pipefail"], install.split()]
    assert script.stat().st_mode & 0o111, "Binder runs it as a program"
