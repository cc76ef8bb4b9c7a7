"""Figures of a reading: what the chosen frames of its runs show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cag.book.figures.style import FOUND, PALETTE, draw_boxes, panels, show_frame
from cag.chapters.reading.study import RunReading


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
            number, pair = run.images.frame.iloc[place], row[2 * column : 2 * column + 2]
            layers = [(FOUND, f"Run {run.number}, {run.artery}, frame {number}")]
            if run.heatmaps is not None:
                layers.append((PALETTE["sky"], f"P(≥25 %) {score[place]:.2f}"))
            for ax, (color, title) in zip(pair, layers, strict=False):
                show_frame(ax, run.frames[place], title)
                own = run.boxes[run.boxes.frame == number]
                for counts, style in ((True, "-"), (False, ":")):
                    draw_boxes(ax, own.loc[own.counts == counts, ["x1", "y1", "x2", "y2"]], color, style=style)
            if run.heatmaps is not None:
                extent = (-0.5, run.frames.shape[2] - 0.5, run.frames.shape[1] - 0.5, -0.5)
                pair[1].imshow(run.heatmaps[place], cmap="inferno", alpha=0.45, vmin=0, vmax=255, extent=extent)
    return figure


def run_title(run: RunReading) -> str:
    """A run in a few words: number, artery, view, stenosis probability."""
    number = f"Run {run.number}, plane {run.cine.plane}" if run.cine.plane else f"Run {run.number}"
    parts = [number, f"{run.artery} {run.view.removeprefix(run.artery).strip()}" if run.artery else "artery not told"]
    if "score" in run.images:
        parts.append(f"P(≥25 %) {run.images.score.max():.2f}")
    return ", ".join(parts)
