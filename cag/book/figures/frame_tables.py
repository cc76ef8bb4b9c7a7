"""Tables of frame selection as the book prints them, from tables of estimates."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cag.book.figures.frame_selection import METHOD_NAMES
from cag.chapters.frames.scores import row_estimates
from cag.metrics.intervals import interval_text

ARM_NAMES = {"clean": "clean", "as_published": "as published"}

#: Metric -> its column title.
METRIC_TITLES = {
    "begin_error": "Begin error (frames)",
    "begin_error_sd": "SD",
    "end_error": "End error (frames)",
    "end_error_sd": "SD of end error",
    "acceptance_rate": "Within 3 frames",
    "error_rate": "Off by 10 or more",
    "interval_iou": "Interval IoU",
    "abstention_sensitivity": "Abstains without contrast",
    "abstention_specificity": "Answers with contrast",
}
MAIN_METRICS = ("begin_error", "end_error", "acceptance_rate", "error_rate", "interval_iou")
ABSTENTION_METRICS = ("abstention_sensitivity", "abstention_specificity")
SPREAD_METRICS = ("begin_error", "begin_error_sd", "end_error", "end_error_sd")


def method_table(estimates: pd.DataFrame, metrics: Sequence[str] = MAIN_METRICS) -> pd.DataFrame:
    """One row a method and arm, one column a metric with its interval.

    Parameters
    ----------
    estimates : DataFrame
        ``cag.chapters.frames.scores.method_estimates``.
    """
    wide = _wide(estimates, ["arm", "method"], metrics)
    order = {name: place for place, name in enumerate(METHOD_NAMES)}
    wide = wide.sort_values(["arm", "method"], key=lambda column: column.map(order | {"clean": -2, "as_published": -1}))
    wide["arm"], wide["method"] = wide.arm.map(ARM_NAMES), wide.method.map(METHOD_NAMES)
    return wide.rename(columns={"arm": "Arm", "method": "Method"}).reset_index(drop=True)


def subgroup_table(estimates: pd.DataFrame, metrics: Sequence[str] = MAIN_METRICS) -> pd.DataFrame:
    """One row a subgroup, with its number of runs and patients."""
    wide = _wide(estimates, ["subgroup", "level", "n_rows", "n_groups"], metrics)
    names = {"subgroup": "By", "level": "Group", "n_rows": "Runs", "n_groups": "Patients"}
    return wide.rename(columns=names).reset_index(drop=True)


def difference_table(differences: pd.DataFrame, metrics: Sequence[str] = MAIN_METRICS) -> pd.DataFrame:
    """One row a method, one column a metric of ``cag.chapters.frames.scores.optimism``."""
    wide = _wide(differences, ["method"], metrics)
    return wide.assign(method=wide.method.map(METHOD_NAMES)).rename(columns={"method": "Method"})


def candidate_table(estimates: pd.DataFrame) -> pd.DataFrame:
    """Share of candidates inside the true interval: one row a method, one column a way of choosing."""
    clean = estimates[estimates.arm == "clean"]
    clean = clean.assign(text=[interval_text(one) for one in row_estimates(clean)])
    wide = clean.pivot(index="method", columns="chosen_by", values="text")
    wide = wide.reindex([name for name in METHOD_NAMES if name in wide.index]).rename(index=METHOD_NAMES)
    titles = {"quality": "By probability and quality", "middle": "Middle of the interval"}
    return wide[list(titles)].rename(columns=titles).rename_axis(index="Interval from", columns=None).reset_index()


def _wide(estimates: pd.DataFrame, keys: list[str], metrics: Sequence[str]) -> pd.DataFrame:
    chosen = estimates[estimates.metric.isin(metrics)]
    chosen = chosen.assign(text=[interval_text(one) for one in row_estimates(chosen)])
    order = chosen[keys].drop_duplicates()
    wide = chosen.pivot(index=keys, columns="metric", values="text").reset_index()
    wide = order.merge(wide, on=keys)[[*keys, *metrics]]
    return wide.rename(columns={name: METRIC_TITLES[name] for name in metrics})
