"""Frames with boxes: true lesions beside what was found, and beside what the classifiers said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cag.book.figures.style import FOUND, PALETTE, TRUTH, WIDTH, draw_boxes, panels, show_frame
from cag.chapters.localization.frames import boxes_by_image
from cag.chapters.localization.scores import Scored
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.metrics.boxes import CORNERS

#: One colour for each method, in the order they are drawn.
COLORS = {"fpn": FOUND, "cam": PALETTE["purple"], "prior": PALETTE["grey"]}

NO_BOX = np.zeros((0, 4))


class Panel(NamedTuple):
    """A frame ``[h, w]``, its title, true and found boxes ``[n, 4]`` in its pixels, and a heatmap in 0-1 over it."""

    frame: np.ndarray
    title: str
    truth: np.ndarray
    found: np.ndarray = NO_BOX
    heat: np.ndarray | None = None


def gallery(shown: Sequence[Panel], columns: int = 2) -> Figure:
    """Frames side by side with true boxes (whole line) and found ones (dashed), as in the paper's Figure 5."""
    figure, axes = panels(max(1, -(-len(shown) // columns)), columns, height=WIDTH / columns + 0.5)
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
    lines = {"true lesion": (TRUTH, "-"), "found": (FOUND, "--")}
    handles = [Line2D([], [], color=color, ls=style, label=name) for name, (color, style) in lines.items()]
    if any(len(own.found) for own in shown):
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def examples(
    chosen: pd.DataFrame, side: Scored, cohort: Cohort, heat: Mapping[str, np.ndarray] | None = None
) -> list[Panel]:
    """The chosen frames (``image_id, sentence``) with the true and the counted boxes of one method."""
    rows = side.images.set_index("image_id").loc[chosen.image_id].reset_index()
    frames = load_frames(cohort, rows, int(side.images.width.iloc[0]), progress=False).numpy()
    boxes = [boxes_by_image(table, chosen.image_id) for table in (side.truth, side.counted)]
    titles = [fill(sentence, 40) for sentence in chosen.sentence]
    maps = [(heat or {}).get(image_id) for image_id in chosen.image_id]
    return [Panel(*own) for own in zip(frames, titles, *boxes, maps, strict=True)]


def failure_sheet(errors: pd.DataFrame, cohort: Cohort) -> Figure:
    """One panel an error of the classifiers: the frame, the boxes of its true lesions, and what was said.

    Parameters
    ----------
    errors : DataFrame
        ``error, artery, view, run_id, frame, percent_stenosis, score``.
    """
    shown = []
    for own in errors.to_dict("records"):
        title = (
            f"{own['error']}: score {own['score']:.2f}\n{own['view']}\nworst segment {own['percent_stenosis']:.0f} %"
        )
        boxes = cohort.boxes[cohort.boxes.run_id.eq(own["run_id"]) & cohort.boxes.frame.eq(own["frame"])]
        frame = cohort.frames(own["run_id"], [own["frame"]])[0].numpy()
        shown.append(Panel(frame, title, boxes[CORNERS].to_numpy()))
    return gallery(shown, columns=4)
