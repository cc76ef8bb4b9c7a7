"""The scorecard as a picture and as tables that fit a page: published numbers beside this run's."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cag.book.figures.style import PALETTE, WIDTH
from cag.metrics.intervals import Estimate, interval_text

#: Short name of a measure -> words; other names stand as they are.
MEASURES = {
    "acceptance_rate_le3": "borders at most 3 frames off",
    "auc": "AUC",
    "error_rate_ge10": "borders 10 frames off or more",
    "f1_weighted": "F1 (weighted)",
    "global_sensitivity": "frames with a lesion found (global sensitivity)",
    "mean_error_begin": "mean error of the beginning",
    "mean_error_end": "mean error of the end",
    "mse": "distance, pixels (printed as MSE)",
    "sens_s": "lesions found (Sens_s)",
    "spec_s": "boxes on a lesion (Spec_s)",
}
#: Level of a published number -> its plural.
_LEVELS = {"image": "images", "artery": "arteries", "patient": "patients"}


def claims_in_words(card: pd.DataFrame) -> pd.Series:
    """What each published number is, such as ``LCA images · 2-CAT, redundancy · AUC``."""
    parts = zip(
        card["subset"].map(_subset),
        card["condition"].fillna(""),
        card["metric"].map(lambda name: MEASURES.get(name, name)),
        strict=True,
    )
    return pd.Series([" · ".join(filter(None, part)) for part in parts], index=card.index, dtype=str)


def compared_numbers(card: pd.DataFrame) -> pd.DataFrame:
    """The published numbers that this run has a counterpart to, the verdict early and the interval in words.

    Parameters
    ----------
    card : DataFrame
        The scorecard: ``source, subset, condition, metric, value, own, own_low, own_high, verdict, reason``.

    Returns
    -------
    DataFrame of text with source, verdict, number, paper, this run, rests on.
    """
    rows = card[card["verdict"].ne("not comparable")]
    shown = _in_words(rows).assign(verdict=rows["verdict"], reason=rows["reason"])
    order = ["source", "verdict", "number", "paper", "this run", "reason"]
    return shown[order].rename(columns={"reason": "rests on"})


def numbers_not_comparable(card: pd.DataFrame) -> pd.DataFrame:
    """The published numbers that nothing here can be set beside, and why; see ``compared_numbers``."""
    rows = card[card["verdict"].eq("not comparable")]
    return _in_words(rows).assign(why=rows["reason"])[["source", "number", "paper", "this run", "why"]]


def statements(words: pd.DataFrame) -> pd.DataFrame:
    """What the paper says in words, with this run's difference and its interval in one column.

    Parameters
    ----------
    words : DataFrame
        ``statement, paper, value, low, high, reproduced``; see ``scorecard_verdicts.directions``.
    """
    own = [_own(row) for row in words[["value", "low", "high"]].to_numpy(float)]
    shown = words[["statement", "paper", "reproduced"]].rename(columns={"reproduced": "same direction"})
    shown.insert(2, "this run", own)
    return shown


def published_against_own(card: pd.DataFrame) -> Figure:
    """One line a published number between 0 and 1: a cross for the paper, a dot with interval for this run.

    Parameters
    ----------
    card : DataFrame
        Rows of the scorecard with ``value, own, own_low, own_high`` and the columns that name them.
    """
    shares = card[card["value"].le(1) & card["own"].le(1)]
    groups = list(shares.groupby("source", sort=False))
    heights = [max(len(rows), 2) for _, rows in groups] or [1]
    figure = Figure(figsize=(WIDTH, 0.19 * sum(heights) + 0.6 * len(heights) + 0.3), layout="constrained")
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights, sharex=True)[:, 0]
    for ax, (source, rows) in zip(axes, groups, strict=False):
        y = np.arange(len(rows))[::-1]
        spread = np.abs(rows[["own_low", "own_high"]].to_numpy(float) - rows[["own"]].to_numpy(float)).T
        ax.errorbar(rows["own"], y, xerr=spread, fmt="o", ms=3.5, lw=1, color=PALETTE["blue"], label="this run")
        ax.plot(rows["value"], y, "x", ms=5, color=PALETTE["vermilion"], label="paper")
        ax.set_yticks(y, claims_in_words(rows), fontsize=6.5)
        ax.set_title(str(source))
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.7, len(rows) - 0.3))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _in_words(rows: pd.DataFrame) -> pd.DataFrame:
    own = [_own(row) for row in rows[["own", "own_low", "own_high"]].to_numpy(float)]
    texts = {"paper": rows["value"].map(_number), "this run": pd.Series(own, index=rows.index)}
    # Texts even where there are no rows: what reads the table looks for intervals in them.
    columns = {name: column.astype(str) for name, column in texts.items()}
    return rows[["source"]].assign(number=claims_in_words(rows), **columns)


def _subset(name: str) -> str:
    level, _, which = str(name).partition(":")
    return f"{which} {_LEVELS.get(level, level)}".strip()


def _own(numbers: np.ndarray) -> str:
    if np.isnan(numbers[1:]).any():
        return _number(numbers[0])
    value, low, high = numbers
    return interval_text(Estimate(value, low, high, n_groups=0))


def _number(value: float) -> str:
    """Counts as whole numbers, shares and measures with two digits, what is missing as a dash."""
    if np.isnan(value):
        return "–"
    return f"{value:.0f}" if value > 1 and value == round(value) else f"{value:.2f}"
