"""The built book in a browser, opened from its folder: whole on its own, searchable, never wider than the screen."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

from cag.settings import ROOT

HTML = ROOT / "_build" / "html"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ARGUMENTS += ["--disable-sync", "--no-first-run"]
LARGEST_PAGE = 3_000_000
AXE = Axe()
IN_PAGE = ("file:", "data:", "blob:", "about:")


def _missing() -> str:
    if not (HTML / "index.html").exists():
        return "no built book at _build/html (make book)"
    return "" if CHROMIUM else "no chromium found (set CHROMIUM to its path)"


if _missing() and os.environ.get("CAG_REQUIRE_BROWSER") != "1":
    pytest.skip(_missing(), allow_module_level=True)

PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html"))
PAGES = [name for name in PAGES if not name.startswith(("_static/", "_modules/"))]
RESULTS = [name for name in PAGES if name.startswith("notebooks/")]
FIGURES = json.loads((HTML / "figures.json").read_text())["figures"] if (HTML / "figures.json").exists() else []


@pytest.fixture(scope="session")
def browser():
    """One browser for all tests of a process."""
    assert not _missing(), _missing()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme="light")
    yield context.new_page()
    context.close()


@pytest.fixture
def found(page):
    """What a page should never do while it is open; tests add what it should not show."""
    seen: list[str] = []
    outside = "asked an outside host"
    page.on("request", lambda sent: sent.url.startswith(IN_PAGE) or seen.append(f"{outside}: {sent.url}"))
    page.on("console", lambda said: said.type != "error" or seen.append(f"console: {said.text}"))
    page.on("pageerror", lambda error: seen.append(f"script error: {error}"))
    page.on("requestfailed", lambda failed: seen.append(f"not found: {failed.url}"))
    return seen


def uri(name: str) -> str:
    return (HTML / name).as_uri()


@pytest.mark.parametrize("name", PAGES)
def test_source_of_a_page(name):
    source = (HTML / name).read_text(encoding="utf-8")
    assert len(source.encode()) <= LARGEST_PAGE
    unread = [raw for raw in ("```{", ":::{", ":header-rows:", "{glue:", "{numref}`") if raw in source]
    assert not unread
    if "/" in name or name == "index.html":
        assert "not a medical device" in source[source.index("<footer") :]


#: Sphinx writes a signature of several lines as a list without terms. Listings of a module's names: tens of thousands
#: of elements, all of one kind, for which axe needs minutes a page. On the large pages it reads what stands around
#: them; the smallest reference page stands for the listings.
SIGNATURES, LISTINGS = {"exclude": [["dt.sig dl"]]}, {"exclude": [["dl.py"]]}
LARGE = 400_000
#: Preloading would fetch the style sheets; what was passed is not listed, which takes as long as the rules themselves.
ALL_RULES: dict[str, Any] = {"preload": False, "resultTypes": ["violations"]}
#: What a change of colors can break; the other rules do not look at them.
OF_COLORS = ALL_RULES | {"runOnly": ["color-contrast", "link-in-text-block"]}
#: A theme is faded in; contrast is asked for at the end of that.
SETTLE = "document.getAnimations().filter(a => a instanceof CSSTransition).forEach(a => a.finish())"


def axe_violations(page: Page, name: str, options: dict[str, Any]) -> dict[str, list[str]]:
    """Serious violations of accessibility and where they are, by rule."""
    page.evaluate(SETTLE)
    context = LISTINGS if (HTML / name).stat().st_size > LARGE else SIGNATURES
    violations = AXE.run(page, context=context, options=options).response["violations"]
    serious = [one for one in violations if one["impact"] in ("serious", "critical")]
    return {one["id"]: [node["html"][:120] for node in one["nodes"][:3]] for one in serious}


@pytest.mark.parametrize("name", PAGES)
def test_page(page, found, name):
    """One visit: nothing asked from outside, nothing broken, fitting a desk and a phone, accessible in both themes."""
    page.goto(uri(name), wait_until="load")
    page.wait_for_timeout(50)
    for theme, options in (("light", ALL_RULES), ("dark", OF_COLORS)):
        page.emulate_media(color_scheme=theme)
        page.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")
        found += [f"{theme}, {rule}: {nodes}" for rule, nodes in axe_violations(page, name, options).items()]
    for width in (1400, 400):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(50)
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        found += [f"{over} px wider than a screen of {width} px"] * (over > 1)
    images = page.evaluate("[...document.images].map(i => [i.src, i.complete && i.naturalWidth > 0])")
    found += [f"broken picture: {source}" for source, whole in images if not whole]
    untold = "[...document.querySelectorAll('article img')].filter(i => !i.alt.trim()).map(i => i.src)"
    found += [f"not told in words: {source}" for source in page.evaluate(untold)]
    titles = page.evaluate("[...document.querySelectorAll('a.glossary-term')].map(a => a.title)")
    found += ["a marked term without its definition"] * (not all(titles))
    assert not found


@pytest.mark.parametrize("name", RESULTS)
def test_results_say_which_run_they_are_and_how_they_are_made_again(page, name):
    page.goto(uri(name))
    text = page.inner_text("article")
    assert "clean arm unless said" in text and page.locator("a.glossary-term").count() > 3
    for raw in ("Traceback (most recent call last)", "Warning:", "it/s]", "<Figure size"):
        assert raw not in text
    page.click("details.remake summary")
    told = page.inner_text("details.remake")
    assert f"--only {Path(name).stem[:2]}" in told and "cores" in told


@pytest.mark.parametrize("asked", ["stenosis", "localisation", "localization", "noisy-or", "free-response+curves"])
def test_search_finds_from_the_folder_in_either_spelling_and_leaves_the_package_out(page, found, asked):
    assert {"index.html", "search.html", "notebooks/01_cohort.html"} <= set(PAGES)
    page.goto(uri("search.html") + f"?q={asked}")
    page.wait_for_selector("#search-results li a")
    results = page.evaluate("[...document.querySelectorAll('#search-results li a')].map(a => a.href)")
    assert len(results) > 1 and not [link for link in results if re.search(r"/(foundations|cohorts|networks)\.", link)]
    assert not found


def test_figures_and_tables_are_listed_with_what_stands_behind_them():
    assert len(FIGURES) > 40
    numbers = [(entry["kind"], entry["number"]) for entry in FIGURES]
    assert all(number for _, number in numbers) and len(set(numbers)) == len(numbers)
    for entry in FIGURES:
        assert entry["caption"] and entry["citation"]
        assert entry["files"] and all((HTML / file).stat().st_size for file in entry["files"].values()), entry["id"]
        if entry["notebook"]:  # a picture may be left out of the published run, which has a limit
            wanted = {"csv"} if entry["kind"] == "table" else {"svg"}
            assert wanted <= set(entry["files"]) <= {"svg", "csv"} and (entry["alt"] or entry["kind"] == "table")


@pytest.mark.parametrize("name", sorted({entry["page"] for entry in FIGURES}))
def test_downloads_and_citations_stand_under_figures_and_tables(page, name):
    page.goto(uri(f"{name}.html"))
    own = [entry for entry in FIGURES if entry["page"] == name]
    assert page.locator(".exhibit-tools").count() == len(own)
    for entry in own:
        assert page.locator(f"[id='{entry['id']}']").count() == 1
    links = page.evaluate("[...document.querySelectorAll('.exhibit-tools a')].map(a => a.href)")
    targets = [target for target in links if "#" not in target]
    rows = [target for target in targets if "/exhibits/rows/" in target]
    assert len(targets) - len(rows) == sum(len(entry["files"]) for entry in own)
    assert {Path(target).name for target in rows} <= {table for entry in own for table in entry["rows"]}
    for target in targets:
        assert Path(unquote(urlparse(target).path)).exists(), target


def test_threshold_explorer_moves_its_tables_and_that_of_boxes_finds_more_when_more_is_allowed(page, found):
    page.goto(uri("notebooks/09_explore.html"))
    root = page.locator(".cag-explorer[data-kind=threshold]")
    root.locator("select").select_option(index=1)
    slider, table = root.locator("input[type=range]").first, root.locator("table").first
    data = json.loads(root.locator("script").text_content() or "")
    groups = data["groups"]
    assert float(slider.input_value()) == data["threshold"], "it opens at the decision rule"
    scores = sorted(list(groups.values())[1]["score"])
    assert scores[-1] - scores[0] > 0.04
    # Scores of a small run may all lie on one side of a half, so the middle cut lies between them.
    seen = set()
    for value in (0.0, (scores[0] + scores[-1]) / 2, 1.0):
        slider.fill(f"{value:.2f}")
        seen.add(table.inner_text())
    assert len(seen) == 3 and not found
    root = page.locator(".cag-explorer[data-kind=froc]")
    overlap, allowed = root.locator("input[type=range]").all()
    overlap.fill("0.1")
    shares = []
    for value in ("0", "1", "5"):
        allowed.fill(value)
        shares.append(float(root.locator("td").first.inner_text().split()[0]))
    assert shares == sorted(shares) and shares[-1] > shares[0]
