"""Free-response curves, recall by lesion and by overlap: what the figures of the localization chapter draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.anatomy import SEGMENTS
from cag.chapters.localization.scores import PUBLISHED_SIZE, Scored, Sides
from cag.data.splits import Arm
from cag.metrics import localization
from cag.metrics.intervals import Estimate, bootstrap_many, resample_counts
from cag.metrics.matching import Matches
from cag.metrics.ranking import FROC_RATES, froc_sensitivity

#: Edges of the severity strata, percent diameter stenosis.
SEVERITY_BINS = (25, 50, 70, 100, 101)
#: Edges of the foreshortening strata: the share of its length that the projection loses.
FORESHORTENING_BINS = (0, 0.1, 0.2, 0.4, 1.01)
#: A segment with fewer lesions has no recall of its own.
LEAST_LESIONS = 5
#: False boxes an image at which the free-response curves are drawn, those of the protocol among them.
CURVE_RATES = (0.125, *FROC_RATES, 8.0)


def froc_table(sides: Sides, *, bootstrap: int, seed: int, arm: Arm = "clean") -> pd.DataFrame:
    """Recall at fixed false boxes an image: ``method, false_positives, sensitivity, low, high``."""
    rows = []
    for method, side in _of_arm(sides, arm):
        estimates = _bootstrap(side, partial(_froc, side.matches), bootstrap, seed)
        rows += [(method, float(name), own.value, own.low, own.high) for name, own in estimates.items()]
    return pd.DataFrame(rows, columns=["method", "false_positives", "sensitivity", "low", "high"])


def _froc(matches: Matches, weights: Float[np.ndarray, "b n"]) -> dict[str, Float[np.ndarray, " b"]]:
    columns = froc_sensitivity(matches, weights, CURVE_RATES).T
    return {str(rate): column for rate, column in zip(CURVE_RATES, columns, strict=True)}


def sweep_table(
    sides: Sides, *, bootstrap: int, seed: int, ious: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
) -> pd.DataFrame:
    """Recall at the operating point against the IoU that counts: ``method, iou, recall, low, high``; clean arm."""
    rows = []
    for method, side in _of_arm(sides, "clean"):
        metrics = {f"{iou:g}": partial(_recall, side.at_iou(iou)) for iou in ious}
        estimates = _bootstrap(
            side,
            lambda weights, metrics=metrics: {name: own(weights) for name, own in metrics.items()},
            bootstrap,
            seed,
        )
        rows += [(method, float(name), own.value, own.low, own.high) for name, own in estimates.items()]
    return pd.DataFrame(rows, columns=["method", "iou", "recall", "low", "high"])


def _recall(matches: Matches, weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
    return localization.metrics(matches, weights)["recall"]


def recall_table(
    sides: Sides, column: str, *, bins: Sequence[float] | None = None, bootstrap: int, seed: int
) -> pd.DataFrame:
    """Recall by a property of the lesion, clean arm: ``method, group, lesions, recall, low, high``."""
    frames = []
    for method, side in _of_arm(sides, "clean"):
        names, codes = np.unique(side.patients, return_inverse=True)
        weights = resample_counts(len(names), bootstrap, np.random.default_rng([seed, 65]))[:, codes]
        table = localization.recall_by(side.operating, column, bins=bins, weights=weights)
        groups = [_group_name(value, column) for value in table[column]]
        frames.append(table.assign(method=method, group=groups, lesions=table["n"]))
    return pd.concat(frames, ignore_index=True)[["method", "group", "lesions", "recall", "low", "high"]]


def segment_table(sides: Sides, *, bootstrap: int, seed: int, least: int = LEAST_LESIONS) -> pd.DataFrame:
    """``recall_table`` by segment, in the order of their numbers, of those with at least ``least`` lesions."""
    table = recall_table(sides, "segment", bootstrap=bootstrap, seed=seed)
    return table[table.lesions >= least].reset_index(drop=True)


def size_bins(image_size: int) -> tuple[int, ...]:
    """Edges of the size strata in working pixels: boxes of 35, 50, 70 and 100 pixels in a frame of 512."""
    return (0, *(round(edge * image_size / PUBLISHED_SIZE) for edge in (35, 50, 70, 100)), image_size)


def _group_name(value: object, column: str) -> str:
    if column == "segment":
        return SEGMENTS.get(int(float(str(value))), f"segment {value}")
    if not isinstance(value, pd.Interval):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if column == "foreshortening":
        return f"{value.left:g}-{min(value.right, 1):g}"
    last = value.right - 1
    return f"{value.left:g}" if last <= value.left else f"{value.left:g}-{last:g}"


def _of_arm(sides: Sides, arm: Arm) -> Iterator[tuple[str, Scored]]:
    for (own, method), side in sides.items():
        if own == arm:
            yield method, side


def _bootstrap(
    side: Scored, metrics: Callable[..., Mapping[str, np.ndarray]], n: int, seed: int
) -> dict[str, Estimate]:
    return bootstrap_many(metrics, side.patients, n=n, rng=np.random.default_rng([seed, 63]))
