"""Tables of boxes: checked, enlarged to a minimum size, measured."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.settings import InputError

CORNERS = ["x1", "y1", "x2", "y2"]
Rule = Literal["clean", "as_published"]


def corners(table: pd.DataFrame) -> Float[np.ndarray, "n 4"]:
    """Boxes of a table as an array: x1, y1, x2, y2 in pixels, half-open."""
    return table[CORNERS].to_numpy(dtype=float, copy=True).reshape(-1, 4)


def centers(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 2"]:
    """Center of each box, x and y in pixels."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def enlarge(boxes: Float[np.ndarray, "n 4"], minimum: float, rule: Rule = "clean") -> Float[np.ndarray, "n 4"]:
    """Grow each side that is shorter than the minimum to it.

    ``clean`` grows symmetrically, so that the center stays; ``as_published`` keeps the top-left corner, so that the
    center moves to the lower right (book/scrutiny/arms). All in pixels; boxes are not cut off at the image's border.
    """
    short = np.maximum(0.0, minimum - (boxes[:, 2:] - boxes[:, :2]))
    before = short / 2 if rule == "clean" else np.zeros_like(short)
    return np.hstack([boxes[:, :2] - before, boxes[:, 2:] + short - before])


def check_boxes(images: pd.DataFrame, detections: pd.DataFrame, truth: pd.DataFrame) -> None:
    """Refuse boxes that no metric can use (`InputError`), naming the first image concerned.

    They are of an image that is not listed, lack a coordinate or a score, or have their corners in the wrong order. A
    box without area is none of them: as a detection it is a false positive.
    """
    for name, table in (("detections", detections), ("truth", truth)):
        usable = table["image_id"].isin(images["image_id"]) & table.get("score", pd.Series(0, table.index)).notna()
        usable &= (table["x1"] <= table["x2"]) & (table["y1"] <= table["y2"])
        if not usable.all():
            first = table["image_id"][~usable].iloc[0]
            problem = f"{(~usable).sum()} boxes of {name} cannot be scored, first in image {first!r}"
            remedy = "Give each a listed image, a score, and x1 <= x2, y1 <= y2"
            raise InputError(problem, field="boxes", remedy=remedy)
