"""One look for every figure: a colour-blind safe palette, readable sizes, vector output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib_inline.backend_inline import set_matplotlib_formats

#: Okabe and Ito's palette (2008), told apart with any colour vision.
PALETTE = {
    "blue": "#0072B2", "vermilion": "#D55E00", "green": "#009E73", "purple": "#CC79A7",
    "sky": "#56B4E9", "orange": "#E69F00", "grey": "#7F7F7F", "black": "#000000",
}  # fmt: skip
TRUTH, FOUND = PALETTE["green"], PALETTE["vermilion"]

WIDTH = 7.2  #: Page width of the book in inches.
NO_BOX = np.zeros((0, 4))


class Panel(NamedTuple):
    """A frame ``[h, w]``, its title, true and found boxes ``[n, 4]`` in its pixels, and a heatmap in 0-1 over it."""

    frame: np.ndarray
    title: str
    truth: np.ndarray = NO_BOX
    found: np.ndarray = NO_BOX
    heat: np.ndarray | None = None


def words(kind: str) -> dict[str, str]:
    """Names of one kind (head, statistic, cell, measure, method, example) -> what people read, as in ``words.csv``."""
    table = pd.read_csv(Path(__file__).with_name("words.csv")).query("kind == @kind")
    return dict(zip(table["name"], table["words"], strict=True))


def apply_style() -> None:
    """Set fonts, colours and vector output for the notebook that calls it."""
    sizes = {"font.size": 10, "xtick.labelsize": 9, "ytick.labelsize": 9, "image.cmap": "gray"}
    spines = {"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True}
    sns.set_theme(context="notebook", style="ticks", palette=list(PALETTE.values()), rc=sizes | spines)
    mpl.rc("figure", figsize=(WIDTH, 3.6), facecolor="white")
    mpl.rc("axes", titlesize=10, titleweight="bold", titlelocation="left", labelsize=10)
    mpl.rc("legend", fontsize=9, frameon=False)
    mpl.rc("svg", fonttype="path", hashsalt="cag")
    set_matplotlib_formats("svg")


def panels(rows: int, columns: int, *, height: float = 2.4, width: float = WIDTH) -> tuple[Figure, np.ndarray]:
    """A page-wide grid of axes; the array is always ``[rows, columns]``."""
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def show_frame(ax: Axes, frame: np.ndarray, title: str = "") -> Axes:
    """Draw an angiographic frame ``[h, w]`` of grey levels 0-255 without axes."""
    ax.imshow(frame, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.set_axis_off()
    ax.set_title(title, fontsize=9)
    return ax


def draw_boxes(ax: Axes, boxes: np.ndarray, color: str, *, style: str = "-", width: float = 1.4) -> Axes:
    """Draw boxes ``[n, 4]`` (x1, y1, x2, y2 in pixels of the frame shown) with lines of ``width`` points."""
    for x1, y1, x2, y2 in np.asarray(boxes, dtype=float).reshape(-1, 4):
        corner, size = (x1 - 0.5, y1 - 0.5), (x2 - x1, y2 - y1)
        ax.add_patch(Rectangle(corner, *size, fill=False, ec=color, lw=width, linestyle=style))
    return ax


def gallery(shown: Sequence[Panel], columns: int = 2) -> Figure:
    """Frames in rows with true boxes (whole line) and found ones (dashed), as in the paper's Figure 5."""
    rows = max(1, -(-len(shown) // columns))
    figure, axes = panels(rows, columns, height=WIDTH / columns + 0.5 + 0.4 / rows)  # titles of two lines, and a legend
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, own in zip(axes.flat, shown, strict=False):
        show_frame(ax, own.frame, own.title)
        if own.heat is not None:
            height, width = own.frame.shape
            area = (-0.5, width - 0.5, height - 0.5, -0.5)
            ax.imshow(own.heat, cmap="inferno", alpha=0.45, vmin=0, vmax=1, interpolation="bilinear", extent=area)
        draw_boxes(ax, own.truth, TRUTH, width=2.8)  # so that it shows beside a box drawn over it
        draw_boxes(ax, own.found, FOUND, style="--")
    if any(len(own.found) for own in shown):
        names = [("true lesion", TRUTH, "-")] if any(len(own.truth) for own in shown) else []
        lines = [*names, ("found", FOUND, "--")]
        handles = [Line2D([], [], color=color, ls=style, label=name) for name, color, style in lines]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure
