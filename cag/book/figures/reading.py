"""Figures of a reading: when contrast is there, which frames were chosen, what they show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cag.book.figures.cine_player import cine_player
from cag.book.figures.frame_selection import plot_probability
from cag.book.figures.style import FOUND, PALETTE, draw_boxes, panels, show_frame
from cag.chapters.reading.run import RunReading


def probability_curve(ax: Axes, run: RunReading) -> Axes:
    """Contrast probability of every frame of a run, its interval and chosen frames; a run too short gives a note."""
    finding = run.finding
    if len(finding.probability):
        plot_probability(ax, finding.probability, None, finding.interval, finding.candidates)
    else:
        ax.text(0.5, 0.5, finding.reason, ha="center", va="center", wrap=True, transform=ax.transAxes, fontsize=9)
        ax.set_axis_off()
    ax.set_title(run_title(run), fontsize=9)
    return ax


def probability_curves(runs: Sequence[RunReading], *, columns: int = 2) -> Figure:
    """The curves of all runs, a panel each."""
    columns = max(min(columns, len(runs)), 1)
    rows = max(-(-len(runs) // columns), 1)
    figure, axes = panels(rows, columns, height=1.9)
    for ax, run in zip(axes.flat, runs, strict=False):
        probability_curve(ax, run)
    for ax in axes.flat[len(runs) :]:
        ax.set_axis_off()
    handles = {label: handle for ax in axes.flat for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    return figure


def study_player(runs: Sequence[RunReading]) -> go.Figure:
    """The first run with contrast to step through; a note where there is none."""
    run = next((run for run in runs if run.finding.interval), None)
    if run is None:
        note = {"text": "No run with contrast was found.", "showarrow": False}
        return go.Figure(layout={"template": "simple_white", "height": 120, "annotations": [note]})
    return cine_player(run.cine, run.finding.probability, None, run.finding.interval)


def chosen_frames(runs: Sequence[RunReading], *, each: int = 2) -> Figure:
    """Chosen frames of each run by pairs: with the detector's boxes, and under the classifier's heatmap.

    The frames of the highest stenosis probability are shown; where no classifier read the run,
    those of the highest contrast probability, without a heatmap.

    Parameters
    ----------
    runs : runs with chosen frames
    each : frames shown of each run
    """
    figure, axes = panels(max(len(runs), 1), 2 * each, height=2.05)
    for ax in axes.flat:
        ax.set_axis_off()
    for row, run in zip(axes, runs, strict=False):
        for column, place in enumerate(best_frames(run, each)):
            title = f"Run {run.number}, {run.artery}, frame {run.images.frame.iloc[place]}" if column == 0 else ""
            _framed(row[2 * column], run, place, title or f"frame {run.images.frame.iloc[place]}")
            if run.heatmaps is not None:
                _heated(row[2 * column + 1], run, place, run.heatmaps[place])
    return figure


def best_frames(run: RunReading, count: int) -> list[int]:
    """Rows of the chosen frames with the highest probability, best first."""
    by = run.images["score"] if "score" in run.images else run.images["p_contrast"]
    return np.argsort(-by.to_numpy(dtype=float), kind="stable")[:count].tolist()


def run_title(run: RunReading) -> str:
    """A run in a few words: number, artery, view, stenosis probability."""
    view = run.view.removeprefix(f"{run.artery} ") if run.artery else ""
    number = f"Run {run.number}, plane {run.plane}" if run.plane else f"Run {run.number}"
    parts = [number, f"{run.artery} {view}" if run.artery else "artery not told"]
    if "score" in run.images:
        parts.append(f"P(≥25 %) {run.images.score.max():.2f}")
    return ", ".join(parts)


def boxes_of(run: RunReading, place: int, *, counts: bool) -> np.ndarray:
    """Boxes ``[n, 4]`` of a chosen frame, in its pixels: those that count, or the best below the operating point."""
    own = run.boxes[(run.boxes.frame == run.images.frame.iloc[place]) & (run.boxes.counts == counts)]
    return own[["x1", "y1", "x2", "y2"]].to_numpy(dtype=float)


def _draw(ax: Axes, run: RunReading, place: int, color: str) -> None:
    draw_boxes(ax, boxes_of(run, place, counts=True), color)
    draw_boxes(ax, boxes_of(run, place, counts=False), color, style=":")


def _framed(ax: Axes, run: RunReading, place: int, title: str) -> None:
    show_frame(ax, run.frames[place], title)
    _draw(ax, run, place, FOUND)


def _heated(ax: Axes, run: RunReading, place: int, heatmap: UInt8[np.ndarray, "s s"]) -> None:
    height, width = run.frames.shape[-2:]
    show_frame(ax, run.frames[place], f"P(≥25 %) {run.images.score.iloc[place]:.2f}")
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    ax.imshow(heatmap, cmap="inferno", alpha=0.45, vmin=0, vmax=255, extent=extent)
    _draw(ax, run, place, PALETTE["sky"])
