"""Every number of the localization chapter, from its prediction tables alone: patients are resampled for intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.anatomy import SEGMENTS
from cag.chapters.localization.frames import PUBLISHED_MINIMUM, working_pixels
from cag.data.splits import Arm
from cag.metrics import localization, published
from cag.metrics.boxes import Rule
from cag.metrics.intervals import Estimate, bootstrap_many, interval_text, paired_difference, resample_weights
from cag.metrics.localization import IOU_THRESHOLDS, average_precision, coco_metrics, froc_sensitivity
from cag.metrics.matching import Matches, match_detections
from cag.metrics.tables import estimate_rows

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

#: Edges of the strata: percent diameter stenosis; share of its length that the projection loses; sides of a box in
#: pixels of a 512 px frame.
SEVERITY_BINS, FORESHORTENING_BINS, SIZE_BINS = (25, 50, 70, 100, 101), (0, 0.1, 0.2, 0.4, 1.01), (35, 50, 70, 100)
#: False boxes an image at which the free-response curves are drawn, and overlaps at which recall is.
CURVE_RATES, SWEEP = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


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
    return ScoringRule(0.1 if method == "cam" else 0.5, PUBLISHED_MINIMUM[method], "as_published")


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
    def pixel(self) -> float:
        """Working pixels in a pixel of a 512 px frame."""
        return working_pixels(1, int(self.images.width.iloc[0]))

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

    @cached_property
    def of_coco(self) -> tuple[Matches, ...]:
        """All detections matched at each of COCO's ten overlaps, .5 to .95; only where the rule is the clean one."""
        clean = self.rule.rule == "clean"
        return tuple(self._matched(self.detections, iou) for iou in IOU_THRESHOLDS) if clean else ()

    def at_iou(self, iou: float) -> Matches:
        """Detections at the operating point matched at another IoU."""
        return self._matched(self.counted, iou)

    def of_artery(self, artery: str) -> Scored:
        """The images of one artery."""
        images = self.images[self.images.artery == artery]
        boxes, lesions = (table[table.image_id.isin(images.image_id)] for table in (self.detections, self.truth))
        return Scored(images, boxes, lesions, self.rule)

    def _matched(self, detections: pd.DataFrame, iou: float) -> Matches:
        minimum, grow = self.rule.box_minimum * self.pixel, self.rule.rule
        match = partial(match_detections, iou_threshold=iou, box_minimum=minimum, rule=grow)
        return match(self.images, detections, self.truth)

    @property
    def patients(self) -> np.ndarray:
        """Patient of each image, in the order the metrics weight them."""
        return self.operating.images.patient_id.to_numpy()

    @cached_property
    def metrics(self) -> Callable[[Float[np.ndarray, "b n"]], Mapping[str, Float[np.ndarray, " b"]]]:
        """All metrics under many weightings of the images: the published four, and the standard ones."""
        minimum, grow = self.rule.box_minimum * self.pixel, self.rule.rule
        count = partial(published.image_counts, iou_threshold=self.rule.iou, box_minimum=minimum, rule=grow)
        return partial(_all_metrics, count(self.images, self.counted, self.truth), self)


def _all_metrics(
    counts: pd.DataFrame, side: Scored, weights: Float[np.ndarray, "b n"]
) -> dict[str, Float[np.ndarray, " b"]]:
    every = published.metrics(counts, weights) | localization.metrics(side.operating, weights)
    for name in ("mse", "distance_found", "distance_with_misses"):
        every[name] = every[name] / side.pixel
    every["ap50"] = average_precision(side.matches, weights)
    every["recall_at_1fp"] = froc_sensitivity(side.matches, weights, (1.0,))[:, 0]
    every |= coco_metrics(side.of_coco, weights)
    return {name: every[name] for name in (*METRICS, "false_positives") if name in every}


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
    """Metrics of every arm and method, over all images (artery ``both``) and for each artery: ``estimate_rows`` by
    ``arm, method, artery, iou, n_images, n_lesions``; distances in pixels of a 512 px frame.
    """
    frames = []
    for (arm, method), side in sides.items():
        arteries = sorted(set(side.images.artery.dropna()))
        for artery, own in {"both": side, **{str(name): side.of_artery(name) for name in arteries}}.items():
            rng = np.random.default_rng([seed, 63])
            estimates = bootstrap_many(own.metrics, own.patients, n=bootstrap, rng=rng)
            sizes = {"n_images": len(own.images), "n_lesions": len(own.truth)}
            frames.append(estimate_rows(estimates, arm=arm, method=method, artery=artery, iou=own.rule.iou, **sizes))
    return pd.concat(frames, ignore_index=True)


def difference_table(sides: Sides, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """First minus second of every pair of ``COMPARISONS`` that there is, on the same resampled patients:
    ``estimate_rows`` by ``first, second``, each such as ``clean fpn``.
    """
    frames = []
    for first, second in COMPARISONS:
        if first in sides and second in sides:
            a, b, rng = sides[first], sides[second], np.random.default_rng([seed, 64])
            estimates = paired_difference(a.metrics, a.patients, b.metrics, b.patients, n=bootstrap, rng=rng)
            frames.append(estimate_rows(estimates, first=" ".join(first), second=" ".join(second)))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def curve_table(
    sides: Sides,
    recalls: Callable[[Scored, Float[np.ndarray, "b n"]], Float[np.ndarray, "b k"]],
    places: Sequence[float],
    *,
    bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """Recalls at some places (``froc`` at ``CURVE_RATES``, ``sweep`` at ``SWEEP``), clean arm.

    Returns
    -------
    DataFrame
        ``method, at, value, low, high``.
    """
    rows = []
    for method, side in clean(sides):
        metrics = partial(_at_places, recalls, side, places)
        estimates = bootstrap_many(metrics, side.patients, n=bootstrap, rng=np.random.default_rng([seed, 63]))
        rows += [(method, float(place), own.value, own.low, own.high) for place, own in estimates.items()]
    return pd.DataFrame(rows, columns=["method", "at", "value", "low", "high"])


def _at_places(
    recalls: Callable, side: Scored, places: Sequence[float], weights: Float[np.ndarray, "b n"]
) -> dict[str, Float[np.ndarray, " b"]]:
    return dict(zip(map(str, places), recalls(side, weights).T, strict=True))


def froc(side: Scored, weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b k"]:
    """Share of lesions found at ``CURVE_RATES`` false boxes an image."""
    return froc_sensitivity(side.matches, weights, CURVE_RATES)


def sweep(side: Scored, weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b k"]:
    """Share of lesions found at the operating point, where the overlaps of ``SWEEP`` count as found."""
    return np.column_stack([localization.metrics(side.at_iou(iou), weights)["recall"] for iou in SWEEP])


def recall_table(
    sides: Sides, column: str, *, bins: Sequence[float] | None = None, bootstrap: int, seed: int, least: int = 1
) -> pd.DataFrame:
    """Recall by a property of the lesion, clean arm: ``method, group, lesions, value, low, high``.

    ``least`` is the number of lesions below which a group is left out.
    """
    frames = []
    for method, side in clean(sides):
        weights = resample_weights(side.patients, bootstrap, np.random.default_rng([seed, 65]))
        table = localization.recall_by(side.operating, column, weights, bins=bins)
        groups = [_group_name(value, column) for value in table[column]]
        frames.append(table.assign(method=method, group=groups, lesions=table["n"], value=table["recall"]))
    table = pd.concat(frames, ignore_index=True)[["method", "group", "lesions", "value", "low", "high"]]
    return table[table.lesions >= least].reset_index(drop=True)


def _group_name(value: object, column: str) -> str:
    if column == "segment":
        return SEGMENTS.get(int(float(str(value))), f"segment {value}")
    if not isinstance(value, pd.Interval):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if column == "foreshortening":
        return f"{value.left:g}-{min(value.right, 1):g}"
    last = value.right - 1
    return f"{value.left:g}" if last <= value.left else f"{value.left:g}-{last:g}"


def clean(sides: Sides) -> Iterator[tuple[str, Scored]]:
    """Method and boxes of the clean arm."""
    return ((method, side) for (arm, method), side in sides.items() if arm == "clean")


def text_grid(rows: pd.DataFrame, index: Sequence[str], columns: str) -> pd.DataFrame:
    """The known metrics of a table, named in words, each with its interval: a line for each ``index``, a column for
    each of ``columns``, both in the table's order; ``Metric`` is the name.
    """
    rows = rows[rows.metric.isin(METRICS)]
    parts = zip(rows.metric, rows.value, rows.low, rows.high, rows.n_groups, strict=True)
    texts = [interval_text(Estimate(*own), METRICS[name][1]) for name, *own in parts]
    rows = rows.assign(Metric=[METRICS[name][0] for name in rows.metric], text=texts)
    wide = rows.pivot(index=list(index), columns=columns, values="text")[list(rows[columns].unique())]
    wide = rows[list(index)].drop_duplicates().merge(wide.reset_index(), on=list(index))
    return wide.fillna("–").replace(METHODS).rename(columns=METHODS | ARM_NAMES)
