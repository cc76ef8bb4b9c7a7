from __future__ import annotations

import pytest
from bs4 import BeautifulSoup

from cag.book import print_book
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
def soup():
    return BeautifulSoup(print_book.prepare(PAGE), "html.parser")


def test_links_stay_inside_the_page_and_lead_somewhere(soup):
    for link in soup.find_all("a", href=True):
        assert link["href"].startswith("#") and soup.find(id=link["href"][1:])


def test_code_and_names_of_the_package_are_left_out_with_the_links_to_them(soup):
    text = soup.get_text()
    assert "Names" not in text and "Show code" not in text
    assert "folded name" in text


def test_nothing_stays_folded(soup):
    assert all(details.has_attr("open") for details in soup.find_all("details"))


def test_without_a_browser_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(print_book, "ROOT", tmp_path)
    (tmp_path / "book" / "notebooks").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no Chromium found\. Install chromium, or name its path in CHROMIUM"):
        print_book.print_book(tmp_path / "book.pdf")


def test_nothing_is_printed_before_a_book_is_laid_out(tmp_path, monkeypatch):
    monkeypatch.setattr(print_book, "ROOT", tmp_path)
    with pytest.raises(InputError, match="nothing is laid out yet"):
        print_book.print_book(tmp_path / "book.pdf")
