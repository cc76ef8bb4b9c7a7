"""Every number of the localization chapter, from its prediction tables alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.data.splits import Arm
from cag.metrics import localization, published
from cag.metrics.boxes import Rule
from cag.metrics.intervals import Estimate, bootstrap_many, paired_difference
from cag.metrics.matching import Matches, match_detections
from cag.metrics.ranking import IOU_THRESHOLDS, average_precision, coco_metrics, froc_sensitivity

#: Frames have this many pixels a side in the publication; distances are given in them.
PUBLISHED_SIZE = 512


@dataclass(frozen=True)
class ScoringRule:
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
    return ScoringRule(0.1, 75.0, "as_published") if method == "cam" else ScoringRule(0.5, 50.0, "as_published")


@dataclass(frozen=True)
class Scored:
    """The boxes of one method in one arm with the truth about the same images.

    Attributes
    ----------
    images, detections, truth : DataFrame
        Detections are all stored ones, with ``operating``: whether the score reaches the operating point.
    rule : ScoringRule
    """

    images: pd.DataFrame
    detections: pd.DataFrame
    truth: pd.DataFrame
    rule: ScoringRule

    @property
    def scale(self) -> float:
        """Pixels of a 512 px frame in a working pixel."""
        return PUBLISHED_SIZE / float(self.images.width.iloc[0])

    @cached_property
    def matches(self) -> Matches:
        """All detections matched one to one."""
        return self._matched(self.detections, self.rule.iou)

    @cached_property
    def operating(self) -> Matches:
        """Detections at the operating point matched one to one."""
        return self.at_iou(self.rule.iou)

    @cached_property
    def of_coco(self) -> tuple[Matches, ...]:
        """All detections matched at each of COCO's ten overlaps, .5 to .95; only where the rule is the clean one."""
        clean = self.rule.rule == "clean"
        return tuple(self._matched(self.detections, iou) for iou in IOU_THRESHOLDS) if clean else ()

    def at_iou(self, iou: float) -> Matches:
        """Detections at the operating point matched at another IoU."""
        return self._matched(self.detections[self.detections.operating], iou)

    def of_artery(self, artery: str) -> Scored:
        """The images of one artery."""
        images = self.images[self.images.artery == artery]
        boxes, lesions = (table[table.image_id.isin(images.image_id)] for table in (self.detections, self.truth))
        return Scored(images, boxes, lesions, self.rule)

    def _matched(self, detections: pd.DataFrame, iou: float) -> Matches:
        minimum, grow = self.rule.box_minimum / self.scale, self.rule.rule
        match = partial(match_detections, iou_threshold=iou, box_minimum=minimum, rule=grow)
        return match(self.images, detections, self.truth)

    @property
    def patients(self) -> np.ndarray:
        """Patient of each image, in the order the metrics weight them."""
        return self.operating.images.patient_id.to_numpy()

    @cached_property
    def metrics(self) -> Callable[[Float[np.ndarray, "b n"]], Mapping[str, Float[np.ndarray, " b"]]]:
        """All metrics under many weightings of the images: the published four, and the standard ones."""
        minimum, grow = self.rule.box_minimum / self.scale, self.rule.rule
        count = partial(published.image_counts, iou_threshold=self.rule.iou, box_minimum=minimum, rule=grow)
        counts = count(self.images, self.detections[self.detections.operating], self.truth)
        return partial(_all_metrics, counts, self)


def _all_metrics(
    counts: pd.DataFrame, side: Scored, weights: Float[np.ndarray, "b n"]
) -> dict[str, Float[np.ndarray, " b"]]:
    coded, scale = published.metrics(counts, weights), side.scale
    usual = localization.metrics(side.operating, weights)
    return {
        **{name: coded[name] for name in ("global_sensitivity", "sens_s", "spec_s")},
        "mse": coded["mse"] * scale,
        "recall": usual["recall"],
        "precision": usual["precision"],
        "f1": usual["f1"],
        "false_positives": usual["false_positives"],
        "distance_found": usual["distance_found"] * scale,
        "distance_with_misses": usual["distance_with_misses"] * scale,
        "ap50": average_precision(side.matches, weights),
        "recall_at_1fp": froc_sensitivity(side.matches, weights, (1.0,))[:, 0],
        **coco_metrics(side.of_coco, weights),
    }


Sides = Mapping[tuple[Arm, str], Scored]

#: What is compared with what: methods with one another, then the published rules with the clean ones.
COMPARISONS: tuple[tuple[tuple[Arm, str], tuple[Arm, str]], ...] = (
    (("clean", "fpn"), ("clean", "cam")),
    (("clean", "fpn"), ("clean", "prior")),
    (("clean", "cam"), ("clean", "prior")),
    (("as_published", "fpn"), ("as_published", "cam")),
    (("as_published", "fpn"), ("clean", "fpn")),
    (("as_published", "cam"), ("clean", "cam")),
)


def metric_table(sides: Sides, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Metrics of every arm and method, over all images and for each artery, with patient-bootstrap intervals.

    Returns
    -------
    DataFrame
        ``arm, method, artery, iou, n_images, n_lesions, metric, value, low, high, n_groups, p_value, undefined``;
        artery is ``both`` over all images; distances in pixels of a 512 px frame.
    """
    frames = []
    for (arm, method), side in sides.items():
        for artery, own in _by_artery(side):
            rng = np.random.default_rng([seed, 63])
            estimates = bootstrap_many(own.metrics, own.patients, n=bootstrap, rng=rng)
            sizes = {"n_images": len(own.images), "n_lesions": len(own.truth)}
            constants = {"arm": arm, "method": method, "artery": artery, "iou": own.rule.iou, **sizes}
            frames.append(_rows(estimates, constants))
    return pd.concat(frames, ignore_index=True)


def _rows(estimates: Mapping[str, Estimate], constants: Mapping[str, object]) -> pd.DataFrame:
    return pd.DataFrame([{**constants, "metric": name, **asdict(value)} for name, value in estimates.items()])


def _by_artery(side: Scored) -> Iterator[tuple[str, Scored]]:
    yield "both", side
    for artery in sorted(set(side.images.artery.dropna())):
        yield str(artery), side.of_artery(str(artery))


def difference_table(sides: Sides, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """First minus second of every pair of ``COMPARISONS`` that there is, on the same resampled patients.

    Returns
    -------
    DataFrame
        ``first, second, metric, value, low, high, n_groups, p_value, undefined``.
    """
    frames = []
    for first, second in COMPARISONS:
        if first in sides and second in sides:
            a, b = sides[first], sides[second]
            rng = np.random.default_rng([seed, 64])
            estimates = paired_difference(a.metrics, a.patients, b.metrics, b.patients, n=bootstrap, rng=rng)
            frames.append(_rows(estimates, {"first": " ".join(first), "second": " ".join(second)}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def headline(metrics: pd.DataFrame) -> dict[str, Estimate]:
    """Clean numbers for the prose, such as ``fpn_sens_s``; undefined for a method that does not apply."""
    own = metrics[(metrics.arm == "clean") & (metrics.artery == "both")].set_index(["method", "metric"])
    nothing = Estimate(float("nan"), float("nan"), float("nan"), 0)
    names = ("global_sensitivity", "sens_s", "recall", "precision", "f1", "ap50", "ap", "ar", "recall_at_1fp")
    columns = ["value", "low", "high", "n_groups"]
    return {
        f"{method}_{name}": Estimate(*own.loc[(method, name), columns]) if (method, name) in own.index else nothing
        for method in ("fpn", "cam", "prior")
        for name in names
    }
