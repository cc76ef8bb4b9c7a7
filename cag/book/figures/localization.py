"""Figures of the localization chapter: boxes on frames, heatmaps, recall along curves and by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cag.book.figures.style import FOUND, PALETTE, TRUTH, draw_boxes, panels, show_frame
from cag.chapters.localization.examples import Example
from cag.metrics.boxes import centers, corners

#: One colour and name for each method, in the order they are drawn.
METHODS = {"fpn": ("FPN", FOUND), "cam": ("CAM", PALETTE["purple"]), "prior": ("place prior", PALETTE["grey"])}

#: Characters of a line of a frame's title; width of the line of a true box, which shows beside a box drawn over it.
TITLE_WIDTH, UNDER = 40, 2.8


def box_gallery(examples: Sequence[Example]) -> Figure:
    """Frames side by side with true and found boxes, the form of the paper's Figure 5; without any it says so."""
    if not examples:
        figure, axes = panels(1, 1, height=1)
        axes[0, 0].text(0.5, 0.5, "nothing to show in this run", ha="center", va="center")
        axes[0, 0].set_axis_off()
        return figure
    figure, axes = panels(-(-len(examples) // 2), 2, height=3.7)
    for ax, own in zip(axes.flat, examples, strict=False):
        show_frame(ax, own.frame, fill(own.sentence, TITLE_WIDTH))
        draw_boxes(ax, own.truth, TRUTH, width=UNDER)
        draw_boxes(ax, own.found, FOUND, style="--")
    for ax in axes.flat[len(examples) :]:
        ax.set_axis_off()
    _legend(figure, {"true lesion": (TRUTH, "-"), "found by the FPN": (FOUND, "--")})
    return figure


def heatmap_gallery(examples: Sequence[Example]) -> Figure:
    """For each frame, left the class activation with its boxes, right the detector's boxes; truth on both."""
    figure, axes = panels(len(examples), 2, height=3.5)
    for (left, right), own in zip(axes, examples, strict=True):
        for ax, title in ((left, fill(own.sentence, TITLE_WIDTH)), (right, "")):
            draw_boxes(show_frame(ax, own.frame, title), own.truth, TRUTH, width=UNDER)
        if own.heatmap is not None:
            height, width = own.frame.shape
            area = (-0.5, width - 0.5, height - 0.5, -0.5)
            left.imshow(own.heatmap, cmap="inferno", alpha=0.45, vmin=0, vmax=1, interpolation="bilinear", extent=area)
        draw_boxes(left, own.cam_boxes, METHODS["cam"][1], style="--")
        draw_boxes(right, own.found, FOUND, style="--")
    entries = {"true lesion": (TRUTH, "-"), "CAM box": (METHODS["cam"][1], "--"), "FPN box": (FOUND, "--")}
    _legend(figure, entries)
    return figure


def _legend(figure: Figure, entries: Mapping[str, tuple[str, str]]) -> None:
    handles = [Line2D([], [], color=color, ls=style, label=name) for name, (color, style) in entries.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def recall_curve(ax: Axes, table: pd.DataFrame, xlabel: str, *, doubling: bool = False) -> Axes:
    """Recall of each method along a quantity, with the band of the patient bootstrap.

    Parameters
    ----------
    ax : Axes
    table : DataFrame
        method, at, value, low, high.
    xlabel : str
        What ``at`` is, with unit.
    doubling : bool
        Whether the quantity doubles from place to place.
    """
    for method, (name, color) in METHODS.items():
        curve = table[table.method == method].sort_values("at")
        if len(curve):
            ax.plot(curve["at"], curve.value, color=color, marker="o", ms=4, label=name)
            ax.fill_between(curve["at"], curve.low, curve.high, color=color, alpha=0.15, lw=0)
    if doubling:
        ticks = sorted(table["at"].unique())
        ax.set_xscale("log", base=2)
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
    ax.set(xlabel=xlabel, ylabel="lesions found (recall)", ylim=(0, 1))
    ax.legend(loc="upper left" if doubling else "upper right")
    return ax


def recall_by_group(ax: Axes, table: pd.DataFrame, label: str, *, downwards: bool = False) -> Axes:
    """Recall of each method in each group of lesions, with its interval and the number of lesions.

    Parameters
    ----------
    ax : Axes
    table : DataFrame
        method, group (in the order to draw), lesions, value, low, high.
    label : str
        What the groups are, with unit.
    downwards : bool
        Groups stand below one another instead of side by side.
    """
    if table.empty:
        ax.text(0.5, 0.5, "not known in this cohort", ha="center", va="center", transform=ax.transAxes)
        ax.set(xlabel=label, xticks=[], yticks=[])
        return ax
    counts = table.groupby("group", sort=False).lesions.max()
    present = [method for method in METHODS if method in set(table.method)]
    for number, method in enumerate(present):
        rows = table[table.method == method].set_index("group").reindex(counts.index)
        value = rows.value.to_numpy(float)
        spread = np.abs(rows[["low", "high"]].to_numpy(float).T - value)
        place = np.arange(len(counts)) + 0.2 * (number - (len(present) - 1) / 2)
        name, color = METHODS[method]
        points = {"x": value, "y": place, "xerr": spread} if downwards else {"x": place, "y": value, "yerr": spread}
        ax.errorbar(**points, fmt="o", ms=4, capsize=2, label=name, color=color)
    if downwards:
        ax.set_yticks(range(len(counts)), [f"{group} (n = {count})" for group, count in counts.items()])
        ax.invert_yaxis()
        ax.set(xlabel="lesions found (recall)", xlim=(0, 1))
    else:
        ax.set_xticks(range(len(counts)), [f"{group}\n{count}" for group, count in counts.items()], fontsize=7)
        ax.set(xlabel=f"{label}\nand number of lesions", ylabel="lesions found (recall)", ylim=(0, 1))
    ax.legend(loc="lower right" if downwards else "upper left")
    return ax


def where_boxes_lie(ax: Axes, boxes: pd.DataFrame, size: int, title: str, color: str) -> Axes:
    """Centers of boxes over the field of ``size`` pixels."""
    x, y = centers(corners(boxes)).T
    ax.scatter(x, y, s=12, color=color, alpha=0.4, lw=0)
    ax.set(xlim=(0, size), ylim=(size, 0), aspect="equal", title=title, xticks=[0, size], yticks=[0, size])
    ax.set_xlabel("pixels")
    return ax
