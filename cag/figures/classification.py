"""Figures of the stenosis classifiers: ROC curves, estimates with intervals, confusion tables, heatmaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score, roc_curve

from cag.figures.style import PALETTE, panels, show_frame

COLORS = tuple(PALETTE[name] for name in ("blue", "vermilion", "green", "purple", "orange", "sky", "black", "grey"))
_GRID = np.linspace(0, 1, 101)


def roc(ax: Axes, target: Int[np.ndarray, " n"], score: Float[np.ndarray, " n"], label: str, color: str) -> Axes:
    """Draw one ROC curve of any stenosis (target above 0); with a single class there is none, and the label says so."""
    positive = target > 0
    if positive.all() or not positive.any():
        ax.plot([], [], color=color, label=f"{label}: one class only")
        return ax
    false_rate, true_rate, _ = roc_curve(positive, score)
    ax.plot(false_rate, true_rate, color=color, label=f"{label}: AUC {roc_auc_score(positive, score):.2f}")
    return ax


def roc_band(
    ax: Axes, scores: pd.DataFrame, color: str, *, resamples: int, rng: np.random.Generator, level: float = 0.95
) -> Axes:
    """Shade the pointwise patient-bootstrap band of a ROC curve.

    Parameters
    ----------
    scores : DataFrame
        ``patient_id, target, score``, a row a sample.
    """
    members = [rows.index.to_numpy() for _, rows in scores.reset_index(drop=True).groupby("patient_id")]
    target, score = scores["target"].to_numpy() > 0, scores["score"].to_numpy()
    curves = []
    for _ in range(resamples):
        chosen = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        if 0 < target[chosen].sum() < len(chosen):
            false_rate, true_rate, _ = roc_curve(target[chosen], score[chosen])
            curves.append(np.interp(_GRID, false_rate, true_rate))
    if curves:
        low, high = np.quantile(curves, [(1 - level) / 2, (1 + level) / 2], axis=0)
        ax.fill_between(_GRID, low, high, color=color, alpha=0.15, lw=0)
    return ax


def roc_panels(groups: Mapping[str, Mapping[str, pd.DataFrame]], *, resamples: int, rng: np.random.Generator) -> Figure:
    """ROC panels as Figure 3 of the paper.

    Parameters
    ----------
    groups : mapping of panel title to {curve label: DataFrame with patient_id, target, score}
        The first curve of each panel gets a band.
    """
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    figure, axes = panels(rows, columns, height=2.7)
    for ax, letter, (title, curves) in zip(axes.flat, "abcdefghi", groups.items(), strict=False):
        for color, (label, scores) in zip(COLORS, curves.items(), strict=False):
            roc(ax, scores["target"].to_numpy(), scores["score"].to_numpy(), label, color)
        roc_band(ax, next(iter(curves.values())), COLORS[0], resamples=resamples, rng=rng)
        ax.plot([0, 1], [0, 1], color=PALETTE["grey"], lw=0.8, ls=":")
        ax.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal", xlabel="1 - specificity", ylabel="sensitivity")
        ax.set_title(f"{letter}  {title}")
        ax.legend(fontsize=6.5, loc="lower right", handlelength=1.2)
    for ax in axes.flat[len(groups) :]:
        ax.set_axis_off()
    return figure


def forest(ax: Axes, table: pd.DataFrame, labels: Sequence[str], *, reference: float = 0.0, color: str = "") -> Axes:
    """Estimates with intervals, one line each, the first on top, against a reference line.

    Parameters
    ----------
    table : DataFrame
        ``value, low, high``.
    """
    y = np.arange(len(table))[::-1]
    values = table["value"].to_numpy(float)
    spread = np.abs(table[["low", "high"]].to_numpy(float) - values[:, None]).T
    ax.errorbar(values, y, xerr=spread, fmt="o", color=color or PALETTE["blue"], ms=4, capsize=2, lw=1.2)
    ax.axvline(reference, color=PALETTE["grey"], lw=0.8, ls=":")
    ax.set_yticks(y, list(labels))
    ax.set_ylim(-0.7, len(table) - 0.3)
    return ax


def confusion(ax: Axes, target: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], names: Sequence[str]) -> Axes:
    """Confusion table with counts, shaded by the share of each true category."""
    columns = max(len(names), int(predicted.max(initial=0)) + 1)
    table = np.zeros((len(names), columns), dtype=int)
    np.add.at(table, (target, predicted), 1)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(table):
        ax.text(
            column, row, str(count), ha="center", va="center", color="white" if share[row, column] > 0.6 else "black"
        )
    called = [*names, "redundant"][:columns]
    ax.set_xticks(range(columns), called, fontsize=8, rotation=45 if columns > 4 else 0)
    ax.set_yticks(range(len(names)), list(names), fontsize=8)
    ax.set(xlabel="called", ylabel="reference")
    return ax


def cross_table(ax: Axes, counts: pd.Series, title: str) -> Axes:
    """Reference against call at an operating point, with counts, shaded by the share of each reference.

    Parameters
    ----------
    counts : Series
        ``true_positive, false_negative, false_positive, true_negative``.
    """
    sick = np.ones(int(counts["true_positive"] + counts["false_negative"]), dtype=int)
    healthy = np.zeros(int(counts["false_positive"] + counts["true_negative"]), dtype=int)
    called = np.concatenate(
        [np.arange(len(sick)) < counts["true_positive"], np.arange(len(healthy)) < counts["false_positive"]]
    )
    confusion(ax, np.concatenate([sick, healthy]), called.astype(int), ["none", "disease"])
    ax.set_title(title, fontsize=8)
    return ax


def heatmap_grid(
    frames: Float[np.ndarray, "n h w"] | np.ndarray,
    heatmaps: Mapping[str, Float[np.ndarray, "n h w"]],
    titles: Sequence[str],
) -> Figure:
    """The same frames plain and under each heatmap, a column a frame, as Figure 4 of the paper."""
    figure, axes = panels(1 + len(heatmaps), len(frames), height=1.7)
    for column, (frame, title) in enumerate(zip(frames, titles, strict=True)):
        show_frame(axes[0, column], frame, title)
        for row, (name, maps) in enumerate(heatmaps.items(), start=1):
            ax = show_frame(axes[row, column], frame)
            ax.imshow(maps[column], cmap="inferno", alpha=0.45, vmin=0, vmax=1)
            if column == 0:
                ax.text(-0.08, 0.5, name, rotation=90, va="center", ha="right", transform=ax.transAxes, fontsize=8)
    return figure
