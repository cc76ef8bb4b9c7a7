"""Which frames the stenosis classifiers see, and what each is labeled with."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from cag.anatomy import VIEWS
from cag.data.cohort import Cohort

#: Redundancy frames lie at least this far from the labeled frames, and are every fifth.
REDUNDANCY_DISTANCE = 10
REDUNDANCY_STEP = 5


def run_lesions(cohort: Cohort) -> pd.DataFrame:
    """The worst lesion among the segments assigned to the view of each run in a standard view.

    The result has ``run_id, percent_stenosis`` (0 where no lesion is assigned) and, where known, ``length_mm``.
    """
    pairs = [(name, segment) for name, view in VIEWS.items() for segment in view.segments]
    runs = cohort.manifest[["run_id", "patient_id", "view"]].merge(pd.DataFrame(pairs, columns=["view", "segment"]))
    found = runs.merge(cohort.lesions, how="left", on=["patient_id", "segment"])
    worst = found.sort_values("percent_stenosis", ascending=False, kind="stable").drop_duplicates("run_id")
    worst["percent_stenosis"] = worst["percent_stenosis"].fillna(0).astype(float)
    return worst.filter(["run_id", "percent_stenosis", "length_mm"])


def contrast_frames(begin: int, end: int, count: int) -> Int[np.ndarray, " n"]:
    """``count`` frames spread over the full-contrast interval less a tenth at either end; a short one gives fewer."""
    margin = (end - begin + 1) // 10
    return np.unique(np.linspace(begin + margin, end - margin, num=count).round().astype(int))


def redundancy_frames(labeled: Int[np.ndarray, " n"], n_frames: int) -> Int[np.ndarray, " k"]:
    """Frames of the same run without usable contrast, on each side at most half as many as are labeled."""
    most = len(labeled) // 2
    before = np.arange(labeled.min() - REDUNDANCY_DISTANCE, -1, -REDUNDANCY_STEP)[:most]
    after = np.arange(labeled.max() + REDUNDANCY_DISTANCE, n_frames, REDUNDANCY_STEP)[:most]
    return np.sort(np.concatenate([before, after]))


def classification_samples(
    cohort: Cohort, frames_per_run: int, label_rule: Literal["assigned", "visible"] = "assigned"
) -> pd.DataFrame:
    """Every frame of the classification experiment, a row each, in order of run and frame.

    The percent stenosis is, by ``label_rule``, that of the worst segment assigned to the view, or of the worst lesion
    with a box in that frame. The result has ``run_id, frame, redundant, patient_id, artery, view, model_view,
    percent_stenosis``. Raises `LabelError` if the cohort lacks contrast intervals, views, lesions or boxes.
    """
    cohort.require("contrast", "view", "lesions")
    severity = run_lesions(cohort).set_index("run_id")["percent_stenosis"]
    runs = cohort.manifest[cohort.manifest["run_id"].isin(severity.index)]
    rows: list[tuple[str, int, bool]] = []
    for run in runs.dropna(subset=["contrast_begin", "contrast_end"]).to_dict("records"):
        labeled = contrast_frames(int(run["contrast_begin"]), int(run["contrast_end"]), frames_per_run)
        redundant = redundancy_frames(labeled, int(run["n_frames"]))
        rows += [(run["run_id"], int(frame), False) for frame in labeled]
        rows += [(run["run_id"], int(frame), True) for frame in redundant]
    samples = pd.DataFrame(rows, columns=["run_id", "frame", "redundant"])
    samples = samples.merge(runs[["run_id", "patient_id", "artery", "view"]], on="run_id")
    samples["model_view"] = samples["view"].map({name: view.model for name, view in VIEWS.items()})
    samples["percent_stenosis"] = samples["run_id"].map(severity)
    if label_rule == "visible":
        cohort.require("boxes")
        seen = cohort.boxes.groupby(["run_id", "frame"])["percent_stenosis"].max()
        samples = samples.drop(columns="percent_stenosis").join(seen, on=["run_id", "frame"])
    return samples.fillna({"percent_stenosis": 0.0}).sort_values(["run_id", "frame"], ignore_index=True)


def true_boxes(cohort: Cohort, frames: pd.DataFrame, size: int, least: float = 0.0) -> list[Float[np.ndarray, "k 4"]]:
    """Boxes of the lesions in each frame, of at least that percent stenosis: x1, y1, x2, y2 in a square of ``size``."""
    lesions = cohort.boxes[cohort.boxes["percent_stenosis"] >= least]
    extent = cohort.manifest.set_index("run_id")[["columns", "rows"] * 2].astype(float)
    found = []
    for run_id, frame in zip(frames["run_id"], frames["frame"], strict=True):
        here = lesions[lesions["run_id"].eq(run_id) & lesions["frame"].eq(frame)]
        found.append(here[["x1", "y1", "x2", "y2"]].to_numpy(dtype=float) * size / extent.loc[run_id].to_numpy())
    return found
