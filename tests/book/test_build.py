"""From executed notebooks to the pages of the book and to its PDF."""

import json

import pytest
from bs4 import BeautifulSoup

from cag.book import build, execute
from cag.book.execute import Chapter
from cag.settings import InputError

PAGE = """<html><head></head><body><article><section id="first"><h1>First page</h1>
<div class="toctree-wrapper"><span id="document-one"></span>
<section id="one"><h2>One<a class="headerlink" href="#one">#</a></h2><a href="index.html#two">there</a>
<details class="admonition hide above-input"><summary>Show code</summary>code</details></section>
<span id="document-two"></span>
<section id="two"><h2>Two</h2><details><summary>More</summary>folded <a href="#name">name</a></details></section>
<span id="document-package"></span>
<section id="package"><h2>Package</h2><div><span id="document-names"></span>
<section id="names"><h3>Names</h3><dl class="py"><dt id="name">name</dt></dl></section></div></section>
</div></section></article></body></html>"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one notebook, executed in the profiles demo and published."""
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "BOOK", tmp_path / "book")
    for module in (build, execute):
        monkeypatch.setattr(module, "CHAPTERS", {"01_example": Chapter("example")})
    parts = ("notebooks/01_example.ipynb", "notebooks/01_example.json", "exhibits/example/a.csv", "rows.parquet")
    for path in (tmp_path / "results" / profile / part for profile in ("demo", "published") for part in parts):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"seconds": 3}')
    return tmp_path


def test_the_book_gets_notebooks_and_tables_of_one_profile(project):
    build.lay_out_book("demo")
    assert [path.name for path in (project / "book" / "notebooks").iterdir()] == ["01_example.ipynb"]
    assert (project / "book" / "_exhibits" / "rows" / "rows.parquet").exists()
    assert (project / "book" / "_exhibits" / "example" / "a.csv").exists()
    run = json.loads((project / "book" / "_exhibits" / "run.json").read_text())
    assert run["shown"] == "demo" and run["notebooks"]["01_example"]["seconds"] == 3


def test_no_page_of_another_run_is_kept_and_a_refused_profile_costs_nothing(project):
    page = project / "_build" / "html" / "01_example.html"
    for profile, kept in (("demo", False), ("demo", True), ("published", False)):
        page.parent.mkdir(parents=True, exist_ok=True)
        page.touch()
        build.lay_out_book(profile)
        assert page.exists() == kept
    page.parent.mkdir(parents=True, exist_ok=True)
    page.touch()
    with pytest.raises(InputError, match=r"results/mine: not executed yet: 01_example. Run `make study PROFILE=mine`"):
        build.lay_out_book("mine")
    assert page.exists()


def test_the_published_run_is_shown_where_there_is_one_and_nothing_is_printed_without_a_book(project, monkeypatch):
    assert build.profile_to_show() == "published"
    (project / "results" / "published" / "notebooks").rename(project / "elsewhere")
    assert build.profile_to_show() == "demo", "tables alone are no run"
    with pytest.raises(InputError, match="nothing is laid out yet"):
        build.print_book(project / "book.pdf")
    (project / "book" / "notebooks").mkdir(parents=True)
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"no Chromium found\. Install chromium, or name its path in CHROMIUM"):
        build.print_book(project / "book.pdf")


def test_the_printed_page_is_whole_open_and_without_code():
    soup = BeautifulSoup(build.prepare(PAGE), "html.parser")
    for link in soup.find_all("a", href=True):
        assert link["href"].startswith("#") and soup.find(id=link["href"][1:])
    text = soup.get_text()
    assert "Names" not in text and "Show code" not in text and "folded name" in text
    assert all(details.has_attr("open") for details in soup.find_all("details"))
