"""Which frames the localization experiment uses, and their true boxes in the pixels that the networks see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from cag.anatomy import VIEWS
from cag.data.cohort import Cohort
from cag.metrics.boxes import CORNERS
from cag.settings import LabelError, Settings

IMAGE_COLUMNS = ["image_id", "patient_id", "run_id", "frame", "artery", "view", "model_view", "width", "height"]
TRUTH_COLUMNS = ["image_id", "patient_id", *CORNERS, "segment", "percent_stenosis", "foreshortening"]

#: Frames have this many pixels a side in the publication; its lengths, and the study's distances, are given in them.
PUBLISHED_SIZE = 512
#: Least side of a box as published, in those pixels: the detector's, and the CAM's.
PUBLISHED_MINIMUM = {"fpn": 50.0, "cam": 75.0}


def working_pixels(length: float, image_size: int) -> float:
    """A length in pixels of a 512 px frame, in pixels of a frame of ``image_size``."""
    return length * image_size / PUBLISHED_SIZE


class FrameChoice(Settings):
    """Which frames take part.

    Attributes
    ----------
    image_size : int
        Width and height of a frame as the networks see it (pixels).
    min_percent : float
        Least percent diameter stenosis of a lesion that counts (25 is the study's border).
    frames_per_run : int
        At most so many frames of a run, spread evenly over its candidates.
    max_images : int
        At most so many frames altogether, whole patients at random; 0 takes all.
    model_views : sequence of str
        Only views that one of these classifiers reads, so that every method sees the same frames; empty takes all.
    seed : int
        Draws the patients when ``max_images`` binds.
    """

    image_size: int = 256
    min_percent: float = 25.0
    frames_per_run: int = 2
    max_images: int = 0
    model_views: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class LesionFrames:
    """The frames of the experiment and the truth about them.

    Attributes
    ----------
    images : DataFrame
        A row a frame: ``IMAGE_COLUMNS``; sorted by run and frame.
    truth : DataFrame
        A row a lesion: ``TRUTH_COLUMNS``; half-open pixels of the working image; NaN where a cohort does not know.
    excluded : DataFrame
        What was left out, by the first reason that applies, and what was clipped: ``reason``, ``boxes``.
    """

    images: pd.DataFrame
    truth: pd.DataFrame
    excluded: pd.DataFrame

    def boxes(self) -> list[np.ndarray]:
        """True boxes ``[n, 4]`` of each image, in the order of ``images``."""
        return boxes_by_image(self.truth, self.images.image_id)

    def take(self, rows: np.ndarray) -> LesionFrames:
        """The images at these positions, with their truth."""
        images = self.images.iloc[rows].reset_index(drop=True)
        truth = self.truth[self.truth.image_id.isin(images.image_id)].reset_index(drop=True)
        return LesionFrames(images, truth, self.excluded)


def boxes_by_image(boxes: pd.DataFrame, image_ids: pd.Series) -> list[np.ndarray]:
    """Split a table of boxes into one array ``[n, 4]`` (float32) for each image id, empty ones included."""
    groups = {name: group[CORNERS].to_numpy("float32", copy=True) for name, group in boxes.groupby("image_id")}
    return [groups.get(name, np.zeros((0, 4), "float32")) for name in image_ids]


@lru_cache(maxsize=4)
def choose_frames(cohort: Cohort, choice: FrameChoice) -> LesionFrames:
    """Choose the frames with a lesion that counts, inside the contrast interval, with boxes in working pixels.

    A box without percent stenosis (public sets give none) counts as a lesion; a run without contrast
    labels counts as filled throughout, since its boxes were drawn where the lumen is seen.

    Raises
    ------
    LabelError
        If the cohort has no boxes, a box of an unknown run, or no frame that qualifies.
    """
    cohort.require("boxes")
    kept, excluded = _usable(_join_runs(cohort), choice)
    if kept.empty:
        problem = f"no frame has a lesion of at least {choice.min_percent:g} % inside the contrast interval"
        raise LabelError(problem, field="boxes.csv", remedy="Use a cohort with stenosis boxes, or lower min_percent")
    frames = _spread(kept[["patient_id", "run_id", "frame"]].drop_duplicates(), choice.frames_per_run)
    truth = kept.merge(_limit(frames, choice)[["run_id", "frame"]], on=["run_id", "frame"])
    images = truth.drop_duplicates("image_id").assign(width=choice.image_size, height=choice.image_size)
    images = images.sort_values(["run_id", "frame"])[IMAGE_COLUMNS].reset_index(drop=True)
    truth = truth.sort_values(["run_id", "frame", *CORNERS])[TRUTH_COLUMNS].reset_index(drop=True)
    return LesionFrames(images, truth, excluded)


def model_view(view: str | float, artery: str | float) -> str:
    """Which of the five classifiers reads a frame; empty where neither view nor artery tells."""
    if isinstance(view, str) and view in VIEWS:
        return VIEWS[view].model
    return "RCA" if artery == "RCA" else ""


def _join_runs(cohort: Cohort) -> pd.DataFrame:
    columns = ["run_id", "patient_id", "rows", "columns", "artery", "view", "contrast_begin", "contrast_end"]
    joined = cohort.boxes.merge(cohort.manifest[columns], on="run_id", how="left", indicator="known")
    unknown = joined.loc[joined.known == "left_only", "run_id"].unique()
    if len(unknown):
        problem = f"{len(unknown)} runs have boxes but no row in the manifest, such as {unknown[0]!r}"
        raise LabelError(problem, field="boxes.csv", remedy="Remove these boxes or add their runs")
    if "foreshortening" not in joined:
        joined["foreshortening"] = np.nan
    joined["image_id"] = joined.run_id + ":" + joined.frame.astype(str)
    joined["model_view"] = [model_view(*pair) for pair in zip(joined.view, joined.artery, strict=True)]
    return joined


def _usable(boxes: pd.DataFrame, choice: FrameChoice) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Boxes that count, in working pixels, and a count of the others by reason."""
    given = boxes[CORNERS].to_numpy(dtype=float)
    extent = boxes[["columns", "rows", "columns", "rows"]].to_numpy(dtype=float)
    inside = np.clip(given, 0, extent)
    known = np.isfinite(given).all(axis=1)
    boxes = boxes.assign(**dict(zip(CORNERS, inside.T, strict=True)))
    reasons = {
        "a coordinate is missing": ~known,
        "no area inside the frame": ~((boxes.x2 > boxes.x1) & (boxes.y2 > boxes.y1)),
        f"stenosis below {choice.min_percent:g} %": boxes.percent_stenosis.astype(float) < choice.min_percent,
        "outside the contrast interval": (boxes.frame < boxes.contrast_begin.astype(float).fillna(-np.inf))
        | (boxes.frame > boxes.contrast_end.astype(float).fillna(np.inf)),
        "in a view that no classifier reads": bool(choice.model_views) & ~boxes.model_view.isin(choice.model_views),
        "the same box twice": boxes.duplicated(["run_id", "frame", *CORNERS]),
    }
    flags = np.array(list(reasons.values()))
    dropped = flags.any(axis=0)
    counts = np.bincount(flags.argmax(axis=0)[dropped], minlength=len(reasons))
    clipped = int((known & (given != inside).any(axis=1) & ~dropped).sum())
    excluded = pd.DataFrame({"reason": [*reasons, "kept, clipped to the frame"], "boxes": [*map(int, counts), clipped]})
    scaled = dict(zip(CORNERS, (inside * (choice.image_size / extent)).T, strict=True))
    return boxes.assign(**scaled).loc[np.logical_not(dropped)], excluded


def _spread(frames: pd.DataFrame, per_run: int) -> pd.DataFrame:
    """At most ``per_run`` frames of each run, at the middles of equal parts of its candidates."""
    frames = frames.sort_values(["run_id", "frame"])
    place = frames.groupby("run_id").cumcount().to_numpy()
    count = frames.groupby("run_id").frame.transform("size").to_numpy()
    kept = np.minimum(count, per_run)
    part = place * kept // count
    first, last = -(-part * count // kept), -(-(part + 1) * count // kept) - 1
    return frames[place == (first + last) // 2].reset_index(drop=True)


def _limit(frames: pd.DataFrame, choice: FrameChoice) -> pd.DataFrame:
    """Whole patients at random, so many that ``max_images`` holds."""
    if not choice.max_images or len(frames) <= choice.max_images:
        return frames
    generator = np.random.default_rng([choice.seed, 61])
    patients = generator.permutation(np.sort(frames.patient_id.unique()))
    sizes = frames.groupby("patient_id").size().reindex(patients).cumsum()
    taken = sizes.index[: max(1, int((sizes <= choice.max_images).sum()))]
    return frames[frames.patient_id.isin(taken)].reset_index(drop=True)
