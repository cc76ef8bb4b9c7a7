"""Frames with boxes: true lesions beside what was found, and beside what the classifiers said of them."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cag.book.figures.style import FOUND, PALETTE, Panel, gallery
from cag.chapters.localization.frames import boxes_by_image
from cag.chapters.localization.scores import Scored
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.metrics.boxes import CORNERS

#: One colour for each method, in the order they are drawn.
COLORS = {"fpn": FOUND, "cam": PALETTE["purple"], "prior": PALETTE["grey"]}


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


def failure_sheet(errors: pd.DataFrame, cohort: Cohort, least: float = 25.0) -> Figure:
    """One panel an error of the classifiers: the frame, boxes of its lesions of ``least`` percent on, what was said."""
    shown, lesions = [], cohort.boxes[~cohort.boxes.percent_stenosis.lt(least)]
    for own in errors.to_dict("records"):
        said = f"{own['error']}: score {own['score']:.2f}"
        title = f"{said}\n{own['view']}\nworst segment {own['percent_stenosis']:.0f} %"
        boxes = lesions[lesions.run_id.eq(own["run_id"]) & lesions.frame.eq(own["frame"])]
        frame = cohort.frames(own["run_id"], [own["frame"]])[0].numpy()
        shown.append(Panel(frame, title, boxes[CORNERS].to_numpy()))
    return gallery(shown, columns=4)
