"""Paired differences between trained systems and between scoring rules, by the bootstrap and by DeLong."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from cag.chapters.classification.levels import level_scores
from cag.chapters.classification.tables import estimate, labeled_frames, measured, outputs_of, systems
from cag.metrics.delong import auc_covariance, delong_test
from cag.metrics.intervals import Estimate
from cag.metrics.measured import Measured, of_scores
from cag.metrics.tables import difference_table, strata
from cag.settings import SettingsError

#: ``categories``: most minus fewest categories; ``redundancy``: with minus without redundancy training.
Contrast = Literal["categories", "redundancy"]
_SIDES: dict[Contrast, tuple[str, str]] = {
    "categories": ("most categories", "fewest"),
    "redundancy": ("with redundancy", "without"),
}
_LEVELS = ("image", "artery", "patient")
_BOOTSTRAP = ("bootstrap_low", "bootstrap_high", "bootstrap_p")


def difference(first: Measured, second: Measured, bootstrap: int, seed: int, **constants: Any) -> pd.DataFrame:
    """First minus second on the same resampled patients, a row a metric, with constant columns."""
    table = difference_table(first, second, n=bootstrap, rng=np.random.default_rng(seed))
    return table.assign(**constants)


def system_differences(predictions: pd.DataFrame, what: Contrast, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Paired differences at image level, a row an artery, other factor and metric (clean arm).

    Raises
    ------
    SettingsError
        If the run trained nothing to compare with.
    """
    clean = labeled_frames(predictions).query("arm == 'clean'")
    tables = []
    for key, rows in strata(clean, ("artery", _other(what))):
        first, second = _contrasted(rows, what)
        tables.append(difference(measured(first), measured(second), bootstrap, seed, **key))
    return pd.concat(tables, ignore_index=True)


def pooled_difference(predictions: pd.DataFrame, what: Contrast, *, bootstrap: int, seed: int) -> dict[str, Estimate]:
    """The paired difference of ``system_differences`` over both arteries, other factor as in the leading system."""
    first, second = _contrasted(_like_the_leading(predictions, what), what)
    table = difference(measured(first), measured(second), bootstrap, seed)
    return {metric: estimate(table, metric=metric) for metric in table["metric"]}


def auc_tests(
    predictions: pd.DataFrame, reference: pd.DataFrame, what: Contrast, *, bootstrap: int, seed: int
) -> pd.DataFrame:
    """Difference in the area under the ROC curve at image, artery and patient level, tested twice.

    DeLong's variance for arteries and patients, Obuchowski's for frames, which are clustered in
    patients; beside them the paired bootstrap over patients. Other factor as in the leading system.

    Returns
    -------
    DataFrame
        ``level, artery, first, second`` (areas), ``value, low, high, p_value, n_groups`` (DeLong) and
        ``bootstrap_low, bootstrap_high, bootstrap_p``.
    """
    sides = _contrasted(_like_the_leading(predictions, what), what)
    rows = []
    for level in _LEVELS:
        tables = [_scores(side, reference, level) for side in sides]
        by = () if level == "patient" else ("artery",)
        for (key, first), (_, second) in zip(strata(tables[0], by), strata(tables[1], by), strict=True):
            rows.append({"level": level, "artery": "both"} | key | _auc_test(first, second, bootstrap, seed))
    return pd.DataFrame(rows)


def readable_tests(tests: pd.DataFrame, what: Contrast) -> pd.DataFrame:
    """The table of ``auc_tests`` as it is read: both areas, and difference, interval and p-value of either test."""
    sides = {f"AUC, {words}": tests[side] for side, words in zip(("first", "second"), _SIDES[what], strict=True)}
    shown = tests[["level", "artery"]].assign(patients=tests["n_groups"], **sides)
    shown["difference"] = tests["value"]
    for name, low, high, p in (("DeLong", "low", "high", "p_value"), ("bootstrap", *_BOOTSTRAP)):
        interval = [f"{a:.2f} to {b:.2f}" for a, b in zip(tests[low], tests[high], strict=True)]
        shown[f"{name}: 95 % interval"] = [
            "–" if pd.isna(a) else text for a, text in zip(tests[low], interval, strict=True)
        ]
        shown[f"{name}: p"] = ["–" if pd.isna(value) else f"{value:.3f}" for value in tests[p]]
    return shown


def _auc_test(first: pd.DataFrame, second: pd.DataFrame, bootstrap: int, seed: int) -> dict[str, float]:
    positive = first["target"].to_numpy() > 0
    scores = [side["score"].to_numpy(dtype=float) for side in (first, second)]
    groups = first["patient_id"].to_numpy()
    areas, _ = auc_covariance(positive, np.stack(scores), groups)
    delong = delong_test(positive, scores[0], scores[1], groups)
    drawn = difference(of_scores(first), of_scores(second), bootstrap, seed).set_index("metric").loc["auc"]
    result = {"first": areas[0], "second": areas[1], "value": delong.value, "low": delong.low, "high": delong.high}
    result |= {"p_value": delong.p_value, "n_groups": delong.n_groups}
    return result | {"bootstrap_low": drawn["low"], "bootstrap_high": drawn["high"], "bootstrap_p": drawn["p_value"]}


def _scores(rows: pd.DataFrame, reference: pd.DataFrame, level: str) -> pd.DataFrame:
    """``patient_id, artery, target, score`` of any stenosis, in an order that both sides of a contrast share."""
    if level != "image":
        return level_scores(rows, reference, "artery" if level == "artery" else "patient")
    ordered = rows.sort_values(["run_id", "frame"], ignore_index=True)
    return ordered[["patient_id", "artery", "target"]].assign(score=outputs_of(ordered).score)


def _like_the_leading(predictions: pd.DataFrame, what: Contrast) -> pd.DataFrame:
    clean = labeled_frames(predictions).query("arm == 'clean'")
    k, redundancy = systems(predictions)[0]
    return clean[clean[_other(what)].eq(redundancy if what == "categories" else k)]


def _other(what: Contrast) -> str:
    return "redundancy" if what == "categories" else "n_categories"


def _contrasted(rows: pd.DataFrame, what: Contrast) -> tuple[pd.DataFrame, pd.DataFrame]:
    """First and second side of the contrast, by frame."""
    column, setting = ("n_categories", "cut_points") if what == "categories" else ("redundancy", "redundancy")
    first, second = rows[column].max(), rows[column].min()
    if first == second:
        remedy = f"Give {setting} at least two values and run again"
        raise SettingsError("one system alone cannot be compared", field=setting, remedy=remedy)
    return rows[rows[column].eq(first)].reset_index(drop=True), rows[rows[column].eq(second)].reset_index(drop=True)
