"""Which frames the localization experiment uses, and their true boxes in the pixels that the networks see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field

from cag.anatomy import VIEWS
from cag.data.cohort import Cohort
from cag.metrics.boxes import CORNERS
from cag.metrics.matching import Matches, match_detections
from cag.networks.detector import Detections
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
    """Which frames take part."""

    image_size: int = Field(256, ge=96, le=1024)  #: Width and height of a frame as the networks see it (pixels).
    min_percent: float = Field(25.0, gt=0, le=100)  #: Least diameter stenosis of a lesion (25 is the study's border).
    frames_per_run: int = Field(2, ge=1)  #: At most, spread evenly over the run's candidates.
    max_images: int = Field(0, ge=0)  #: At most so many frames altogether, whole patients at random; 0 takes all.
    #: Only views that one of these classifiers reads, so that every method sees the same frames; empty takes all.
    model_views: tuple[str, ...] = ()
    seed: int = 0  #: Draws the patients when ``max_images`` binds.


@dataclass(frozen=True)
class LesionFrames:
    """The frames of the experiment and the truth about them."""

    images: pd.DataFrame  #: A row a frame: ``IMAGE_COLUMNS``; sorted by run and frame.
    truth: pd.DataFrame  #: A row a lesion: ``TRUTH_COLUMNS``; half-open pixels of the working image.
    excluded: pd.Series  #: Boxes left out, by the first reason that applies.

    def boxes(self) -> list[Float[np.ndarray, "n 4"]]:
        """True boxes of each image, in the order of ``images``."""
        return boxes_by_image(self.truth, self.images.image_id)

    def take(self, rows: np.ndarray) -> LesionFrames:
        """The images at these positions, with their truth."""
        images = self.images.iloc[rows].reset_index(drop=True)
        truth = self.truth[self.truth.image_id.isin(images.image_id)].reset_index(drop=True)
        return LesionFrames(images, truth, self.excluded)

    def match(self, boxes: pd.DataFrame, iou: float, minimum: float) -> Matches:
        """Boxes matched with the lesions of these frames, both grown to a least side in working pixels."""
        return match_detections(self.images, boxes, self.truth, iou_threshold=iou, box_minimum=minimum)


def boxes_by_image(boxes: pd.DataFrame, image_ids: pd.Series) -> list[Float[np.ndarray, "n 4"]]:
    """Split a table of boxes into one array (float32) for each image id, empty ones included."""
    rows = boxes.groupby("image_id").indices
    corners = boxes[CORNERS].to_numpy("float32")
    return [corners[rows.get(name, [])] for name in image_ids]


def detections_table(found: Sequence[Detections], image_ids: pd.Series, method: str) -> pd.DataFrame:
    """Detections of each image as rows: image_id, method, x1, y1, x2, y2, score."""
    boxes, scores = (np.concatenate([np.asarray(own[name]) for own in found]) for name in ("boxes", "scores"))
    ids = np.repeat(image_ids.to_numpy(dtype=object), [len(own["scores"]) for own in found])
    table = pd.DataFrame({"image_id": ids, "method": method, **dict(zip(CORNERS, boxes.T, strict=True))})
    return table.assign(score=scores)


@lru_cache(maxsize=4)
def choose_frames(cohort: Cohort, choice: FrameChoice) -> LesionFrames:
    """Choose the frames with a lesion that counts, inside the contrast interval, with boxes in working pixels.

    A box without percent stenosis (public sets give none) counts as a lesion; a run without contrast labels counts as
    filled throughout, since its boxes were drawn where the lumen is seen. `LabelError` if no frame qualifies.
    """
    cohort.require("boxes")
    columns = ["run_id", "patient_id", "rows", "columns", "artery", "view", "contrast_begin", "contrast_end"]
    boxes = cohort.boxes.merge(cohort.manifest[columns], on="run_id")
    # The right artery has one classifier for all views; where neither view nor artery is known, none reads the frame.
    of_view, of_artery = boxes.view.map({name: view.model for name, view in VIEWS.items()}), boxes.artery.eq("RCA")
    boxes["model_view"] = np.where(of_view.notna(), of_view, np.where(of_artery, "RCA", ""))
    boxes["image_id"] = boxes.run_id + ":" + boxes.frame.astype(str)
    reasons = {
        f"stenosis below {choice.min_percent:g} %": boxes.percent_stenosis < choice.min_percent,
        "outside the contrast interval": (boxes.frame < boxes.contrast_begin) | (boxes.frame > boxes.contrast_end),
        "in a view that no classifier reads": bool(choice.model_views) & ~boxes.model_view.isin(choice.model_views),
        "the same box twice": boxes.duplicated(["run_id", "frame", *CORNERS]),
    }
    why = pd.Series(np.select(list(reasons.values()), list(reasons), ""), index=boxes.index)
    boxes = boxes[why == ""]
    if boxes.empty:
        problem = f"no frame has a lesion of at least {choice.min_percent:g} % inside the contrast interval"
        raise LabelError(problem, field="boxes.csv", remedy="Use a cohort with stenosis boxes, or lower min_percent")
    frames = boxes[["patient_id", "run_id", "frame"]].drop_duplicates().sort_values(["run_id", "frame"])
    chosen = _limit(frames[_evenly(frames, choice.frames_per_run)], choice)
    truth = boxes.merge(chosen[["run_id", "frame"]]).sort_values(["run_id", "frame", *CORNERS], ignore_index=True)
    truth[CORNERS] *= choice.image_size / truth[["columns", "rows"] * 2].to_numpy()
    images = truth.drop_duplicates("image_id", ignore_index=True)
    images = images.assign(width=choice.image_size, height=choice.image_size)
    excluded = why.value_counts().reindex(list(reasons), fill_value=0)
    return LesionFrames(images[IMAGE_COLUMNS], truth[TRUTH_COLUMNS], excluded)


def _evenly(frames: pd.DataFrame, per_run: int) -> np.ndarray:
    """Which of the sorted frames stand at the middles of ``per_run`` equal parts of their run's."""
    runs = frames.groupby("run_id").frame
    place, count = runs.cumcount().to_numpy(), runs.transform("size").to_numpy()
    kept = np.minimum(count, per_run)
    part = place * kept // count
    first, last = -(-part * count // kept), -(-(part + 1) * count // kept) - 1
    return place == (first + last) // 2


def _limit(frames: pd.DataFrame, choice: FrameChoice) -> pd.DataFrame:
    """Whole patients at random, so many that ``max_images`` holds."""
    if not choice.max_images or len(frames) <= choice.max_images:
        return frames
    patients = np.random.default_rng([choice.seed, 61]).permutation(np.sort(frames.patient_id.unique()))
    sizes = frames.groupby("patient_id").size().reindex(patients).cumsum()
    return frames[frames.patient_id.isin(patients[: max(1, int((sizes <= choice.max_images).sum()))])]
