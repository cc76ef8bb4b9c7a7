"""How far the methods agree, lesion by lesion and box by box, whichever is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.chapters.localization.scores import Scored, Sides
from cag.data.splits import Arm
from cag.metrics.agreement import box_agreement, box_f1, lesion_agreement, lesion_metrics
from cag.metrics.intervals import bootstrap_many


def agreement_table(sides: Sides, *, bootstrap: int, seed: int, arm: Arm = "clean") -> pd.DataFrame:
    """Agreement of every two methods of an arm at their operating points, with patient-bootstrap intervals.

    Returns
    -------
    DataFrame
        ``first, second, metric, value, low, high, n_groups, p_value, undefined``; metrics are those of
        ``metrics.agreement.lesion_metrics``, and ``box_f1``, where two boxes agree at the arm's own overlap.
    """
    frames = []
    own = {method: side for (its_arm, method), side in sides.items() if its_arm == arm}
    for first, second in combinations(own, 2):
        rng = np.random.default_rng([seed, 67])
        metrics = _Agreement.of(own[first], own[second])
        estimates = bootstrap_many(metrics, own[first].patients, n=bootstrap, rng=rng)
        names = {"first": first, "second": second}
        frames += [{**names, "metric": metric, **asdict(value)} for metric, value in estimates.items()]
    return pd.DataFrame(frames)


class _Agreement:
    """Metrics of two methods under many weightings of their common images."""

    def __init__(self, lesions: pd.DataFrame, boxes: pd.DataFrame) -> None:
        self.lesions, self.boxes = lesions, boxes

    @classmethod
    def of(cls, first: Scored, second: Scored) -> _Agreement:
        a, b = first.operating, second.operating
        boxes = box_agreement(a.detections, b.detections, a.images, iou_threshold=first.rule.iou)
        return cls(lesion_agreement(a, b), boxes)

    def __call__(self, weights: Float[np.ndarray, "b n"]) -> Mapping[str, Float[np.ndarray, " b"]]:
        return lesion_metrics(self.lesions, weights) | {"box_f1": box_f1(self.boxes, weights)}
