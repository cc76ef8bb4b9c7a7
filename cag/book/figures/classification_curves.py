"""Curves of the stenosis classifiers beside the ROC: precision and recall, reliability, net benefit, severity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve

from cag.book.figures.classification import COLORS, GRID, Groups, Heights, Mask, Scores, bootstrap_band, curve_panels
from cag.book.figures.style import PALETTE, panels


def precision_recall(
    ax: Axes, target: Int[np.ndarray, " n"], score: Float[np.ndarray, " n"], label: str, color: str
) -> Axes:
    """Draw one precision-recall curve of any stenosis; without any there is none, and the label says so."""
    positive = target > 0
    if not positive.any():
        ax.plot([], [], color=color, label=f"{label}: no stenosis")
        return ax
    precision, recall, _ = precision_recall_curve(positive, score)
    area = average_precision_score(positive, score)
    ax.plot(recall, precision, color=color, drawstyle="steps-post", label=f"{label}: AP {area:.2f}")
    return ax


def precision_recall_band(
    ax: Axes, scores: pd.DataFrame, color: str, *, resamples: int, rng: np.random.Generator, level: float = 0.95
) -> Axes:
    """Shade the pointwise patient-bootstrap band of a precision-recall curve; see ``bootstrap_band``."""

    def curve(positive: Mask, score: Scores, weights: Scores) -> Heights | None:
        if not weights[positive].sum() > 0:
            return None
        precision, recall, _ = precision_recall_curve(positive, score, sample_weight=weights)
        return np.interp(GRID, recall[::-1], precision[::-1])

    return bootstrap_band(ax, scores, curve, color, resamples=resamples, rng=rng, level=level)


def precision_recall_panels(groups: Groups, *, resamples: int, rng: np.random.Generator) -> Figure:
    """Precision-recall panels beside those of the ROC; the dotted line is the share with stenosis."""
    figure, panel_axes = curve_panels(
        groups, precision_recall, precision_recall_band, height=2.5, resamples=resamples, rng=rng
    )
    for title, ax in panel_axes.items():
        first = next(iter(groups[title].values()))
        ax.axhline((first["target"] > 0).mean(), color=PALETTE["grey"], lw=0.8, ls=":")
        ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="sensitivity (recall)", ylabel="precision")
        ax.legend(fontsize=6.5, loc="lower left", handlelength=1.2)
    return figure


def reliability(ax: Axes, table: pd.DataFrame, label: str, color: str) -> Axes:
    """Observed share of stenosis against the mean score of each bin, with intervals; the diagonal is ideal.

    Parameters
    ----------
    table : DataFrame
        From ``cag.metrics.calibration.reliability_table``; a larger bin gets a larger point.
    """
    x, y = table["mean_score"].to_numpy(float), table["observed"].to_numpy(float)
    spread = np.abs(table[["low", "high"]].to_numpy(float) - y[:, None]).T
    ax.errorbar(x, y, yerr=spread, fmt="none", color=color, lw=0.9, capsize=1.5, alpha=0.7)
    ax.plot(x, y, color=color, lw=1.2, label=label)
    ax.scatter(x, y, s=6 + 60 * table["n"] / table["n"].sum(), color=color, zorder=3)
    ax.plot([0, 1], [0, 1], color=PALETTE["grey"], lw=0.8, ls=":")
    ax.set(xlim=(0, 1), ylim=(-0.02, 1.02), aspect="equal", xlabel="predicted", ylabel="observed")
    return ax


def decision(ax: Axes, curve: pd.DataFrame, label: str, color: str) -> Axes:
    """Net benefit of one score with its band.

    Parameters
    ----------
    curve : DataFrame
        From ``cag.metrics.operating.decision_curve``.
    """
    ax.fill_between(curve["threshold"], curve["low"], curve["high"], color=color, alpha=0.15, lw=0)
    ax.plot(curve["threshold"], curve["net_benefit"], color=color, label=label)
    return ax


def decision_panel(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Decision curves of several scores beside acting on everyone and on no one."""
    figure, axes = panels(1, 1, height=2.9, width=5.2)
    ax = axes[0, 0]
    for color, (label, curve) in zip(COLORS, curves.items(), strict=False):
        decision(ax, curve, label, color)
    first = next(iter(curves.values()))
    ax.plot(first["threshold"], first["act_on_all"], color=PALETTE["black"], lw=0.9, ls="--", label="act on all")
    ax.plot(first["threshold"], first["act_on_none"], color=PALETTE["black"], lw=0.9, label="act on none")
    top = max(float(curve["high"].max()) for curve in curves.values())
    ax.set(xlim=(0, 1), ylim=(-0.15, 1.08 * top), xlabel="probability from which one would act", ylabel="net benefit")
    ax.legend(fontsize=8)
    return figure


def severity_curve(ax: Axes, table: pd.DataFrame, edges: Sequence[float], color: str) -> Axes:
    """Share of frames called diseased in each band of percent stenosis, with patient-bootstrap intervals.

    Parameters
    ----------
    table : DataFrame
        ``band`` (lowest percent), ``value, low, high``; a band without frames stays empty.
    edges : increasing band edges in percent, above the last the top of the last band
    """
    lows = list(edges)[:-1]
    shares = table.set_index("band").reindex(lows)
    value = shares["value"].to_numpy(float)
    spread = np.abs(shares[["low", "high"]].to_numpy(float) - value[:, None]).T
    ax.errorbar(range(len(lows)), value, yerr=spread, fmt="o-", ms=4, capsize=2, color=color)
    tops = [min(high - 1, 100) for high in list(edges)[1:]]
    names = [f"{low:g}" if low == top else f"{low:g}-{top:g}" for low, top in zip(lows, tops, strict=True)]
    ax.set_xticks(range(len(names)), names)
    ax.set(xlabel="percent diameter stenosis", ylabel="share called diseased", ylim=(-0.03, 1.03))
    return ax
