"""Figures of a cohort: its flow, and what its image statistics are called."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cag.book.figures.style import PALETTE

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
