"""Figures of a reading: when contrast is there, which frames were chosen, what they show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cag.book.figures.frame_selection import plot_probability
from cag.book.figures.style import FOUND, PALETTE, draw_boxes, panels, show_frame
from cag.chapters.reading.run import RunReading


def probability_curves(runs: Sequence[RunReading], *, columns: int = 2) -> Figure:
    """Contrast probability of every run, a panel each, with interval and chosen frames; a short run gives a note."""
    columns = max(min(columns, len(runs)), 1)
    figure, axes = panels(max(-(-len(runs) // columns), 1), columns, height=1.9)
    for ax in axes.flat[len(runs) :]:
        ax.set_axis_off()
    for ax, run in zip(axes.flat, runs, strict=False):
        finding = run.finding
        ax.set_title(run_title(run), fontsize=9)
        if len(finding.probability):
            plot_probability(ax, finding.probability, None, finding.interval, finding.candidates)
        else:
            ax.text(0.5, 0.5, finding.reason, ha="center", va="center", wrap=True, transform=ax.transAxes, fontsize=9)
            ax.set_axis_off()
    handles = {label: handle for ax in axes.flat for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    return figure


def chosen_frames(runs: Sequence[RunReading], *, each: int = 2) -> Figure:
    """Chosen frames of each run by pairs: with the detector's boxes, and under the classifier's heatmap.

    The ``each`` frames of the highest stenosis probability are shown; where no classifier read the run,
    those of the highest contrast probability, without a heatmap.
    """
    figure, axes = panels(max(len(runs), 1), 2 * each, height=2.05)
    for ax in axes.flat:
        ax.set_axis_off()
    for row, run in zip(axes, runs, strict=False):
        score = run.images.get("score", run.images.p_contrast).to_numpy(dtype=float)
        for column, place in enumerate(np.argsort(-score, kind="stable")[:each]):
            who = f"Run {run.number}, {run.artery}, " if column == 0 else ""
            layers = [(row[2 * column], FOUND, f"{who}frame {run.images.frame.iloc[place]}")]
            if run.heatmaps is not None:
                layers.append((row[2 * column + 1], PALETTE["sky"], f"P(≥25 %) {score[place]:.2f}"))
            for ax, color, title in layers:
                show_frame(ax, run.frames[place], title)
                own = run.boxes[run.boxes.frame == run.images.frame.iloc[place]]
                for counts, style in ((True, "-"), (False, ":")):
                    draw_boxes(ax, own.loc[own.counts == counts, ["x1", "y1", "x2", "y2"]], color, style=style)
            if run.heatmaps is not None:
                extent = (-0.5, run.frames.shape[2] - 0.5, run.frames.shape[1] - 0.5, -0.5)
                heat = {"cmap": "inferno", "alpha": 0.45, "vmin": 0, "vmax": 255}
                row[2 * column + 1].imshow(run.heatmaps[place], extent=extent, **heat)
    return figure


def run_title(run: RunReading) -> str:
    """A run in a few words: number, artery, view, stenosis probability."""
    number = f"Run {run.number}, plane {run.cine.plane}" if run.cine.plane else f"Run {run.number}"
    parts = [number, f"{run.artery} {run.view.removeprefix(run.artery).strip()}" if run.artery else "artery not told"]
    if "score" in run.images:
        parts.append(f"P(≥25 %) {run.images.score.max():.2f}")
    return ", ".join(parts)
