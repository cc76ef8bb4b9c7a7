"""Metric tables with intervals, from tables of predictions: every number of the study is computed from those rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.metrics.boxes import Rule
from cag.metrics.classification import of_classification
from cag.metrics.intervals import Estimate, Measured, bootstrap_many, interval_text, paired_difference
from cag.metrics.weighted import ratio

#: A metric of a table: rows, weights [b, n] -> [b].
TableMetric = Callable[[pd.DataFrame, Float[np.ndarray, "b n"]], Float[np.ndarray, " b"]]


def interval_table(measured: Measured, *, n: int, rng: np.random.Generator | int, **constants: object) -> pd.DataFrame:
    """A row a metric, its interval from ``n`` resamples of the patients: ``estimate_rows``, with ``n_rows``."""
    estimates = bootstrap_many(*measured, n=n, rng=np.random.default_rng(rng))
    return estimate_rows(estimates, **constants, n_rows=len(measured.groups))


def difference_table(
    first: Measured, second: Measured, *, n: int, rng: np.random.Generator | int, **constants: object
) -> pd.DataFrame:
    """First minus second, of metrics that both have, on the same resampled patients (two arms, two methods, ...)."""
    drawn = paired_difference(*first, *second, n=n, rng=np.random.default_rng(rng))
    return estimate_rows(drawn, **constants)


def estimate_rows(estimates: Mapping[str, Estimate], **constants: object) -> pd.DataFrame:
    """A row a metric: ``<constants>, metric`` and the fields of ``Estimate``."""
    return pd.DataFrame([{**constants, "metric": name, **asdict(value)} for name, value in estimates.items()])


def stratified_table(
    table: pd.DataFrame,
    measure: Callable[[pd.DataFrame], Measured],
    *,
    by: Sequence[str],
    n: int,
    rng: np.random.Generator | int,
) -> pd.DataFrame:
    """``interval_table`` of each stratum of a prediction table (arm, artery, view, sex, severity band, ...).

    ``measure`` is ``of_classification``, ``of_frame_selection``, ... with its other arguments bound. A seed as ``rng``
    resamples each stratum anew, so that none depends on another.
    """
    parts = [interval_table(measure(rows), n=n, rng=rng, **key) for key, rows in strata(table, by)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def fold_table(predictions: pd.DataFrame, rule: Rule = "clean") -> pd.DataFrame:
    """Mean and standard deviation (n - 1) over folds of the image-level metrics, as the paper gives them.

    Columns are ``metric, mean, sd, n_folds``; folds in which a metric is undefined are left out of it.
    """
    values = []
    for _, rows in predictions.groupby("fold"):
        metrics = of_classification(rows, rule).metrics(np.ones((1, len(rows))))
        values.append({name: value[0] for name, value in metrics.items()})
    folds = pd.DataFrame(values)
    table = pd.DataFrame({"mean": folds.mean(), "sd": folds.std(), "n_folds": folds.count()})
    return table.rename_axis("metric").reset_index()


def bootstrap_table(
    table: pd.DataFrame,
    metrics: Mapping[str, TableMetric],
    *,
    n: int,
    rng: np.random.Generator,
    by: Sequence[str] = (),
) -> pd.DataFrame:
    """``stratified_table`` of any metrics of a table with a row a sample and its ``patient_id``."""

    def measure(rows: pd.DataFrame) -> Measured:
        def many(weights: Float[np.ndarray, "b n"]) -> dict[str, Float[np.ndarray, " b"]]:
            return {name: metric(rows, weights) for name, metric in metrics.items()}

        return Measured(many, rows["patient_id"].to_numpy())

    return stratified_table(table, measure, by=by, n=n, rng=rng)


def weighted_mean(column: str) -> TableMetric:
    """Mean of a column, rows without a value left out, as a metric for ``bootstrap_table``."""

    def many(table: pd.DataFrame, weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
        values = table[column].to_numpy(dtype=float)
        known = np.isfinite(values)
        return ratio(weights[:, known] @ values[known], weights[:, known].sum(axis=1))

    return many


def strata(table: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The values of ``by`` and the rows of each stratum, in sorted order; a missing value is its own stratum."""
    if not by:
        yield {}, table.reset_index(drop=True)
        return
    for key, rows in table.groupby(list(by), observed=True, sort=True, dropna=False):
        yield dict(zip(by, key, strict=True)), rows.reset_index(drop=True)


def estimate(table: pd.DataFrame, **conditions: object) -> Estimate:
    """The one row of a table of metrics that meets the conditions, as an estimate; a `KeyError` unless one does."""
    chosen = table
    for column, value in conditions.items():
        chosen = chosen[chosen[column] == value]
    if len(chosen) != 1:
        raise KeyError(f"{len(chosen)} rows meet {conditions}")
    return Estimate(*chosen.iloc[0][["value", "low", "high", "n_groups"]])


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
