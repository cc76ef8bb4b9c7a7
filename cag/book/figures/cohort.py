"""Figures of a cohort: its flow, its frames, and their image statistics beside real ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cag.book.figures.style import PALETTE, TRUTH, draw_boxes, panels, show_frame

#: Names of image statistics as they are read.
STATISTICS = {
    "gray_mean": "grey, mean", "gray_sd": "grey, SD", "p1": "grey, 1st percentile", "p50": "grey, median",
    "p99": "grey, 99th percentile", "border_mean": "grey of the border", "noise_immerkaer": "noise (Immerkaer)",
    "slope_lo": "spectral slope, low", "slope_mid": "spectral slope, middle", "slope_hi": "spectral slope, high",
    "residual_sd": "noise in flat tiles", "ac1": "noise correlation, 1 px", "ac2": "noise correlation, 2 px",
    "ac3": "noise correlation, 3 px", "grad999": "steepest edges", "vessel_fwhm_px": "vessel width",
    "vessel_depth": "vessel depth", "edge_10_90_over_fwhm": "edge over width",
}  # fmt: skip


def flow_diagram(ax: Axes, flow: pd.DataFrame) -> Axes:
    """Boxes from patients to frames, with what was set aside beside each arrow; see ``chapters.cohort.flow``."""
    box = {"boxstyle": "round,pad=0.5", "fc": "white", "ec": PALETTE["blue"], "lw": 1.2}
    aside = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": PALETTE["grey"], "lw": 0.8}
    arrow = {"arrowstyle": "-|>", "color": PALETTE["blue"], "lw": 1.2}
    levels, gap = np.linspace(0.9, 0.1, len(flow), retstep=True)
    for number, (y, row) in enumerate(zip(levels, flow.itertuples(), strict=True)):
        text = f"{row.step}\n{row.patients} patients, {row.runs:,} runs, {row.frames:,} frames"
        ax.text(0.3, y, text, ha="center", va="center", bbox=box, fontsize=9)
        if number:
            ax.annotate("", xy=(0.3, y - 0.33 * gap), xytext=(0.3, y - 0.69 * gap), arrowprops=arrow)
            ax.text(0.78, y - gap / 2, f"set aside: {row.set_aside}", ha="center", va="center", bbox=aside, fontsize=8)
    ax.set(xlim=(0, 1.1), ylim=(0, 1))
    ax.set_axis_off()
    return ax


def frame_sheet(
    frames: Sequence[UInt8[np.ndarray, "h w"]], titles: Sequence[str], boxes: Sequence[np.ndarray] = ()
) -> Figure:
    """Frames in rows of four under their titles, with the boxes [k, 4] of each where they are given."""
    figure, axes = panels(-(-len(frames) // 4), 4, height=2.0)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, frame, title in zip(axes.flat, frames, titles, strict=False):
        show_frame(ax, frame, title)
    for ax, own in zip(axes.flat, boxes, strict=False):
        draw_boxes(ax, own, TRUTH)
    return figure


def realism_figure(table: pd.DataFrame) -> Figure:
    """Spread of each statistic in simulated frames over that in real ones, in units of the real 25-75 % band.

    Parameters
    ----------
    table : DataFrame
        ``statistic``; ``real_05 ... real_95`` and ``own_05 ... own_95`` at 5, 25, 50, 75 and 95 %.
    """
    figure, axes = panels(1, 1, height=5.2)
    ax, rows = axes[0, 0], np.arange(len(table))
    middle, band = table["real_50"], table["real_75"] - table["real_25"]
    for prefix, label, color, y in (
        ("real", "real", PALETTE["grey"], rows + 0.18),
        ("own", "simulated", PALETTE["blue"], rows - 0.18),
    ):
        scaled = table.filter(like=f"{prefix}_").sub(middle, axis=0).div(band, axis=0).clip(-4, 4)
        low, first, center, third, high = scaled.T.to_numpy()
        ax.hlines(y, low, high, color=color, lw=1.0)
        ax.hlines(y, first, third, color=color, lw=5, alpha=0.75, label=f"{label}: 25-75 % (thin: 5-95 %)")
        ax.plot(center, y, "|", color=PALETTE["black"], ms=8, mew=1.5)
    ax.axvline(0, color=PALETTE["grey"], lw=0.6, ls=":")
    ax.set_yticks(rows, [STATISTICS[name] for name in table["statistic"]], fontsize=8)
    ax.invert_yaxis()
    ax.set(xlabel="distance from the real median, in widths of the real 25-75 % band", xlim=(-4.1, 4.1))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
