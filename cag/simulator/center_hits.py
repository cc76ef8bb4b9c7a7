"""Center-hit scoring of heatmaps: a peak that lies in a lesion's box, widened a little, has found it.

Boxes overlap or not by how a reader drew them; whether the spot is right does not depend on that. It serves
where methods without boxes are compared, beside the box metrics, never in their place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import ndimage

#: Cells around a peak in which it is the highest, and the least score of a peak.
NEIGHBORHOOD, LEAST_SCORE = 5, 0.02


@dataclass(frozen=True)
class CenterHits:
    """Peaks of many heatmaps against true boxes."""

    #: ``image, x, y`` (pixels), ``score, hit, lesion`` (row of the box in its image, -1 for a false peak); by falling
    #: score. Further peaks in a box that was found already are left out: neither hits nor false.
    peaks: pd.DataFrame
    n_lesions: int
    n_images: int

    def found_at(self, false_positives: float) -> pd.DataFrame:
        """The peaks that found a lesion where at most this many false peaks an image are allowed."""
        false = (~self.peaks["hit"]).cumsum()
        return self.peaks[(false <= false_positives * self.n_images) & self.peaks["hit"]]

    def recall_at(self, false_positives: float) -> float:
        """Share of lesions found where at most this many false peaks an image are allowed; NaN without lesions."""
        return len(self.found_at(false_positives)) / self.n_lesions if self.n_lesions else float("nan")


def center_hits(
    heat: Float[np.ndarray, "n g g"], boxes: Float[np.ndarray, "n k 4"], size: int, reach: float = 8.0
) -> CenterHits:
    """Score the peaks of heatmaps (0-1), whose cells tile ``size`` x ``size`` pixels.

    Boxes are x1, y1, x2, y2 in pixels, rows of NaN stand for none. A peak may lie ``reach`` pixels outside its box.
    """
    highest = ndimage.maximum_filter(heat, size=(1, NEIGHBORHOOD, NEIGHBORHOOD), mode="constant")
    image, row, column = np.nonzero((heat == highest) & (heat > LEAST_SCORE))
    pitch = size / heat.shape[-1]
    table = pd.DataFrame(
        {"image": image, "x": (column + 0.5) * pitch, "y": (row + 0.5) * pitch, "score": heat[image, row, column]}
    ).sort_values("score", ascending=False, kind="stable", ignore_index=True)
    point = table[["x", "y"]].to_numpy()[:, None]
    own = boxes[table["image"].to_numpy()]
    inside = ((point >= own[..., :2] - reach) & (point <= own[..., 2:] + reach)).all(axis=-1)
    claimed = np.zeros(boxes.shape[:2], dtype=bool)
    kept, lesion = np.zeros(len(table), dtype=bool), np.full(len(table), -1)
    for number, (where, candidates) in enumerate(zip(table["image"], inside, strict=True)):
        free = np.flatnonzero(candidates & ~claimed[where])
        kept[number] = len(free) > 0 or not candidates.any()
        if len(free):
            claimed[where, free[0]], lesion[number] = True, free[0]
    lesions = int(np.isfinite(boxes).all(axis=-1).sum())
    return CenterHits(table.assign(hit=lesion >= 0, lesion=lesion)[kept].reset_index(drop=True), lesions, len(heat))
