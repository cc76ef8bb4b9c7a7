"""From the predictions of the classifiers to the numbers of Table 3, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cag.anatomy import severity_category
from cag.metrics.aggregation import How, aggregate
from cag.metrics.classification import Scored
from cag.metrics.intervals import Estimate
from cag.metrics.measured import Measured, of_classification, of_scores
from cag.metrics.measured import outputs_of as outputs_by_rule
from cag.metrics.operating import youden_threshold
from cag.metrics.tables import difference_table, fold_table, interval_table, strata

#: What tells one trained system from another.
SYSTEM = ("n_categories", "redundancy", "arm")
_HOWS: tuple[How, ...] = ("max", "mean", "noisy_or")


def labeled_frames(predictions: pd.DataFrame, part: str = "outer") -> pd.DataFrame:
    """The frames that are scored: with contrast, in the part asked for."""
    return predictions[(predictions["part"] == part) & ~predictions["redundant"]].reset_index(drop=True)


def system(predictions: pd.DataFrame, n_categories: int, redundancy: bool, arm: str = "clean") -> pd.DataFrame:
    """Predictions of one system: its categories, its training, its arm."""
    chosen = predictions["n_categories"].eq(n_categories) & predictions["redundancy"].eq(redundancy)
    return predictions[chosen & predictions["arm"].eq(arm)].reset_index(drop=True)


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
        table = interval_table(_measured(rows), n=bootstrap, rng=rng).assign(**key)
        folds = fold_table(rows, rows["arm"].iloc[0]).rename(columns={"mean": "fold_mean", "sd": "fold_sd"})
        tables.append(table.merge(folds, on="metric", how="left"))
    return pd.concat(tables, ignore_index=True)


def level_scores(rows: pd.DataFrame, reference: pd.DataFrame, level: str, how: How = "max") -> pd.DataFrame:
    """Scores of one system pooled from images to arteries or patients, beside the reference standard.

    Parameters
    ----------
    rows : DataFrame
        Frames of one system (``system``), labeled ones only.
    reference : DataFrame
        ``patient_id, artery, percent_stenosis``: the worst segment of each artery.
    level : {'artery', 'patient'}

    Returns
    -------
    DataFrame
        ``patient_id`` (and ``artery``), ``score, target`` (1 from 25 % on), ``percent_stenosis``.
    """
    images = rows[["patient_id", "artery", "target"]].assign(score=outputs_of(rows).score.clip(0, 1))
    pooled = aggregate(images, how, level="artery" if level == "artery" else "patient").drop(columns="target")
    keys = [column for column in ("patient_id", "artery") if column in pooled]
    worst = reference.groupby(keys, as_index=False)["percent_stenosis"].max()
    pooled = pooled.merge(worst, on=keys, how="left")
    return pooled.assign(target=severity_category(pooled["percent_stenosis"].to_numpy(), (25.0,)))


def level_metrics(
    predictions: pd.DataFrame, reference: pd.DataFrame, *, hows: Sequence[How], bootstrap: int, seed: int
) -> pd.DataFrame:
    """Artery- and patient-level metrics of every system and way of pooling.

    Disease is called at a score of one half; under ``threshold`` 'youden' at the score that is best on
    the inner patients (clean arm only).

    Returns
    -------
    DataFrame
        ``level, artery, how, threshold, n_categories, redundancy, arm, metric, value, low, high, n_groups``.
    """
    tables = []
    for key, rows in strata(labeled_frames(predictions), SYSTEM):
        inner = system(labeled_frames(predictions, "inner"), **key)
        for how in hows:
            for level in ("artery", "patient"):
                pooled = level_scores(rows, reference, level, how)
                by = ("artery",) if level == "artery" else ()
                thresholds = {"half": 0.5}
                if len(inner):
                    tuned = level_scores(inner, reference, level, how)
                    thresholds["youden"] = youden_threshold(tuned["target"].to_numpy() > 0, tuned["score"].to_numpy())
                for part, group in strata(pooled, by):
                    constants: dict[str, Any] = {"level": level, "artery": "both", "how": how} | part | key
                    tables += [
                        interval_table(of_scores(group, cut), n=bootstrap, rng=np.random.default_rng(seed)).assign(
                            **constants, threshold=name
                        )
                        for name, cut in thresholds.items()
                    ]
    return pd.concat(tables, ignore_index=True)


def optimism(predictions: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """What the published rules add to each number: ``as_published`` minus ``clean``, paired, with interval."""
    tables = []
    for key, rows in strata(labeled_frames(predictions), ("artery", "n_categories", "redundancy")):
        arms = {arm: group.reset_index(drop=True) for arm, group in rows.groupby("arm")}
        tables.append(_difference(arms["as_published"], arms["clean"], bootstrap, seed, **key))
    return pd.concat(tables, ignore_index=True)


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


def _measured(rows: pd.DataFrame) -> Measured:
    return of_classification(rows, rows["arm"].iloc[0])


def _difference(first: pd.DataFrame, second: pd.DataFrame, bootstrap: int, seed: int, **constants: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return difference_table(_measured(first), _measured(second), n=bootstrap, rng=rng).assign(**constants)


def called_frames(rows: pd.DataFrame) -> pd.DataFrame:
    """Frames of one system with ``called``: whether any stenosis is called."""
    k = int(rows["n_categories"].iloc[0])
    predicted = outputs_of(rows).predicted
    return rows.assign(called=(predicted > 0) & (predicted < k))


def roc_groups(predictions: pd.DataFrame, reference: pd.DataFrame) -> dict[str, dict[str, pd.DataFrame]]:
    """What the panels of the ROC figure show: panel title -> {curve label: patient_id, target, score}."""
    outer = labeled_frames(predictions)
    panels: dict[str, dict[str, pd.DataFrame]] = {}
    for artery in ("LCA", "RCA"):
        curves = {}
        for k, redundancy in ((2, True), (2, False), (3, True), (3, False)):
            rows = system(outer[outer["artery"] == artery], k, redundancy)
            if len(rows):
                name = f"{k}-CAT{' + redundancy' if redundancy else ''}"
                curves[name] = rows[["patient_id", "target"]].assign(score=outputs_of(rows).score)
        panels[f"{artery}, images"] = curves
    leading = system(outer, 2, True)
    pooled = {how: level_scores(leading, reference, "artery", how) for how in _HOWS}
    for artery in ("LCA", "RCA"):
        panels[f"{artery}, arteries"] = {how: table[table["artery"] == artery] for how, table in pooled.items()}
    panels["Patients"] = {how: level_scores(leading, reference, "patient", how) for how in _HOWS}
    return panels


def readable(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """A table of metrics as it is read: a row a system, a column a metric, each cell ``value (low to high)``.

    Where fold statistics are given they follow as ``mean ± SD``.
    """
    text = table.apply(_cell_text, axis=1)
    wide = table.assign(text=text).pivot(index=list(keys), columns="metric", values="text")
    return wide[list(dict.fromkeys(table["metric"]))].reset_index().rename_axis(columns=None)


def _cell_text(row: pd.Series) -> str:
    if pd.isna(row["value"]):
        return "not defined"
    text = f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    return f"{text}; {row['fold_mean']:.2f} ± {row['fold_sd']:.2f}" if "fold_mean" in row else text


def system_differences(predictions: pd.DataFrame, what: str, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Paired differences at image level, a row an artery, other factor and metric (clean arm).

    Parameters
    ----------
    what : {'categories', 'redundancy'}
        ``categories``: three minus two; ``redundancy``: with minus without redundancy training.
    """
    other = "redundancy" if what == "categories" else "n_categories"
    clean = labeled_frames(predictions).query("arm == 'clean'")
    tables = []
    for key, rows in strata(clean, ("artery", other)):
        first, second = _contrasted(rows, what)
        if len(first) and len(second):
            tables.append(_difference(first, second, bootstrap, seed, **key))
    return pd.concat(tables, ignore_index=True)


def pooled_difference(predictions: pd.DataFrame, what: str, *, bootstrap: int, seed: int) -> dict[str, Estimate]:
    """The paired difference of ``system_differences`` over both arteries, for the paper's leading system."""
    clean = labeled_frames(predictions).query("arm == 'clean'")
    leading = clean[clean["redundancy"]] if what == "categories" else clean[clean["n_categories"] == 2]
    table = _difference(*_contrasted(leading, what), bootstrap, seed)
    return {metric: estimate(table, metric=metric) for metric in table["metric"]}


def _contrasted(rows: pd.DataFrame, what: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    column, first, second = ("n_categories", 3, 2) if what == "categories" else ("redundancy", True, False)
    return rows[rows[column].eq(first)].reset_index(drop=True), rows[rows[column].eq(second)].reset_index(drop=True)


def background_calls(predictions: pd.DataFrame) -> pd.DataFrame:
    """What the 2-CAT networks of the clean arm call frames without contrast, a row an artery and training.

    Returns
    -------
    DataFrame
        ``artery, training, frames, normal, diseased, redundant`` (shares) and ``p_stenosis`` (mean).
    """
    rows = predictions.query("redundant and part == 'outer' and arm == 'clean' and n_categories == 2")
    calls = rows[["p_0", "p_1", "p_redundant"]].to_numpy().argmax(axis=1)
    table = rows[["artery"]].assign(training=np.where(rows["redundancy"], "with redundancy", "without redundancy"))
    for number, name in enumerate(("normal", "diseased", "redundant")):
        table[name] = (calls == number).astype(float)
    table["p_stenosis"] = rows["p_1"]
    groups = table.groupby(["artery", "training"])
    return groups.mean().assign(frames=groups.size()).reset_index()
