"""Every number of the localization chapter, from its prediction tables alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.chapters.localization.frames import PUBLISHED_MINIMUM, working_pixels
from cag.data.splits import Arm
from cag.metrics import localization, published
from cag.metrics.boxes import Rule
from cag.metrics.intervals import Estimate, interval_text
from cag.metrics.localization import IOU_THRESHOLDS, average_precision, coco_metrics, froc_sensitivity
from cag.metrics.matching import Matches, match_detections

#: The four published numbers, then the standard ones, with their names and decimals; distances are in pixels of a
#: 512 px frame.
METRICS: dict[str, tuple[str, int]] = {
    "global_sensitivity": ("Global sensitivity", 2),
    "sens_s": ("Sens_s", 2),
    "spec_s": ("Spec_s", 2),
    "mse": ("“MSE”, px", 0),
    "recall": ("Recall", 2),
    "precision": ("Precision", 2),
    "f1": ("F1", 2),
    "ap50": ("Average precision", 2),
    "ap": ("COCO AP", 3),
    "ar": ("COCO AR", 2),
    "recall_at_1fp": ("Recall at 1 false box an image", 2),
    "distance_found": ("Distance of found, px", 0),
    "distance_with_misses": ("Distance with misses, px", 0),
}
PUBLISHED = tuple(METRICS)[:4]
ARM_NAMES = {"clean": "Clean", "as_published": "As published"}
METHODS = {"cam": "CAM", "fpn": "FPN", "prior": "place prior"}


class ScoringRule(NamedTuple):
    """How boxes of one method are scored in one arm: IoU, least side in pixels of a 512 px frame, how they grow."""

    iou: float
    box_minimum: float
    rule: Rule


def scoring_rule(arm: Arm, method: str, iou: float, box_minimum: float) -> ScoringRule:
    """The rule of an arm: one for every method in the clean arm, the publication's two otherwise.

    Published: FPN boxes of at least 50 px at an IoU of .5; CAM boxes of at least 75 px at an IoU of .1.
    """
    if arm == "clean":
        return ScoringRule(iou, box_minimum, "clean")
    return ScoringRule(0.1 if method == "cam" else 0.5, PUBLISHED_MINIMUM[method], "as_published")


@dataclass(frozen=True)
class Scored:
    """The boxes of one method in one arm with the truth about the same images."""

    images: pd.DataFrame
    detections: pd.DataFrame  #: All stored ones, with ``operating``: whether the score reaches the operating point.
    truth: pd.DataFrame
    rule: ScoringRule

    @property
    def pixel(self) -> float:
        """Working pixels in a pixel of a 512 px frame."""
        return working_pixels(1, int(self.images.width.iloc[0]))

    @property
    def patients(self) -> np.ndarray:
        """Patient of each image, in the order the metrics weight them."""
        return self.operating.images.patient_id.to_numpy()

    @cached_property
    def counted(self) -> pd.DataFrame:
        """Detections at the operating point."""
        return self.detections[self.detections.operating]

    @cached_property
    def matches(self) -> Matches:
        """All detections matched one to one."""
        return self._matched(self.detections, self.rule.iou)

    @cached_property
    def operating(self) -> Matches:
        """Detections at the operating point matched one to one."""
        return self.at_iou(self.rule.iou)

    def at_iou(self, iou: float) -> Matches:
        """Detections at the operating point matched at another IoU."""
        return self._matched(self.counted, iou)

    def of_artery(self, artery: str) -> Scored:
        """The images of one artery."""
        images = self.images[self.images.artery == artery]
        boxes, lesions = (table[table.image_id.isin(images.image_id)] for table in (self.detections, self.truth))
        return Scored(images, boxes, lesions, self.rule)

    def metrics(self, weights: Float[np.ndarray, "b n"]) -> dict[str, Float[np.ndarray, " b"]]:
        """All metrics under many weightings of the images: the published four, and the standard ones."""
        every = published.metrics(self._counts, weights) | localization.metrics(self.operating, weights)
        for name in ("mse", "distance_found", "distance_with_misses"):
            every[name] = every[name] / self.pixel
        every["ap50"] = average_precision(self.matches, weights)
        every["recall_at_1fp"] = froc_sensitivity(self.matches, weights, (1.0,))[:, 0]
        every |= coco_metrics(self._of_coco, weights)
        return {name: every[name] for name in (*METRICS, "false_positives") if name in every}

    @cached_property
    def _counts(self) -> pd.DataFrame:
        tables = self.images, self.counted, self.truth
        return published.image_counts(*tables, iou_threshold=self.rule.iou, **self._boxes_grow)

    @cached_property
    def _of_coco(self) -> list[Matches]:
        """Matches at each of COCO's ten overlaps, .5 to .95; none by the published rules."""
        overlaps = IOU_THRESHOLDS if self.rule.rule == "clean" else ()
        return [self._matched(self.detections, iou) for iou in overlaps]

    @property
    def _boxes_grow(self) -> dict:
        return {"box_minimum": self.rule.box_minimum * self.pixel, "rule": self.rule.rule}

    def _matched(self, detections: pd.DataFrame, iou: float) -> Matches:
        return match_detections(self.images, detections, self.truth, iou_threshold=iou, **self._boxes_grow)


def text_grid(rows: pd.DataFrame, index: Sequence[str], columns: str) -> pd.DataFrame:
    """The known metrics of a table, named in words, each with its interval.

    A line for each ``index``, a column for each of ``columns``, both in the table's order; ``Metric`` is the name.
    """
    rows = rows[rows.metric.isin(METRICS)]
    parts = zip(rows.metric, rows.value, rows.low, rows.high, rows.n_groups, strict=True)
    texts = [interval_text(Estimate(*own), METRICS[name][1]) for name, *own in parts]
    rows = rows.assign(Metric=[METRICS[name][0] for name in rows.metric], text=texts)
    wide = rows.pivot(index=list(index), columns=columns, values="text")[list(rows[columns].unique())]
    wide = rows[list(index)].drop_duplicates().merge(wide.reset_index(), on=list(index))
    return wide.fillna("–").replace(METHODS).rename(columns=METHODS | ARM_NAMES)
