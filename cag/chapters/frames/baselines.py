"""Contrast intervals without a network: grey-level curves with a change point, and a constant prior.

Each learns from the training patients how far the true borders lie from its plain answer, and when to abstain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped


class FoundInterval(NamedTuple):
    """First and last frame, inclusive, and the rise inside in units of the curve's scatter within both levels."""

    begin: int
    end: int
    step: float


class Calibration(NamedTuple):
    """Frames added to the change points, and the least step of a run that is called one with contrast."""

    begin_shift: float
    end_shift: float
    least_step: float


def baseline_intervals(
    curves: Mapping[str, pd.DataFrame], train: pd.DataFrame, test: pd.DataFrame
) -> Iterator[tuple[str, str, tuple[int, int] | None]]:
    """Run, method and found interval of every test run by change points of both curves and by the constant prior.

    ``curves`` holds each run's ``frame_curves``; ``train`` and ``test`` are rows of the manifest.
    """
    counts = test.n_frames.astype(int)
    for method in ("vesselness", "darkness"):
        learned = calibrate([change_interval(curves[run][method].to_numpy()) for run in train.run_id], train)
        for run, count in zip(test.run_id, counts, strict=True):
            yield run, method, apply_calibration(change_interval(curves[run][method].to_numpy()), learned, count)
    first, last = constant_prior(train)
    for run, count in zip(test.run_id, counts, strict=True):
        yield run, "prior", (round(first * (count - 1)), round(last * (count - 1)))


def change_interval(curve: Shaped[np.ndarray, " t"]) -> FoundInterval:
    """The interval in which a curve is highest: the best two-level fit, by least squares.

    All intervals are tried, so the answer is exact. The whole run is allowed only when no inner interval raises
    the mean. A curve has two frames or more.
    """
    values = np.asarray(curve, dtype=float)
    count = values.size
    total = np.concatenate([[0.0], np.cumsum(values - values.mean())])
    rise = total[None, :] - total[:, None]
    length = np.arange(count + 1)[None, :] - np.arange(count + 1)[:, None]
    allowed = (length > 0) & (length < count) & (rise > 1e-12)
    if not allowed.any():
        return FoundInterval(0, count - 1, 0.0)
    size = np.where(allowed, length, 1)
    between = np.where(allowed, rise**2 / size + rise**2 / np.maximum(count - size, 1), -np.inf)
    begin, stop = np.unravel_index(int(between.argmax()), between.shape)
    inside = np.zeros(count, dtype=bool)
    inside[begin:stop] = True
    scatter = np.sqrt((values[inside].var() * inside.sum() + values[~inside].var() * (~inside).sum()) / count)
    step = values[inside].mean() - values[~inside].mean()
    return FoundInterval(int(begin), int(stop) - 1, float(step / max(scatter, 1e-9)))


def calibrate(found: Sequence[FoundInterval], runs: pd.DataFrame) -> Calibration:
    """Learn shifts and the abstention limit of a curve from training runs.

    Shifts are the median difference to the truth, over runs with contrast (ends that were recorded). The limit is
    the step that tells runs without contrast apart with the best mean of sensitivity and specificity; zero where
    every run has contrast. ``found`` is in the order of ``runs``, rows of the manifest.
    """
    own = pd.DataFrame(found, index=runs.index)
    filled, recorded = runs.contrast_begin.notna(), ~runs.end_censored.fillna(False).astype(bool)
    begin_shift = (runs.contrast_begin - own.begin)[filled].astype(float).median()
    end_shift = (runs.contrast_end - own.end)[filled & recorded].astype(float).median()
    least_step = _least_step(own.step.to_numpy(), filled.to_numpy())
    return Calibration(float(np.nan_to_num(begin_shift)), float(np.nan_to_num(end_shift)), least_step)


def apply_calibration(found: FoundInterval, calibration: Calibration, n_frames: int) -> tuple[int, int] | None:
    """The calibrated interval, kept inside the run; None where the step is too small."""
    if found.step < calibration.least_step:
        return None
    begin = int(np.clip(round(found.begin + calibration.begin_shift), 0, n_frames - 1))
    end = int(np.clip(round(found.end + calibration.end_shift), begin, n_frames - 1))
    return begin, end


def constant_prior(runs: pd.DataFrame) -> tuple[float, float]:
    """Median first and last contrast frame of the training runs, as shares of the run's length 0-1."""
    filled = runs[runs.contrast_begin.notna()]
    last = (filled.n_frames - 1).clip(lower=1).astype(float)
    return float((filled.contrast_begin / last).median()), float((filled.contrast_end / last).median())


def _least_step(step: Float[np.ndarray, " n"], filled: Shaped[np.ndarray, " n"]) -> float:
    if filled.all() or not filled.any():
        return 0.0
    edges = np.unique(step)
    limits = np.concatenate([[0.0], (edges[1:] + edges[:-1]) / 2])
    scores = [((step[filled] >= limit).mean() + (step[~filled] < limit).mean()) / 2 for limit in limits]
    return float(limits[int(np.argmax(scores))])
