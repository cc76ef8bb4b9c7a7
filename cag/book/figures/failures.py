"""Where the classifiers were surely wrong: the frames, with what was true and what was said."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from cag.book.figures.style import TRUTH, WIDTH, draw_boxes, panels, show_frame
from cag.data.cohort import Cohort
from cag.metrics.boxes import CORNERS

_COLUMNS = 4


def failure_sheet(errors: pd.DataFrame, cohort: Cohort) -> Figure:
    """One panel an error: the frame, the boxes of its true lesions, and in its title what was said.

    Parameters
    ----------
    errors : DataFrame
        ``error, artery, view, run_id, frame, percent_stenosis, score``; at least one row.
    """
    rows = -(-len(errors) // _COLUMNS)
    figure, axes = panels(rows, _COLUMNS, height=WIDTH / _COLUMNS + 0.65)
    for ax in axes.flat[len(errors) :]:
        ax.set_axis_off()
    for ax, error in zip(axes.flat, errors.itertuples(), strict=False):
        title = f"{error.error}: score {error.score:.2f}\n{error.view}\nworst segment {error.percent_stenosis:.0f} %"
        show_frame(ax, cohort.frames(str(error.run_id), [int(str(error.frame))])[0].numpy(), title)
        boxes = cohort.boxes.query("run_id == @error.run_id and frame == @error.frame")
        draw_boxes(ax, boxes[CORNERS].to_numpy(), TRUTH)
    return figure
