"""How far a found contrast interval is from the true one, run by run and over runs."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.metrics.intervals import Measured
from cag.metrics.weighted import ratio

#: An error of at most this many frames is acceptable; one of at least that many is an error (the paper's limits).
ACCEPTED_FRAMES = 3
ERROR_FRAMES = 10

_BORDERS = ("begin_true", "end_true", "begin_pred", "end_pred")


def run_errors(runs: pd.DataFrame) -> pd.DataFrame:
    """Errors of each run.

    A run with contrast in which no interval was found is *missed*: it is never accepted, always an
    error, and its begin and end errors are its number of frames, the most that an error can be.
    An end that the recording cut off (``end_censored``) has no end error; its interval ends with
    the run's last frame.

    ``runs`` has ``n_frames, begin_true, end_true, end_censored, begin_pred, end_pred``: inclusive frame indices, NaN or
    negative, both of them, where there is none (no contrast; no interval found). Added are ``contrast, answered,
    missed`` (bool), ``begin_error, end_error`` (frames, absolute, NaN where there is none), ``begin_shift, end_shift``
    (frames, found minus true, NaN where missed), ``interval_iou`` (0 to 1, NaN without contrast).
    """
    n_frames = _numbers(runs, "n_frames")
    censored = runs["end_censored"].fillna(False).astype(bool).to_numpy()
    begin, end, found_begin, found_end = (_numbers(runs, name) for name in _BORDERS)
    contrast, answered = np.isfinite(begin), np.isfinite(found_begin)
    missed = contrast & ~answered
    begin_shift, end_shift = found_begin - begin, np.where(censored, np.nan, found_end - end)
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
    in which one was. NaN where there is no such run.
    """
    weights = np.ones((1, len(errors))) if weights is None else weights
    missed, contrast, answered = (errors[name].to_numpy(dtype=bool) for name in ("missed", "contrast", "answered"))
    sides = {side: _numbers(errors, f"{side}_error") for side in ("begin", "end")}
    result: dict[str, Float[np.ndarray, " b"]] = {}
    for side, error in sides.items():
        result[f"{side}_error"], result[f"{side}_error_sd"] = _mean_and_sd(error, weights)
    known = {side: weights @ np.isfinite(error) for side, error in sides.items()}
    verdicts = {
        "acceptance_rate": lambda error: (error <= ACCEPTED_FRAMES) & ~missed,
        "error_rate": lambda error: (error >= ERROR_FRAMES) | (missed & np.isfinite(error)),
    }
    for name, verdict in verdicts.items():
        met = {side: weights @ verdict(error) for side, error in sides.items()}
        result[name] = ratio(met["begin"] + met["end"], known["begin"] + known["end"])
        result |= {f"{name}_{side}": ratio(met[side], known[side]) for side in sides}
    result["interval_iou"] = _mean_and_sd(_numbers(errors, "interval_iou"), weights)[0]
    result["abstention_sensitivity"] = ratio(weights @ (~contrast & ~answered), weights @ ~contrast)
    result["abstention_specificity"] = ratio(weights @ (contrast & answered), weights @ contrast)
    return result


def of_frame_selection(runs: pd.DataFrame) -> Measured:
    """Frame selection metrics of rows of ``frame_selection_runs``; see ``metrics``."""
    return Measured(partial(metrics, run_errors(runs)), runs["patient_id"].to_numpy())


def _mean_and_sd(
    values: Float[np.ndarray, " n"], weights: Float[np.ndarray, "b n"]
) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
    known = np.isfinite(values)
    total, center = weights @ known, values[known].mean() if known.any() else 0.0
    off = np.where(known, values - center, 0.0)
    mean_off = ratio(weights @ off, total)
    spread = weights @ off**2 - total * np.nan_to_num(mean_off) ** 2
    return center + mean_off, np.sqrt(np.maximum(ratio(spread, np.where(total > 1, total - 1, 0)), 0))


def _numbers(table: pd.DataFrame, column: str) -> Float[np.ndarray, " n"]:
    """A column that counts from 0; NaN where there is none."""
    numbers = pd.to_numeric(table[column]).to_numpy(dtype=float, na_value=np.nan)
    return np.where(numbers >= 0, numbers, np.nan)
