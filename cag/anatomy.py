"""The words of coronary angiography: segments, arteries, views from C-arm angles, severity categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

Artery = Literal["LCA", "RCA"]
ARTERIES: tuple[Artery, ...] = get_args(Artery)

#: The 29-segment model (BARI modification of the AHA segments): number -> name.
SEGMENTS: dict[int, str] = {
    1: "proximal RCA",
    2: "mid RCA",
    3: "distal RCA",
    4: "right PDA",
    5: "right posterolateral segment",
    6: "first right posterolateral",
    7: "second right posterolateral",
    8: "third right posterolateral",
    9: "inferior septals",
    10: "acute marginals",
    11: "left main",
    12: "proximal LAD",
    13: "mid LAD",
    14: "distal LAD",
    15: "first diagonal",
    16: "second diagonal",
    17: "LAD septals",
    18: "proximal LCx",
    19: "mid and distal LCx",
    20: "first obtuse marginal",
    21: "second obtuse marginal",
    22: "third obtuse marginal",
    23: "LCx AV continuation",
    24: "first left posterolateral",
    25: "second left posterolateral",
    26: "third left posterolateral",
    27: "left PDA",
    28: "ramus intermedius",
    29: "third diagonal",
}


def artery_of_segment(segment: int) -> Artery:
    """The artery a segment of the 29-segment model belongs to; raises KeyError for other numbers."""
    if segment not in SEGMENTS:
        raise KeyError(f"segment {segment} is not one of the 29-segment model (1-29)")
    return "RCA" if segment <= 10 else "LCA"


@dataclass(frozen=True)
class View:
    """A standard projection.

    Attributes
    ----------
    name : str
        Name with its artery, as it stands in the manifest.
    artery : Artery
    primary, secondary : float
        Nominal C-arm angles in degrees, LAO+ and CRA+ (DICOM PS3.3 C.8.7.5).
    segments : tuple of int
        Segments whose worst severity labels an image of this view (book/study/methods).
    model : str
        The classifier that reads this view: one for each LCA view, one for the RCA.
    """

    name: str
    artery: Artery
    primary: float
    secondary: float
    segments: tuple[int, ...]
    model: str


#: Segments that label an image of the right artery, in all three views.
RCA_SEGMENTS = (1, 2, 3, 4, 10)

VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View("LCA LAO cranial", "LCA", 38, 27, (*range(11, 18), 19, 29), "LCA LAO cranial"),
        View("LCA LAO caudal", "LCA", 45, -28, (11, 12, 18, 20, 28), "LCA LAO caudal"),
        View("LCA RAO cranial", "LCA", -20, 33, (*range(12, 18), 19, 29), "LCA RAO cranial"),
        View("LCA RAO caudal", "LCA", -25, -25, (11, 12, 14, *range(18, 29)), "LCA RAO caudal"),
        View("RCA LAO", "RCA", 40, 0, RCA_SEGMENTS, "RCA"),
        View("RCA straight RAO", "RCA", -30, 0, RCA_SEGMENTS, "RCA"),
        View("RCA shallow cranial", "RCA", 5, 28, RCA_SEGMENTS, "RCA"),
    )
}

#: The five classifiers of the study.
MODEL_VIEWS: tuple[str, ...] = tuple(dict.fromkeys(view.model for view in VIEWS.values()))

#: How far from its nominal angles a run still counts as a standard view (degrees).
PRIMARY_TOLERANCE = 20.0
SECONDARY_TOLERANCE = 16.0

NO_STANDARD_VIEW = "no standard view"


def view_from_angles(primary: float | None, secondary: float | None, artery: Artery | None) -> str:
    """Name the standard view of a pair of C-arm angles.

    The nearest nominal view of that artery within the tolerances; distances are in units of
    the tolerance, so that both angles count alike.

    Parameters
    ----------
    primary, secondary : float or None
        Degrees, LAO+ and CRA+ (DICOM Positioner Primary and Secondary Angle).
    artery : Artery or None
        The artery injected; None where it is unknown.

    Returns
    -------
    str
        A key of ``VIEWS``, or ``NO_STANDARD_VIEW``.
    """
    if artery is None or primary is None or secondary is None:
        return NO_STANDARD_VIEW
    if not (np.isfinite(primary) and np.isfinite(secondary)):
        return NO_STANDARD_VIEW
    best, best_distance = NO_STANDARD_VIEW, 1.0
    for view in VIEWS.values():
        if view.artery != artery:
            continue
        distance = max(
            abs(primary - view.primary) / PRIMARY_TOLERANCE,
            abs(secondary - view.secondary) / SECONDARY_TOLERANCE,
        )
        if distance <= best_distance:
            best, best_distance = view.name, distance
    return best


#: Cut-points of percent diameter stenosis: 2-CAT (<25, >=25) and 3-CAT (<25, 25-99, 100).
TWO_CATEGORIES: tuple[float, ...] = (25.0,)
THREE_CATEGORIES: tuple[float, ...] = (25.0, 100.0)


def severity_category(percent: np.ndarray | float, cut_points: Sequence[float]) -> np.ndarray:
    """Category of each percent diameter stenosis: how many cut-points it reaches.

    Parameters
    ----------
    percent : array of float, 0-100
    cut_points : increasing sequence of percent values, each the lowest value of its category

    Returns
    -------
    array of int, 0 to ``len(cut_points)``
    """
    return np.searchsorted(np.asarray(cut_points, dtype=float), np.asarray(percent, dtype=float), side="right")


def category_names(cut_points: Sequence[float]) -> list[str]:
    """Names of the categories between the cut-points, such as ``['<25 %', '25-99 %', '100 %']``."""
    edges = [f"{point:g}" for point in cut_points]
    names = [f"<{edges[0]} %"]
    for low, high in pairwise(cut_points):
        names.append(f"{low:g}-{high - 1:g} %")
    names.append("100 %" if cut_points[-1] == 100 else f">={edges[-1]} %")
    return names
