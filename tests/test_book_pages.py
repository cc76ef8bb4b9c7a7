from __future__ import annotations

import json

import pytest

from cag.book import build as book
from cag.book.execute import Chapter
from cag.settings import InputError


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one notebook, not executed yet."""
    monkeypatch.setattr(book, "ROOT", tmp_path)
    monkeypatch.setattr(book, "BOOK", tmp_path / "book")
    monkeypatch.setattr(book, "CHAPTERS", {"01_example": Chapter("example")})
    return tmp_path


def test_a_book_of_notebooks_never_executed_is_refused(project):
    with pytest.raises(InputError, match=r"not executed yet: 01_example. Run `make study PROFILE=demo` first"):
        book.lay_out_book("demo")


def test_the_book_gets_notebooks_and_tables_of_one_profile(project):
    parts = ("notebooks/01_example.ipynb", "notebooks/01_example.json", "exhibits/example/a.csv", "rows.parquet")
    for part in parts:
        path = project / "results" / "demo" / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"seconds": 3}')
    book.lay_out_book("demo")
    assert [path.name for path in (project / "book" / "notebooks").iterdir()] == ["01_example.ipynb"]
    assert (project / "book" / "_exhibits" / "rows" / "rows.parquet").exists()
    assert (project / "book" / "_exhibits" / "example" / "a.csv").exists()
    run = json.loads((project / "book" / "_exhibits" / "run.json").read_text())
    assert run["shown"] == "demo" and run["notebooks"]["01_example"]["seconds"] == 3


def test_no_page_of_another_run_is_kept(project):
    for profile in ("demo", "published"):
        for part in ("notebooks/01_example.ipynb", "notebooks/01_example.json", "exhibits/e/a.csv"):
            path = project / "results" / profile / part
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
    page = project / "_build" / "html" / "01_example.html"
    for profile, kept in (("demo", False), ("demo", True), ("published", False)):
        page.parent.mkdir(parents=True, exist_ok=True)
        page.touch()
        book.lay_out_book(profile)
        assert page.exists() == kept


def test_the_published_run_is_shown_where_there_is_one(project):
    assert book.profile_to_show() == "demo"
    acceptance = project / "results" / "published" / "simulator_acceptance.csv"
    acceptance.parent.mkdir(parents=True)
    acceptance.write_text("part\n")
    assert book.profile_to_show() == "demo", "a table alone is no run"
    (project / "results" / "published" / "notebooks").mkdir()
    assert book.profile_to_show() == "published"


def test_a_refused_profile_costs_nothing_that_was_built(project):
    (project / "_build" / "html").mkdir(parents=True)
    kept = [project / "_build" / "book.pdf", project / "_build" / "html" / "index.html"]
    for path in kept:
        path.touch()
    with pytest.raises(InputError, match=r"A book needs all notebooks; .* results/mine/exhibits"):
        book.lay_out_book("mine")
    assert all(path.exists() for path in kept)
