"""The book's own Sphinx extensions, apart from a build."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
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
    assert extension.modules_of("cag.settings") == ["cag.settings"]
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
    html = extension.tools(entry, "../", "demo")
    assert "<b>" not in html and 'href="../e/a.csv" download="tab-a.csv"' in html


@pytest.mark.parametrize("extension", ["exhibits"], indirect=True)
def test_all_tables_that_came_before_are_named_as_just_that(extension: ModuleType) -> None:
    tables = [f"t{number}.parquet" for number in range(5)]
    html = extension.tools(extension.Entry("table", "1", "tab-a", "p", "x", prediction_tables=tables), "", "demo")
    assert "5 tables read or written up to here" in html and all(f"<code>{name}</code>" in html for name in tables)
    assert "exhibit-rows" not in extension.tools(extension.Entry("table", "1", "tab-a", "p", "x"), "", "demo")


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


RECORD = {"cores": 2, "processor": "P", "memory_gb": 15.8, "card": "", "date": "2026-11-28"}


@pytest.mark.parametrize("extension", ["run_record"], indirect=True)
def test_what_was_found_again_is_charged_once_with_the_time_it_took(extension: ModuleType) -> None:
    found = {"grid/a": 600.0, "grid/b": 300.0}
    records = {
        "02_frames": {"seconds": 60.0, "tasks": {"made": ["frames/a"], "found": {}}},
        "03_grid": {"seconds": 60.0, "tasks": {"made": [], "found": found}},
        "04_other": {"seconds": 30.0, "tasks": {"made": [], "found": found | {"frames/a": 50.0}}},
    }
    costs = extension.costs(records)
    assert {stem: cost.text for stem, cost in costs.items()} == {
        "02_frames": "60 s",
        "03_grid": "16 minutes",
        "04_other": "30 s",
    }
    box = extension.remake("make", "03_grid", RECORD | records["03_grid"], costs["03_grid"])
    assert "in 60 s on P" in box and "2 stored pieces of work; with the time that they took, 16 minutes in all" in box
    assert not costs["02_frames"].note and not costs["04_other"].note


@pytest.mark.parametrize("extension", ["run_record"], indirect=True)
def test_a_time_that_nobody_recorded_is_said_and_never_left_out_silently(extension: ModuleType) -> None:
    untimed = {"made": [], "found": {"grid/a": None, "grid/b": 300.0}}
    records = {
        "02_older": {"seconds": 120.0},
        "03_untimed": {"seconds": 120.0, "tasks": untimed},
        "04_before": {"seconds": 60.0, "tasks": {"made": [], "found": {"x/a": None}}},
    }
    records["04_before"]["before"] = {"seconds": 1020.0, "date": "2026-11-27"}
    costs = extension.costs(records)
    assert [cost.text for cost in costs.values()] == ["at least 2 minutes", "at least 7 minutes", "at least 17 minutes"]
    for stem, record in records.items():
        box = extension.remake("make", stem, RECORD | record, costs[stem])
        assert "ound again" in box, stem
    assert "on 2026-11-27, took 17 minutes" in costs["04_before"].note


@pytest.mark.parametrize("extension", ["run_record"], indirect=True)
def test_energy_is_that_of_a_first_run(extension: ModuleType, tmp_path: Path) -> None:
    records = {
        "02_frames": {"seconds": 60.0, "cores": 2, "lanes": 2, "tasks": {"made": [], "found": {"a/a": 3540.0}}},
        "03_grid": {"seconds": 60.0, "cores": 2},
    }
    (tmp_path / "_exhibits").mkdir()
    (tmp_path / "_exhibits" / "run.json").write_text(json.dumps({"notebooks": records}))
    directive = extension.RunCosts.__new__(extension.RunCosts)
    directive.options = {"watts-a-core": 15, "watts-card": 350, "grams-a-kwh": 400}
    env = SimpleNamespace(note_reread=lambda: None, srcdir=tmp_path)
    directive.state = SimpleNamespace(document=SimpleNamespace(settings=SimpleNamespace(env=env)))
    table, note = directive.run()
    rows = [[entry.astext() for entry in row.children] for row in table.findall(lambda node: node.tagname == "row")]
    assert rows[1] == ["02_frames", "60 s", "60 minutes", "0.0150", "6.00"]
    assert rows[2][:3] == ["03_grid", "60 s", "at least 60 s"]
    assert rows[3][:3] == ["All", "2 minutes", "at least 61 minutes"]
    assert "03_grid" in note.astext() and "02_frames" not in note.astext()
