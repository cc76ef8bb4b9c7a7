"""The book's own Sphinx extensions, apart from a build."""

import json
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest
from docutils.core import publish_doctree

from cag.settings import ROOT

sys.path.append(str(ROOT / "book" / "_ext"))
NAMES = ("exhibits", "offline_assets", "package_reference", "parameter_reference", "run_record", "term_tooltips")
exhibits, offline_assets, package_reference, parameter_reference, run_record, term_tooltips = map(import_module, NAMES)
book_search = import_module("book_search")


def script(filename: str, body: str = "") -> SimpleNamespace:
    return SimpleNamespace(filename=filename, attributes={"body": body})


def test_thebe_scripts_are_recognized_and_the_package_is_listed_with_its_modules():
    assert offline_assets.is_thebe(script("_static/sphinx-thebe.js"))
    assert offline_assets.is_thebe(script("", body='const THEBE_JS_URL = "x"; const thebe_selector = "y"'))
    assert not offline_assets.is_thebe(script("_static/design-tabs.js"))
    names = package_reference.modules_of("cag.metrics")
    assert names[0] == "cag.metrics" and "cag.metrics.intervals" in names
    assert package_reference.modules_of("cag.settings") == ["cag.settings"]
    with pytest.raises(LookupError, match=r"cag\.nothing"):
        package_reference.modules_of("cag.nothing")


def test_definitions_are_read_by_term_and_british_and_american_spelling_are_one_word_to_the_search():
    glossary = publish_doctree("run\n  One film\n  of one injection.\n")
    for term in glossary.findall(lambda node: node.tagname == "term"):
        term["ids"] = ["term-run"]
    assert term_tooltips.definitions(glossary) == {"term-run": "One film of one injection."}
    search = book_search.OneSpelling({})
    for pair in ("grey gray", "localisation localizations", "centre centers", "labelled labeled", "ischaemia ischemia"):
        assert len(set(map(search.stem, pair.split()))) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The AUC, by a bootstrap; the AUC again.", ["AUC", "bootstrap"]),
        ("Two ROC curves and their auc.", ["ROC curves"]),
        ("Bootstraps, in code ``AUC`` and paired-bootstrap.", ["Bootstraps"]),
        ("Nothing here.", []),
    ],
)
def test_first_mentions_are_linked_once(text, found):
    doctree = publish_doctree(text)
    free = {"AUC": "term-AUC", "bootstrap": "term-bootstrap", "ROC curve": "term-ROC-curve"}
    known = {"term-AUC": "Area.", "term-bootstrap": "Drawing anew.", "term-ROC-curve": "A curve."}
    term_tooltips.link_first_mentions(doctree, dict(free), known, "glossary.html")
    links = [node for node in doctree.findall(lambda node: node.tagname == "reference") if "refuri" in node]
    assert all(node["reftitle"] == known[node["refuri"].partition("#")[2]] for node in links)
    assert " ".join(doctree.astext().split()) == " ".join(publish_doctree(text).astext().split())
    assert [node.astext() for node in links] == found


def test_a_citation_names_version_number_anchor_and_run_and_tools_cannot_be_broken_by_a_caption(tmp_path):
    project = {"authors": [{"name": "cag authors"}], "title": "T", "version": "1.2.0", "date-released": "2026-11-23"}
    entry = exhibits.Entry("figure", "7", "fig-roc", "notebooks/03", "Curves.")
    expected = "cag authors (2026). T, version 1.2.0. Figure 7, notebooks/03.html#fig-roc. Execution shown: demo."
    assert exhibits.citation(project, entry, "Execution shown: demo.") == expected
    reference = exhibits.bibtex(project, entry, "Execution shown: two_cores.", "https://example.org/cag")
    title = "  author = {{cag authors}},\n  title = {Curves (Figure 7 of T)},"
    assert reference.startswith("@misc{cag2026-fig-roc,\n" + title)
    assert "note = {Execution shown: two\\_cores.}" in reference and "url = {https://example.org/cag}" in reference
    assert exhibits.bibtex(project).startswith("@software{cag2026,") and "url" not in exhibits.bibtex(project)
    entry = exhibits.Entry("table", "1", "tab-a", "p", "x", files={"csv": "e/a.csv"}, citation='<b> & "c"')
    html = exhibits.tools(entry, "../", "demo", tmp_path)
    assert "<b>" not in html and 'href="../e/a.csv" download="tab-a.csv"' in html and "exhibit-rows" not in html
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "small.parquet").touch()
    entry = exhibits.Entry("table", "1", "tab-a", "p", "x", rows=["small.parquet", "large.parquet"])
    html = exhibits.tools(entry, "../", "demo", tmp_path)
    assert '<a href="../exhibits/rows/small.parquet" download>small.parquet</a>, large.parquet in' in html


def test_a_folded_exhibit_stands_with_its_tools_behind_its_name():
    doctree = publish_doctree("One.\n\nTable.\n\nTools.")
    exhibits.fold(doctree[1], doctree[2], "Table 1: <a>")
    assert "<summary>Table 1: &lt;a&gt;</summary>" in doctree[1].astext() and doctree[4].astext() == "</details>"


def test_every_parameter_has_type_meaning_and_range():
    for path in sorted(parameter_reference.NOTEBOOKS.glob("*.ipynb"))[1:]:
        for name, kind, default, _, meaning in parameter_reference.rows_of(path):
            assert kind and default and meaning, f"{path.stem}: {name}"
    rows = {row[0]: row for row in parameter_reference.rows_of(parameter_reference.NOTEBOOKS / "01_cohort.ipynb")}
    assert rows["frames_per_run"][1:4] == ("whole number", "5", "≥ 1, ≤ 50")
    assert rows["weights"][1] == "one of ``imagenet``, ``xa``, ``xa-labels``, ``random``"


RECORD = {"cores": 2, "processor": "P", "memory_gb": 15.8, "card": "", "date": "2026-11-28", "profile": "demo"}
RECORD |= {"peak_memory_gb": 1.5, "lanes": 2, "overrides": {}, "stored_work": {}}


def test_a_page_tells_how_it_is_made_again():
    assert [run_record.duration(seconds) for seconds in (8.2, 89, 130)] == ["8 s", "89 s", "2 minutes"]
    box = run_record.remake("03_grid", RECORD | {"seconds": 60.0, "overrides": {"seed": "1", "profile": "own"}})
    assert "study --profile demo --only 03 -p seed=1 -p profile=own" in box
    assert "-f notebooks/parameters/demo.yaml -p profile my_run -p seed 1\n" not in box and "my_run -p seed 1<" in box
    assert "in 60 s on P, 2 cores shared by 2 notebooks, 16 GB, no graphics card; at most 1.5 GB of memory" in box


def test_costs_are_those_of_the_executions_and_of_the_stored_work(tmp_path):
    work = {"classification": {"pieces": 16, "seconds": 3600.0}}
    records = {"02": RECORD | {"seconds": 60.0}, "03": RECORD | {"seconds": 120.0, "lanes": 1, "stored_work": work}}
    (tmp_path / "_exhibits").mkdir()
    (tmp_path / "_exhibits" / "run.json").write_text(json.dumps({"notebooks": records}))
    directive = run_record.RunCosts.__new__(run_record.RunCosts)
    directive.options = {"watts-a-core": 15, "watts-card": 350, "grams-a-kwh": 400}
    env = SimpleNamespace(note_reread=lambda: None, srcdir=tmp_path)
    directive.state = SimpleNamespace(document=SimpleNamespace(settings=SimpleNamespace(env=env)))
    found = [row for table in directive.run() for row in table.findall(lambda node: node.tagname == "row")]
    rows = [[entry.astext() for entry in row.children] for row in found]
    assert rows[1] == ["02", "60 s", "0.0003", "0.10"] and rows[2][:2] == ["03", "2 minutes"]
    assert rows[3] == ["All, by the share of the cores", "2 minutes", "0.0013", "0.50"]
    assert rows[5] == ["classification", "16", "60 minutes", "0.0300", "12.00"]
