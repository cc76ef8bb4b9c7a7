"""Rows of the prediction table: those of one trained system, those that are scored, and their Table 3."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cag.metrics.classification import Scored
from cag.metrics.measured import Measured, of_classification
from cag.metrics.measured import outputs_of as outputs_by_rule
from cag.metrics.tables import fold_table, interval_table, strata

#: What tells one trained system from another.
SYSTEM = ("n_categories", "redundancy", "arm")


def labeled_frames(predictions: pd.DataFrame, part: str = "outer") -> pd.DataFrame:
    """The frames that are scored: with contrast, in the part asked for."""
    return predictions[(predictions["part"] == part) & ~predictions["redundant"]].reset_index(drop=True)


def system(predictions: pd.DataFrame, n_categories: int, redundancy: bool, arm: str = "clean") -> pd.DataFrame:
    """Predictions of one system: its categories, its training, its arm."""
    chosen = predictions["n_categories"].eq(n_categories) & predictions["redundancy"].eq(redundancy)
    return predictions[chosen & predictions["arm"].eq(arm)].reset_index(drop=True)


def systems(predictions: pd.DataFrame) -> list[tuple[int, bool]]:
    """Categories and redundancy training of every system, the leading one first: fewest categories, with redundancy."""
    pairs = predictions[["n_categories", "redundancy"]].drop_duplicates()
    found = [(int(k), bool(redundancy)) for k, redundancy in pairs.itertuples(index=False)]
    return sorted(found, key=lambda pair: (pair[0], not pair[1]))


def leading(predictions: pd.DataFrame, arm: str = "clean") -> pd.DataFrame:
    """Predictions of the leading system; see ``systems``."""
    return system(predictions, *systems(predictions)[0], arm)


def system_name(n_categories: int, redundancy: bool) -> str:
    """A system as figures call it."""
    return f"{n_categories}-CAT{' + redundancy' if redundancy else ''}"


def outputs_of(rows: pd.DataFrame) -> Scored:
    """Scores and calls of the frames of one system, by the rule of its arm."""
    return outputs_by_rule(rows, rows["arm"].iloc[0])


def measured(rows: pd.DataFrame) -> Measured:
    """Image-level metrics of the frames of one system, by the rule of its arm."""
    return of_classification(rows, rows["arm"].iloc[0])


def image_metrics(predictions: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Image-level metrics of every system and artery: pooled out-of-fold with interval, and over folds.

    Returns
    -------
    DataFrame
        ``artery, n_categories, redundancy, arm, metric, value, low, high, fold_mean, fold_sd, n_rows, n_groups``.
    """
    tables = []
    for key, rows in strata(labeled_frames(predictions), ("artery", *SYSTEM)):
        table = interval_table(measured(rows), n=bootstrap, rng=np.random.default_rng(seed)).assign(**key)
        folds = fold_table(rows, rows["arm"].iloc[0]).rename(columns={"mean": "fold_mean", "sd": "fold_sd"})
        tables.append(table.merge(folds, on="metric", how="left"))
    return pd.concat(tables, ignore_index=True)
