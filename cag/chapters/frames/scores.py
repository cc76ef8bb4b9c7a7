"""Numbers of frame selection, from its prediction tables alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cag.metrics.frame_selection import counts, run_errors
from cag.metrics.intervals import Estimate
from cag.metrics.measured import of_frame_selection
from cag.metrics.tables import difference_table, stratified_table

#: True intervals shorter than this are told apart, as the paper does.
SHORT_FRAMES = 5

#: Methods without a network, in words.
BASELINES = {
    "vesselness": "change point of mean vesselness",
    "darkness": "change point of mean darkness",
    "prior": "usual interval of the training patients",
}


def method_runs(runs: pd.DataFrame, arm: str, method: str) -> pd.DataFrame:
    """Rows of ``frame_selection_runs`` of one method in one arm."""
    return runs[(runs.arm == arm) & (runs.method == method)].reset_index(drop=True)


def method_errors(runs: pd.DataFrame, arm: str, method: str) -> pd.DataFrame:
    """Errors of one method in one arm, a row a test run (see ``cag.metrics.frame_selection.run_errors``)."""
    return run_errors(method_runs(runs, arm, method))


def method_estimates(runs: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """Every metric of every arm and method with its patient-bootstrap interval.

    Parameters
    ----------
    runs : DataFrame
        The table ``frame_selection_runs``.

    Returns
    -------
    DataFrame
        As ``cag.metrics.tables.interval_table``, with ``arm, method``.
    """
    rng = np.random.default_rng(seed)
    return stratified_table(runs, of_frame_selection, by=["arm", "method"], n=resamples, rng=rng)


def row_estimates(table: pd.DataFrame) -> list[Estimate]:
    """The estimates that stand in the rows of a table of estimates."""
    numbers = table[["value", "low", "high", "n_groups"]].to_numpy(dtype=float).tolist()
    return [Estimate(value, low, high, int(n_groups)) for value, low, high, n_groups in numbers]


def headline(estimates: pd.DataFrame, method: str = "cnn_lstm") -> dict[str, Estimate]:
    """Metrics of one method in the clean arm, by name."""
    rows = estimates[(estimates.arm == "clean") & (estimates.method == method)]
    return dict(zip(rows.metric.astype(str), row_estimates(rows), strict=True))


def test_counts(runs: pd.DataFrame) -> dict[str, int]:
    """Test patients and runs, and how many runs have no contrast, a cut-off end or a short interval."""
    once = run_errors(runs.drop_duplicates("run_id"))
    kinds = counts(once)
    length = once.end_true - once.begin_true + 1
    return {
        "test_patients": once.patient_id.nunique(),
        "test_runs": kinds["n_runs"],
        "runs_without_contrast": kinds["n_without_contrast"],
        "runs_censored": kinds["n_end_censored"],
        "runs_short": int((length < SHORT_FRAMES).sum()),
    }


def against_best_baseline(
    runs: pd.DataFrame, estimates: pd.DataFrame, *, resamples: int, seed: int, method: str = "cnn_lstm"
) -> dict[str, Estimate | str]:
    """The best method without a network, its acceptance rate, and how far the network is from it."""
    rows = estimates[(estimates.arm == "clean") & (estimates.metric == "acceptance_rate")]
    best = str(rows[rows.method.isin(list(BASELINES))].sort_values("value").method.iloc[-1])
    sides = [of_frame_selection(method_runs(runs, "clean", name)) for name in (method, best)]
    differences = difference_table(*sides, n=resamples, rng=np.random.default_rng(seed))
    difference = row_estimates(differences[differences.metric == "acceptance_rate"])[0]
    return {
        "baseline_method": BASELINES[best],
        "baseline_acceptance_rate": row_estimates(rows[rows.method == best])[0],
        "baseline_difference": difference,
        "baseline_verdict": _verdict(difference),
    }


def end_against_prior(runs: pd.DataFrame, *, resamples: int, seed: int, method: str = "cnn_lstm") -> Estimate:
    """Mean error at the end, of a method minus that of the interval that is the same for every run, paired (clean)."""
    sides = [of_frame_selection(method_runs(runs, "clean", name)) for name in (method, "prior")]
    differences = difference_table(*sides, n=resamples, rng=np.random.default_rng(seed))
    return row_estimates(differences[differences.metric == "end_error"])[0]


def best_by_border(estimates: pd.DataFrame) -> dict[str, Estimate | str]:
    """For each border, the method without a network that finds it most often within 3 frames, and how often.

    Returns
    -------
    dict
        ``baseline_begin_method`` (in words), ``baseline_begin_rate`` (Estimate), and the same of the end.
    """
    clean = estimates[(estimates.arm == "clean") & estimates.method.isin(list(BASELINES))]
    found: dict[str, Estimate | str] = {}
    for border in ("begin", "end"):
        rows = clean[clean.metric == f"acceptance_rate_{border}"].sort_values(["value", "method"]).tail(1)
        found[f"baseline_{border}_method"] = BASELINES[str(rows.method.iloc[0])]
        found[f"baseline_{border}_rate"] = row_estimates(rows)[0]
    return found


def optimism(runs: pd.DataFrame, methods: Sequence[str], *, resamples: int, seed: int) -> pd.DataFrame:
    """As published minus clean of each method, on the same resampled patients.

    Returns
    -------
    DataFrame
        As ``cag.metrics.tables.difference_table``, with ``method``.
    """
    parts = []
    for method in methods:
        sides = [of_frame_selection(method_runs(runs, arm, method)) for arm in ("as_published", "clean")]
        parts.append(difference_table(*sides, n=resamples, rng=np.random.default_rng(seed), method=method))
    return pd.concat(parts, ignore_index=True)


def subgroup_estimates(runs: pd.DataFrame, *, resamples: int, seed: int, method: str = "cnn_lstm") -> pd.DataFrame:
    """Metrics of one method in the clean arm by artery, view, frame rate and contrast length.

    Returns
    -------
    DataFrame with ``subgroup, level`` and the columns of ``method_estimates``
    """
    errors = method_errors(runs, "clean", method)
    length = errors.end_true - errors.begin_true + 1
    names = [f"under {SHORT_FRAMES} frames", f"{SHORT_FRAMES}-29 frames", "30 frames and more"]
    bins = pd.cut(length.where(errors.contrast), [0, SHORT_FRAMES - 1, 29, np.inf], labels=names)
    errors = errors.assign(
        contrast_length=bins.astype(object).where(errors.contrast, "no contrast"),
        frame_rate=errors.fps.map(lambda rate: f"{rate:g} fps"),
        end=np.where(errors.end_censored.fillna(False).astype(bool), "cut off by the recording", "recorded"),
    )
    titles = {
        "artery": "artery",
        "view": "view",
        "frame_rate": "frame rate",
        "contrast_length": "contrast",
        "end": "end",
    }
    rng = np.random.default_rng(seed)
    parts = [
        stratified_table(errors, of_frame_selection, by=[column], n=resamples, rng=rng)
        .rename(columns={column: "level"})
        .assign(subgroup=title)
        for column, title in titles.items()
    ]
    return pd.concat(parts, ignore_index=True)


def example_runs(runs: pd.DataFrame, method: str = "cnn_lstm") -> pd.DataFrame:
    """A good, a typical and the worst test run of a method with contrast, by the sum of both errors.

    Returns
    -------
    DataFrame of three rows of ``run_errors`` with a column ``title``
    """
    errors = method_errors(runs, "clean", method)
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


def _verdict(difference: Estimate) -> str:
    """Whether the network beats the best baseline, in a sentence for the book."""
    if difference.low > 0:
        return "The network finds more borders than it, and the interval of the difference leaves out zero."
    if difference.high < 0:
        return "The network finds fewer borders than it, and the interval of the difference leaves out zero."
    word = "more" if difference.value > 0 else "fewer" if difference.value < 0 else "as many"
    return f"Found borders of the network here: {word}; but the interval of the difference holds zero."
