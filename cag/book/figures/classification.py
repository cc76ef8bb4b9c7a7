"""Figures of the stenosis classifiers: ROC curves, estimates with intervals, confusion tables, heatmaps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score, roc_curve

from cag.book.figures.style import PALETTE, panels, show_frame
from cag.metrics.intervals import resample_weights

COLORS = tuple(PALETTE[name] for name in ("blue", "vermilion", "green", "purple", "orange", "sky", "black", "grey"))
#: Where the heights of a band are taken.
GRID = np.linspace(0, 1, 101)

Mask = Bool[np.ndarray, " n"]
Scores = Float[np.ndarray, " n"]
Heights = Float[np.ndarray, " g"]
Groups = Mapping[str, Mapping[str, pd.DataFrame]]


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
    """Shade the pointwise patient-bootstrap band of a ROC curve; see ``bootstrap_band``."""

    def curve(positive: Mask, score: Scores, weights: Scores) -> Heights | None:
        if not 0 < weights[positive].sum() < weights.sum():
            return None
        false_rate, true_rate, _ = roc_curve(positive, score, sample_weight=weights)
        return np.interp(GRID, false_rate, true_rate)

    return bootstrap_band(ax, scores, curve, color, resamples=resamples, rng=rng, level=level)


def bootstrap_band(
    ax: Axes,
    scores: pd.DataFrame,
    curve: Callable[[Mask, Scores, Scores], Heights | None],
    color: str,
    *,
    resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
) -> Axes:
    """Shade where a curve lies, point by point, when the patients are drawn anew; nothing where it never exists.

    Parameters
    ----------
    scores : DataFrame
        ``patient_id, target, score``, a row a sample.
    curve : callable
        Which samples have stenosis, their scores and their weights to the curve's heights over ``GRID``; None
        where these weights leave no curve.
    """
    positive, score = scores["target"].to_numpy() > 0, scores["score"].to_numpy(dtype=float)
    drawn = resample_weights(scores["patient_id"].to_numpy(), resamples, rng)
    curves = [found for weights in drawn if (found := curve(positive, score, weights)) is not None]
    if curves:
        low, high = np.quantile(curves, [(1 - level) / 2, (1 + level) / 2], axis=0)
        ax.fill_between(GRID, low, high, color=color, alpha=0.15, lw=0)
    return ax


def roc_panels(groups: Groups, *, resamples: int, rng: np.random.Generator) -> Figure:
    """ROC panels as Figure 3 of the paper; see ``curve_panels``."""
    figure, panel_axes = curve_panels(groups, roc, roc_band, height=3.1, resamples=resamples, rng=rng)
    for ax in panel_axes.values():
        ax.plot([0, 1], [0, 1], color=PALETTE["grey"], lw=0.8, ls=":")
        ax.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal", xlabel="1 - specificity", ylabel="sensitivity")
        ax.legend(fontsize=6.5, loc="upper center", bbox_to_anchor=(0.5, -0.28), handlelength=1.2)
    return figure


def curve_panels(
    groups: Groups,
    draw: Callable[..., Axes],
    band: Callable[..., Axes],
    *,
    height: float,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[Figure, dict[str, Axes]]:
    """A lettered panel a group with its curves, up to three in a row.

    Parameters
    ----------
    groups : mapping of panel title to {curve label: DataFrame with patient_id, target, score}
        The first curve of each panel gets a band.
    draw, band : such as ``roc`` and ``roc_band``
    height : float
        Of a row, in inches.

    Returns
    -------
    Figure, dict of panel title to Axes
    """
    columns = min(3, len(groups))
    figure, axes = panels(-(-len(groups) // columns), columns, height=height)
    panel_axes = dict(zip(groups, axes.flat, strict=False))
    for letter, (title, ax) in zip("abcdefghi", panel_axes.items(), strict=False):
        for color, (label, scores) in zip(COLORS, groups[title].items(), strict=False):
            name = label.replace("_", "-")
            draw(ax, scores["target"].to_numpy(), scores["score"].to_numpy(dtype=float), name, color)
        band(ax, next(iter(groups[title].values())), COLORS[0], resamples=resamples, rng=rng)
        ax.set_title(f"{letter}  {title}")
    for ax in axes.flat[len(groups) :]:
        ax.set_axis_off()
    return figure, panel_axes


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
    ax.set_xticks(range(columns), called, fontsize=8, rotation=45 if columns > 3 else 0)
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
