"""The scorecard in words that fit a page: published numbers beside this study's."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cag.book.figures.style import words
from cag.metrics.intervals import Estimate, interval_text

#: Short name of a measure -> words; other names stand as they are.
MEASURES = words("measure")
#: Level of a published number, at the end of its words -> its plural.
_LEVELS = {"image$": "images", "artery$": "arteries", "patient$": "patients"}


def claims_in_words(card: pd.DataFrame) -> list[str]:
    """What each published number is, such as ``LCA images · 2-CAT, redundancy · AUC``."""
    metrics = card["metric"].map(lambda name: MEASURES.get(name, name))
    subsets = card["subset"].str.replace(r"^(\w+):(.+)$", r"\2 \1", regex=True).replace(_LEVELS, regex=True)
    parts = zip(subsets, card["condition"], metrics, strict=True)
    return [" · ".join(filter(None, part)) for part in parts]


def numbers_in_words(card: pd.DataFrame) -> pd.DataFrame:
    """Rows of the scorecard as text: ``source, verdict, number, paper, this study, rests on``."""
    own = [own_text(row) for row in card[["own", "own_low", "own_high"]].to_numpy(float)]
    texts = {"number": claims_in_words(card), "paper": [_number(value) for value in card["value"]], "this study": own}
    words_of = pd.DataFrame(texts, card.index, dtype=str)  # intervals are looked for even where there are no rows
    return pd.concat([card[["source", "verdict"]], words_of, card["reason"].rename("rests on")], axis=1)


def own_text(numbers: np.ndarray) -> str:
    """This study's ``value, low, high`` in words; without an interval where there is none."""
    if np.isnan(numbers[1:]).any():
        return _number(numbers[0])
    value, low, high = numbers
    return interval_text(Estimate(value, low, high, n_groups=0))


def _number(value: float) -> str:
    """Counts as whole numbers, shares and measures with two digits, what is missing as a dash."""
    if np.isnan(value):
        return "–"
    return f"{value:.0f}" if value > 1 and value == round(value) else f"{value:.2f}"
