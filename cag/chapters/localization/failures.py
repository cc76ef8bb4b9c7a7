"""Failures worth looking at, picked by rule, each with a sentence computed from its boxes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cag.anatomy import SEGMENTS
from cag.metrics.boxes import centers, corners
from cag.metrics.matching import pairwise_iou

KINDS = ("missed", "loose", "false")

#: Percent below which a sentence says mild, and lost share of length above which it says foreshortened.
_MILD, _FORESHORTENED = 50.0, 0.3


def choose_failures(
    images: pd.DataFrame,
    truth: pd.DataFrame,
    detections: pd.DataFrame,
    *,
    iou: float = 0.5,
    scale: float = 1.0,
    count: int = 2,
) -> pd.DataFrame:
    """The worst failures of each of ``KINDS``, at most one a patient and kind.

    ``missed``: lesions that no box above the operating score touches, the most severe first (the
    largest where severity is unknown). ``loose``: lesions whose best box overlaps them, though too
    little to count, the least overlap first. ``false``: boxes that touch no lesion, the highest score first.

    Parameters
    ----------
    images : DataFrame
        ``image_id, patient_id``.
    truth, detections : DataFrame
        In working pixels; detections of one method with ``score`` and ``operating``.
    iou : float, 0-1
        Overlap that counts as found.
    scale : float
        Pixels of a 512 px frame in a working pixel, in which sentences give distances.
    count : int
        At most so many of each kind.

    Returns
    -------
    DataFrame
        ``kind, image_id, sentence``.
    """
    patients = images.set_index("image_id").patient_id
    lesions, boxes = _measured(truth, detections, scale)
    area = (lesions.x2 - lesions.x1) * (lesions.y2 - lesions.y1)
    known = lesions.percent_stenosis.astype(float)
    lesions = lesions.assign(worst=known if known.notna().any() else area)
    missed = lesions[lesions.overlap == 0].sort_values(["worst", "image_id"], ascending=[False, True])
    loose = lesions[(lesions.overlap > 0) & (lesions.overlap < iou)].sort_values(["overlap", "image_id"])
    false = boxes[boxes.operating & (boxes.overlap == 0)].sort_values(["score", "image_id"], ascending=[False, True])
    rows: list[tuple[str, str, str]] = []
    for kind, table, tell in (("missed", missed, _missed), ("loose", loose, _loose), ("false", false, _false)):
        first = table[~table.image_id.map(patients).duplicated()].head(count)
        rows += [(kind, str(row["image_id"]), tell(row)) for _, row in first.iterrows()]
    return pd.DataFrame(rows, columns=["kind", "image_id", "sentence"])


def _measured(truth: pd.DataFrame, detections: pd.DataFrame, scale: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lesions and boxes with their best ``overlap``, and ``gap`` to the nearest other in pixels of a 512 px frame."""
    lesions = truth.assign(overlap=0.0, gap=np.nan, touched=np.nan)
    sides = {"wide": (detections.x2 - detections.x1) * scale, "high": (detections.y2 - detections.y1) * scale}
    boxes = detections.assign(overlap=0.0, gap=np.nan, **sides)
    lesions, boxes = lesions.reset_index(drop=True), boxes.reset_index(drop=True)
    rows_of = boxes.groupby("image_id").indices
    for image_id, own in lesions.groupby("image_id").indices.items():
        rows = rows_of.get(image_id, np.array([], dtype=int))
        if not len(rows):
            continue
        a, b = corners(lesions.iloc[own]), corners(boxes.iloc[rows])
        overlap = pairwise_iou(a, b)
        gap = np.linalg.norm(centers(a)[:, None] - centers(b)[None], axis=2) * scale
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
    place = f" of the {SEGMENTS[int(row['segment'])]}" if row["segment"] in SEGMENTS else ""
    return percent + place


def _missed(row: pd.Series) -> str:
    traits = []
    if row["percent_stenosis"] < _MILD:
        traits.append("mild")
    if row["foreshortening"] > _FORESHORTENED:
        traits.append("foreshortened")
    kind = f" ({' and '.join(traits)})" if traits else ""
    if pd.notna(row["touched"]):
        why = f"no box above the operating score touches it; one of score {row['touched']:.2f} does"
    elif pd.notna(row["gap"]):
        why = f"the nearest counted box lies {row['gap']:.0f} px away (of a 512 px frame)"
    else:
        why = "no box of any score counts in this frame"
    return f"Missed: {describe_lesion(row)}{kind}; {why}"


def _loose(row: pd.Series) -> str:
    touch = "barely touches it (IoU below 0.01)" if row["overlap"] < 0.01 else f"overlaps it (IoU {row['overlap']:.2f})"
    return f"Loose: {describe_lesion(row)}; the best box {touch}, too little to count"


def _false(row: pd.Series) -> str:
    return (
        f"False: a box of score {row['score']:.2f}, {row['wide']:.0f} x {row['high']:.0f} px; "
        f"the nearest lesion lies {row['gap']:.0f} px away (pixels of a 512 px frame)"
    )
