"""Frames worth looking at, picked by rule so that no one picks by eye, each with a sentence computed from its boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cag.anatomy import SEGMENTS
from cag.chapters.localization.comparison import Localization
from cag.chapters.localization.frames import boxes_by_image
from cag.chapters.localization.scores import Scored
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.metrics.boxes import centers, corners
from cag.metrics.matching import pairwise_iou

KINDS = ("best", "typical", "missed", "loose", "false")
#: Percent below which a sentence says mild, and lost share of length above which it says foreshortened.
_MILD, _FORESHORTENED = 50.0, 0.3


@dataclass(frozen=True)
class Example:
    """A frame to show.

    Attributes
    ----------
    kind : one of ``KINDS``
    sentence : str
    frame : array of grey levels, ``[h, w]``
    truth, found, cam_boxes : arrays of boxes ``[n, 4]`` in its pixels
    heatmap : array in 0-1 of any size, spread over the whole frame; None where there is none
    """

    kind: str
    sentence: str
    frame: np.ndarray
    truth: np.ndarray
    found: np.ndarray
    cam_boxes: np.ndarray
    heatmap: np.ndarray | None = None


def examples_of(side: Scored, cohort: Cohort, found: Localization | None = None, *, count: int = 2) -> list[Example]:
    """The frames that ``choose_examples`` picks, with the CAM's boxes and heatmaps where the run ``found`` any."""
    chosen = choose_examples(side, count)
    rows = side.images.set_index("image_id").loc[chosen.image_id].reset_index()
    frames = load_frames(cohort, rows, int(side.images.width.iloc[0]), progress=False).numpy()
    cam = found.sides.get(("clean", "cam")) if found else None
    tables = (side.truth, side.counted, cam.counted if cam else side.counted.iloc[:0])
    boxes = [boxes_by_image(table, chosen.image_id) for table in tables]
    heats = [found.heat(image_id) if found else None for image_id in chosen.image_id]
    return [Example(*parts) for parts in zip(chosen.kind, chosen.sentence, frames, *boxes, heats, strict=True)]


def choose_examples(side: Scored, count: int = 2) -> pd.DataFrame:
    """The best and a typical frame, and the worst failures of each kind, at most one a patient and kind.

    ``best``: every lesion overlapped, the highest least overlap. ``typical``: the median of the mean overlap.
    ``missed``: lesions that no box above the operating score touches, the most severe first (the largest where
    severity is unknown). ``loose``: lesions whose best box overlaps them, though too little to count, the least
    overlap first. ``false``: boxes that touch no lesion, the highest score first.

    Returns
    -------
    DataFrame
        ``kind, image_id, sentence``; up to ``count`` failures of each kind. Distances in pixels of a 512 px frame.
    """
    lesions, boxes = _measured(side)
    known, area = lesions.percent_stenosis.astype(float), (lesions.x2 - lesions.x1) * (lesions.y2 - lesions.y1)
    lesions = lesions.assign(worst=known if known.notna().any() else area)
    missed = lesions[lesions.overlap == 0].sort_values(["worst", "image_id"], ascending=[False, True])
    loose = lesions[(lesions.overlap > 0) & (lesions.overlap < side.rule.iou)].sort_values(["overlap", "image_id"])
    false = boxes[boxes.operating & (boxes.overlap == 0)].sort_values(["score", "image_id"], ascending=[False, True])
    rows = _best_and_typical(lesions)
    patients = side.images.set_index("image_id").patient_id
    for kind, table, tell in (("missed", missed, _missed), ("loose", loose, _loose), ("false", false, _false)):
        first = table[~table.image_id.map(patients).duplicated()].head(count)
        rows += [(kind, str(row["image_id"]), tell(row)) for _, row in first.iterrows()]
    return pd.DataFrame(rows, columns=["kind", "image_id", "sentence"])


def _best_and_typical(lesions: pd.DataFrame) -> list[tuple[str, str, str]]:
    frames = lesions.groupby("image_id").overlap.agg(["min", "mean", "size"])
    frames = frames.set_axis(["least", "mean", "lesions"], axis=1)
    frames = frames.assign(touched=lesions[lesions.overlap > 0].groupby("image_id").size()).fillna(0).reset_index()
    best = frames.sort_values(["least", "image_id"], ascending=[False, True]).iloc[0]
    typical = frames.sort_values(["mean", "image_id"], ignore_index=True).iloc[len(frames) // 2]
    every = "its lesion" if best["lesions"] == 1 else f"all {best['lesions']} lesions"
    rows = [("best", best["image_id"], f"Best: {every} found, least overlap (IoU) {best['least']:.2f}")]
    touched = (
        f"{typical['touched']:.0f} of {typical['lesions']} lesions touched by a box, mean overlap {typical['mean']:.2f}"
    )
    return (rows if best["least"] > 0 else []) + [("typical", typical["image_id"], f"Typical: {touched}")]


def _measured(side: Scored) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lesions and boxes with their best ``overlap``, and ``gap`` to the nearest other in pixels of a 512 px frame."""
    lesions = side.truth.assign(overlap=0.0, gap=np.nan, touched=np.nan).reset_index(drop=True)
    boxes = side.detections.assign(overlap=0.0, gap=np.nan).reset_index(drop=True)
    boxes = boxes.assign(wide=(boxes.x2 - boxes.x1) / side.pixel, high=(boxes.y2 - boxes.y1) / side.pixel)
    rows_of = boxes.groupby("image_id").indices
    for image_id, own in lesions.groupby("image_id").indices.items():
        rows = rows_of.get(image_id, np.array([], dtype=int))
        if not len(rows):
            continue
        a, b = corners(lesions.iloc[own]), corners(boxes.iloc[rows])
        overlap = pairwise_iou(a, b)
        gap = np.linalg.norm(centers(a)[:, None] - centers(b)[None], axis=2) / side.pixel
        boxes.loc[rows, ["overlap", "gap"]] = np.column_stack([overlap.max(axis=0), gap.min(axis=0)])
        counted = boxes.operating.to_numpy(dtype=bool)[rows]
        if counted.any():
            best = np.column_stack([overlap[:, counted].max(axis=1), gap[:, counted].min(axis=1)])
            lesions.loc[own, ["overlap", "gap"]] = best
        touching = np.where(overlap > 0, boxes.score.to_numpy(dtype=float)[rows], -1.0).max(axis=1)
        lesions.loc[own, "touched"] = np.where(touching >= 0, touching, np.nan)
    return lesions, boxes


def describe_lesion(row: pd.Series) -> str:
    """A lesion in words, as far as it is known: ``a 63 % stenosis of the mid LAD``."""
    percent = "a stenosis"
    if pd.notna(row["percent_stenosis"]):
        number = f"{row['percent_stenosis']:.0f}"
        percent = f"{'an' if number.startswith('8') or number in ('11', '18') else 'a'} {number} % stenosis"
    return percent + (f" of the {SEGMENTS[int(row['segment'])]}" if row["segment"] in SEGMENTS else "")


def _missed(row: pd.Series) -> str:
    traits = ["mild"] if row["percent_stenosis"] < _MILD else []
    traits += ["foreshortened"] if row["foreshortening"] > _FORESHORTENED else []
    kind = f" ({' and '.join(traits)})" if traits else ""
    why = "no box of any score counts in this frame"
    if pd.notna(row["touched"]):
        why = f"no box above the operating score touches it; one of score {row['touched']:.2f} does"
    elif pd.notna(row["gap"]):
        why = f"the nearest counted box lies {row['gap']:.0f} px away (of a 512 px frame)"
    return f"Missed: {describe_lesion(row)}{kind}; {why}"


def _loose(row: pd.Series) -> str:
    touch = "barely touches it (IoU below 0.01)" if row["overlap"] < 0.01 else f"overlaps it (IoU {row['overlap']:.2f})"
    return f"Loose: {describe_lesion(row)}; the best box {touch}, too little to count"


def _false(row: pd.Series) -> str:
    return (
        f"False: a box of score {row['score']:.2f}, {row['wide']:.0f} x {row['high']:.0f} px; "
        f"the nearest lesion lies {row['gap']:.0f} px away (pixels of a 512 px frame)"
    )
