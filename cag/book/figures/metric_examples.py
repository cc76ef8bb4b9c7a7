"""Small drawn examples of the published measures, scored by the functions that score the results."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cag.book.figures.style import FOUND, TRUTH, draw_boxes, panels
from cag.metrics import published
from cag.metrics.boxes import CORNERS, enlarge
from cag.metrics.matching import pairwise_iou

_A, _B = (15.0, 20.0, 40.0, 45.0), (60.0, 55.0, 85.0, 80.0)

#: What the method draws on a frame with lesions A and B.
FRAMES: dict[str, list[tuple[float, float, float, float]]] = {
    "two on A, one on nothing": [(17, 22, 42, 47), (13, 17, 38, 42), (65, 10, 90, 35)],
    "one sure box": [(16, 21, 41, 46)],
    "one on each": [(17, 22, 42, 47), (62, 57, 87, 82)],
    "none": [],
}

#: Contrast intervals (begin, end) of four runs: true, found.
RUNS: dict[str, tuple[tuple[int, int], tuple[int, int] | None]] = {
    "2 frames off": ((20, 50), (22, 48)),
    "6 frames off": ((20, 50), (26, 44)),
    "far off": ((20, 50), (5, 70)),
    "nothing found": ((20, 50), None),
}


def box_scores(boxes: list[tuple[float, float, float, float]]) -> dict[str, float]:
    """The four published measures of one frame with lesions A and B, at an overlap of one half."""
    images = pd.DataFrame({"image_id": ["frame"], "patient_id": ["patient"]})
    found = pd.DataFrame(boxes, columns=CORNERS).assign(image_id="frame", score=1.0)
    truth = pd.DataFrame([_A, _B], columns=CORNERS).assign(image_id="frame")
    counts = published.image_counts(images, found, truth, iou_threshold=0.5)
    return {name: float(value[0]) for name, value in published.metrics(counts).items()}


def box_examples() -> Figure:
    """Frames with two lesions and what each published measure makes of the boxes drawn."""
    figure, axes = panels(1, len(FRAMES), height=2.9)
    words = {"global_sensitivity": "global", "sens_s": "Sens_s", "spec_s": "Spec_s", "mse": '"MSE" (px)'}
    for ax, (name, boxes) in zip(axes.flat, FRAMES.items(), strict=True):
        scores = box_scores(boxes)
        said = [f"{word} {scores[measure]:.2f}".replace("nan", "not defined") for measure, word in words.items()]
        title = "\n".join([name, *said])
        _draw_frame(ax, title, np.array([_A, _B]), np.array(boxes))
    return figure


def overlap_examples() -> Figure:
    """A lesion and a detection that slides off it: their overlap as they are, and after growing."""
    figure, axes = panels(2, 4, height=2.1)
    lesion = np.array([[35.0, 40.0, 55.0, 60.0]])
    for column, shift in enumerate((3.0, 8.0, 13.0, 18.0)):
        for row, (minimum, said) in enumerate(((0.0, ""), (50.0, ", least side 50"))):
            true, found = enlarge(lesion, minimum), enlarge(lesion + shift, minimum)
            _draw_frame(axes[row, column], f"IoU {pairwise_iou(true, found)[0, 0]:.2f}{said}", true, found)
    return figure


def interval_examples() -> Figure:
    """Runs with their true and found contrast intervals, and the error each measure takes from them."""
    figure, axes = panels(1, 1, height=2.6)
    ax = axes[0, 0]
    for row, (name, (true, found)) in enumerate(RUNS.items()):
        for interval, y, color in ((true, row + 0.17, TRUTH), (found, row - 0.17, FOUND)):
            if interval:
                ax.barh(y, interval[1] - interval[0] + 1, left=interval[0] - 0.5, height=0.3, color=color)
        ax.text(84, row, _verdict(true, found), va="center", fontsize=8)
        ax.text(-2, row, name, va="center", ha="right", fontsize=8)
    ax.set(xlim=(0, 80), ylim=(len(RUNS) - 0.5, -0.5), xlabel="frame", yticks=[])
    ax.spines["left"].set_visible(False)
    return figure


def _verdict(true: tuple[int, int], found: tuple[int, int] | None) -> str:
    """Errors of begin and end in frames, and on which side of 3 and 10 they fall."""
    if found is None:
        return "missed: counted as an error"
    errors = [abs(a - b) for a, b in zip(true, found, strict=True)]
    words = ["accepted" if error <= 3 else "an error" if error >= 10 else "neither" for error in errors]
    return f"begin {errors[0]} ({words[0]}),\nend {errors[1]} ({words[1]})"


def _draw_frame(ax: Axes, title: str, true: np.ndarray, found: np.ndarray) -> None:
    """An empty frame with its true boxes and those found."""
    ax.set(xlim=(0, 100), ylim=(100, 0), aspect="equal", xticks=[], yticks=[], facecolor="0.93")
    ax.set_title(title, fontsize=8, fontweight="normal")
    draw_boxes(ax, true, TRUTH)
    draw_boxes(ax, found, FOUND, style="--")
