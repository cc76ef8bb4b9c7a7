"""Figures and tables keep what they need to be cited: files, data at full precision, and a record."""

from __future__ import annotations

import json

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cag.book.exhibits import PRINT_DPI, keep_figure, keep_table, with_interval_columns


@pytest.fixture
def figure():
    figure = Figure(figsize=(4, 2))
    figure.subplots().plot([0, 0.5, 1], [0, 0.8, 1])
    return figure


def test_files_of_a_figure(figure, tmp_path):
    folder = tmp_path / "classification"
    keep_figure(folder, "fig-roc", figure, ("classification",))
    with Image.open(folder / "fig-roc.png") as image:
        assert image.size == (4 * PRINT_DPI, 2 * PRINT_DPI)
        assert image.info["dpi"][0] == pytest.approx(PRINT_DPI, abs=0.1)
    assert "<svg" in (folder / "fig-roc.svg").read_text()
    record = json.loads((folder / "fig-roc.json").read_text())
    assert record == {"files": ["svg", "png"], "rows": ["classification"]}


def test_the_same_figure_is_the_same_file(figure, tmp_path):
    with mpl.rc_context({"svg.hashsalt": "cag"}):
        for name in ("a", "b"):
            keep_figure(tmp_path / name, "fig", figure, ())
    assert (tmp_path / "a" / "fig.svg").read_bytes() == (tmp_path / "b" / "fig.svg").read_bytes()


def test_tables_are_kept_at_full_precision_with_intervals_in_numbers(tmp_path):
    table = pd.DataFrame({"auc": [0.123456, 2.0], "view": ["0.84 (0.79 to 0.88)", "–"]})
    keep_table(tmp_path, "tab-a", table, ())
    kept = pd.read_csv(tmp_path / "tab-a.csv")
    assert kept["auc"].tolist() == [0.123456, 2.0]
    assert list(kept) == ["auc", "view", "view, value", "view, low", "view, high"]
    assert kept.loc[0, ["view, value", "view, low", "view, high"]].tolist() == [0.84, 0.79, 0.88]
    assert kept.iloc[1, 2:].isna().all()


def test_a_negative_difference_keeps_its_signs_and_a_table_without_intervals_its_columns():
    difference = with_interval_columns(pd.DataFrame({"d": ["-0.02 (-0.06 to 0.02); 1.00"]}))
    assert difference[["d, value", "d, low", "d, high"]].iloc[0].tolist() == [-0.02, -0.06, 0.02]
    plain = pd.DataFrame({"x": [1.5], "note": ["frames 3 to 5"]})
    pd.testing.assert_frame_equal(with_interval_columns(plain), plain)
