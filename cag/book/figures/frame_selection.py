"""Figures of candidate frame selection, and its tables of estimates as the book prints them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cag.book.figures.style import FOUND, PALETTE, TRUTH, panels, show_frame
from cag.metrics.frame_selection import ACCEPTED_FRAMES, ERROR_FRAMES, acceptance_curve
from cag.metrics.tables import readable

#: Method -> its name in figures and tables, in the order they are listed, and its colour.
METHOD_NAMES = {
    "cnn_lstm": "CNN + biLSTM",
    "tcn": "CNN + temporal convolution",
    "cnn": "CNN, frame by frame",
    "vesselness": "vesselness change point",
    "darkness": "darkness change point",
    "prior": "constant prior",
}
_COLORS = dict(zip(METHOD_NAMES, ("vermilion", "blue", "sky", "green", "orange", "grey"), strict=True))

Interval = tuple[int, int] | None


def plot_probability(
    ax: Axes,
    probability: Float[np.ndarray, " t"],
    truth: Interval,
    found: Interval,
    candidates: Int[np.ndarray, " k"] | None = None,
) -> Axes:
    """Contrast probability 0-1 of each frame, the true and the found interval (inclusive) and the chosen frames."""
    if truth is not None:
        ax.axvspan(truth[0] - 0.5, truth[1] + 0.5, color=TRUTH, alpha=0.18, lw=0, label="true interval")
    if found is not None:
        ax.axvspan(found[0] - 0.5, found[1] + 0.5, ymin=0.94, color=FOUND, alpha=0.8, lw=0, label="found interval")
    ax.plot(np.arange(len(probability)), probability, color=PALETTE["blue"], lw=1.6, label="contrast probability")
    if candidates is not None and len(candidates):
        ticks = np.full(len(candidates), 0.03)
        ax.plot(candidates, ticks, "|", color=PALETTE["black"], ms=9, mew=1.6, label="candidates")
    ax.axhline(0.5, color=PALETTE["grey"], lw=0.8, ls=":")
    ax.set(xlim=(-0.5, len(probability) - 0.5), ylim=(0, 1.08), xlabel="frame", ylabel="P(contrast)")
    return ax


@dataclass(frozen=True)
class ShownRun:
    """A run to draw: grey levels (t, h, w), contrast probability (t,), intervals (inclusive), candidate frames."""

    title: str
    frames: UInt8[np.ndarray, "t h w"]
    probability: Float[np.ndarray, " t"]
    truth: Interval
    found: Interval
    candidates: Int[np.ndarray, " k"] | None = None


def plot_runs(runs: Sequence[ShownRun]) -> Figure:
    """A row a run: its curve beside the first, middle and last frame of the found interval, or of the whole run."""
    figure, axes = panels(max(len(runs), 1), 4, height=2.2)
    for row, run in zip(axes, runs, strict=False):
        row[0].set_title(run.title)
        if len(run.probability):
            plot_probability(row[0], run.probability, run.truth, run.found, run.candidates)
        first, last = run.found or (0, len(run.frames) - 1)
        for ax, frame in zip(row[1:], (first, (first + last) // 2, last), strict=True):
            show_frame(ax, run.frames[frame], f"frame {frame}")
    if runs:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    else:
        axes[0, 0].set_title("No run was read.")
    return figure


def plot_frames(frames: UInt8[np.ndarray, "k h w"], titles: Sequence[str]) -> Figure:
    """Frames side by side, five in a row."""
    figure, axes = panels(-(-len(frames) // 5), 5, height=1.7)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, frame, title in zip(axes.flat, frames, titles, strict=False):
        show_frame(ax, frame, title)
    return figure


def plot_examples(runs: pd.DataFrame, frames: pd.DataFrame, candidates: pd.DataFrame) -> Figure:
    """The runs of one method, one panel each, in the order of ``runs``, which carries a column ``title``."""
    figure, axes = panels(len(runs), 1, height=1.9)
    for ax, (_, run) in zip(axes[:, 0], runs.iterrows(), strict=True):
        curve = frames[frames.run_id == run.run_id].sort_values("frame").probability.to_numpy(float)
        chosen = candidates[candidates.run_id == run.run_id].frame.to_numpy()
        plot_probability(ax, curve, interval_of(run, "true"), interval_of(run, "pred"), chosen)
        ax.set_title(run.title)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def plot_errors(errors: dict[str, pd.DataFrame], limit: int = 20) -> Figure:
    """Signed errors of both borders, a step line for each method; those beyond ``limit`` frames are drawn at it.

    ``errors`` are tables of ``cag.metrics.frame_selection.run_errors`` by method.
    """
    figure, axes = panels(1, 2, height=3.0)
    edges = np.arange(-limit - 0.5, limit + 1.5)
    for ax, border in zip(axes[0], ("begin", "end"), strict=True):
        ax.axvspan(-ACCEPTED_FRAMES - 0.5, ACCEPTED_FRAMES + 0.5, color=PALETTE["grey"], alpha=0.15, lw=0)
        for method, table in errors.items():
            shift = table[f"{border}_shift"].dropna().to_numpy(dtype=float)
            shares = np.histogram(np.clip(shift, -limit, limit), edges)[0] / max(len(shift), 1)
            ax.stairs(shares, edges, color=PALETTE[_COLORS[method]], lw=1.4, label=METHOD_NAMES[method])
        ax.set(xlabel=f"{border}: found minus true (frames)", ylabel="share of runs", xlim=(edges[0], edges[-1]))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def plot_acceptance(errors: dict[str, pd.DataFrame], limit: int = 15) -> Figure:
    """Share of borders (begin and end together) found within a tolerance; missed runs are within none."""
    figure, ((ax,),) = panels(1, 1, height=3.6)
    tolerances = np.arange(limit + 1)
    for method, table in errors.items():
        curve = acceptance_curve(table, tolerances)
        ax.plot(tolerances, curve, color=PALETTE[_COLORS[method]], lw=1.8, label=METHOD_NAMES[method])
    for step in (ACCEPTED_FRAMES, ERROR_FRAMES):
        ax.axvline(step, color=PALETTE["grey"], lw=0.8, ls=":")
    ax.set(xlabel="tolerance (frames)", ylabel="share of borders found", xlim=(0, limit), ylim=(0, 1.02))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def interval_of(run: pd.Series, which: str) -> Interval:
    """The ``true`` or found (``pred``) interval of a row of ``frame_selection_runs``; None where there is none."""
    begin, end = run[f"begin_{which}"], run[f"end_{which}"]
    return (int(begin), int(end)) if pd.notna(begin) and pd.notna(end) and begin >= 0 else None


def method_table(estimates: pd.DataFrame, metrics: Sequence[str], keys: Sequence[str] = ("method",)) -> pd.DataFrame:
    """One row a method (or other keys), one column a metric with its interval."""
    table = readable(estimates[estimates.metric.isin(metrics)], list(keys))[[*keys, *metrics]]
    if "method" in table:
        order = table.method.map(list(METHOD_NAMES).index).sort_values().index
        table = table.loc[order].assign(method=lambda rows: rows.method.map(METHOD_NAMES)).reset_index(drop=True)
    return table
