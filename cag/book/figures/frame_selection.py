"""Runs with their contrast probability, and the tables of frame selection as the book prints them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cag.book.figures.style import FOUND, PALETTE, TRUTH, panels, show_frame, words
from cag.metrics.tables import readable

#: Method -> its name in figures and tables, in the order they are listed.
METHOD_NAMES = words("method")

Interval = tuple[int, int] | None


class ShownRun(NamedTuple):
    """A run to draw: grey levels (t, h, w), contrast probability (t,), intervals (inclusive), candidate frames."""

    title: str
    frames: UInt8[np.ndarray, "t h w"]
    probability: Float[np.ndarray, " t"]
    truth: Interval
    found: Interval
    candidates: Int[np.ndarray, " k"] | tuple[()] = ()


def plot_probability(ax: Axes, run: ShownRun) -> Axes:
    """Contrast probability 0-1 of each frame, the true and the found interval and the chosen frames."""
    if run.truth is not None:
        ax.axvspan(run.truth[0] - 0.5, run.truth[1] + 0.5, color=TRUTH, alpha=0.18, lw=0, label="true interval")
    if run.found is not None:
        span = run.found[0] - 0.5, run.found[1] + 0.5
        ax.axvspan(*span, ymin=0.94, color=FOUND, alpha=0.8, lw=0, label="found interval")
    ax.plot(np.arange(len(run.probability)), run.probability, color=PALETTE["blue"], lw=1.6, label="probability")
    if len(run.candidates):
        ticks = np.full(len(run.candidates), 0.03)
        ax.plot(run.candidates, ticks, "|", color=PALETTE["black"], ms=9, mew=1.6, label="candidates")
    ax.axhline(0.5, color=PALETTE["grey"], lw=0.8, ls=":")
    ax.set(xlim=(-0.5, len(run.probability) - 0.5), ylim=(0, 1.08), xlabel="frame", ylabel="P(contrast)")
    return ax


def plot_runs(runs: Sequence[ShownRun]) -> Figure:
    """A row a run: its curve beside the first, middle and last frame of the found interval, or of the whole run."""
    figure, axes = panels(len(runs), 4, height=2.4)
    for row, run in zip(axes, runs, strict=False):
        if len(run.probability):
            plot_probability(row[0], run)
        row[0].set_title(run.title, pad=24)  # a line above the frames' titles, over which it may run
        first, last = run.found or (0, len(run.frames) - 1)
        for ax, frame in zip(row[1:], (first, (first + last) // 2, last), strict=True):
            show_frame(ax, run.frames[frame], f"frame {frame}")
    handles = {
        label: handle for ax in axes[:, 0] for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    return figure


def interval_of(run: pd.Series, which: str) -> Interval:
    """The ``true`` or found (``pred``) interval of a row of ``frame_selection_runs``; None where there is none."""
    begin, end = run[f"begin_{which}"], run[f"end_{which}"]
    return (int(begin), int(end)) if pd.notna(begin) and pd.notna(end) else None


def method_table(estimates: pd.DataFrame, metrics: Sequence[str], keys: Sequence[str] = ("method",)) -> pd.DataFrame:
    """One row a method (or other keys), one column a metric with its interval."""
    table = readable(estimates[estimates.metric.isin(metrics)], list(keys))[[*keys, *metrics]]
    if "method" not in table:
        return table
    table = table.sort_values("method", key=lambda names: names.map(list(METHOD_NAMES).index), ignore_index=True)
    return table.assign(method=table.method.map(METHOD_NAMES))
