"""How far a found contrast interval is from the true one, run by run and over runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from cag.metrics.weighted import ratio
from cag.settings import InputError

#: An error of at most this many frames is acceptable; one of at least that many is an error (the paper's limits).
ACCEPTED_FRAMES = 3
ERROR_FRAMES = 10

#: Why a metric is NaN, by the ending of its name.
UNDEFINED: dict[str, str] = {
    "abstention_sensitivity": "no run without contrast",
    "begin_error_sd": "fewer than two runs with contrast",
    "end_error_sd": "fewer than two uncensored runs with contrast",
    "end_error": "no uncensored run with contrast",
    "acceptance_rate_end": "no uncensored run with contrast",
    "error_rate_end": "no uncensored run with contrast",
}
NO_CONTRAST = "no run with contrast"


def run_errors(runs: pd.DataFrame) -> pd.DataFrame:
    """Errors of each run.

    A run with contrast in which no interval was found is *missed*: it is never accepted, always an
    error, and its begin and end errors are its number of frames, the most that an error can be.
    An end that the recording cut off (``end_censored``) has no end error; its interval ends with
    the run's last frame.

    Parameters
    ----------
    runs : DataFrame
        ``n_frames, begin_true, end_true, end_censored, begin_pred, end_pred``: inclusive frame indices,
        NaN or negative where there is none (no contrast; no interval found).

    Returns
    -------
    DataFrame
        The columns of ``runs`` and ``contrast, answered, missed`` (bool), ``begin_error, end_error``
        (frames, absolute, NaN where there is none), ``begin_shift, end_shift`` (frames, found minus
        true, NaN where missed), ``interval_iou`` (0 to 1, NaN without contrast).

    Raises
    ------
    InputError
        Half an interval, an end before its begin, or an interval outside the run.
    """
    n_frames = _numbers(runs, "n_frames")
    censored = runs["end_censored"].fillna(False).astype(bool).to_numpy()
    begin, end = _interval(runs, "true", n_frames)
    found_begin, found_end = _interval(runs, "pred", n_frames)
    contrast, answered = np.isfinite(begin), np.isfinite(found_begin)
    missed = contrast & ~answered
    begin_shift = found_begin - begin
    end_shift = np.where(censored, np.nan, found_end - end)
    overlap = np.maximum(0, np.minimum(end, found_end) - np.maximum(begin, found_begin) + 1)
    union = (end - begin + 1) + (found_end - found_begin + 1) - overlap
    return runs.assign(
        contrast=contrast,
        answered=answered,
        missed=missed,
        begin_shift=begin_shift,
        end_shift=end_shift,
        begin_error=np.where(missed, n_frames, np.abs(begin_shift)),
        end_error=np.where(missed & ~censored, n_frames, np.abs(end_shift)),
        interval_iou=np.where(missed, 0.0, overlap / union),
    )


def metrics(
    errors: pd.DataFrame, weights: Float[np.ndarray, "b n"] | None = None
) -> dict[str, Float[np.ndarray, " b"]]:
    """Frame selection metrics of a table of ``run_errors``, under many weightings of the runs at once.

    ``acceptance_rate`` (error of at most 3 frames) and ``error_rate`` (10 or more) are over begin
    and end errors together, as published; ``_begin`` and ``_end`` tell them apart.
    ``begin_error`` and ``end_error`` are mean absolute errors in frames, ``_sd`` the standard
    deviation (n - 1) of the absolute errors. ``abstention_sensitivity`` is the share of runs without
    contrast in which no interval was found, ``abstention_specificity`` that of runs with contrast
    in which one was.

    Returns
    -------
    dict of arrays [b]
        NaN where there is no such run.
    """
    weights = np.ones((1, len(errors))) if weights is None else weights
    result: dict[str, Float[np.ndarray, " b"]] = {}
    for side in ("begin", "end"):
        result[f"{side}_error"], result[f"{side}_error_sd"] = _mean_and_sd(_numbers(errors, f"{side}_error"), weights)
    for name, verdict in (("acceptance_rate", accepted), ("error_rate", erroneous)):
        counts = {side: _tally(verdict(errors, side), weights) for side in ("begin", "end")}
        result[name] = ratio(counts["begin"][0] + counts["end"][0], counts["begin"][1] + counts["end"][1])
        result |= {f"{name}_{side}": ratio(*count) for side, count in counts.items()}
    result["interval_iou"] = _mean_and_sd(_numbers(errors, "interval_iou"), weights)[0]
    contrast, answered = errors["contrast"].to_numpy(), errors["answered"].to_numpy()
    result["abstention_sensitivity"] = ratio(weights @ (~contrast & ~answered), weights @ ~contrast)
    result["abstention_specificity"] = ratio(weights @ (contrast & answered), weights @ contrast)
    return result


def counts(errors: pd.DataFrame) -> dict[str, int]:
    """How many runs there are of each kind: what a table of errors must say beside its numbers."""
    contrast = errors["contrast"]
    return {
        "n_runs": len(errors),
        "n_contrast": int(contrast.sum()),
        "n_missed": int(errors["missed"].sum()),
        "n_end_censored": int((contrast & errors["end_censored"].fillna(False).astype(bool)).sum()),
        "n_without_contrast": int((~contrast).sum()),
        "n_false_intervals": int((~contrast & errors["answered"]).sum()),
    }


def acceptance_curve(errors: pd.DataFrame, tolerances: Shaped[np.ndarray, " t"]) -> pd.DataFrame:
    """Share of errors within each tolerance; missed runs are within none.

    Returns
    -------
    DataFrame
        ``tolerance`` (frames), ``begin, end, pooled`` (shares, NaN without such runs).
    """
    one = np.ones((1, len(errors)))
    rows = []
    for tolerance in tolerances:
        begin, end = (_tally(accepted(errors, side, float(tolerance)), one) for side in ("begin", "end"))
        pooled = ratio(begin[0] + end[0], begin[1] + end[1])
        rows.append((tolerance, ratio(*begin)[0], ratio(*end)[0], pooled[0]))
    return pd.DataFrame(rows, columns=["tolerance", "begin", "end", "pooled"])


def accepted(errors: pd.DataFrame, side: str, tolerance: float = ACCEPTED_FRAMES) -> Float[np.ndarray, " n"]:
    """1 where the begin or end is found within the tolerance, 0 where not, NaN where there is none to find."""
    error = _numbers(errors, f"{side}_error")
    return np.where(np.isnan(error), np.nan, (error <= tolerance) & ~errors["missed"].to_numpy())


def erroneous(errors: pd.DataFrame, side: str, limit: float = ERROR_FRAMES) -> Float[np.ndarray, " n"]:
    """1 where the begin or end is off by the limit or more or missed, 0 where not, NaN where there is none to find."""
    error = _numbers(errors, f"{side}_error")
    return np.where(np.isnan(error), np.nan, (error >= limit) | errors["missed"].to_numpy())


def why_undefined(metric: str) -> str:
    """Why that metric is NaN."""
    return UNDEFINED.get(metric, NO_CONTRAST)


def _tally(
    verdict: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
    return weights @ np.nan_to_num(verdict), weights @ np.isfinite(verdict)


def _mean_and_sd(
    values: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
    known, total = np.nan_to_num(values), weights @ np.isfinite(values)
    center = known[np.isfinite(values)].mean() if np.isfinite(values).any() else 0.0
    off = np.where(np.isfinite(values), known - center, 0.0)
    mean_off = ratio(weights @ off, total)
    spread = weights @ off**2 - total * np.nan_to_num(mean_off) ** 2
    return center + mean_off, np.sqrt(np.maximum(ratio(spread, np.where(total > 1, total - 1, 0)), 0))


def _numbers(table: pd.DataFrame, column: str) -> Float[np.ndarray, " n"]:
    return pd.to_numeric(table[column]).to_numpy(dtype=float, na_value=np.nan)


def _interval(
    runs: pd.DataFrame, which: str, n_frames: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Begin and end, NaN where there is none, refused where they make no interval of the run."""
    begin, end = _numbers(runs, f"begin_{which}"), _numbers(runs, f"end_{which}")
    begin, end = np.where(begin >= 0, begin, np.nan), np.where(end >= 0, end, np.nan)
    wrong = (np.isnan(begin) != np.isnan(end)) | (end < begin) | (end >= n_frames) | np.isnan(n_frames)
    if wrong.any():
        row = int(wrong.argmax())
        problem = f"{int(wrong.sum())} runs have no valid interval, first {begin[row]}-{end[row]} of {n_frames[row]:g}"
        raise InputError(problem, field=f"begin_{which}, end_{which}", remedy="Give both, within the run, or neither")
    return begin, end
