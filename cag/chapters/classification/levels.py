"""From images to arteries and patients: pooled scores, and thresholds chosen on inner patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.chapters.classification.settings import ClassificationSettings
from cag.chapters.classification.tables import SYSTEM, labeled_frames, outputs_of
from cag.data.cohort import Cohort
from cag.data.severity import artery_severity
from cag.metrics.aggregation import HOWS, How, aggregate
from cag.metrics.measured import of_scores
from cag.metrics.operating import sensitivity_threshold, youden_threshold
from cag.metrics.tables import interval_table, strata

Level = Literal["artery", "patient"]
LEVELS: tuple[Level, ...] = ("artery", "patient")
#: From which score on disease is called: one half, or the inner patients' best or safest score.
Point = Literal["half", "youden", "rule_out"]
POINTS: tuple[Point, ...] = ("half", "youden", "rule_out")


def reference_standard(cohort: Cohort, settings: ClassificationSettings) -> pd.DataFrame:
    """What each artery has: ``patient_id, artery, percent_stenosis, target`` (1 from the first cut-point on)."""
    worst = artery_severity(cohort)
    return worst.assign(target=(worst["percent_stenosis"] >= settings.disease_from).astype(int))


def level_scores(rows: pd.DataFrame, reference: pd.DataFrame, level: Level, how: How = "max") -> pd.DataFrame:
    """Scores of one system pooled from images to arteries or patients, beside the reference standard.

    Parameters
    ----------
    rows : DataFrame
        Frames of one system (``system``), labeled ones only. An inner patient counts once for each fold
        that set it aside.
    reference : DataFrame
        See ``reference_standard``.

    Returns
    -------
    DataFrame
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
    """From which score on disease is called, chosen on inner arteries or patients.

    Parameters
    ----------
    inner : DataFrame
        ``score, target``.
    point : {'half', 'youden', 'rule_out'}
        ``youden`` has the largest sum of sensitivity and specificity, ``rule_out`` is the highest score that
        keeps a sensitivity of at least .95.

    Returns
    -------
    float
        NaN where the inner ones are of one class only.
    """
    if point == "half":
        return 0.5
    choose = youden_threshold if point == "youden" else sensitivity_threshold
    return choose(inner["target"].to_numpy(dtype=int) > 0, inner["score"].to_numpy(dtype=float))


def operating_thresholds(outer: pd.DataFrame, inner: pd.DataFrame, point: Point) -> Float[np.ndarray, " n"]:
    """Threshold of each row of ``outer``, chosen for its fold without any patient of that fold.

    Parameters
    ----------
    outer, inner : DataFrame
        From ``level_scores``. For each fold the choice is made on the inner patients of every fold,
        less those that this fold scores.

    Returns
    -------
    array [n]
        See ``threshold_of``.
    """
    chosen = np.full(len(outer), np.nan)
    for fold, rows in outer.groupby("fold"):
        own = inner[~inner["patient_id"].isin(rows["patient_id"])]
        chosen[outer["fold"].eq(fold)] = threshold_of(own, point)
    return chosen


def at_points(predictions: pd.DataFrame, reference: pd.DataFrame, level: Level, how: How = "max") -> pd.DataFrame:
    """Pooled scores of one system, once for each operating point.

    Parameters
    ----------
    predictions : rows of one system, both parts; without inner rows only one half is an operating point

    Returns
    -------
    DataFrame
        ``level_scores`` with ``threshold`` (the point's name), ``cut`` and ``called`` (disease); rows of folds
        without a threshold are left out.
    """
    outer, inner = (
        level_scores(labeled_frames(predictions, part), reference, level, how) for part in ("outer", "inner")
    )
    points = POINTS if len(inner) else POINTS[:1]
    tables = [outer.assign(threshold=point, cut=operating_thresholds(outer, inner, point)) for point in points]
    table = pd.concat(tables, ignore_index=True).dropna(subset=["cut"])
    return table.assign(called=table["score"] >= table["cut"]).reset_index(drop=True)


def level_metrics(
    predictions: pd.DataFrame, reference: pd.DataFrame, *, hows: Sequence[How] = HOWS, bootstrap: int, seed: int
) -> pd.DataFrame:
    """Artery- and patient-level metrics of every system, way of pooling and operating point.

    Returns
    -------
    DataFrame
        ``level, artery, how, threshold, n_categories, redundancy, arm, metric, value, low, high, n_groups``.
    """
    tables = []
    for key, rows in strata(predictions, SYSTEM):
        for how in hows:
            for level in LEVELS:
                by = ("threshold", "artery") if level == "artery" else ("threshold",)
                for part, group in strata(at_points(rows, reference, level, how), by):
                    measured = of_scores(group, group["cut"].to_numpy())
                    table = interval_table(measured, n=bootstrap, rng=np.random.default_rng(seed))
                    tables.append(table.assign(**{"level": level, "artery": "both", "how": how} | part | key))
    return pd.concat(tables, ignore_index=True)
