"""Every command printed in the documentation is understood, and a refused input is one sentence."""

import re
import shlex
import sys
from pathlib import Path

import nbformat
import pytest
import typer
import yaml
from typer.testing import CliRunner

from cag import __main__ as command
from cag.book.execute import CHAPTERS
from cag.settings import ROOT, SettingsError, notebook_parameters

sys.path.append(str(ROOT / "book" / "_ext"))
from parameter_reference import model_of, parameters_cell
from run_record import commands

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))[1:]  # the playground is no chapter
PARAMETERS = ROOT / "notebooks" / "parameters"
PROFILES = sorted(path for path in PARAMETERS.glob("*.yaml") if not path.stem.endswith("_cohort"))
#: A profile without sections belongs to one notebook.
FLAT = {path.stem: "06_cam_vs_fpn" for path in PROFILES if "profile" in (yaml.safe_load(path.read_text()) or {})}
MAKE_TARGETS = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
COMMAND = re.compile(r"^(?:CAG_DATA=\S+ )?(?:\.venv/bin/)?(python -m cag\b|papermill\b|make\b)")


def printed() -> set[str]:
    """Each command that is printed: in blocks of shell, in words in code, and under *Make this page again*."""
    found: set[str] = set()
    pages = [ROOT / "README.md", *(ROOT / "book").rglob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    for path in (page for page in pages if "book/notebooks" not in page.as_posix()):
        text = path.read_text()
        if path.suffix == ".ipynb":
            cells = nbformat.reads(text, as_version=4).cells
            text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        blocks = [block.replace("\\\n", " ") for block in re.findall(r"```(?:bash|sh)\n(.*?)```", text, re.DOTALL)]
        found |= {line.strip() for block in blocks for line in block.splitlines()}
        found |= set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
    for path in NOTEBOOKS:
        for profile in (one.stem for one in PROFILES if FLAT.get(one.stem, path.stem) == path.stem):
            study, papermill = commands(path.stem, {"profile": profile, "overrides": {"seed": "1"}})
            found |= {papermill} if profile in FLAT else {papermill, study}
    return {line for line in found if COMMAND.match(line)}


def check_cag(words: list[str]) -> None:
    known = typer.main.get_command(command.app).commands
    if not words:
        return
    assert words[0] in known, words[0]
    if words[1:] == [] or words[-1] == "--scheduler":  # named in passing
        return
    given = known[words[0]].make_context(words[0], words[1:]).params
    if words[0] == "study":
        assert (PARAMETERS / f"{given['profile']}.yaml").exists()
        assert all(any(name.startswith(start) for name in CHAPTERS) for start in given["only"] or ())
        parameters = {name for path in NOTEBOOKS for name in model_of(nbformat.read(path, 4)).model_fields}
        assert {pair.partition("=")[0] for pair in given["p"] or ()} <= parameters


def check_make(words: list[str]) -> None:
    for word in words:
        name, equals, value = word.partition("=")
        assert equals or name in MAKE_TARGETS, name
        assert name != "PROFILE" or (PARAMETERS / f"{value}.yaml").exists(), value


def check_papermill(words: list[str]) -> None:
    if not words:
        return
    source, _, *rest = words
    fields = set(model_of(nbformat.read(ROOT / source, as_version=4)).model_fields)
    while rest:
        option, name, *rest = rest
        if option == "-f":
            assert (ROOT / name).exists(), name
        elif option == "-y":
            assert set(yaml.safe_load(name)) <= fields, name
        else:
            assert option == "-p" and name in fields, name
            rest = rest[1:]


@pytest.mark.parametrize("line", sorted(printed()))
def test_a_printed_command_is_one_that_is_understood(line):
    match = COMMAND.match(line)
    check = {"python -m cag": check_cag, "papermill": check_papermill, "make": check_make}[match[1]]
    check(shlex.split(line[match.end() :], comments=True))


def injected(path: Path, values: dict) -> dict:
    """What a notebook knows after its parameters cell and the one that papermill injects."""
    cell = "# Parameters\n" + "\n".join(f"{name} = {value!r}" for name, value in values.items())
    namespace: dict = {}
    exec(parameters_cell(nbformat.read(path, as_version=4)), namespace)
    exec(cell, namespace)
    return namespace | {"In": [cell]}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_every_notebook_takes_the_parameters_of_every_profile(path, profile):
    """As the runner gives them, a section's values, and as papermill does with ``-f``: the whole file."""
    section, model = CHAPTERS[path.stem].section, model_of(nbformat.read(path, as_version=4))
    given = yaml.safe_load(profile.read_text()) or {}
    if profile.stem in FLAT:
        if FLAT[profile.stem] == path.stem:
            settings = notebook_parameters(injected(path, given), section, model)
            assert settings.model_dump(include=set(given)).keys() == set(given)
        return
    own = given.get(section) or {}
    with pytest.raises(SettingsError, match="sede: no such parameter"):
        notebook_parameters(injected(path, {"profile": profile.stem, **own, "sede": 1}), section, model)
    alone = notebook_parameters(injected(path, {"profile": profile.stem, **own}), section, model)
    whole = notebook_parameters(injected(path, {**given, "profile": profile.stem}), section, model)
    assert alone == whole
    assert all(getattr(alone, name) == getattr(model.checked({name: value}), name) for name, value in own.items())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("simulate --patients 0", "cag: patients: 0 is not accepted"),
        ("study -p epochs", "cag: -p: 'epochs' is not NAME=VALUE. Write it as -p epochs=3"),
        ("study --profile nowhere", "cag: nowhere: no such profile"),
        ("verify data_manifest.csv", "cag: data_manifest.csv, patient_id: this column is missing"),
        ("publish --profile nowhere --real", "cag: results/nowhere: holds no results"),
    ],
)
def test_a_refused_input_is_one_sentence(arguments, sentence, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_manifest.csv").write_text("run_id\nP0001_R01\n")
    monkeypatch.setattr(sys, "argv", ["cag", *arguments.split()])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code.startswith(sentence)


@pytest.mark.parametrize(
    ("arguments", "choices"),
    [("read . --models . --artery LAD", "'LCA', 'RCA'"), ("fetch imagenet --out .", "'arcade', 'cadica', 'danilov'")],
)
def test_a_wrong_word_names_those_that_are_known(arguments, choices):
    said = CliRunner().invoke(command.app, arguments.split(), env={"COLUMNS": "200"})
    assert said.exit_code == 2 and choices in said.output


def test_nothing_is_fetched_before_the_license_is_accepted(tmp_path):
    said = CliRunner().invoke(command.app, ["fetch", "danilov", "--out", str(tmp_path / "sets")], input="n\n")
    assert said.exit_code == 1 and not (tmp_path / "sets").exists()
    assert "Creative Commons" in said.output and "data.mendeley.com" in said.output
