"""From the predictions of the classifiers to the numbers of Table 3, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cag.metrics.classification import Scored
from cag.metrics.intervals import Estimate, interval_text
from cag.metrics.measured import Measured, of_classification
from cag.metrics.measured import outputs_of as outputs_by_rule
from cag.metrics.tables import bootstrap_table, fold_table, interval_table, strata, weighted_mean

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


def image_metrics(predictions: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Image-level metrics of every system and artery: pooled out-of-fold with interval, and over folds.

    Returns
    -------
    DataFrame
        ``artery, n_categories, redundancy, arm, metric, value, low, high, fold_mean, fold_sd, n_rows, n_groups``.
    """
    tables = []
    for key, rows in strata(labeled_frames(predictions), ("artery", *SYSTEM)):
        rng = np.random.default_rng(seed)
        table = interval_table(measured(rows), n=bootstrap, rng=rng).assign(**key)
        folds = fold_table(rows, rows["arm"].iloc[0]).rename(columns={"mean": "fold_mean", "sd": "fold_sd"})
        tables.append(table.merge(folds, on="metric", how="left"))
    return pd.concat(tables, ignore_index=True)


def measured(rows: pd.DataFrame) -> Measured:
    """Image-level metrics of the frames of one system, by the rule of its arm."""
    return of_classification(rows, rows["arm"].iloc[0])


def severity_calls(rows: pd.DataFrame, edges: Sequence[float], *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Share of the frames of one system called diseased in each band of percent stenosis.

    Returns
    -------
    DataFrame
        ``artery, band`` (its lowest percent), ``value, low, high`` (resampling patients), ``n_groups``.
    """
    bands = pd.cut(rows["percent_stenosis"], list(edges), right=False, labels=list(edges)[:-1]).astype(float)
    table = called_frames(rows).assign(band=bands)
    shares = {"called": weighted_mean("called")}
    rng = np.random.default_rng(seed)
    return bootstrap_table(table, shares, n=bootstrap, rng=rng, by=("artery", "band"))


def called_frames(rows: pd.DataFrame) -> pd.DataFrame:
    """Frames of one system with ``called``: whether any stenosis is called."""
    k = int(rows["n_categories"].iloc[0])
    predicted = outputs_of(rows).predicted
    return rows.assign(called=(predicted > 0) & (predicted < k))


def estimate(table: pd.DataFrame, **conditions: object) -> Estimate:
    """The one row of a table of metrics that meets the conditions, as an estimate.

    Raises
    ------
    KeyError
        Unless exactly one row does.
    """
    chosen = table
    for column, value in conditions.items():
        chosen = chosen[chosen[column] == value]
    if len(chosen) != 1:
        raise KeyError(f"{len(chosen)} rows meet {conditions}")
    row = chosen.iloc[0]
    return Estimate(**{name: row[name] for name in ("value", "low", "high", "n_groups")})


def readable(table: pd.DataFrame, keys: Sequence[str], digits: int = 2) -> pd.DataFrame:
    """A table of metrics as it is read: a row a system, a column a metric, each cell ``value (low to high)``.

    Rows and columns keep their order. Where fold statistics are given they follow as ``mean ± SD``.
    """
    named = {key: _key_text(table[key]) for key in keys}
    shown = table.assign(text=table.apply(_cell_text, axis=1, digits=digits), **named)
    wide = shown.pivot(index=list(keys), columns="metric", values="text")
    order = pd.MultiIndex.from_frame(shown[list(keys)].drop_duplicates())
    wide = wide.reindex(order if len(keys) > 1 else order.get_level_values(0))
    return wide[list(dict.fromkeys(table["metric"]))].reset_index().rename_axis(columns=None)


def _key_text(column: pd.Series) -> pd.Series:
    """A key as it is; one that is missing in places as text, since a missing key would lose its rows."""
    return column if column.notna().all() else column.map(lambda x: "–" if pd.isna(x) else f"{x:.2f}")


def _cell_text(row: pd.Series, digits: int) -> str:
    text = interval_text(Estimate(row["value"], row["low"], row["high"], n_groups=0), digits)
    if pd.isna(row["value"]) or "fold_mean" not in row:
        return text
    return f"{text}; {row['fold_mean']:.{digits}f} ± {row['fold_sd']:.{digits}f}"
