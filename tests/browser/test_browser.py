"""The built book in a browser, opened from its folder: whole on its own, searchable, never wider than the screen."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from cag.settings import ROOT

HTML = ROOT / "_build" / "html"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
REQUIRED = os.environ.get("CAG_REQUIRE_BROWSER") == "1"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
#: Widths of a phone and of a desk screen, in CSS pixels.
WIDTHS = (400, 1400)
LARGEST_PAGE = 3_000_000
AXE = Axe()
IN_PAGE = ("file:", "data:", "blob:", "about:")


def _missing() -> str:
    if not (HTML / "index.html").exists():
        return "no built book at _build/html (make book)"
    return "" if CHROMIUM else "no chromium found (set CHROMIUM to its path)"


if _missing() and not REQUIRED:
    pytest.skip(_missing(), allow_module_level=True)

PAGES = sorted(
    path.relative_to(HTML).as_posix()
    for path in HTML.rglob("*.html")
    if not path.relative_to(HTML).as_posix().startswith(("_static/", "_modules/"))
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert not _missing(), _missing()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    yield context.new_page()
    context.close()


def watch(page: Page) -> list[str]:
    """Collect what a page should never do while it is open."""
    found: list[str] = []

    def request(sent: Any) -> None:
        if not sent.url.startswith(IN_PAGE):
            found.append(f"asked an outside host: {sent.url}")

    def message(said: Any) -> None:
        if said.type == "error":
            found.append(f"console: {said.text}")

    page.on("request", request)
    page.on("console", message)
    page.on("pageerror", lambda error: found.append(f"script error: {error}"))
    page.on("requestfailed", lambda failed: found.append(f"not found: {failed.url}"))
    return found


def uri(name: str) -> str:
    return (HTML / name).as_uri()


def test_there_are_pages_to_look_at() -> None:
    assert {"index.html", "search.html", "notebooks/01_cohort.html"} <= set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole_and_fits(page: Page, name: str) -> None:
    found = watch(page)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(uri(name), wait_until="load")
        page.wait_for_timeout(50)
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 1, f"{over} px wider than a screen of {width} px"
    assert not found
    assert not page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)")


@pytest.mark.parametrize("name", PAGES)
def test_page_is_light(name: str) -> None:
    assert (HTML / name).stat().st_size <= LARGEST_PAGE


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("notebooks/")])
def test_results_say_which_run_and_show_no_raw_output(page: Page, name: str) -> None:
    page.goto(uri(name))
    text = page.inner_text("article")
    assert "Run shown:" in text
    for raw in ("Traceback (most recent call last)", "Warning:", "it/s]", "<Figure size"):
        assert raw not in text


@pytest.mark.parametrize("name", [name for name in PAGES if "/" in name or name == "index.html"])
def test_page_says_that_it_is_no_medical_device(name: str) -> None:
    source = (HTML / name).read_text(encoding="utf-8")
    assert "not a medical device" in source[source.index("<footer") :]


@pytest.mark.parametrize("name", PAGES)
def test_no_markup_is_left_unread(name: str) -> None:
    source = (HTML / name).read_text(encoding="utf-8")
    for raw in ("```{", ":::{", ":header-rows:", "{glue:", "{numref}`"):
        assert raw not in source, raw


def test_search_finds_from_the_folder(page: Page) -> None:
    found = watch(page)
    page.goto(uri("search.html") + "?q=stenosis")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results li a").count() > 3
    assert not found


#: Sphinx writes a signature of several lines as a list without terms.
SIGNATURES = {"exclude": [["dt.sig dl"]]}
#: Listings of a module's names: tens of thousands of elements, all of one kind, for which axe needs minutes a page.
#: On the large pages it reads what stands around them; the smallest reference page stands for the listings.
LISTINGS = {"exclude": [["dl.py"]]}
LARGE = 400_000

#: A theme is faded in; contrast is asked for at the end of that.
SETTLE = "document.getAnimations().filter(a => a instanceof CSSTransition).forEach(a => a.finish())"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_page_has_no_serious_accessibility_violation(page: Page, name: str, theme: str) -> None:
    page.emulate_media(color_scheme=theme)
    page.goto(uri(name), wait_until="load")
    page.wait_for_timeout(50)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    page.evaluate(SETTLE)
    context = LISTINGS if (HTML / name).stat().st_size > LARGE else SIGNATURES
    # Preloading would fetch the style sheets.
    found = AXE.run(page, context=context, options={"preload": False}).response["violations"]
    serious = {
        violation["id"]: [node["html"][:120] for node in violation["nodes"][:3]]
        for violation in found
        if violation["impact"] in ("serious", "critical")
    }
    assert not serious


@pytest.mark.parametrize("name", PAGES)
def test_every_picture_is_told_in_words(page: Page, name: str) -> None:
    page.goto(uri(name))
    assert not page.evaluate("[...document.querySelectorAll('article img')].filter(i => !i.alt.trim()).map(i => i.src)")


def test_terms_show_their_definition(page: Page) -> None:
    marked = 0
    for name in (name for name in PAGES if name.startswith(("notebooks/", "study/"))):
        page.goto(uri(name))
        titles = page.evaluate("[...document.querySelectorAll('a.glossary-term')].map(a => a.title)")
        assert all(titles), name
        marked += len(titles)
    assert marked > 50


FIGURES = json.loads((HTML / "figures.json").read_text())["figures"] if (HTML / "figures.json").exists() else []


def test_figures_and_tables_are_listed_with_what_stands_behind_them() -> None:
    assert len(FIGURES) > 40
    numbers = [(entry["kind"], entry["number"]) for entry in FIGURES]
    assert all(number for _, number in numbers) and len(set(numbers)) == len(numbers)
    for entry in FIGURES:
        assert entry["caption"] and entry["citation"]
        assert entry["files"] and all((HTML / file).stat().st_size for file in entry["files"].values()), entry["id"]
        if entry["notebook"] and entry["kind"] == "table":
            assert set(entry["files"]) == {"csv"}
        if entry["notebook"] and entry["kind"] == "figure":
            # A picture may be left out of the published run, which has a limit.
            assert {"svg"} <= set(entry["files"]) <= {"svg", "png"} and entry["alt"]


@pytest.mark.parametrize("name", sorted({entry["page"] for entry in FIGURES}))
def test_downloads_and_citations_stand_under_figures_and_tables(page: Page, name: str) -> None:
    page.goto(uri(f"{name}.html"))
    own = [entry for entry in FIGURES if entry["page"] == name]
    assert page.locator(".exhibit-tools").count() == len(own)
    for entry in own:
        assert page.locator(f"[id='{entry['id']}']").count() == 1
    dead = page.evaluate("[...document.querySelectorAll('.exhibit-tools a')].map(a => a.href)")
    targets = [target for target in dead if "#" not in target]
    rows = [target for target in targets if "/exhibits/rows/" in target]
    assert len(targets) - len(rows) == sum(len(entry["files"]) for entry in own)
    named = {table for entry in own for table in entry["rows"]}
    assert {Path(target).name for target in rows} <= named
    for target in targets:
        assert Path(unquote(urlparse(target).path)).exists(), target


def test_results_pages_tell_how_they_are_made_again(page: Page) -> None:
    for name in (name for name in PAGES if name.startswith("notebooks/")):
        page.goto(uri(name))
        page.click("details.remake summary")
        text = page.inner_text("details.remake")
        assert f"--only {Path(name).stem[:2]}" in text and "cores" in text, name


def test_threshold_explorer_moves_its_tables(page: Page) -> None:
    found = watch(page)
    page.goto(uri("notebooks/09_explore.html"))
    root = page.locator(".cag-explorer[data-kind=threshold]")
    root.locator("select").select_option(index=1)
    slider, table = root.locator("input[type=range]").first, root.locator("table").first
    groups = json.loads(root.locator("script").text_content() or "")["groups"]
    scores = sorted(list(groups.values())[1]["score"])
    assert scores[-1] - scores[0] > 0.04
    # Scores of a small run may all lie on one side of a half, so the middle cut lies between them.
    seen = set()
    for value in (0.0, (scores[0] + scores[-1]) / 2, 1.0):
        slider.fill(f"{value:.2f}")
        seen.add(table.inner_text())
    assert len(seen) == 3
    assert not found


def test_froc_explorer_finds_more_when_more_is_allowed(page: Page) -> None:
    page.goto(uri("notebooks/09_explore.html"))
    root = page.locator(".cag-explorer[data-kind=froc]")
    overlap, allowed = root.locator("input[type=range]").all()
    overlap.fill("0.1")
    shares = []
    for value in ("0", "1", "5"):
        allowed.fill(value)
        shares.append(float(root.locator("td").first.inner_text().split()[0]))
    assert shares == sorted(shares) and shares[-1] > shares[0]
