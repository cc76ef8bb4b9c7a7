"""Do the probabilities mean what they say: before and after a temperature chosen on inner patients."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from cag.chapters.classification.levels import level_scores
from cag.chapters.classification.tables import labeled_frames, leading, outputs_of
from cag.metrics.calibration import fit_temperature, reliability_table, with_temperature
from cag.metrics.measured import of_classification
from cag.metrics.operating import decision_curve
from cag.metrics.tables import interval_table, strata

CALIBRATION_METRICS = ("calibration_slope", "calibration_intercept", "ece", "brier")
Scaling = Literal["before", "after"]
SCALINGS: tuple[Scaling, ...] = ("before", "after")


def temperatures(predictions: pd.DataFrame) -> pd.DataFrame:
    """Temperature of every system and fold, fitted on the inner frames of that fold (clean arm).

    The networks of a fold share one: a single view has few inner patients.

    Returns
    -------
    DataFrame
        ``n_categories, redundancy, fold, temperature, inner_patients``.
    """
    inner = labeled_frames(predictions, "inner").query("arm == 'clean'")
    rows = []
    for key, own in strata(inner, ("n_categories", "redundancy", "fold")):
        found = fit_temperature(outputs_of(own).probabilities, own["target"].to_numpy(dtype=int))
        rows.append(key | {"temperature": found, "inner_patients": own["patient_id"].nunique()})
    return pd.DataFrame(rows)


def tempered(predictions: pd.DataFrame) -> pd.DataFrame:
    """Frames of the clean arm with P(redundant) dropped and each network's logits divided by its temperature."""
    clean = predictions.query("arm == 'clean' and not redundant")
    known = temperatures(predictions).set_index(["n_categories", "redundancy", "fold"])["temperature"]
    tables = []
    for key, rows in strata(clean, ("n_categories", "redundancy", "fold")):
        probabilities = with_temperature(outputs_of(rows).probabilities, float(known[tuple(key.values())]))
        columns = {f"p_{index}": probabilities[:, index] for index in range(probabilities.shape[1])}
        tables.append(rows.assign(**columns, p_redundant=0.0))
    return pd.concat(tables, ignore_index=True)


def calibration_table(predictions: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Calibration of every system on the outer frames, before and after temperature scaling.

    Returns
    -------
    DataFrame
        ``artery, n_categories, redundancy, scaling, metric, value, low, high``.
    """
    tables = []
    for scaling, rows in _scalings(predictions).items():
        for key, own in strata(labeled_frames(rows), ("artery", "n_categories", "redundancy")):
            table = interval_table(of_classification(own), n=bootstrap, rng=np.random.default_rng(seed))
            kept = table[table["metric"].isin(CALIBRATION_METRICS)]
            tables.append(kept.assign(scaling=scaling, **key))
    return pd.concat(tables, ignore_index=True)


def reliability(predictions: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Observed against predicted for the leading system, with intervals from resampling patients.

    Returns
    -------
    DataFrame
        ``artery, scaling`` and the columns of ``reliability_table``.
    """
    tables = []
    for scaling, rows in _scalings(predictions).items():
        for key, own in strata(labeled_frames(leading(rows)), ("artery",)):
            positive, score = own["target"].to_numpy() > 0, outputs_of(own).score
            rng, groups = np.random.default_rng(seed), own["patient_id"].to_numpy()
            table = reliability_table(positive, score, groups, n=bootstrap, rng=rng)
            tables.append(table.assign(scaling=scaling, **key))
    return pd.concat(tables, ignore_index=True)


def decision_curves(predictions: pd.DataFrame, reference: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Net benefit to patients of acting on the leading system's largest score, before and after scaling.

    Returns
    -------
    DataFrame
        ``scaling`` and the columns of ``decision_curve``.
    """
    chances = np.linspace(0.01, 0.99, 99)
    tables = []
    for scaling, rows in _scalings(predictions).items():
        scores = level_scores(labeled_frames(leading(rows)), reference, "patient")
        positive, score = scores["target"].to_numpy() > 0, scores["score"].to_numpy(dtype=float)
        curve = decision_curve(positive, score, chances, n=bootstrap, rng=np.random.default_rng(seed))
        tables.append(curve.assign(scaling=scaling))
    return pd.concat(tables, ignore_index=True)


def _scalings(predictions: pd.DataFrame) -> dict[Scaling, pd.DataFrame]:
    return {"before": predictions.query("arm == 'clean'"), "after": tempered(predictions)}
