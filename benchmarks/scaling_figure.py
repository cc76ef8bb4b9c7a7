"""How time and memory of each stage grow."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cag.book.figures.style import PALETTE, panels

_AXES = {"patients": "patients, one run each", "frames": "frames a run", "size": "pixels a side"}


def slopes(table: pd.DataFrame) -> pd.DataFrame:
    """Slope of each stage's line on logarithmic axes: 1 is proportional, 2 quadratic.

    Parameters
    ----------
    table : DataFrame
        ``axis, value, stage, seconds, mib``.

    Returns
    -------
    DataFrame
        ``axis, stage, time_slope, mib_first, mib_last``: memory is told at the first and the last point.
    """
    rows = []
    for (axis, stage), own in table.groupby(["axis", "stage"], sort=False):
        own = own.sort_values("value")
        slope = np.polyfit(np.log(own["value"]), np.log(own["seconds"].clip(lower=1e-6)), 1)[0]
        rows.append((axis, stage, float(slope), float(own["mib"].iloc[0]), float(own["mib"].iloc[-1])))
    return pd.DataFrame(rows, columns=["axis", "stage", "time_slope", "mib_first", "mib_last"])


def scaling_figure(table: pd.DataFrame) -> Figure:
    """Seconds above, MiB below, against patients, frames and image size; a dashed line is proportional."""
    figure, axes = panels(2, len(_AXES), height=2.5)
    stages = list(dict.fromkeys(table["stage"]))
    colors = dict(zip(stages, cycle(PALETTE.values()), strict=False))
    for column, (axis, label) in enumerate(_AXES.items()):
        part = table[table["axis"] == axis]
        for row, (measure, unit) in enumerate((("seconds", "seconds"), ("mib", "MiB at most"))):
            ax = axes[row, column]
            for stage, own in part.groupby("stage", sort=False):
                own = own.sort_values("value")
                ax.plot(own["value"], own[measure], marker="o", ms=3, lw=1.2, color=colors[stage], label=stage)
            ax.set_xscale("log")
            ax.set_xticks(sorted(part["value"].unique()), [str(v) for v in sorted(part["value"].unique())], minor=False)
            ax.minorticks_off()
            ax.set_yscale("log" if measure == "seconds" else "linear")
            ax.set(xlabel=label if row else "", ylabel=unit if column == 0 else "")
        values = np.sort(part["value"].unique())
        if len(values):
            line = part["seconds"].median() * values / np.median(values)
            axes[0, column].plot(values, line, ls="--", lw=0.8, color=PALETTE["grey"])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure
