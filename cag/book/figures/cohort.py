"""Figures of a cohort: flow, views, severities, lesion sites."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cag.anatomy import SEGMENTS, artery_of_segment
from cag.book.figures.style import PALETTE, TRUTH, draw_boxes, panels, show_frame

_ARTERY_COLORS = {"LCA": PALETTE["blue"], "RCA": PALETTE["vermilion"]}


def flow_diagram(ax: Axes, flow: pd.DataFrame) -> Axes:
    """Boxes from patients to frames, with what was set aside beside each arrow.

    Parameters
    ----------
    flow : DataFrame
        ``step, patients, runs, frames, set_aside``.
    """
    box = {"boxstyle": "round,pad=0.5", "fc": "white", "ec": PALETTE["blue"], "lw": 1.2}
    aside = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": PALETTE["grey"], "lw": 0.8}
    levels = np.linspace(0.9, 0.1, len(flow))
    for y, row in zip(levels, flow.itertuples(), strict=True):
        text = f"{row.step}\n{row.patients} patients, {row.runs:,} runs, {row.frames:,} frames"
        ax.text(0.3, y, text, ha="center", va="center", bbox=box, fontsize=9)
    gap = levels[0] - levels[1]
    for y, row in zip(levels[1:], flow.iloc[1:].itertuples(), strict=True):
        arrow = {"arrowstyle": "-|>", "color": PALETTE["blue"], "lw": 1.2}
        ax.annotate("", xy=(0.3, y + 0.33 * gap), xytext=(0.3, y + 0.69 * gap), arrowprops=arrow)
        ax.text(0.78, y + gap / 2, f"set aside: {row.set_aside}", ha="center", va="center", bbox=aside, fontsize=8)
    ax.set(xlim=(0, 1.1), ylim=(0, 1))
    ax.set_axis_off()
    return ax


def view_sheet(
    frames: Sequence[UInt8[np.ndarray, "h w"]], boxes: Sequence[np.ndarray], titles: Sequence[str]
) -> Figure:
    """One frame a view with the boxes of its visible lesions."""
    columns = 4
    figure, axes = panels(-(-len(frames) // columns), columns, height=2.0)
    for ax, frame, found, title in zip(axes.flat, frames, boxes, titles, strict=False):
        draw_boxes(show_frame(ax, frame, title), found, TRUTH)
    for ax in axes.flat[len(frames) :]:
        ax.set_axis_off()
    return figure


def severity_histogram(ax: Axes, lesions: pd.DataFrame, *, step: float = 5.0) -> Axes:
    """How many lesions of each severity, stacked by artery; 25, 50 and 70 % are borders of bars."""
    edges = np.append(np.arange(0, 100, step), [100, 100 + step])
    groups = [lesions.loc[lesions["artery"] == artery, "percent_stenosis"] for artery in _ARTERY_COLORS]
    ax.hist(groups, bins=edges.tolist(), stacked=True, color=list(_ARTERY_COLORS.values()), label=list(_ARTERY_COLORS))
    ax.axvline(25, color=PALETTE["grey"], lw=0.8, ls=":")
    ax.set(xlabel="percent diameter stenosis (last bar: occlusion)", ylabel="lesions", xticks=[0, 25, 50, 70, 100])
    ax.legend()
    return ax


def site_bars(ax: Axes, lesions: pd.DataFrame) -> Axes:
    """How many lesions of at least 25 % lie in each segment."""
    counts = lesions.loc[lesions["percent_stenosis"] >= 25, "segment"].astype(int).value_counts().sort_index()
    colors = [_ARTERY_COLORS[artery_of_segment(int(segment))] for segment in counts.index]
    ax.barh([SEGMENTS[int(segment)] for segment in counts.index], counts.to_numpy(), color=colors)
    ax.invert_yaxis()
    ax.tick_params(axis="y", labelsize=7)
    ax.set(xlabel="lesions of at least 25 %")
    return ax
