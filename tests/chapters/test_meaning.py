"""Sentences say what the intervals allow, and no more."""

from __future__ import annotations

import pandas as pd
import pytest

from cag.chapters import meaning
from cag.metrics.intervals import Estimate

ABOVE, BELOW, AROUND = Estimate(0.2, 0.1, 0.3, 9), Estimate(-0.2, -0.3, -0.1, 9), Estimate(0.1, -0.1, 0.3, 9)
UNKNOWN = Estimate(0.1, float("nan"), float("nan"), 1)


@pytest.mark.parametrize(
    ("difference", "sentence"), [(ABOVE, "more"), (BELOW, "less"), (AROUND, "unclear"), (UNKNOWN, "unclear")]
)
def test_a_difference_is_told_where_its_whole_interval_lies_on_one_side(difference, sentence):
    assert meaning.told(difference, "more", "less", "unclear") == sentence


@pytest.mark.parametrize(("published", "word"), [(0.05, "below"), (0.1, "inside"), (0.31, "above")])
def test_a_published_number_is_placed_against_the_interval(published, word):
    assert meaning.beside_published(ABOVE, published) == f"the published {published:.2f} lies {word} the interval"


def table(rows: list[dict], estimates: list[Estimate]) -> pd.DataFrame:
    numbers = [{"value": e.value, "low": e.low, "high": e.high, "n_groups": e.n_groups} for e in estimates]
    return pd.DataFrame([row | own for row, own in zip(rows, numbers, strict=True)])


def test_grading_sets_clean_and_published_rules_beside_the_published_number():
    rows = [{"level": "patient", "metric": name} for name in ("clean", "as published", "difference")]
    levels = table(rows, [Estimate(0.7, 0.6, 0.8, 9), Estimate(0.86, 0.8, 0.9, 9), ABOVE])
    found = meaning.of_grading(levels, {"LCA": Estimate(0.55, 0.45, 0.65, 9), "RCA": Estimate(0.7, 0.6, 0.8, 9)})
    assert "0.86 for patients" in found["claim"]
    assert "0.86 lies above the interval. By the published rules" in found["meaning"]
    assert "0.86 lies inside the interval. The rules alone add 0.20" in found["meaning"]
    assert "For frames of the LCA the interval holds one half" in found["meaning"]


def test_categories_tell_a_shift_only_where_every_comparison_shows_it():
    rows = [{"metric": "sensitivity"}] * 2 + [{"metric": "specificity"}] * 2
    found = meaning.of_categories(table(rows, [ABOVE, ABOVE, BELOW, AROUND]), AROUND)
    assert "0.90 against 0.89" in found["claim"]
    assert "not told apart here" in found["meaning"] and "More diseased frames are called diseased" in found["meaning"]
    assert "In specificity the finer system differs in 1 of 2 comparisons" in found["meaning"]


def test_redundancy_sets_the_lumen_beside_its_area():
    rows = [{"training": name, "metric": "lumen"} for name in ("with", "share of the area")]
    found = meaning.of_redundancy(AROUND, table(rows, [ABOVE, Estimate(0.05, 0.04, 0.06, 9)]), BELOW)
    assert "from 0.80 to 0.84" in found["claim"] and "from 0.83 to 0.89" in found["claim"]
    assert "no gain in area is shown" in found["meaning"] and "moves off the lumen" in found["meaning"]
    assert "which is 0.050 of the picture" in found["meaning"]
