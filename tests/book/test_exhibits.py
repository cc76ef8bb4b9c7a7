"""Figures and tables keep what they need to be cited: files, data at full precision, and a record."""

from __future__ import annotations

import json

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cag.book import notebook
from cag.book.exhibits import PRINT_DPI, keep_figure, keep_table, with_interval_columns
from cag.book.figures.figure_data import describe, figure_table
from cag.chapters.store import Store
from cag.metrics.intervals import Estimate, interval_text


@pytest.fixture
def figure():
    figure = Figure(figsize=(4, 2))
    left, right = figure.subplots(1, 2)
    left.plot([0, 0.5, 1], [0, 0.8, 1], label="network")
    left.axhline(0.5)
    left.set(title="ROC", xlabel="1 - specificity", ylabel="sensitivity")
    right.bar(["LCA", "RCA"], [3, 4])
    right.set_xticks([0, 1], ["LCA", "RCA"])
    right.imshow(np.array([[1, 2], [3, 4]]))
    return figure


def test_points_of_a_line_come_back_with_their_panel_and_axes(figure):
    line = figure_table(figure).query("kind == 'line'")
    assert line[["x", "y"]].to_numpy().tolist() == [[0, 0], [0.5, 0.8], [1, 1]]
    assert set(line["panel"]) == {"ROC"} and set(line["series"]) == {"network"}
    assert set(line["x_axis"]) == {"1 - specificity"}


def test_rules_across_the_axes_are_told_from_data(figure):
    assert figure_table(figure).query("kind == 'rule'")["y"].tolist() == [0.5, 0.5]


def test_cells_of_a_cross_table_come_back(figure):
    cells = figure_table(figure).query("kind == 'cell'").set_index(["y", "x"])["value"]
    assert cells[(1, 0)] == 3


def test_large_pictures_are_named_and_not_listed():
    figure = Figure()
    figure.subplots().imshow(np.zeros((64, 48)))
    (row,) = figure_table(figure).to_dict("records")
    assert row["kind"] == "picture" and row["name"] == "picture of 48 x 64 pixels"


def test_intervals_reach_from_one_point_to_another():
    figure = Figure()
    figure.subplots().errorbar([0.5], [1], xerr=[[0.1], [0.2]], fmt="o", label="this run")
    bar = figure_table(figure).query("kind == 'interval'").iloc[0]
    assert (bar.x, bar.x_to) == pytest.approx((0.4, 0.7))


def test_an_error_bar_is_a_named_point_and_an_interval_without_its_end_strokes():
    figure = Figure()
    ax = figure.subplots()
    for shift, label in ((-0.1, "clean"), (0.1, "as published")):
        ax.errorbar([0.5, 0.6], [shift, 1 + shift], xerr=0.05, fmt="o", capsize=3, label=label)
    ax.set_yticks([0, 1], ["LCA", "RCA"])
    ax.set_xticks([0.5, 0.6], ["50 %", "60 %"])
    rows = figure_table(figure)
    assert rows["kind"].value_counts().to_dict() == {"point": 4, "interval": 4}
    assert rows.groupby("series")["kind"].size().to_dict() == {"clean": 4, "as published": 4}
    assert rows.loc[rows["y"] < 0.5, "name"].eq("LCA").all() and rows.loc[rows["y"] > 0.5, "name"].eq("RCA").all()


def test_a_value_without_an_interval_is_a_point_alone():
    """A rate that some resamples leave undefined has limits of NaN."""
    figure = Figure()
    figure.subplots().errorbar([0.2, 0.6], [0, 1], xerr=[[np.nan, 0.1], [np.nan, 0.2]], fmt="o", label="found")
    rows = figure_table(figure)
    assert rows["kind"].value_counts().to_dict() == {"point": 2, "interval": 1}
    bar = rows[rows["kind"] == "interval"].iloc[0]
    assert (bar.x, bar.x_to) == pytest.approx((0.5, 0.8))


def test_words_between_two_ticks_belong_to_neither():
    figure = Figure()
    ax = figure.subplots()
    ax.plot([0.5], [1], "o")
    ax.set_xticks([0, 1], ["LCA", "RCA"])
    assert "name" not in figure_table(figure)


def test_a_figure_is_told_in_words(figure):
    words = describe(figure)
    assert words.startswith("2 panels. ROC: line; sensitivity against 1 - specificity; network.")


def test_files_of_a_figure(figure, tmp_path):
    folder = tmp_path / "classification"
    keep_figure(folder, "fig_roc", figure, None, ("classification",))
    with Image.open(folder / "fig_roc.png") as image:
        assert image.size == (4 * PRINT_DPI, 2 * PRINT_DPI)
        assert image.info["dpi"][0] == pytest.approx(PRINT_DPI, abs=0.1)
    assert "<svg" in (folder / "fig_roc.svg").read_text()
    assert len(pd.read_csv(folder / "fig_roc.csv")) == len(figure_table(figure))
    record = json.loads((folder / "fig_roc.json").read_text())
    assert record["tables"] == ["classification"] and record["section"] == "classification"


def test_the_same_figure_is_the_same_file(figure, tmp_path):
    with mpl.rc_context({"svg.hashsalt": "cag"}):
        for name in ("a", "b"):
            keep_figure(tmp_path / name, "fig", figure, None, ())
    assert (tmp_path / "a" / "fig.svg").read_bytes() == (tmp_path / "b" / "fig.svg").read_bytes()


def test_tables_are_kept_at_full_precision(tmp_path):
    keep_table(tmp_path, "table", pd.DataFrame({"auc": [0.123456]}), ())
    assert pd.read_csv(tmp_path / "table.csv")["auc"].item() == 0.123456


def test_a_glued_table_is_rounded_on_the_page_and_whole_in_the_download(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.publish("predictions", pd.DataFrame({"x": [1]}))
    monkeypatch.setattr(notebook, "_open_pages", [notebook.Page(store, "cohort")])
    shown = notebook.glue_table("example", pd.DataFrame({"value": [0.123456, np.nan], "n": [3, 4]}))
    assert shown["Value"].tolist() == ["0.12", "–"] and shown["N"].tolist() == ["3", "4"]
    assert "0.123456" in (tmp_path / "exhibits" / "cohort" / "example.csv").read_text()
    record = json.loads((tmp_path / "exhibits" / "cohort" / "example.json").read_text())
    assert record["tables"] == ["predictions"]


def test_nothing_is_kept_before_a_study_is_open(monkeypatch):
    monkeypatch.setattr(notebook, "_open_pages", [])
    with pytest.raises(RuntimeError, match="open_study first"):
        notebook.current_page()


def test_a_table_with_intervals_gives_them_in_numbers():
    table = pd.DataFrame({"view": ["RCA", "LCA"], "auc": ["0.84 (0.79 to 0.88)", "–"], "frames": [3, 4]})
    wide = with_interval_columns(table)
    assert list(wide) == ["view", "auc", "auc, value", "auc, low", "auc, high", "frames"]
    assert wide.loc[0, ["auc, value", "auc, low", "auc, high"]].tolist() == [0.84, 0.79, 0.88]
    assert wide.loc[1, ["auc, value", "auc, low", "auc, high"]].isna().all()


def test_a_negative_difference_keeps_its_signs_and_a_table_without_intervals_its_columns():
    difference = with_interval_columns(pd.DataFrame({"d": ["-0.02 (-0.06 to 0.02); 1.00"]}))
    assert difference[["d, value", "d, low", "d, high"]].iloc[0].tolist() == [-0.02, -0.06, 0.02]
    plain = pd.DataFrame({"x": [1.5], "note": ["frames 3 to 5"]})
    pd.testing.assert_frame_equal(with_interval_columns(plain), plain)


def test_an_estimate_in_words_has_no_negative_zero_and_no_interval_of_nothing():
    assert interval_text(Estimate(-0.001, -0.2, 0.004, 9)) == "0.00 (-0.20 to 0.00)"
    assert interval_text(Estimate(6, float("nan"), float("nan"), 1)) == "6.00 (no interval)"
    assert interval_text(Estimate(float("nan"), 0, 1, 1)) == "not defined"
