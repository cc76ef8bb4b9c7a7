"""Where the networks look: which frames are asked about, and the shares of a heatmap on lumen, lesions and the rest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from scipy.stats import rankdata
from torch import Tensor

from cag.chapters.classification.samples import true_boxes
from cag.chapters.classification.settings import CellSettings, ClassificationSettings, grid
from cag.chapters.classification.training import frames_of, images_of, parts_of, samples_of
from cag.data.cohort import Cohort
from cag.metrics.weighted import ratio
from cag.settings import LabelError, SettingsError

#: Frames of each classifier and fold, the tightest visible stenoses first.
FRAMES_PER_CELL = 8


class Seen(NamedTuple):
    """Frames of a cell's outer fold with a visible stenosis, tightest first, and what is known of their pixels."""

    rows: pd.DataFrame
    images: UInt8[Tensor, "n s s"]
    lumen: Bool[np.ndarray, "n s s"]
    lesion: Bool[np.ndarray, "n s s"]


def seen_by(cohort: Cohort, settings: ClassificationSettings) -> list[tuple[CellSettings, Seen]]:
    """The leading cells that see a frame with stenosis in their outer fold, with these frames.

    Only simulated cohorts have the lumen masks that this needs; others are refused by `LabelError`.
    """
    if len(set(settings.redundancy)) < 2:
        remedy = "Set redundancy to [False, True] and run again"
        raise SettingsError("one training alone cannot be compared", field="redundancy", remedy=remedy)
    found = [(cell, seen_frames(cohort, cell)) for cell in grid(settings.leading)]
    found = [(cell, seen) for cell, seen in found if len(seen.rows)]
    if not found:
        problem = f"no frame of an outer fold shows a stenosis of at least {settings.disease_from:g} %"
        raise LabelError(problem, field="boxes", remedy="Raise the patients of the cohort")
    return found


def seen_frames(cohort: Cohort, cell: CellSettings) -> Seen:
    """Labeled outer frames of a cell with a box of at least its first cut-point, one a run, tightest first."""
    samples = samples_of(cohort, frames_of(cell), cell.label_rule)
    own = samples[~samples["redundant"] & parts_of(cohort, cell, samples).eq("outer")]
    boxes = cohort.boxes[cohort.boxes["percent_stenosis"] >= cell.cut_points[0]]
    worst = boxes.groupby(["run_id", "frame"])["percent_stenosis"].max().rename("visible")
    rows = own.join(worst, on=["run_id", "frame"], how="inner")
    rows = rows.sort_values(["visible", "run_id", "frame"], ascending=[False, True, True])
    rows = rows.drop_duplicates("run_id").head(FRAMES_PER_CELL)
    images = images_of(cohort, frames_of(cell))[torch.from_numpy(rows.index.to_numpy(copy=True))]
    lumen, lesion = np.zeros((2, *images.shape), dtype=bool)
    corners = true_boxes(cohort, rows, cell.image_size, cell.cut_points[0])
    for place, (run_id, frame) in enumerate(zip(rows["run_id"], rows["frame"], strict=True)):
        full = cohort.lumen_mask(run_id, [int(frame)])[None].float()
        lumen[place] = F.adaptive_max_pool2d(full, cell.image_size)[0, 0].bool().numpy()
        for x1, y1, x2, y2 in corners[place]:
            lesion[place, int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
    return Seen(rows, images, lumen, lesion)


def shares_of(
    maps: Float[np.ndarray, "n s s"], lumen: Bool[np.ndarray, "n s s"], lesion: Bool[np.ndarray, "n s s"]
) -> dict[str, Float[np.ndarray, " n"]]:
    """Share of each map's mass on each region, and of the image's area; a map of zeros has no mass and gives NaN."""
    total, either = maps.sum(axis=(1, 2)), lumen | lesion
    regions = {"lumen": lumen, "lesion": lesion, "background": ~either}
    areas = {"lumen_area": lumen, "lesion_area": lesion, "either_area": either}
    shares = {name: ratio((maps * region).sum(axis=(1, 2)), total) for name, region in regions.items()}
    return shares | {name: region.mean(axis=(1, 2)) for name, region in areas.items()}


def rank_correlation(first: Float[np.ndarray, "n y x"], second: Float[np.ndarray, "n y x"]) -> Float[np.ndarray, " n"]:
    """Spearman's correlation of the cells of each pair of maps; NaN where a map is the same everywhere."""
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    return ratio((a * b).sum(axis=1), np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)))
