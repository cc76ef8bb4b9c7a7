"""Frames that show a cohort: one of each standard view, in full contrast, with its lesions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import Field

from cag.anatomy import VIEWS
from cag.data.cohort import Cohort
from cag.settings import StudySettings


class CohortPageSettings(StudySettings):
    """What notebook 01 is told: the cohort, which frames to show, and how many frames a run are drawn."""

    frames_per_run: int = Field(5, ge=1, le=50)


@dataclass(frozen=True)
class Examples:
    """Frames with the boxes [k, 4] of their visible lesions of at least 25 %."""

    frames: list[UInt8[np.ndarray, "h w"]]
    boxes: list[Float[np.ndarray, "k 4"]]
    titles: list[str]


def view_examples(cohort: Cohort, seed: int) -> Examples:
    """One frame of every standard view, of a run with a visible lesion where there is one."""
    rng = np.random.default_rng(seed)
    frames, boxes, titles = [], [], []
    seen = cohort.boxes[cohort.boxes["percent_stenosis"] >= 25]
    filled = cohort.manifest.dropna(subset=["contrast_begin", "contrast_end"])
    for view in VIEWS:
        runs = filled[filled["view"] == view]
        if runs.empty:
            continue
        preferred = runs[runs["run_id"].isin(seen["run_id"])]
        pool = preferred if len(preferred) else runs
        run = pool.iloc[int(rng.integers(len(pool)))]
        own = seen[seen["run_id"] == run["run_id"]]
        middle = (int(run["contrast_begin"]) + int(run["contrast_end"])) // 2
        frame = int(own.iloc[(own["frame"] - middle).abs().argmin()]["frame"]) if len(own) else middle
        frames.append(cohort.frames(run["run_id"], [frame])[0].numpy())
        boxes.append(own.loc[own["frame"] == frame, ["x1", "y1", "x2", "y2"]].to_numpy(float))
        titles.append(view)
    return Examples(frames, boxes, titles)
