"""The scorecard as it is read: words, whole counts, and every number in one of two tables."""

import numpy as np
import pandas as pd
import pytest
from notebook_cells import page_of, run_cells

from cag.book.figures import scorecard as figures
from cag.book.page import with_interval_columns

NOWHERE = "not comparable"


@pytest.fixture
def card():
    rows = [
        ("Table 1", "image:RCA", "<25%", "count", 624.0, 190.0, np.nan, np.nan, NOWHERE, "drawn to these shares"),
        ("Table 2", "participants", "", "age median (years)", 66.0, np.nan, np.nan, np.nan, NOWHERE, "drawn"),
        ("Table 3", "image:LCA", "2-CAT", "f1_weighted", 0.8, 0.7, 0.6, 0.85, "compatible", "same definition"),
        ("Table 3", "patient", "2-CAT", "sensitivity", 0.9, 1.0, 1.0, 1.0, "not reproduced", "same definition"),
        ("Table 4", "RCA", "FPN", "mse", 37.5, 50.0, 40.0, 60.25, "not tested", "simulated patients"),
    ]
    names = ["source", "subset", "condition", "metric", "value", "own", "own_low", "own_high", "verdict", "reason"]
    return pd.DataFrame(rows, columns=names)


def test_a_number_is_named_in_words_and_has_its_interval(card):
    shown = figures.numbers_in_words(card)
    assert list(shown) == ["source", "verdict", "number", "paper", "this run", "rests on"]
    assert shown[["number", "paper", "this run"]].to_numpy().tolist() == [
        ["RCA images · <25% · count", "624", "190"],
        ["participants · age median (years)", "66", "–"],
        ["LCA images · 2-CAT · F1 (weighted)", "0.80", "0.70 (0.60 to 0.85)"],
        ["patients · 2-CAT · sensitivity", "0.90", "1.00 (1.00 to 1.00)"],
        ["RCA · FPN · distance, pixels (printed as MSE)", "37.50", "50.00 (40.00 to 60.25)"],
    ]


def test_a_run_that_compares_nothing_has_an_empty_table_of_texts(card):
    compared = figures.numbers_in_words(card.iloc[:0])
    assert compared.empty and list(with_interval_columns(compared)) == list(compared)


def test_a_difference_has_its_interval_where_there_is_one():
    rows = np.array([(-0.03, -0.08, 0.02), (np.nan, np.nan, np.nan)])
    assert [figures.own_text(row) for row in rows] == ["-0.03 (-0.08 to 0.02)", "–"]


def test_the_figure_shows_shares_only_and_its_legend_lies_outside(card):
    page = page_of()
    run_cells("08_scorecard", "cell-11", page=page, compared=card)
    figure = page.shown["fig-scorecard"]
    names = [label.get_text() for ax in figure.axes for label in ax.get_yticklabels()]
    assert names == ["LCA images · 2-CAT · F1 (weighted)", "patients · 2-CAT · sensitivity"]
    assert len(figure.legends) == 1 and all(ax.get_legend() is None for ax in figure.axes)
