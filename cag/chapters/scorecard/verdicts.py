"""What may be said of each published number: reproduced in size, in direction, not, or not comparable and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from cag.chapters.scorecard.directions import DIRECTIONS, Direction
from cag.metrics.intervals import Estimate

#: Verdicts from the strongest to the weakest.
VERDICTS = ("in size", "in direction", "not reproduced", "not comparable")

#: What a measure shows without any skill, where it has such a value.
NO_SKILL = {"auc": 0.5, "kappa": 0.0}

#: An interval of a share wider than this holds so much that a number inside it says little.
WIDE = 0.3

#: How a statement of the paper fares here.
SAME, UNCLEAR, OTHER, NONE = "yes", "not told apart", "no", "not measured"


def judge(card: pd.DataFrame, differences: Mapping[str, Estimate]) -> pd.DataFrame:
    """Add a ``verdict`` to each published number.

    ``in size``: it lies inside this run's 95 % interval. ``in direction``: it does not, but every
    comparison that the paper draws with it goes the same way here, with the whole interval; where the
    paper draws none, both numbers are on the same side of what no skill would give. ``not
    reproduced``: neither. ``not comparable``: this run has no number or no interval beside it.

    Parameters
    ----------
    card : DataFrame
        ``source, subset, condition, metric, value, own, own_low, own_high, reason``.
    differences : mapping of statement to Estimate
        See ``scorecard_directions.paired_directions``.

    Returns
    -------
    DataFrame
        With ``verdict``, and what it rests on in ``reason``.
    """
    ways = _ways(card, differences)
    judged = [_judge_row(card.iloc[place], ways.get(place, [])) for place in range(len(card))]
    verdicts, reasons = zip(*judged, strict=True)
    return card.assign(verdict=verdicts, reason=reasons)


def directions(card: pd.DataFrame, differences: Mapping[str, Estimate]) -> pd.DataFrame:
    """What the paper says in words: whether its direction shows in this run too.

    Returns
    -------
    DataFrame
        ``statement, paper, value, low, high, reproduced``: differences first minus second, this run's on the same
        resampled patients; ``yes`` or ``no`` where the whole interval is on one side of zero, ``not told apart``
        where it holds zero, ``not measured``.
    """
    rows = []
    for direction, a, b, verdict in _compared(card, differences):
        own = differences.get(direction.statement)
        paper = _number(card, a, "value") - _number(card, b, "value")
        numbers = (np.nan,) * 3 if own is None else (own.value, own.low, own.high)
        rows.append((direction.statement, paper, *numbers, verdict))
    return pd.DataFrame(rows, columns=["statement", "paper", "value", "low", "high", "reproduced"])


def summary(card: pd.DataFrame) -> pd.DataFrame:
    """How many numbers of each source have which verdict; one column a verdict, and their sum."""
    counts = pd.crosstab(card["source"], card["verdict"]).reindex(columns=list(VERDICTS), fill_value=0)
    counts = counts.reindex(card["source"].unique())
    counts["all"] = counts.sum(axis=1)
    counts.loc["All"] = counts.sum()
    return counts.rename_axis(None, axis="columns").rename_axis("source").reset_index()


def _compared(card: pd.DataFrame, differences: Mapping[str, Estimate]) -> Iterator[tuple[Direction, int, int, str]]:
    """Each statement with its two rows, and whether this run's difference has the paper's direction."""
    for direction in DIRECTIONS:
        a, b = _find(card, direction.first), _find(card, direction.second)
        yield direction, a, b, _way(differences.get(direction.statement), direction.higher_is_better)


def _way(own: Estimate | None, higher_is_better: bool) -> str:
    if own is None or np.isnan(own.low):
        return NONE
    if own.low <= 0 <= own.high:
        return UNCLEAR
    return SAME if (own.value > 0) == higher_is_better else OTHER


def _ways(card: pd.DataFrame, differences: Mapping[str, Estimate]) -> dict[int, list[str]]:
    """Of each row, how the comparisons it takes part in came out."""
    found: dict[int, list[str]] = {}
    for _, a, b, way in _compared(card, differences):
        for row in (a, b):
            found.setdefault(row, []).append(way)
    return found


def _judge_row(row: pd.Series, ways: list[str]) -> tuple[str, str]:
    if pd.isna(row["own_low"]) or pd.isna(row["own_high"]):
        return "not comparable", row["reason"]
    if row["own_low"] <= row["value"] <= row["own_high"]:
        wide = row["own_high"] - row["own_low"] > WIDE and row["value"] <= 1
        return "in size", f"{row['reason']}; the interval is wide and says little" if wide else row["reason"]
    if ways:
        same = all(way == SAME for way in ways)
        other = "a comparison with it goes another way" if OTHER in ways else "a comparison with it is not told apart"
        told = "the paper's comparisons with it go the same way" if same else other
        return "in direction" if same else "not reproduced", f"{row['reason']}; {told}"
    none = NO_SKILL.get(str(row["metric"]))
    if none is not None and (row["value"] > none) == (row["own_low"] > none):
        return "in direction", f"{row['reason']}; both better than no skill"
    return "not reproduced", row["reason"]


def _number(card: pd.DataFrame, place: int, column: str) -> float:
    return float(card[column].to_numpy()[place])


def _find(card: pd.DataFrame, conditions: Mapping[str, str]) -> int:
    """Place of the one row that meets the conditions."""
    meets = np.logical_and.reduce([card[column].eq(value).to_numpy() for column, value in conditions.items()])
    return int(np.flatnonzero(meets)[0])
