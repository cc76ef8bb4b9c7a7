"""Figures of candidate frame selection: tables and axes in, axes out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cag.book.figures.style import FOUND, PALETTE, TRUTH, panels, show_frame
from cag.metrics.frame_selection import ACCEPTED_FRAMES, ERROR_FRAMES, acceptance_curve

#: Method -> its name in figures and tables, in the order they are listed.
METHOD_NAMES = {
    "cnn_lstm": "CNN + biLSTM",
    "tcn": "CNN + temporal convolution",
    "cnn": "CNN, frame by frame",
    "vesselness": "vesselness change point",
    "darkness": "darkness change point",
    "prior": "constant prior",
}
METHOD_COLORS = dict(
    zip(METHOD_NAMES, (PALETTE[name] for name in ("vermilion", "blue", "sky", "green", "orange", "grey")), strict=True)
)


def plot_probability(
    ax: Axes,
    probability: Float[np.ndarray, " t"],
    truth: tuple[int, int] | None,
    found: tuple[int, int] | None,
    candidates: Int[np.ndarray, " k"] | None = None,
) -> Axes:
    """Contrast probability of each frame of a run, with the true and the found interval and the chosen frames.

    Parameters
    ----------
    probability : array of float 0-1, one entry a frame
    truth, found : (begin, end), inclusive frames; None without contrast or label
    """
    frames = np.arange(len(probability))
    if truth is not None:
        ax.axvspan(truth[0] - 0.5, truth[1] + 0.5, color=TRUTH, alpha=0.18, lw=0, label="true interval")
    if found is not None:
        ax.axvspan(found[0] - 0.5, found[1] + 0.5, ymin=0.94, color=FOUND, alpha=0.8, lw=0, label="found interval")
    ax.plot(frames, probability, color=PALETTE["blue"], lw=1.6, label="contrast probability")
    if candidates is not None and len(candidates):
        ax.plot(
            candidates, np.full(len(candidates), 0.03), "|", color=PALETTE["black"], ms=9, mew=1.6, label="candidates"
        )
    ax.axhline(0.5, color=PALETTE["grey"], lw=0.8, ls=":")
    ax.set(xlim=(-0.5, len(frames) - 0.5), ylim=(0, 1.08), xlabel="frame", ylabel="P(contrast)")
    return ax


def plot_examples(runs: pd.DataFrame, frames: pd.DataFrame, candidates: pd.DataFrame) -> Figure:
    """The runs of one method, one panel each, in the order of ``runs``, which carries a column ``title``."""
    figure, axes = panels(len(runs), 1, height=1.9)
    for ax, (_, run) in zip(axes[:, 0], runs.iterrows(), strict=True):
        curve = frames[frames.run_id == run.run_id].sort_values("frame").probability.to_numpy(float)
        chosen = candidates[candidates.run_id == run.run_id].frame.to_numpy()
        plot_probability(ax, curve, interval_of(run, "true"), interval_of(run, "pred"), chosen)
        ax.set_title(run.title)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def plot_error_histogram(ax: Axes, errors: dict[str, pd.DataFrame], border: str, limit: int = 20) -> Axes:
    """Signed errors of one border, a step line for each method; those beyond ``limit`` are drawn at it.

    Parameters
    ----------
    errors : dict of method to DataFrame
        Tables of ``cag.metrics.frame_selection.run_errors``.
    border : {'begin', 'end'}
    """
    edges = np.arange(-limit - 0.5, limit + 1.5)
    ax.axvspan(-ACCEPTED_FRAMES - 0.5, ACCEPTED_FRAMES + 0.5, color=PALETTE["grey"], alpha=0.15, lw=0)
    for method, table in errors.items():
        shift = table[f"{border}_shift"].dropna().to_numpy(dtype=float)
        shares = np.histogram(np.clip(shift, -limit, limit), edges)[0] / max(len(shift), 1)
        ax.stairs(shares, edges, color=METHOD_COLORS[method], lw=1.4, label=METHOD_NAMES[method])
    ax.set(xlabel=f"{border}: found minus true (frames)", ylabel="share of runs", xlim=(edges[0], edges[-1]))
    return ax


def plot_acceptance(ax: Axes, errors: dict[str, pd.DataFrame], limit: int = 15) -> Axes:
    """Share of borders (begin and end together) found within a tolerance, a line for each method.

    Parameters
    ----------
    errors : dict of method to DataFrame
        Tables of ``cag.metrics.frame_selection.run_errors``; missed runs are within no tolerance.
    """
    for method, table in errors.items():
        curve = acceptance_curve(table, np.arange(limit + 1))
        ax.plot(curve.tolerance, curve.pooled, color=METHOD_COLORS[method], lw=1.8, label=METHOD_NAMES[method])
    for step in (ACCEPTED_FRAMES, ERROR_FRAMES):
        ax.axvline(step, color=PALETTE["grey"], lw=0.8, ls=":")
    ax.set(xlabel="tolerance (frames)", ylabel="share of borders found", xlim=(0, limit), ylim=(0, 1.02))
    return ax


def plot_errors(errors: dict[str, pd.DataFrame]) -> Figure:
    """Both borders' errors of some methods, one panel each."""
    figure, axes = panels(1, 2, height=3.0)
    for ax, border in zip(axes[0], ("begin", "end"), strict=True):
        plot_error_histogram(ax, errors, border)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def plot_acceptance_curves(errors: dict[str, pd.DataFrame]) -> Figure:
    """Acceptance against tolerance of all methods."""
    figure, axes = panels(1, 1, height=3.6)
    plot_acceptance(axes[0, 0], errors)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def plot_candidates(frames: UInt8[np.ndarray, "k h w"], numbers: Sequence[int], probability: Sequence[float]) -> Figure:
    """The chosen frames of a run side by side, each with its number and contrast probability."""
    columns = min(len(frames), 5)
    rows = -(-len(frames) // columns)
    figure, axes = panels(rows, columns, height=1.7)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, frame, number, value in zip(axes.flat, frames, numbers, probability, strict=False):
        show_frame(ax, frame, f"frame {number}: {value:.2f}")
    return figure


def interval_of(run: pd.Series, which: str) -> tuple[int, int] | None:
    """The ``true`` or found (``pred``) interval of a row of ``frame_selection_runs``; None where there is none."""
    begin, end = run[f"begin_{which}"], run[f"end_{which}"]
    return (int(begin), int(end)) if pd.notna(begin) and pd.notna(end) and begin >= 0 else None
