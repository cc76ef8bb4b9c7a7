"""Intervals that respect whom the samples belong to: patients are resampled, never frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped
from scipy.stats import binomtest

from cag.settings import InputError

#: Metrics as the bootstrap wants them: weights [b, n] of the rows -> {name: one value a weighting [b]}.
Metrics = Callable[[Float[np.ndarray, "b n"]], Mapping[str, Float[np.ndarray, " b"]]]

_CELLS_AT_ONCE = 2**22


class Measured(NamedTuple):
    """Metrics of rows of predictions, ``weights [b, n] -> {name: [b]}``, and the patient of each row."""

    metrics: Metrics
    groups: Shaped[np.ndarray, " n"]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float  # On all rows, each counted once; NaN where the metric is undefined
    #: NaN with fewer than two groups or an undefined value.
    low: float
    high: float
    n_groups: int  # Patients behind it
    p_value: float = float("nan")  # Two-sided, of no difference; NaN for what is not a difference
    undefined: int = 0  # Resamples left out since the metric was undefined, such as of one class only

    def __format__(self, spec: str) -> str:
        """``f"{auc}"`` is ``0.84 (0.79 to 0.88)``, ``f"{auc:.2f}"`` the value alone."""
        return format(self.value, spec) if spec else interval_text(self)


def interval_text(estimate: Estimate, digits: int = 2) -> str:
    """An estimate as readers expect it, such as ``0.84 (0.79 to 0.88)``."""
    if math.isnan(estimate.value):
        return "not defined"
    # Adding zero takes the sign from a zero that was rounded to.
    value, low, high = (f"{round(x, digits) + 0.0:.{digits}f}" for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} (no interval)" if math.isnan(estimate.low) else f"{value} ({low} to {high})"


def resample_weights(groups: Shaped[np.ndarray, " n"], n: int, rng: np.random.Generator) -> Float[np.ndarray, "r n"]:
    """Weights of the rows in ``n`` resamples of their groups: for bands around curves and for strata of rows."""
    names, codes = _codes(groups)
    return _counts(len(names), n, rng)[:, codes]


def bootstrap_many(
    metrics: Metrics, groups: Shaped[np.ndarray, " n"], *, n: int, rng: np.random.Generator
) -> dict[str, Estimate]:
    """95 % percentile bootstrap intervals of several metrics, resampling groups (patients) with replacement.

    ``n`` resamples: 2,000 or more for a published number. The interval does not depend on the order of the rows. Raises
    `InputError` if a row belongs to no group, or ``n`` is below 1.
    """
    names, codes = _codes(groups)
    drawn = _drawn(metrics, codes, _counts(len(names), n, rng))
    return {name: _estimate(values, len(names)) for name, values in drawn.items()}


def paired_difference(
    first: Metrics,
    first_groups: Shaped[np.ndarray, " n"],
    second: Metrics,
    second_groups: Shaped[np.ndarray, " m"],
    *,
    n: int,
    rng: np.random.Generator,
) -> dict[str, Estimate]:
    """First minus second, for every metric that both have, with both computed on the same resampled patients.

    The rows may differ (other frames, arms, categories); the patients are the union of both, so that a patient drawn
    twice counts twice on either side. ``p_value`` is twice the smaller share of resamples on either side of zero, with
    one resample added to each side (Davison and Hinkley 1997, section 4.2); never 0.
    """
    names, codes = _codes(np.concatenate([np.asarray(first_groups, object), np.asarray(second_groups, object)]))
    counts, size = _counts(len(names), n, rng), len(first_groups)
    one, other = _drawn(first, codes[:size], counts), _drawn(second, codes[size:], counts)
    return {name: _estimate(one[name] - other[name], len(names), difference=True) for name in one if name in other}


def wilson(successes: int, trials: int) -> Estimate:
    """Wilson's 95 % score interval of a proportion of independent trials (scipy); NaN without trials."""
    if trials == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return Estimate(successes / trials, float(interval.low), float(interval.high), trials)


def _codes(groups: Shaped[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    if pd.isna(groups).any():
        raise InputError(f"{int(pd.isna(groups).sum())} rows belong to no patient", field="groups")
    return np.unique(groups, return_inverse=True)


def _counts(n_groups: int, n: int, rng: np.random.Generator) -> Float[np.ndarray, "n g"]:
    """How often each group is drawn in each of ``n`` resamples with replacement; rows sum to ``n_groups``."""
    if n < 1:
        raise InputError(f"{n} resamples cannot make an interval", field="n", remedy="Ask for 1 or more")
    if n_groups == 0:
        return np.zeros((n, 0))
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n).astype(float)


def _drawn(
    metrics: Metrics, codes: Shaped[np.ndarray, " n"], counts: Float[np.ndarray, "r g"]
) -> dict[str, Float[np.ndarray, " r1"]]:
    """Each metric on all rows, then in every resample, a block at a time so that memory stays bounded."""
    block = max(1, _CELLS_AT_ONCE // max(1, len(codes)))
    parts = [metrics(np.ones((1, len(codes))))]
    parts += [metrics(counts[start : start + block][:, codes]) for start in range(0, len(counts), block)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _estimate(values: Float[np.ndarray, " r1"], n_groups: int, difference: bool = False) -> Estimate:
    value, drawn = float(values[0]), values[1:]
    defined = drawn[np.isfinite(drawn)]
    undefined = len(drawn) - len(defined)
    if n_groups < 2 or not np.isfinite(value) or not len(defined):
        return Estimate(value, float("nan"), float("nan"), n_groups, undefined=undefined)
    low, high = np.quantile(defined, [0.025, 0.975])
    p_value = float("nan")
    if difference:
        smaller = min((defined <= 0).sum(), (defined >= 0).sum())
        p_value = min(1.0, 2 * (smaller + 1) / (len(defined) + 1))
    return Estimate(value, float(low), float(high), n_groups, p_value, undefined)
