"""From images to arteries and patients: pooled scores, operating points chosen on inner patients, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.anatomy import THREE_CATEGORIES, TWO_CATEGORIES
from cag.chapters.bundle import export_part
from cag.chapters.classification.settings import ClassificationSettings, grid
from cag.chapters.classification.tables import (
    SYSTEM,
    labeled_frames,
    leading,
    outputs_of,
    system,
    system_name,
    systems,
)
from cag.chapters.classification.training import cell_folder
from cag.chapters.reading.operating import operating_point
from cag.chapters.store import Store
from cag.data.cohort import Cohort
from cag.data.severity import artery_severity
from cag.metrics.aggregation import HOWS, How, aggregate
from cag.metrics.measured import of_scores
from cag.metrics.operating import at_threshold, sensitivity_threshold, youden_threshold
from cag.metrics.tables import bootstrap_table, interval_table, strata

Level = Literal["artery", "patient"]
LEVELS: tuple[Level, ...] = ("artery", "patient")
#: From which score on disease is called: one half, or the inner patients' best or safest score.
Point = Literal["half", "youden", "rule_out"]
POINTS: tuple[Point, ...] = ("half", "youden", "rule_out")


def export_classifiers(cohort: Cohort, settings: ClassificationSettings, store: Store, table: pd.DataFrame) -> None:
    """Export the classifiers with redundancy training of two and of three categories, with their operating point.

    Without those of two categories, by which a study is read, nothing is exported.

    Parameters
    ----------
    table : DataFrame
        See ``run_grid``.
    """
    systems = (TWO_CATEGORIES, THREE_CATEGORIES)
    cells = [cell for cell in grid(settings) if cell.redundancy and cell.cut_points in systems]
    if not any(cell.cut_points == TWO_CATEGORIES for cell in cells):
        return
    named = {f"{cell.n_categories}-{cell.model_view}-{cell.fold}".replace(" ", "_"): cell for cell in cells}
    weights = {name: cell_folder(cell, cohort, store).load_weights("classifier") for name, cell in named.items()}
    folds = labeled_frames(table).drop_duplicates("patient_id").set_index("patient_id")["fold"]
    facts = {
        "cells": {name: cell.model_dump(mode="json") for name, cell in named.items()},
        "operating": asdict(operating_point(table)),
        "folds": {str(patient): int(fold) for patient, fold in folds.items()},
    }
    export_part(store, "classification", settings=settings, cohort=cohort, weights=weights, facts=facts)


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


def operating_thresholds(outer: pd.DataFrame, inner: pd.DataFrame, point: Point) -> Float[np.ndarray, " n"]:
    """Threshold of each row of ``outer``, chosen for its fold without any patient of that fold.

    Parameters
    ----------
    outer, inner : DataFrame
        From ``level_scores``. For each fold the choice is made on the inner patients of every fold,
        less those that this fold scores.
    point : {'half', 'youden', 'rule_out'}
        ``youden`` has the largest sum of sensitivity and specificity, ``rule_out`` the highest score that
        keeps a sensitivity of at least .95.

    Returns
    -------
    array [n]
        NaN in a fold whose inner patients are of one class only.
    """
    chosen = np.full(len(outer), 0.5)
    if point == "half":
        return chosen
    choose = youden_threshold if point == "youden" else sensitivity_threshold
    for fold, rows in outer.groupby("fold"):
        own = inner[~inner["patient_id"].isin(rows["patient_id"])]
        positive, score = own["target"].to_numpy(dtype=int) > 0, own["score"].to_numpy(dtype=float)
        chosen[outer["fold"].eq(fold)] = choose(positive, score)
    return chosen


def at_points(predictions: pd.DataFrame, reference: pd.DataFrame, level: Level, how: How) -> pd.DataFrame:
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


def operating_table(predictions: pd.DataFrame, reference: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Sensitivity, specificity and predictive values of the leading system at its operating points (largest score).

    Returns
    -------
    DataFrame
        ``level, artery, threshold, metric, value, low, high``.
    """
    names = ("sensitivity", "specificity", "ppv", "npv", "called")
    metrics = {name: partial(_at_call, name=name) for name in names}
    tables = []
    for level in LEVELS:
        table = _leading_at_points(predictions, reference, level)
        rng = np.random.default_rng(seed)
        tables.append(
            bootstrap_table(table, metrics, n=bootstrap, rng=rng, by=("artery", "threshold")).assign(level=level)
        )
    order = {point: number for number, point in enumerate(POINTS)}
    ordered = pd.concat(tables, ignore_index=True)
    return ordered.sort_values(
        ["level", "artery", "threshold"], key=lambda x: x.map(order) if x.name == "threshold" else x, kind="stable"
    ).reset_index(drop=True)


def cross_tabulations(predictions: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Arteries and patients by reference and call at each operating point of the leading system.

    Returns
    -------
    DataFrame
        ``level, artery, threshold, lowest_cut, highest_cut`` (over the folds), ``true_positive,
        false_negative, false_positive, true_negative``.
    """
    rows = []
    for level in LEVELS:
        table = _leading_at_points(predictions, reference, level)
        for point in POINTS:
            for key, own in strata(table[table["threshold"].eq(point)], ("artery", "threshold")):
                sick, called = own["target"].to_numpy() > 0, own["called"].to_numpy()
                counts = {"true_positive": sick & called, "false_negative": sick & ~called}
                counts |= {"false_positive": ~sick & called, "true_negative": ~sick & ~called}
                cuts = {"lowest_cut": own["cut"].min(), "highest_cut": own["cut"].max()}
                rows.append({"level": level} | key | cuts | {name: int(cells.sum()) for name, cells in counts.items()})
    return pd.DataFrame(rows)


def _leading_at_points(predictions: pd.DataFrame, reference: pd.DataFrame, level: Level) -> pd.DataFrame:
    table = at_points(leading(predictions), reference, level, "max")
    return table if level == "artery" else table.assign(artery="both")


def _at_call(table: pd.DataFrame, weights: Float[np.ndarray, "b n"], name: str) -> Float[np.ndarray, " b"]:
    positive, called = table["target"].to_numpy() > 0, table["called"].to_numpy(dtype=float)
    return at_threshold(positive, called, 0.5, weights)[name]


def curve_groups(predictions: pd.DataFrame, reference: pd.DataFrame) -> dict[str, dict[str, pd.DataFrame]]:
    """What the panels of the ROC figure show: panel title -> {curve label: patient_id, target, score}."""
    outer = labeled_frames(predictions)
    panels: dict[str, dict[str, pd.DataFrame]] = {}
    arteries = sorted(outer["artery"].unique())
    for artery in arteries:
        curves = {}
        for pair in systems(outer):
            rows = system(outer[outer["artery"] == artery], *pair)
            curves[system_name(*pair)] = rows[["patient_id", "target"]].assign(score=outputs_of(rows).score)
        panels[f"{artery}, images"] = curves
    lead = labeled_frames(leading(predictions))
    pooled = {how: level_scores(lead, reference, "artery", how) for how in HOWS}
    for artery in arteries:
        panels[f"{artery}, arteries"] = {how: table[table["artery"] == artery] for how, table in pooled.items()}
    panels["Patients"] = {how: level_scores(lead, reference, "patient", how) for how in HOWS}
    return panels
