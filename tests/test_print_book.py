from __future__ import annotations

import pytest
from bs4 import BeautifulSoup

from cag import print_book
from cag.errors import InputError

PAGE = """<html><head></head><body><article>
<section id="one"><h1>One<a class="headerlink" href="#one">#</a></h1><a href="index.html#two">there</a></section>
<section id="two"><h1>Two</h1><details><summary>More</summary>folded</details></section>
</article></body></html>"""


@pytest.fixture
def soup():
    return BeautifulSoup(print_book.prepare(PAGE), "html.parser")


def test_contents_link_every_chapter(soup):
    links = soup.select("nav.contents a")
    assert [(link.get_text(), link["href"]) for link in links] == [("One", "#one"), ("Two", "#two")]


def test_links_stay_inside_the_page_and_lead_somewhere(soup):
    for link in soup.find_all("a", href=True):
        assert link["href"].startswith("#") and soup.find(id=link["href"][1:])


def test_nothing_stays_folded(soup):
    assert all(details.has_attr("open") for details in soup.find_all("details"))


def test_without_a_browser_the_remedy_is_named(monkeypatch):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"no Chromium found\. Install chromium, or name its path in CHROMIUM"):
        print_book.find_chromium()


def test_a_named_browser_comes_first(monkeypatch):
    monkeypatch.setenv("CHROMIUM", "/opt/browser")
    assert print_book.find_chromium() == "/opt/browser"


def test_nothing_is_printed_before_a_book_is_laid_out(tmp_path, monkeypatch):
    monkeypatch.setattr(print_book, "ROOT", tmp_path)
    with pytest.raises(InputError, match="nothing is laid out yet"):
        print_book.print_book(tmp_path / "book.pdf")
