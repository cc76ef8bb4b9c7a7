"""Figures of the stenosis classifiers: curves over operating points, estimates, confusion tables, heatmaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from cag.book.figures.style import NO_BOX, PALETTE, Panel, gallery, panels
from cag.metrics.intervals import resample_weights

Kind = Literal["roc", "precision"]
#: What the axes of a panel of curves are called, and how their points are joined.
AXES = {
    "roc": ("1 - specificity", "sensitivity", "default"),
    "precision": ("sensitivity (recall)", "precision", "steps-pre"),
}
GRID = np.linspace(0, 1, 101)  #: Where the heights of a band are taken.


def curve_panels(
    groups: Mapping[str, Mapping[str, pd.DataFrame]], kind: Kind, *, resamples: int, rng: np.random.Generator
) -> Figure:
    """A lettered panel a group with its ROC or precision-recall curves of any stenosis, up to three in a row.

    ``groups`` is panel title -> {curve label: table with patient_id, target, score}. The first curve of a panel gets
    a 95 % band from resampling patients; the dotted line is a score without information.
    """
    columns = min(3, len(groups))
    figure, axes = panels(-(-len(groups) // columns), columns, height=3.1)
    across, up, style = AXES[kind]
    for letter, (title, curves), ax in zip("abcdefghi", groups.items(), axes.flat, strict=False):
        for color, (label, scores) in zip(PALETTE.values(), curves.items(), strict=False):
            x, y, area = _curve(scores, kind)
            ax.plot(x, y, color=color, drawstyle=style, label=f"{label.replace('_', '-')}: {area}")
        first = next(iter(curves.values()))
        drawn = resample_weights(first["patient_id"].to_numpy(), resamples, rng)
        resampled = [_curve(first, kind, weights) for weights in drawn]
        if heights := [np.interp(GRID, x, y) for x, y, _ in resampled if len(x)]:
            ax.fill_between(GRID, *np.quantile(heights, [0.025, 0.975], axis=0), alpha=0.15, lw=0)
        chance = [0, 1] if kind == "roc" else [(first["target"] > 0).mean()] * 2
        ax.plot([0, 1], chance, color=PALETTE["grey"], lw=0.8, ls=":")
        ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=across, ylabel=up, title=f"{letter}  {title}")
        ax.legend(fontsize=6.5, loc="upper center", bbox_to_anchor=(0.5, -0.28), handlelength=1.2)
    for ax in axes.flat[len(groups) :]:
        ax.set_axis_off()
    return figure


def _curve(
    scores: pd.DataFrame, kind: Kind, weights: Float[np.ndarray, " n"] | None = None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Points of a curve from left to right, and its area; no points where one class alone has weight."""
    positive, score = scores["target"].to_numpy() > 0, scores["score"].to_numpy(dtype=float)
    counts = np.bincount(positive, weights, minlength=2)
    if not counts.all():
        return np.empty(0), np.empty(0), "one class only"
    if kind == "roc":
        x, y, _ = roc_curve(positive, score, sample_weight=weights)
        return x, y, f"AUC {auc(x, y):.2f}"
    y, x, _ = precision_recall_curve(positive, score, sample_weight=weights)
    return x[::-1], y[::-1], f"AP {average_precision_score(positive, score, sample_weight=weights):.2f}"


def forest(ax: Axes, table: pd.DataFrame, labels: Sequence[str]) -> Axes:
    """Estimates (``value, low, high``) one line each, the first on top, against zero."""
    y, values = np.arange(len(table))[::-1], table["value"].to_numpy(float)
    spread = np.abs(table[["low", "high"]].to_numpy(float) - values[:, None]).T
    ax.errorbar(values, y, xerr=spread, fmt="o", color=PALETTE["blue"], ms=4, capsize=2, lw=1.2)
    ax.axvline(0, color=PALETTE["grey"], lw=0.8, ls=":")
    ax.set_yticks(y, list(labels))
    ax.set_ylim(-0.7, len(table) - 0.3)
    return ax


def confusion(ax: Axes, target: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], names: Sequence[str]) -> None:
    """Confusion table with counts, shaded by the share of each true category."""
    called = [*names, "redundant"][: max(len(names), int(predicted.max(initial=0)) + 1)]
    counts = np.zeros((len(names), len(called)), dtype=int)
    np.add.at(counts, (target, predicted), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    look = {"cmap": "Blues", "vmin": 0, "vmax": 1, "cbar": False, "annot_kws": {"size": 9}}
    sns.heatmap(share, annot=counts, fmt="d", xticklabels=called, yticklabels=list(names), ax=ax, **look)
    ax.tick_params(labelsize=8, rotation=0)
    ax.tick_params(axis="x", rotation=45 if len(called) > 3 else 0)
    ax.set(xlabel="called", ylabel="reference")


def heatmap_grid(
    frames: Sequence[np.ndarray] | np.ndarray, heatmaps: Mapping[str, Sequence[Float[np.ndarray, "h w"]]],
    titles: Sequence[str], boxes: Sequence[Float[np.ndarray, "k 4"]] = (),
) -> Figure:  # fmt: skip
    """The same frames plain and under each heatmap, a column a frame; true boxes, where given, on every row."""
    true = boxes or [NO_BOX] * len(frames)
    shown = [Panel(*own) for own in zip(frames, titles, true, strict=False)]
    for name, maps in heatmaps.items():
        shown += [Panel(frame, name, own, heat=heat) for frame, own, heat in zip(frames, true, maps, strict=False)]
    return gallery(shown, columns=len(frames))
