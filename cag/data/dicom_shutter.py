"""The display shutter of a file: what lies outside is not picture, and is shown black."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from pydicom.dataset import Dataset
from skimage.draw import polygon2mask

from cag.data.dicom_values import find
from cag.settings import DicomError

_REMEDY = "Export the run again without a display shutter"


def shutter(path: Path, dataset: Dataset) -> Bool[np.ndarray, "h w"] | None:
    """Which pixels the display shutter leaves open (PS3.3 C.7.6.11); None where the file has none.

    Several shapes hide what any of them hides. Edges and centers count pixels from 1; the edges themselves are open.

    Raises
    ------
    DicomError
        If nothing is left open, or the shape lacks its numbers.
    """
    group = find(dataset, "ShutterShape")
    if group is None or not group.get("ShutterShape"):
        return None
    shape = (int(dataset.Rows), int(dataset.Columns))
    names = group.ShutterShape
    visible = np.ones(shape, dtype=bool)
    for name in [names] if isinstance(names, str) else list(names):
        if name in _SHAPES:
            try:
                visible &= _SHAPES[name](group, shape)
            except (AttributeError, TypeError, ValueError):
                problem = "lacks the numbers of its shape"
                raise DicomError(problem, file=path.name, field="Shutter Shape", remedy=_REMEDY) from None
    if not visible.any():
        raise DicomError("hides the whole picture", file=path.name, field="Shutter Shape", remedy=_REMEDY)
    return None if visible.all() else visible


def _rectangle(group: Dataset, shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    left, right = int(group.ShutterLeftVerticalEdge), int(group.ShutterRightVerticalEdge)
    upper, lower = int(group.ShutterUpperHorizontalEdge), int(group.ShutterLowerHorizontalEdge)
    visible = np.zeros(shape, dtype=bool)
    visible[max(upper - 1, 0) : max(lower, 0), max(left - 1, 0) : max(right, 0)] = True
    return visible


def _circle(group: Dataset, shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    row, column = (int(value) - 1 for value in group.CenterOfCircularShutter)
    y, x = np.ogrid[: shape[0], : shape[1]]
    inside: Bool[np.ndarray, "h w"] = (y - row) ** 2 + (x - column) ** 2 <= int(group.RadiusOfCircularShutter) ** 2
    return inside


def _polygon(group: Dataset, shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    corners = np.array([int(value) for value in group.VerticesOfThePolygonalShutter], dtype=float).reshape(-1, 2) - 1
    inside: Bool[np.ndarray, "h w"] = polygon2mask(shape, corners)
    return inside


_SHAPES: dict[str, Callable[[Dataset, tuple[int, int]], Bool[np.ndarray, "h w"]]] = {
    "RECTANGULAR": _rectangle,
    "CIRCULAR": _circle,
    "POLYGONAL": _polygon,
}
