"""The figure and table of real runs: probability over time, and frames of the found interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cag.book.figures.frame_selection import METHOD_COLORS, METHOD_NAMES, plot_probability
from cag.book.figures.style import PALETTE, TRUTH, WIDTH, show_frame
from cag.chapters.frames.real_runs import RealRun

#: Frames shown of each run, as places in the found interval.
PLACES = ("begin", "middle", "end")


def plot_real_runs(runs: Sequence[RealRun]) -> Figure:
    """A row a run: its curves beside the first, middle and last frame that were found.

    Without runs, a single panel that says so.
    """
    if not runs:
        return _nothing()
    figure = Figure(figsize=(WIDTH, 2.4 * len(runs) + 0.4), layout="constrained")
    axes = figure.subplots(len(runs), 4, squeeze=False, width_ratios=[2.4, 1, 1, 1])
    for row, run in zip(axes, runs, strict=True):
        _plot_curves(row[0], run)
        for ax, (title, frame) in zip(row[1:], shown_frames(run), strict=True):
            show_frame(ax, run.frames[frame], title)
    entries = {
        label: handle for ax in axes[:, 0] for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=3)
    return figure


def shown_frames(run: RealRun) -> list[tuple[str, int]]:
    """Title and number of three frames of a run: of its found interval, or of the whole run without one."""
    interval = run.finding.interval
    first, last = interval or (0, len(run.frames) - 1)
    frames = (first, (first + last) // 2, last)
    words = PLACES if interval else ("first", "middle", "last")
    return [(f"{word}: {frame}", frame) for word, frame in zip(words, frames, strict=True)]


def real_table(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``real_summary`` as the book prints them; one row that says so where there is none."""
    if summary.empty:
        return pd.DataFrame({"Run": ["no real run was read"]})
    return pd.DataFrame(
        {
            "Run": summary.run,
            "Frames": summary.n_frames,
            "Frames a second": summary.fps.astype(float).round(1),
            "Filled, by eye": [_read_text(read) for read in summary["read"]],
            "Found": [_interval_text(found) for found in summary.found],
            "biLSTM by itself": [_interval_text(found) for found in summary.sequence_found],
            "Candidates": summary.candidates,
            "in the filled part": summary.candidates_filled,
            "with all branches filled": summary.candidates_complete,
        }
    )


def _plot_curves(ax: Axes, run: RealRun) -> None:
    finding, frames = run.finding, np.arange(len(run.frames))
    if len(finding.probability):
        plot_probability(ax, finding.probability, None, finding.interval, finding.candidates)
        if finding.still:
            color, name = METHOD_COLORS["cnn_lstm"], METHOD_NAMES["cnn_lstm"]
            ax.plot(frames, finding.sequence_probability, color=color, lw=1.2, ls="--", label=f"{name} by itself")
        else:
            color, name = METHOD_COLORS["cnn"], METHOD_NAMES["cnn"]
            ax.plot(frames, finding.frame_probability, color=color, lw=1.0, ls="--", label=name)
    if run.reading is not None:
        first, last = run.reading.begin
        ax.axvspan(last - 0.5, run.reading.end + 0.5, color=TRUTH, alpha=0.18, lw=0, label="filled, by eye")
        if last > first:
            uncertain: dict[str, Any] = {"facecolor": "none", "edgecolor": TRUTH, "hatch": "///", "alpha": 0.5, "lw": 0}
            ax.axvspan(first - 0.5, last - 0.5, **uncertain, label="begin uncertain, by eye")
    ax.set_title(run.name)


def _nothing() -> Figure:
    figure = Figure(figsize=(WIDTH, 1.0), layout="constrained")
    ax = figure.subplots()
    ax.set_axis_off()
    ax.text(0.5, 0.5, "No real run was read for this page.", ha="center", va="center", color=PALETTE["grey"])
    return figure


def _interval_text(interval: tuple[int, int] | None) -> str:
    return "none" if interval is None else f"{interval[0]} to {interval[1]}"


def _read_text(read: tuple[tuple[int, int], int] | float) -> str:
    if not isinstance(read, tuple):
        return "not read"
    (first, last), end = read
    return f"{first} to {end}" if first == last else f"{first}-{last} to {end}"
