"""Numbers of frame selection, from its prediction tables alone."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cag.metrics.frame_selection import of_frame_selection, run_errors
from cag.metrics.intervals import Estimate, paired_difference
from cag.metrics.tables import difference_table, stratified_table, weighted_mean

#: True intervals shorter than this are told apart, as the paper does.
SHORT_FRAMES = 5

#: Methods without a network, in words.
BASELINES = {
    "vesselness": "change point of mean vesselness",
    "darkness": "change point of mean darkness",
    "prior": "usual interval of the training patients",
}


def method_runs(runs: pd.DataFrame, arm: str, method: str) -> pd.DataFrame:
    """Rows of ``frame_selection_runs`` (or of another table of the experiment) of one method in one arm."""
    return runs[(runs.arm == arm) & (runs.method == method)].reset_index(drop=True)


def best_baseline(estimates: pd.DataFrame, metric: str) -> str:
    """The method without a network that has the highest value of a metric (clean arm)."""
    rows = estimates[(estimates.arm == "clean") & (estimates.metric == metric) & estimates.method.isin(list(BASELINES))]
    return str(rows.sort_values(["value", "method"]).method.iloc[-1])


def method_difference(
    runs: pd.DataFrame, first: tuple[str, str], second: tuple[str, str], *, n: int, seed: int
) -> pd.DataFrame:
    """Every metric of one method minus that of another on the same ``n`` resamples of the patients.

    Parameters
    ----------
    runs : DataFrame
        The table ``frame_selection_runs``.
    first, second : (arm, method)

    Returns
    -------
    DataFrame
        As ``cag.metrics.tables.difference_table``, with ``method``, that of ``first``.
    """
    sides = [of_frame_selection(method_runs(runs, *side)) for side in (first, second)]
    return difference_table(*sides, n=n, rng=np.random.default_rng(seed), method=first[1])


def inside_difference(candidates: pd.DataFrame, first: str, second: str, *, n: int, seed: int) -> Estimate:
    """Share of candidates inside the true interval, one method minus another (clean arm, chosen by quality).

    Parameters
    ----------
    candidates : DataFrame
        The table ``frame_selection_candidates``; both methods are measured on the same ``n`` resamples of patients.
    """
    share = weighted_mean("inside")
    chosen = candidates[candidates.chosen_by == "quality"]
    one, other = (method_runs(chosen, "clean", method) for method in (first, second))
    return paired_difference(
        lambda weights: {"inside": share(one, weights)},
        one.patient_id.to_numpy(),
        lambda weights: {"inside": share(other, weights)},
        other.patient_id.to_numpy(),
        n=n,
        rng=np.random.default_rng(seed),
    )["inside"]


def subgroup_estimates(runs: pd.DataFrame, *, n: int, seed: int, method: str = "cnn_lstm") -> pd.DataFrame:
    """Metrics of one method in the clean arm by artery, view, frame rate, contrast length and kind of end.

    Returns
    -------
    DataFrame
        ``by, group`` and the columns of ``cag.metrics.tables.interval_table``.
    """
    errors = run_errors(method_runs(runs, "clean", method))
    length = errors.end_true - errors.begin_true + 1
    names = [f"under {SHORT_FRAMES} frames", f"{SHORT_FRAMES}-29 frames", "30 frames and more"]
    bins = pd.cut(length.where(errors.contrast), [0, SHORT_FRAMES - 1, 29, np.inf], labels=names)
    errors = errors.assign(
        **{"frame rate": errors.fps.map("{:g} fps".format)},
        length=bins.astype(object).where(errors.contrast, "no contrast"),
        end=np.where(errors.end_censored.fillna(False).astype(bool), "cut off by the recording", "recorded"),
    )
    rng, parts = np.random.default_rng(seed), []
    for column in ("artery", "view", "frame rate", "length", "end"):
        table = stratified_table(errors, of_frame_selection, by=[column], n=n, rng=rng)
        title = "contrast" if column == "length" else column
        parts.append(table.rename(columns={column: "group"}).assign(by=title))
    return pd.concat(parts, ignore_index=True)


def example_runs(runs: pd.DataFrame, method: str = "cnn_lstm") -> pd.DataFrame:
    """A good, a typical and the worst test run of a method with contrast, by the sum of both errors (clean arm).

    Returns
    -------
    DataFrame
        Three rows of ``cag.metrics.frame_selection.run_errors`` with a column ``title``.
    """
    errors = run_errors(method_runs(runs, "clean", method))
    errors = errors[errors.contrast].assign(total=lambda table: table.begin_error + table.end_error.fillna(0))
    order = errors.sort_values(["total", "run_id"]).reset_index(drop=True)
    chosen = order.iloc[[0, len(order) // 2, len(order) - 1]].copy()
    words = ("good", "typical", "worst")
    chosen["title"] = [f"{word}: {_described(run)}" for word, (_, run) in zip(words, chosen.iterrows(), strict=True)]
    return chosen


def _described(run: pd.Series) -> str:
    if run.missed:
        return f"{run.run_id}, {run['view']}, no interval found"
    end = "end cut off by the recording" if np.isnan(run.end_error) else f"end off by {run.end_error:.0f}"
    return f"{run.run_id}, {run['view']}, begin off by {run.begin_error:.0f}, {end}"
