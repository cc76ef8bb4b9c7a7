"""The scorecard as it is read: words, whole counts, and every number in one of two tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

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


def test_a_number_is_named_in_words(card):
    assert figures.claims_in_words(card).tolist() == [
        "RCA images · <25% · count",
        "participants · age median (years)",
        "LCA images · 2-CAT · F1 (weighted)",
        "patients · 2-CAT · sensitivity",
        "RCA · FPN · distance, pixels (printed as MSE)",
    ]


def test_every_number_stands_in_one_of_the_two_tables(card):
    compared, others = figures.compared_numbers(card), figures.numbers_not_comparable(card)
    assert sorted([*compared.index, *others.index]) == list(card.index)
    assert list(compared).index("verdict") == 1
    assert compared["verdict"].tolist() == ["compatible", "not reproduced", "not tested"]
    assert compared["rests on"].str.len().gt(0).all() and others["why"].str.len().gt(0).all()


def test_value_and_interval_are_one_text(card):
    compared = figures.compared_numbers(card)
    assert compared["this run"].tolist() == ["0.70 (0.60 to 0.85)", "1.00 (1.00 to 1.00)", "50.00 (40.00 to 60.25)"]
    assert compared["paper"].tolist() == ["0.80", "0.90", "37.50"]


def test_counts_are_whole_and_what_is_missing_is_a_dash(card):
    others = figures.numbers_not_comparable(card)
    assert others[["paper", "this run"]].to_numpy().tolist() == [["624", "190"], ["66", "–"]]


def test_a_run_that_compares_nothing_has_an_empty_table_of_texts(card):
    compared = figures.compared_numbers(card.assign(verdict=NOWHERE))
    assert compared.empty and list(with_interval_columns(compared)) == list(compared)


def test_statements_hold_their_interval():
    rows = [("a", 0.04, -0.03, -0.08, 0.02, "not told apart"), ("b", 0.1, *[np.nan] * 3, "not measured")]
    words = pd.DataFrame(rows, columns=["statement", "paper", "value", "low", "high", "reproduced"])
    shown = figures.statements(words)
    assert shown["this run"].tolist() == ["-0.03 (-0.08 to 0.02)", "–"]
    assert shown["same direction"].tolist() == ["not told apart", "not measured"]


def test_the_figure_shows_shares_only_and_its_legend_lies_outside(card):
    figure = figures.published_against_own(card)
    names = [label.get_text() for ax in figure.axes for label in ax.get_yticklabels()]
    assert names == ["LCA images · 2-CAT · F1 (weighted)", "patients · 2-CAT · sensitivity"]
    assert len(figure.legends) == 1 and all(ax.get_legend() is None for ax in figure.axes)
