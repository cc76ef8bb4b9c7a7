"""Heads of result tables as they are read."""

from __future__ import annotations

import pandas as pd

from cag.book.figures.table_heads import with_heads


def test_short_names_become_words_and_truth_values_too():
    table = pd.DataFrame(
        {"n_categories": [2], "redundancy": [True], "auc": ["0.8"], "wall_time": [1.5], "met": [False]}
    )
    shown = with_heads(table)
    assert list(shown) == ["Categories", "Redundancy training", "AUC", "Wall time", "Met"]
    assert shown.iloc[0].tolist() == [2, "with", "0.8", 1.5, "no"]


def test_words_are_left_as_they_are():
    table = pd.DataFrame({"P(100 %)": [0.5], "Frames/s": [15]})
    pd.testing.assert_frame_equal(with_heads(table), table)


def test_an_interval_stays_on_one_line():
    table = pd.DataFrame({"auc": ["0.84 (0.79 to 0.88); 0.83 ± 0.02", "not defined", "–"], "frames": ["3 to 5"] * 3})
    shown = with_heads(table)
    whole = [
        text.replace("_", "\N{NO-BREAK SPACE}") for text in ("0.84 (0.79_to_0.88); 0.83_±_0.02", "not_defined", "–")
    ]
    assert shown["AUC"].tolist() == whole
    assert shown["Frames"].tolist() == ["3 to 5"] * 3 and table["auc"][0] == "0.84 (0.79 to 0.88); 0.83 ± 0.02"
