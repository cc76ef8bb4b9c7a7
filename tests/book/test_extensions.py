"""The book's own Sphinx extensions, apart from a build."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType, SimpleNamespace

import pytest
from docutils.core import publish_doctree

from cag.settings import ROOT


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    yield import_module(request.param)
    sys.modules.pop(request.param)


def script(filename: str, body: str = "") -> SimpleNamespace:
    return SimpleNamespace(filename=filename, attributes={"body": body})


@pytest.mark.parametrize("extension", ["offline_assets"], indirect=True)
def test_thebe_scripts_are_recognized(extension: ModuleType) -> None:
    assert extension.is_thebe(script("_static/sphinx-thebe.js"))
    assert extension.is_thebe(script("", body='const THEBE_JS_URL = "x"; const thebe_selector = "y"'))
    assert not extension.is_thebe(script("_static/design-tabs.js"))


@pytest.mark.parametrize("extension", ["package_reference"], indirect=True)
def test_package_is_listed_with_its_modules(extension: ModuleType) -> None:
    names = extension.modules_of("cag.metrics")
    assert names[0] == "cag.metrics" and "cag.metrics.intervals" in names
    assert extension.modules_of("cag.errors") == ["cag.errors"]
    with pytest.raises(LookupError, match=r"cag\.nothing"):
        extension.modules_of("cag.nothing")


@pytest.mark.parametrize("extension", ["term_tooltips"], indirect=True)
def test_definitions_are_read_by_term(extension: ModuleType) -> None:
    glossary = publish_doctree("run\n  One film\n  of one injection.\n")
    for term in glossary.findall(lambda node: node.tagname == "term"):
        term["ids"] = ["term-run"]
    assert extension.definitions(glossary) == {"term-run": "One film of one injection."}


def linked(extension: ModuleType, text: str) -> list[str]:
    """What is linked in a text, with the terms of a small glossary."""
    doctree = publish_doctree(text)
    free = {"AUC": "term-AUC", "bootstrap": "term-bootstrap", "ROC curve": "term-ROC-curve"}
    known = {"term-AUC": "Area.", "term-bootstrap": "Drawing anew.", "term-ROC-curve": "A curve."}
    extension.link_first_mentions(doctree, dict(free), known, "glossary.html")
    found = [node for node in doctree.findall(lambda node: node.tagname == "reference") if "refuri" in node]
    assert all(node["reftitle"] == known[node["refuri"].partition("#")[2]] for node in found)
    assert " ".join(doctree.astext().split()) == " ".join(publish_doctree(text).astext().split())
    return [node.astext() for node in found]


@pytest.mark.parametrize("extension", ["term_tooltips"], indirect=True)
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The AUC, by a bootstrap; the AUC again.", ["AUC", "bootstrap"]),
        ("Two ROC curves and their auc.", ["ROC curves"]),
        ("Bootstraps, in code ``AUC`` and paired-bootstrap.", ["Bootstraps"]),
        ("Nothing here.", []),
    ],
)
def test_first_mentions_are_linked_once(extension: ModuleType, text: str, found: list[str]) -> None:
    assert linked(extension, text) == found


@pytest.mark.parametrize("extension", ["exhibits"], indirect=True)
def test_glued_names_are_read_from_a_page(extension: ModuleType) -> None:
    text = (
        "```{glue:figure} fig_a\n:name: fig-first\nWords.\n```\n\n"
        "```{glue:figure} fig_b\n:doc: ../notebooks/03_x.ipynb\n:name: fig_second\n```\n\n"
        "```{csv-table} Words.\n:file: ../_generated/table_c.csv\n:name: tab-c\n```\n"
    )
    expected = {"fig-first": ("fig_a", ""), "fig-second": ("fig_b", "03_x"), "tab-c": ("table_c", "")}
    assert extension.glued_names(text) == expected


@pytest.mark.parametrize("extension", ["exhibits"], indirect=True)
def test_a_citation_names_version_number_anchor_and_run(extension: ModuleType) -> None:
    project = {"authors": [{"name": "cag authors"}], "title": "T", "version": "1.2.0", "date-released": "2026-11-23"}
    entry = extension.Entry("figure", "7", "fig-roc", "notebooks/03", "Curves.")
    text = extension.citation(project, entry, "Run shown: demo.")
    expected = "cag authors (2026). T, version 1.2.0. Figure 7, notebooks/03.html#fig-roc. Run shown: demo."
    assert text == expected


@pytest.mark.parametrize("extension", ["exhibits"], indirect=True)
def test_tools_cannot_be_broken_by_a_caption(extension: ModuleType) -> None:
    entry = extension.Entry("table", "1", "tab-a", "p", "x", files={"csv": "e/a.csv"}, citation='<b> & "c"')
    html = extension.tools(entry, "../")
    assert "<b>" not in html and 'href="../e/a.csv" download="tab-a.csv"' in html


@pytest.mark.parametrize("extension", ["parameter_reference"], indirect=True)
def test_every_parameter_has_type_and_meaning(extension: ModuleType) -> None:
    for path in sorted(extension.NOTEBOOKS.glob("0[1-9]_*.ipynb")):
        for name, kind, default, _, meaning in extension.rows_of(path):
            assert kind and default and meaning, f"{path.stem}: {name}"


@pytest.mark.parametrize("extension", ["parameter_reference"], indirect=True)
def test_defaults_and_meanings_come_from_the_cell_and_ranges_from_the_model(extension: ModuleType) -> None:
    rows = {row[0]: row for row in extension.rows_of(extension.NOTEBOOKS / "01_cohort.ipynb")}
    assert rows["frames_per_run"][1:4] == ("whole number", "5", "≥ 1, ≤ 50")
    assert rows["weights"][1] == "one of ``imagenet``, ``xa``, ``random``"


@pytest.mark.parametrize("extension", ["run_record"], indirect=True)
def test_times_are_said_as_a_reader_would(extension: ModuleType) -> None:
    assert [extension.duration(seconds) for seconds in (8.2, 89, 130)] == ["8 s", "89 s", "2 minutes"]
    record = {"cores": 2, "processor": "P", "memory_gb": 15.8, "card": ""}
    assert extension.hardware(record) == "P, 2 cores, 16 GB, no graphics card"
    assert extension.hardware({"seconds": 3}) == ""
