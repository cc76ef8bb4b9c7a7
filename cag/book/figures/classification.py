"""Figures of the stenosis classifiers: curves over operating points, estimates, confusion tables, heatmaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from cag.book.figures.style import PALETTE, TRUTH, draw_boxes, panels, show_frame
from cag.metrics.intervals import resample_weights

COLORS = tuple(PALETTE[name] for name in ("blue", "vermilion", "green", "purple", "orange", "sky", "black", "grey"))
Kind = Literal["roc", "precision"]
#: What the axes of a panel of curves are called.
AXES = {"roc": ("1 - specificity", "sensitivity"), "precision": ("sensitivity (recall)", "precision")}
#: Where the heights of a band are taken.
GRID = np.linspace(0, 1, 101)


def curve_panels(
    groups: Mapping[str, Mapping[str, pd.DataFrame]], kind: Kind, *, resamples: int, rng: np.random.Generator
) -> Figure:
    """A lettered panel a group with its ROC or precision-recall curves, up to three in a row.

    Parameters
    ----------
    groups : mapping of panel title to {curve label: DataFrame with patient_id, target, score}
        The first curve of each panel gets a 95 % band from resampling patients.
    kind : {'roc', 'precision'}
        The dotted line is a score without information.
    """
    columns = min(3, len(groups))
    figure, axes = panels(-(-len(groups) // columns), columns, height=3.1)
    for letter, (title, curves), ax in zip("abcdefghi", groups.items(), axes.flat, strict=False):
        for color, (label, scores) in zip(COLORS, curves.items(), strict=False):
            draw_curve(ax, scores, kind, label.replace("_", "-"), color)
        first = next(iter(curves.values()))
        _band(ax, first, kind, COLORS[0], resamples, rng)
        prevalence = (first["target"] > 0).mean()
        ax.plot([0, 1], [0, 1] if kind == "roc" else [prevalence] * 2, color=PALETTE["grey"], lw=0.8, ls=":")
        ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=AXES[kind][0], ylabel=AXES[kind][1], title=f"{letter}  {title}")
        ax.legend(fontsize=6.5, loc="upper center", bbox_to_anchor=(0.5, -0.28), handlelength=1.2)
    for ax in axes.flat[len(groups) :]:
        ax.set_axis_off()
    return figure


def draw_curve(ax: Axes, scores: pd.DataFrame, kind: Kind, label: str, color: str) -> Axes:
    """Draw one curve of any stenosis (target above 0), its area in its label; one class alone has none."""
    positive, score = scores["target"].to_numpy() > 0, scores["score"].to_numpy(dtype=float)
    if positive.all() or not positive.any():
        ax.plot([], [], color=color, label=f"{label}: one class only")
    elif kind == "roc":
        false_rate, true_rate, _ = roc_curve(positive, score)
        ax.plot(false_rate, true_rate, color=color, label=f"{label}: AUC {roc_auc_score(positive, score):.2f}")
    else:
        precision, recall, _ = precision_recall_curve(positive, score)
        area = average_precision_score(positive, score)
        ax.plot(recall, precision, color=color, drawstyle="steps-post", label=f"{label}: AP {area:.2f}")
    return ax


def forest(ax: Axes, table: pd.DataFrame, labels: Sequence[str], *, reference: float = 0.0, color: str = "") -> Axes:
    """Estimates (``value, low, high``) one line each, the first on top, against a reference line."""
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
        color = "white" if share[row, column] > 0.6 else "black"
        ax.text(column, row, str(count), ha="center", va="center", color=color)
    called = [*names, "redundant"][:columns]
    ax.set_xticks(range(columns), called, fontsize=8, rotation=45 if columns > 3 else 0)
    ax.set_yticks(range(len(names)), list(names), fontsize=8)
    ax.set(xlabel="called", ylabel="reference")
    return ax


def reliability(ax: Axes, table: pd.DataFrame, label: str, color: str) -> Axes:
    """Observed share of stenosis against the mean score of each bin of ``reliability_table``; the diagonal is ideal."""
    x, y = table["mean_score"].to_numpy(float), table["observed"].to_numpy(float)
    spread = np.abs(table[["low", "high"]].to_numpy(float) - y[:, None]).T
    ax.errorbar(x, y, yerr=spread, color=color, lw=1.0, capsize=1.5, alpha=0.8, label=label)
    ax.scatter(x, y, s=6 + 60 * table["n"] / table["n"].sum(), color=color, zorder=3)
    ax.plot([0, 1], [0, 1], color=PALETTE["grey"], lw=0.8, ls=":")
    ax.set(xlim=(0, 1), ylim=(-0.02, 1.02), aspect="equal", xlabel="predicted", ylabel="observed")
    return ax


def heatmap_grid(
    frames: Sequence[np.ndarray] | np.ndarray,
    heatmaps: Mapping[str, Sequence[Float[np.ndarray, "h w"]]],
    titles: Sequence[str],
    boxes: Sequence[Float[np.ndarray, "k 4"]] = (),
) -> Figure:
    """The same frames plain and under each heatmap, a column a frame; true boxes, where given, on every row."""
    figure, axes = panels(1 + len(heatmaps), len(frames), height=1.7)
    for column, (frame, title) in enumerate(zip(frames, titles, strict=True)):
        show_frame(axes[0, column], frame, title)
        for row, (name, maps) in enumerate(heatmaps.items(), start=1):
            ax = show_frame(axes[row, column], frame)
            ax.imshow(maps[column], cmap="inferno", alpha=0.45, vmin=0, vmax=1)
            if column == 0:
                ax.text(-0.08, 0.5, name, rotation=90, va="center", ha="right", transform=ax.transAxes, fontsize=8)
        for ax in axes[:, column] if len(boxes) else ():
            draw_boxes(ax, boxes[column], TRUTH)
    return figure


def _band(ax: Axes, scores: pd.DataFrame, kind: Kind, color: str, resamples: int, rng: np.random.Generator) -> None:
    """Shade where a curve lies, point by point, when the patients are drawn anew; nothing where it never exists."""
    positive, score = scores["target"].to_numpy() > 0, scores["score"].to_numpy(dtype=float)
    drawn = resample_weights(scores["patient_id"].to_numpy(), resamples, rng)
    curves = [
        _heights(positive, score, weights, kind) for weights in drawn if 0 < weights[positive].sum() < weights.sum()
    ]
    if curves:
        low, high = np.quantile(curves, [0.025, 0.975], axis=0)
        ax.fill_between(GRID, low, high, color=color, alpha=0.15, lw=0)


def _heights(
    positive: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"], kind: Kind
) -> Float[np.ndarray, " g"]:
    if kind == "roc":
        false_rate, true_rate, _ = roc_curve(positive, score, sample_weight=weights)
        return np.interp(GRID, false_rate, true_rate)
    precision, recall, _ = precision_recall_curve(positive, score, sample_weight=weights)
    return np.interp(GRID, recall[::-1], precision[::-1])
