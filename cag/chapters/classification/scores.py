"""What the classifiers said: rows of one system, scores of images, arteries and patients, and their metrics."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.chapters.classification.settings import ClassificationSettings
from cag.data.cohort import Cohort
from cag.data.splits import artery_severity
from cag.metrics.aggregation import HOWS, How, aggregate
from cag.metrics.classification import Scored, of_classification, of_scores, sensitivity_threshold, youden_threshold
from cag.metrics.classification import outputs_of as outputs_by_rule
from cag.metrics.intervals import Measured
from cag.metrics.tables import fold_table, interval_table, strata

#: What tells one trained system from another.
SYSTEM = ("n_categories", "redundancy", "arm")
Level = Literal["artery", "patient"]
LEVELS: tuple[Level, ...] = ("artery", "patient")
#: From which score on disease is called: one half, or the inner patients' best or safest score.
Point = Literal["half", "youden", "rule_out"]
POINTS: tuple[Point, ...] = ("half", "youden", "rule_out")


def labeled_frames(predictions: pd.DataFrame, part: str = "outer") -> pd.DataFrame:
    """The frames that are scored: with contrast, in the part asked for."""
    return predictions[(predictions["part"] == part) & ~predictions["redundant"]].reset_index(drop=True)


def system(predictions: pd.DataFrame, n_categories: int, redundancy: bool, arm: str = "clean") -> pd.DataFrame:
    """Predictions of one system: its categories, its training, its arm."""
    chosen = predictions["n_categories"].eq(n_categories) & predictions["redundancy"].eq(redundancy)
    return predictions[chosen & predictions["arm"].eq(arm)].reset_index(drop=True)


def systems(predictions: pd.DataFrame) -> list[tuple[int, bool]]:
    """Categories and redundancy training of every system, the leading one first: fewest categories, with redundancy."""
    pairs = set(zip(predictions["n_categories"].tolist(), predictions["redundancy"].tolist(), strict=True))
    return sorted(pairs, key=lambda pair: (pair[0], not pair[1]))


def leading(predictions: pd.DataFrame, arm: str = "clean") -> pd.DataFrame:
    """Predictions of the leading system; see ``systems``."""
    return system(predictions, *systems(predictions)[0], arm)


def outputs_of(rows: pd.DataFrame) -> Scored:
    """Scores and calls of the frames of one system, by the rule of its arm."""
    return outputs_by_rule(rows, rows["arm"].iloc[0])


def measured(rows: pd.DataFrame) -> Measured:
    """Image-level metrics of the frames of one system, by the rule of its arm."""
    return of_classification(rows, rows["arm"].iloc[0])


def image_metrics(predictions: pd.DataFrame, *, n: int, rng: int) -> pd.DataFrame:
    """Image-level metrics of every system and artery: pooled out-of-fold with interval, and over folds.

    Returns ``artery, n_categories, redundancy, arm, metric, value, low, high, fold_mean, fold_sd, n_rows, n_groups``.
    """
    tables = []
    for key, rows in strata(labeled_frames(predictions), ("artery", *SYSTEM)):
        folds = fold_table(rows, key["arm"]).rename(columns={"mean": "fold_mean", "sd": "fold_sd"})
        tables.append(interval_table(measured(rows), n=n, rng=rng, **key).merge(folds, how="left"))
    return pd.concat(tables, ignore_index=True)


def reference_standard(cohort: Cohort, settings: ClassificationSettings) -> pd.DataFrame:
    """What each artery has: ``patient_id, artery, percent_stenosis, target`` (1 from the first cut-point on)."""
    worst = artery_severity(cohort)
    return worst.assign(target=(worst["percent_stenosis"] >= settings.disease_from).astype(int))


def level_scores(rows: pd.DataFrame, reference: pd.DataFrame, level: Level, how: How = "max") -> pd.DataFrame:
    """Scores of one system pooled from images to arteries or patients, beside the reference standard.

    ``rows`` are labeled frames of one ``system``; an inner patient counts once for each fold that set it aside. Returns
    ``patient_id`` (and ``artery``), ``fold, score, target, percent_stenosis``.
    """
    keys = ["patient_id", "artery"] if level == "artery" else ["patient_id"]
    if rows.empty:
        return pd.DataFrame(columns=[*keys, "fold", "score", "target", "percent_stenosis"])
    images = rows[["patient_id", "artery", "target", "fold"]].assign(score=outputs_of(rows).score.clip(0, 1))
    pooled = [aggregate(own, how, level=level).assign(fold=fold) for fold, own in images.groupby("fold")]
    worst = reference.groupby(keys, as_index=False)[["percent_stenosis", "target"]].max()
    scores = pd.concat(pooled).drop(columns="target").merge(worst, on=keys, how="left")
    return scores.sort_values([*keys, "fold"], ignore_index=True)


def threshold_of(inner: pd.DataFrame, point: Point) -> float:
    """From which score on disease is called, chosen on inner arteries or patients (``score, target``).

    ``youden`` has the largest sum of sensitivity and specificity, ``rule_out`` is the highest score that keeps a
    sensitivity of at least .95; NaN where the inner ones are of one class only.
    """
    if point == "half":
        return 0.5
    choose = youden_threshold if point == "youden" else sensitivity_threshold
    return choose(inner["target"].to_numpy(dtype=int) > 0, inner["score"].to_numpy(dtype=float))


def operating_thresholds(outer: pd.DataFrame, inner: pd.DataFrame, point: Point) -> Float[np.ndarray, " n"]:
    """Threshold of each row of ``outer``, chosen for its fold without any patient of that fold.

    Both are of ``level_scores``. For each fold the choice is made on the inner patients of every fold, less those
    that this fold scores; NaN as in ``threshold_of``.
    """
    scored = outer.groupby("fold")["patient_id"]
    cuts = {fold: threshold_of(inner[~inner["patient_id"].isin(own)], point) for fold, own in scored}
    return outer["fold"].map(cuts).to_numpy(dtype=float)


def at_points(predictions: pd.DataFrame, reference: pd.DataFrame, level: Level, how: How = "max") -> pd.DataFrame:
    """Pooled scores of one system (rows of both parts), once for each operating point; inner arteries choose it.

    Returns ``level_scores`` with ``threshold`` (the point's name), ``cut`` and ``called`` (disease); without inner rows
    one half is the only point, and folds without a threshold are left out.
    """
    outer = level_scores(labeled_frames(predictions), reference, level, how)
    inner = level_scores(labeled_frames(predictions, "inner"), reference, "artery", how)
    points = POINTS if len(inner) else POINTS[:1]
    tables = [outer.assign(threshold=point, cut=operating_thresholds(outer, inner, point)) for point in points]
    table = pd.concat(tables, ignore_index=True).dropna(subset=["cut"])
    return table.assign(called=table["score"] >= table["cut"]).reset_index(drop=True)


def level_metrics(predictions: pd.DataFrame, reference: pd.DataFrame, *, n: int, rng: int) -> pd.DataFrame:
    """Artery- and patient-level metrics of every system, way of pooling and operating point.

    Returns ``level, artery, how, threshold, n_categories, redundancy, arm, metric, value, low, high, n_groups``.
    """
    tables = []
    for key, rows in strata(predictions, SYSTEM):
        for how, level in product(HOWS, LEVELS):
            by = ("threshold", "artery") if level == "artery" else ("threshold",)
            for part, group in strata(at_points(rows, reference, level, how), by):
                names = {"level": level, "artery": "both", "how": how} | part | key
                tables.append(interval_table(of_scores(group, group["cut"].to_numpy()), n=n, rng=rng, **names))
    return pd.concat(tables, ignore_index=True)
