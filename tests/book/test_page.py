"""A page's outputs: HTML in JupyterLab, labeled MyST Markdown in the book, and files with all that a citation needs."""

import json
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cag.book import page as module
from cag.book.figures.style import apply_style
from cag.book.page import Page, readable_table, render_page, with_interval_columns
from cag.chapters.store import Store
from cag.metrics.intervals import Estimate
from cag.settings import InputError, StudySettings


@pytest.fixture
def shown(monkeypatch):
    """What a page displays, by MIME type."""
    outputs: list[dict[str, str]] = []
    monkeypatch.setattr(module, "display", lambda data, raw: outputs.append(data))
    monkeypatch.setattr(module, "glue", lambda name, value, display: outputs.append({name: value}))
    return outputs


@pytest.fixture
def page(tmp_path):
    runs = pd.DataFrame({"source": ["simulated"] * 3, "patient_id": ["a", "a", "b"]})
    return Page(SimpleNamespace(manifest=runs, simulated_or_real="simulated patients"), Store(tmp_path), "cohort")


@pytest.fixture
def exhibits(tmp_path):
    return tmp_path / "exhibits" / "cohort"


def test_text_keeps_its_roles_for_the_book_and_loses_them_for_a_reader(page, shown):
    page.text("The area is *0.84*, see {numref}`fig-roc` and {doc}`limits <../scrutiny/limits>`.")
    assert "{numref}`fig-roc`" in shown[0]["text/markdown"]
    assert shown[0]["text/html"].strip() == "<p>The area is <em>0.84</em>, see fig-roc and limits.</p>"


def test_a_figure_is_a_picture_here_a_labeled_figure_there_and_files_to_download(page, shown, exhibits):
    apply_style()
    for name in ("fig-roc", "fig-again"):
        (figure := Figure(figsize=(2, 1))).subplots().plot([0, 1])
        page.figure(name, figure, 'Curves of "all" views.', rows=("classification",))
    assert 'alt="Curves of &quot;all&quot; views."' in shown[0]["text/html"]
    assert "data:image/png" in shown[0]["text/html"]
    text = shown[0]["text/markdown"]
    assert text.startswith("```{figure} /_exhibits/cohort/fig-roc.svg\n:name: fig-roc\n:alt: Curves of")
    assert json.loads((exhibits / "fig-roc.json").read_text()) == {"files": ["svg", "csv"], "rows": ["classification"]}
    assert (exhibits / "fig-roc.svg").read_bytes() == (exhibits / "fig-again.svg").read_bytes(), "no date, no chance"
    assert (exhibits / "fig-roc.csv").read_text() == "panel,title,series,mark,x,y\n1,,,line,0,0\n1,,,line,1,1\n"


def test_a_table_is_rounded_on_the_page_and_whole_in_the_download(page, shown, exhibits):
    table = pd.DataFrame({"value": [0.123456, np.nan], "n": [3, 4], "note": ["a|b", "c"]})
    page.table("tab-a", table, "Numbers.")
    assert "| 0.12 | 3 | a\\|b |" in shown[0]["text/markdown"] and ":name: tab-a" in shown[0]["text/markdown"]
    assert "<td>–</td>" in shown[0]["text/html"] and "0.123456" in (exhibits / "tab-a.csv").read_text()
    page.table("tab-a", table, "Numbers.", download=table[["n"]])
    assert (exhibits / "tab-a.csv").read_text() == "n\n3\n4\n"
    assert readable_table(pd.DataFrame({"d": [-0.001, 0.5]})).iloc[0, 0] == "0.00", "no zero has a sign"


def test_heads_and_truth_values_become_words_and_intervals_numbers_in_downloaded_tables():
    given = {"n_categories": [2], "redundancy": [True], "met": [False], "P(100 %)": ["3 to 5"], "wall_time": ["p1, SD"]}
    shown = readable_table(pd.DataFrame(given | {"auc": ["0.84 (0.79 to 0.88); 0.83 ± 0.02, not defined"]}))
    assert list(shown) == ["Categories", "Redundancy training", "Met", "P(100 %)", "Wall time", "AUC"]
    assert shown.iloc[0, :-1].tolist() == ["2", "with", "no", "3 to 5", "grey, 1st percentile: SD"]
    assert shown.iloc[0, -1].replace("\N{NO-BREAK SPACE}", "_") == "0.84 (0.79_to_0.88); 0.83_±_0.02, not_defined"
    columns = {"auc": [0.5, 2.0], "view": ["0.84 (0.79 to 0.88)", "–"], "d": ["-0.02 (-0.06 to 0.02); 1"] * 2}
    whole = with_interval_columns(pd.DataFrame(columns))
    assert list(whole)[:5] == ["auc", "view", "view, value", "view, low", "view, high"]
    assert whole.loc[0, ["view, value", "view, low", "view, high"]].tolist() == [0.84, 0.79, 0.88]
    assert whole.loc[1, ["view, value", "view, low", "view, high"]].isna().all()
    assert whole.loc[0, ["d, value", "d, low", "d, high"]].tolist() == [-0.02, -0.06, 0.02]
    plain = pd.DataFrame({"x": [1.5], "note": ["frames 3 to 5"]})
    pd.testing.assert_frame_equal(with_interval_columns(plain), plain)


def test_values_for_other_pages_are_kept_with_their_text_and_the_run_line_says_which_run_it_is(page, shown, exhibits):
    page.keep(auc=Estimate(0.84, 0.79, 0.88, 9), n_runs=3)
    assert shown == [{"auc_text": "0.84 (0.79 to 0.88)"}, {"auc": 0.84}, {"n_runs": 3}]
    page.run_line(StudySettings(profile="demo"), image_size=256)
    line = (exhibits / "run_line.txt").read_text()
    assert line.startswith("Execution shown: profile demo; simulated patients: 2 patients, 3 runs, 256 px; initial")
    assert shown[3] == {"run_line": line}


@pytest.mark.filterwarnings("default")
def test_an_executed_notebook_becomes_a_page_without_marks_and_hidden_code(tmp_path):
    cells = [nbformat.v4.new_markdown_cell("See {doc}`03_stenosis_classification` {cite}`cong2023`.")]
    for tags, code in ((["hide-input"], "hidden = 1"), ([], "seen = 1")):
        output = nbformat.v4.new_output("display_data", {"text/html": f"<b>of {code}</b>", "text/markdown": "```{x}"})
        cells.append(nbformat.v4.new_code_cell(code, metadata={"tags": tags}, outputs=[output]))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "my_run.ipynb")
    text = render_page(tmp_path / "my_run.ipynb").read_text()
    assert "{doc}" not in text and "{cite}" not in text and "```{x}" not in text and "03_stenosis" in text
    assert text.count("<b>of ") == 2 and '<span class="n">seen</span>' in text and ">hidden<" not in text
    with pytest.raises(InputError, match=r"none.ipynb: there is no such notebook"):
        render_page(tmp_path / "none.ipynb")
