"""Figures of the localization chapter: boxes on frames, heatmaps, FROC, recall by severity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cag.book.figures.style import FOUND, PALETTE, TRUTH, draw_boxes, panels, show_frame
from cag.chapters.localization.cases import choose_cases
from cag.chapters.localization.comparison import Localization, heatmap
from cag.chapters.localization.data import boxes_by_image
from cag.chapters.localization.failures import choose_failures
from cag.chapters.localization.scores import Scored
from cag.chapters.localization.transfer import Transfer
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.metrics.boxes import centers, corners

#: One colour and name for each method, in the order they are drawn.
METHODS = {"fpn": ("FPN", FOUND), "cam": ("CAM", PALETTE["purple"]), "prior": ("place prior", PALETTE["grey"])}

#: Characters of a line of a frame's title.
TITLE_WIDTH = 40

#: Width of the line of a true box, which shows beside a found box drawn over it.
UNDER = 2.8


@dataclass(frozen=True)
class Case:
    """A frame to show.

    Attributes
    ----------
    title : str
    frame : array of grey levels, ``[h, w]``
    truth, found, cam_boxes : arrays of boxes ``[n, 4]`` in its pixels
    heatmap : array in 0-1 of any size, spread over the whole frame; None where there is none
    """

    title: str
    frame: np.ndarray
    truth: np.ndarray
    found: np.ndarray
    cam_boxes: np.ndarray
    heatmap: np.ndarray | None = None


def chosen_cases(found: Localization, cohort: Cohort) -> list[Case]:
    """The frames that ``choose_cases`` picks for the FPN in the clean arm, with both methods' boxes."""
    boxes = found.detections[(found.detections.arm == "clean") & found.detections.operating]
    fpn, cam = boxes[boxes.method == "fpn"], boxes[boxes.method == "cam"]
    chosen = choose_cases(found.frames.images, found.truth, fpn)
    rows = found.frames.images.set_index("image_id").loc[chosen.image_id].reset_index()
    frames = load_frames(cohort, rows, int(rows.width.iloc[0]), progress=False).numpy()
    own = [boxes_by_image(table, chosen.image_id) for table in (found.truth, fpn, cam)]
    heats = [heatmap(found, image_id) for image_id in chosen.image_id]
    return [Case(*parts) for parts in zip(chosen.sentence, frames, *own, heats, strict=True)]


def failure_cases(found: Localization, cohort: Cohort, method: str = "fpn") -> list[Case]:
    """The failures that ``choose_failures`` picks for a method in the clean arm; each title is its sentence."""
    side = found.sides["clean", method]
    failures = choose_failures(side.images, side.truth, side.detections, iou=side.rule.iou, scale=side.scale)
    return _cases_of(side, failures, cohort)


def transfer_cases(transfer: Transfer, way: str = "applied") -> list[Case]:
    """Best, typical, missed and false frames of each cohort under a detector of the other."""
    cases: list[Case] = []
    for domain in transfer.domains:
        side = transfer.sides[domain.name, way]  # type: ignore[index]
        counted = side.detections[side.detections.operating]
        cases += _cases_of(side, choose_cases(side.images, side.truth, counted), domain.cohort)
    return cases


def _cases_of(side: Scored, chosen: pd.DataFrame, cohort: Cohort) -> list[Case]:
    rows = side.images.set_index("image_id").loc[chosen.image_id].reset_index()
    frames = load_frames(cohort, rows, int(side.images.width.iloc[0]), progress=False).numpy()
    counted = side.detections[side.detections.operating]
    own = [boxes_by_image(table, chosen.image_id) for table in (side.truth, counted)]
    nothing = [np.zeros((0, 4))] * len(chosen)
    return [Case(*parts) for parts in zip(chosen.sentence, frames, *own, nothing, strict=True)]


def box_gallery(cases: Sequence[Case]) -> Figure:
    """Frames side by side with true and found boxes, the form of the paper's Figure 5; without cases it says so."""
    if not cases:
        figure, axes = panels(1, 1, height=1)
        axes[0, 0].text(0.5, 0.5, "nothing to show in this run", ha="center", va="center")
        axes[0, 0].set_axis_off()
        return figure
    figure, axes = panels(-(-len(cases) // 2), 2, height=3.7)
    for ax, case in zip(axes.flat, cases, strict=False):
        show_frame(ax, case.frame, fill(case.title, TITLE_WIDTH))
        draw_boxes(ax, case.truth, TRUTH, width=UNDER)
        draw_boxes(ax, case.found, FOUND, style="--")
    for ax in axes.flat[len(cases) :]:
        ax.set_axis_off()
    _legend(figure, {"true lesion": (TRUTH, "-"), "found by the FPN": (FOUND, "--")})
    return figure


def heatmap_gallery(cases: Sequence[Case]) -> Figure:
    """For each frame, left the class activation with its boxes, right the detector's boxes; truth on both."""
    figure, axes = panels(len(cases), 2, height=3.5)
    for (left, right), case in zip(axes, cases, strict=True):
        for ax, title in ((left, fill(case.title, TITLE_WIDTH)), (right, "")):
            draw_boxes(show_frame(ax, case.frame, title), case.truth, TRUTH, width=UNDER)
        if case.heatmap is not None:
            height, width = case.frame.shape
            area = (-0.5, width - 0.5, height - 0.5, -0.5)
            left.imshow(case.heatmap, cmap="inferno", alpha=0.45, vmin=0, vmax=1, interpolation="bilinear", extent=area)
        draw_boxes(left, case.cam_boxes, METHODS["cam"][1], style="--")
        draw_boxes(right, case.found, FOUND, style="--")
    entries = {"true lesion": (TRUTH, "-"), "CAM box": (METHODS["cam"][1], "--"), "FPN box": (FOUND, "--")}
    _legend(figure, entries)
    return figure


def _legend(figure: Figure, entries: Mapping[str, tuple[str, str]]) -> None:
    handles = [Line2D([], [], color=color, ls=style, label=name) for name, (color, style) in entries.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def froc(ax: Axes, curves: pd.DataFrame) -> Axes:
    """Lesions found against false boxes an image, with the band of the patient bootstrap.

    Parameters
    ----------
    ax : Axes
    curves : DataFrame
        method, false_positives (an image), sensitivity, low, high.
    """
    for method, (name, color) in METHODS.items():
        curve = curves[curves.method == method].sort_values("false_positives")
        if curve.empty:
            continue
        ax.plot(curve.false_positives, curve.sensitivity, color=color, marker="o", ms=4, label=name)
        ax.fill_between(curve.false_positives, curve.low, curve.high, color=color, alpha=0.15, lw=0)
    ax.set_xscale("log", base=2)
    ticks = sorted(curves.false_positives.unique())
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel="false boxes per image", ylabel="lesions found (recall)", ylim=(0, 1))
    ax.legend(loc="upper left")
    return ax


def recall_by_group(ax: Axes, table: pd.DataFrame, xlabel: str) -> Axes:
    """Recall of each method in each group of lesions, with its interval and the number of lesions.

    Parameters
    ----------
    ax : Axes
    table : DataFrame
        method, group (in the order to draw), lesions, recall, low, high.
    xlabel : str
        What the groups are, with unit.
    """
    if table.empty:
        return _unknown(ax, xlabel)
    counts = table.groupby("group", sort=False).lesions.max()
    for place, recall, spread, style in _recalls(table, list(counts.index), apart=0.18):
        ax.errorbar(place, recall, spread, fmt="o", ms=5, capsize=3, **style)
    ax.set_xticks(range(len(counts)), [f"{group}\n{count}" for group, count in counts.items()], fontsize=7)
    ax.set(xlabel=f"{xlabel}\nand number of lesions", ylabel="lesions found (recall)", ylim=(0, 1))
    ax.legend(loc="upper left")
    return ax


def _recalls(
    table: pd.DataFrame, groups: Sequence[str], *, apart: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]]:
    """For each method its places beside the groups' own, recalls, widths of the intervals, and name and color."""
    present = [method for method in METHODS if method in set(table.method)]
    for number, method in enumerate(present):
        rows = table[table.method == method].set_index("group").reindex(list(groups))
        recall = rows.recall.to_numpy(float)
        spread = np.abs(rows[["low", "high"]].to_numpy(float).T - recall)
        name, color = METHODS[method]
        place = np.arange(len(groups)) + apart * (number - (len(present) - 1) / 2)
        yield place, recall, spread, {"label": name, "color": color}


def _unknown(ax: Axes, label: str) -> Axes:
    ax.text(0.5, 0.5, "not known in this cohort", ha="center", va="center", transform=ax.transAxes)
    ax.set(xlabel=label, xticks=[], yticks=[])
    return ax


def recall_by_segment(ax: Axes, table: pd.DataFrame) -> Axes:
    """Recall of each method in each segment, segments downwards, with intervals and the number of lesions.

    Parameters
    ----------
    ax : Axes
    table : DataFrame
        method, group (in the order to draw), lesions, recall, low, high.
    """
    if table.empty:
        return _unknown(ax, "segment")
    counts = table.groupby("group", sort=False).lesions.max()
    for place, recall, spread, style in _recalls(table, list(counts.index), apart=0.22):
        ax.errorbar(recall, place, xerr=spread, fmt="o", ms=4, capsize=2, **style)
    ax.set_yticks(range(len(counts)), [f"{group} (n = {count})" for group, count in counts.items()])
    ax.invert_yaxis()
    ax.set(xlabel="lesions found (recall)", xlim=(0, 1))
    ax.legend(loc="lower right")
    return ax


def overlap_sweep(ax: Axes, table: pd.DataFrame) -> Axes:
    """Recall against the overlap that counts as found: what a looser IoU buys.

    Parameters
    ----------
    ax : Axes
    table : DataFrame
        method, iou, recall, low, high.
    """
    for method, (name, color) in METHODS.items():
        curve = table[table.method == method].sort_values("iou")
        if len(curve):
            ax.plot(curve.iou, curve.recall, color=color, marker="o", ms=4, label=name)
            ax.fill_between(curve.iou, curve.low, curve.high, color=color, alpha=0.15, lw=0)
    ax.set(xlabel="overlap (IoU) that counts as found", ylabel="lesions found (recall)", ylim=(0, 1))
    ax.legend(loc="upper right")
    return ax


def where_boxes_lie(ax: Axes, boxes: pd.DataFrame, size: int, title: str, color: str) -> Axes:
    """Centers of boxes over the field of ``size`` pixels."""
    centers_of = centers(corners(boxes))
    ax.scatter(centers_of[:, 0], centers_of[:, 1], s=12, color=color, alpha=0.4, lw=0)
    ax.set(xlim=(0, size), ylim=(size, 0), aspect="equal", title=title, xticks=[0, size], yticks=[0, size])
    ax.set_xlabel("pixels")
    return ax
