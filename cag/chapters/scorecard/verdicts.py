"""What may be said of each published number, by margins named beforehand, and of each statement in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cag.chapters.scorecard.directions import DIRECTIONS, Claim
from cag.metrics.intervals import Estimate

#: Verdicts from the strongest to the weakest, then where there is none.
VERDICTS = ("reproduced", "compatible", "not reproduced", "not tested", "not comparable")

#: How far from the published number the whole interval may reach: shares; frames; pixels of a 512 px frame.
SHARE = 0.05
MARGINS = {"kappa": 0.10, "mean_error_begin": 1.0, "mean_error_end": 1.0, "mse": 10.0}

#: Error rate of all statements together (Holm 1979, Scand J Statist 6:65).
ALPHA = 0.05

#: How a statement of the paper fares here.
SAME, UNCLEAR, OTHER, NONE, UNTESTED = "yes", "not told apart", "no", "not measured", "not tested"


def judge(card: pd.DataFrame) -> pd.DataFrame:
    """Add a ``verdict`` to each published number, and what it rests on to ``reason``.

    ``not comparable``: no counterpart here, or none with an interval. ``not tested``: the run does not exercise the
    published method (``untested`` says why). ``reproduced``: the whole 95 % interval lies within the margin of the
    published number, and the run does better than a trivial caller. ``compatible``: interval and margin overlap.
    ``not reproduced``: they do not.

    Parameters
    ----------
    card : DataFrame
        ``metric, value, own, own_low, own_high, untested, skilled, reason``; ``skilled`` is whether the run is better
        than a caller that sees no image.
    """
    judged = [_judge_row(row) for _, row in card.iterrows()]
    verdicts, reasons = zip(*judged, strict=True)
    return card.assign(verdict=verdicts, reason=reasons)


def _judge_row(row: pd.Series) -> tuple[str, str]:
    if pd.isna(row["own_low"]) or pd.isna(row["own_high"]):
        return "not comparable", row["reason"]
    if row["untested"]:
        return "not tested", row["untested"]
    margin = MARGINS.get(str(row["metric"]), SHARE)
    least, most = row["value"] - margin, row["value"] + margin
    if row["own_high"] < least or row["own_low"] > most:
        return "not reproduced", f"{row['reason']}; more than {margin:g} away with the whole interval"
    if row["own_low"] < least or row["own_high"] > most:
        return "compatible", f"{row['reason']}; the interval reaches beyond {margin:g}"
    if not row["skilled"]:
        return "compatible", f"{row['reason']}; no better than a caller that sees no image"
    return "reproduced", row["reason"]


def directions(card: pd.DataFrame, differences: Mapping[str, Estimate]) -> pd.DataFrame:
    """What the paper says in words: whether its direction shows in this run too.

    Returns
    -------
    DataFrame
        ``statement, paper, value, low, high, p_holm, reproduced``: differences first minus second, this run's on the
        same resampled patients; ``yes`` or ``no`` where the p-value, adjusted for all tested statements, is below
        ``ALPHA``; ``not told apart``; ``not tested``; ``not measured``.
    """
    rows = []
    for direction in DIRECTIONS:
        a, b = _find(card, direction.first), _find(card, direction.second)
        own = differences.get(direction.statement)
        values = (np.nan,) * 4 if own is None else (own.value, own.low, own.high, own.p_value)
        untested = bool(a["untested"] or b["untested"])
        paper = float(a["value"]) - float(b["value"])
        rows.append((direction.statement, paper, *values, direction.higher_is_better, untested))
    names = ["statement", "paper", "value", "low", "high", "p_value", "higher", "untested"]
    table = pd.DataFrame(rows, columns=names)
    table["p_holm"] = holm(table["p_value"].where(~table["untested"]).to_numpy(float))
    table["reproduced"] = [_way(row) for _, row in table.iterrows()]
    return table.drop(columns=["p_value", "higher", "untested"])


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values of the tests that were made; NaN where there was none."""
    adjusted, made = np.full(len(p_values), np.nan), np.flatnonzero(np.isfinite(p_values))
    order = made[np.argsort(p_values[made], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _way(row: pd.Series) -> str:
    if pd.isna(row["low"]):
        return NONE
    if row["untested"]:
        return UNTESTED
    if not row["p_holm"] < ALPHA:
        return UNCLEAR
    return SAME if (row["value"] > 0) == row["higher"] else OTHER


def summary(card: pd.DataFrame) -> pd.DataFrame:
    """How many numbers of each source have which verdict; one column a verdict, and their sum."""
    counts = pd.crosstab(card["source"], card["verdict"]).reindex(columns=list(VERDICTS), fill_value=0)
    counts = counts.reindex(card["source"].unique())
    counts["all"] = counts.sum(axis=1)
    counts.loc["All"] = counts.sum()
    return counts.rename_axis(None, axis="columns").rename_axis("source").reset_index()


def _find(card: pd.DataFrame, conditions: Claim) -> pd.Series:
    """The one row that meets the conditions."""
    meets = np.logical_and.reduce([card[column].eq(value).to_numpy() for column, value in conditions.items()])
    return card.iloc[int(np.flatnonzero(meets)[0])]
