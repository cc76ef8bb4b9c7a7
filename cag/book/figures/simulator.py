"""Figures of the simulator's acceptance: bands of image statistics, and real frames beside simulated ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cag.book.figures.style import PALETTE, panels, show_frame

REAL, OWN = PALETTE["grey"], PALETTE["blue"]
#: Names of the statistics as they are read.
NAMES = {
    "gray_mean": "grey, mean", "gray_sd": "grey, SD", "p1": "grey, 1st percentile", "p50": "grey, median",
    "p99": "grey, 99th percentile", "border_mean": "grey of the border", "noise_immerkaer": "noise (Immerkaer)",
    "slope_lo": "spectral slope, low", "slope_mid": "spectral slope, middle", "slope_hi": "spectral slope, high",
    "residual_sd": "noise in flat tiles", "ac1": "noise correlation, 1 px", "ac2": "noise correlation, 2 px",
    "ac3": "noise correlation, 3 px", "grad999": "steepest edges", "vessel_fwhm_px": "vessel width",
    "vessel_depth": "vessel depth", "edge_10_90_over_fwhm": "edge over width",
}  # fmt: skip


def realism_bands(ax: Axes, table: pd.DataFrame) -> Axes:
    """Spread of each statistic in simulated frames over that in real ones, in units of the real 25-75 % band.

    Parameters
    ----------
    table : DataFrame
        Of ``cag.chapters.cohort.simulator_page.realism_table``.
    """
    places = ("05", "25", "50", "75", "95")
    middle, band = table["real_50"], table["real_75"] - table["real_25"]
    rows = np.arange(len(table))
    for prefix, color, shift, label in (("real", REAL, 0.18, "real"), ("own", OWN, -0.18, "simulated")):
        low, first, center, third, high = (((table[f"{prefix}_{p}"] - middle) / band).clip(-4, 4) for p in places)
        y = rows + shift
        ax.hlines(y, low, high, color=color, lw=1.0)
        ax.hlines(y, first, third, color=color, lw=5, alpha=0.75, label=f"{label}: 25-75 % (thin: 5-95 %)")
        ax.plot(center, y, "|", color=PALETTE["black"], ms=8, mew=1.5)
    ax.axvline(0, color=REAL, lw=0.6, ls=":")
    ax.set_yticks(rows, [NAMES[name] for name in table["statistic"]], fontsize=8)
    ax.invert_yaxis()
    ax.set(xlabel="distance from the real median, in widths of the real 25-75 % band", xlim=(-4.1, 4.1))
    return ax


def realism_figure(table: pd.DataFrame) -> Figure:
    """``realism_bands`` with its legend."""
    figure, axes = panels(1, 1, height=5.2)
    realism_bands(axes[0, 0], table)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def contact_sheet(
    real: Sequence[UInt8[np.ndarray, "h w"]], simulated: Sequence[UInt8[np.ndarray, "h w"]], columns: int = 4
) -> Figure:
    """Rows of real frames and rows of simulated ones in turn, each named."""
    groups = []
    for start in range(0, max(len(real), len(simulated)), columns):
        groups += [("real", real[start : start + columns]), ("simulated", simulated[start : start + columns])]
    groups = [(name, frames) for name, frames in groups if len(frames)]
    figure, axes = panels(len(groups), columns, height=1.95)
    for row, (name, frames) in zip(axes, groups, strict=True):
        for ax in row:
            ax.set_axis_off()
        for number, (ax, frame) in enumerate(zip(row, frames, strict=False)):
            show_frame(ax, frame, name if number == 0 else "")
    return figure
