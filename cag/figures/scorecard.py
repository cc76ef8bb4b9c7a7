"""The scorecard as a picture: published numbers beside this run's."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cag.figures.style import PALETTE, WIDTH


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
    figure = Figure(figsize=(WIDTH, 0.19 * sum(heights) + 0.6 * len(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights, sharex=True)[:, 0]
    for ax, (source, rows) in zip(axes, groups, strict=False):
        y = np.arange(len(rows))[::-1]
        spread = np.abs(rows[["own_low", "own_high"]].to_numpy(float) - rows[["own"]].to_numpy(float)).T
        ax.errorbar(rows["own"], y, xerr=spread, fmt="o", ms=3.5, lw=1, color=PALETTE["blue"], label="this run")
        ax.plot(rows["value"], y, "x", ms=5, color=PALETTE["vermilion"], label="paper")
        names = [" · ".join(filter(None, part)) for part in rows[["subset", "condition", "metric"]].to_numpy(str)]
        ax.set_yticks(y, names, fontsize=6.5)
        ax.set_title(str(source))
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.7, len(rows) - 0.3))
    axes[0].legend(loc="lower left", fontsize=7)
    return figure
