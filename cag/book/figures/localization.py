"""Frames with boxes, true and found, picked by rule so that no one picks by eye, each with a sentence of its boxes."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.anatomy import SEGMENTS
from cag.book.figures.style import FOUND, PALETTE, Panel, words
from cag.chapters.localization.frames import boxes_by_image
from cag.chapters.localization.scores import Scored
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.metrics.boxes import corners
from cag.metrics.matching import pairwise_iou

#: One colour for each method, in the order they are drawn.
COLORS = {"fpn": FOUND, "cam": PALETTE["purple"], "prior": PALETTE["grey"]}
#: What is said of each kind of frame.
SENTENCES = words("example")


def choose_examples(side: Scored, count: int = 2) -> pd.DataFrame:
    """The best and a typical frame, and the worst failures of each kind, at most one a patient and kind.

    ``best``: every lesion overlapped, the highest least overlap. ``typical``: the median of the mean overlap.
    ``missed``: lesions that no box above the operating score touches, the most severe first (the largest where severity
    is unknown). ``loose``: lesions whose best box overlaps them, though too little to count, the least overlap first.
    ``false``: boxes that touch no lesion, the highest score first. Returns ``kind, image_id, sentence``; up to
    ``count`` failures of each kind.
    """
    lesions, boxes = side.operating.truth, side.operating.detections
    known, area = lesions.percent_stenosis, (lesions.x2 - lesions.x1) * (lesions.y2 - lesions.y1)
    words = [describe_lesion(*own) for own in zip(known, lesions.segment, strict=True)]
    worst = known if known.notna().any() else area
    lesions = lesions.assign(overlap=best_overlap(lesions, boxes), worst=worst, lesion=words)
    frames = lesions.groupby("image_id").overlap.agg(least="min", mean="mean").reset_index()
    kinds = {
        "best": _first(frames[frames.least > 0], "least", ascending=False).head(1),
        "typical": _first(frames, "mean").iloc[[len(frames) // 2]],
        "missed": _first(lesions[lesions.overlap == 0], "worst", ascending=False),
        "loose": _first(lesions[(lesions.overlap > 0) & (lesions.overlap < side.rule.iou)], "overlap"),
        "false": _first(boxes[best_overlap(boxes, lesions) == 0], "score", ascending=False),
    }
    patients = side.images.set_index("image_id").patient_id
    rows = []
    for kind, table in kinds.items():
        chosen = table[~table.image_id.map(patients).duplicated()].head(count)
        rows += [(kind, row["image_id"], SENTENCES[kind].format_map(row)) for _, row in chosen.iterrows()]
    return pd.DataFrame(rows, columns=["kind", "image_id", "sentence"])


def best_overlap(boxes: pd.DataFrame, others: pd.DataFrame) -> Float[np.ndarray, " n"]:
    """Largest overlap (IoU) of each box with any of the others in its image."""
    best, rows = np.zeros(len(boxes)), others.groupby("image_id").indices
    for image_id, own in boxes.groupby("image_id").indices.items():
        if image_id in rows:
            best[own] = pairwise_iou(corners(boxes.iloc[own]), corners(others.iloc[rows[image_id]])).max(axis=1)
    return best


def describe_lesion(percent: float, segment: float) -> str:
    """A lesion in words, as far as it is known: ``stenosis of 63 %, mid LAD``."""
    degree = "" if pd.isna(percent) else f" of {percent:.0f} %"
    return f"stenosis{degree}" + (f", {SEGMENTS[int(segment)]}" if segment in SEGMENTS else "")


def _first(table: pd.DataFrame, column: str, *, ascending: bool = True) -> pd.DataFrame:
    return table.sort_values([column, "image_id"], ascending=[ascending, True])


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
