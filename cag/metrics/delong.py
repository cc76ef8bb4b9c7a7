"""Variances of correlated ROC areas without resampling, for independent and for clustered samples."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.stats import norm, rankdata

from cag.metrics.intervals import Estimate
from cag.settings import InputError


def auc_covariance(
    positive: Bool[np.ndarray, " n"],
    scores: Float[np.ndarray, "m n"],
    groups: Shaped[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, "m m"]]:
    """ROC areas of several scores of the same samples, and their covariance.

    Samples of a group are correlated (Obuchowski 1997, Biometrics 53:567), as frames of a patient are. Groups of one
    sample are DeLong's independent ones (DeLong et al. 1988, Biometrics 44:837, by the midranks of Sun and Xu 2014).
    Both are NaN where a class is missing; the covariance also where a class has fewer than two groups. Raises
    `InputError` for a missing score.
    """
    if not np.isfinite(scores).all():
        raise InputError(f"{int((~np.isfinite(scores)).sum())} scores are not finite", field="scores")
    methods, n_positive, n_negative = len(scores), int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return np.full(methods, np.nan), np.full((methods, methods), np.nan)
    # For each positive the share of negatives it outscores, for each negative that of positives above it.
    ranks = rankdata(scores, axis=1)
    higher = (ranks[:, positive] - rankdata(scores[:, positive], axis=1)) / n_negative
    lower = 1 - (ranks[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / n_positive
    areas = higher.mean(1)
    excess = np.zeros_like(scores)
    excess[:, positive], excess[:, ~positive] = higher - areas[:, None], lower - areas[:, None]
    codes = np.unique(groups, return_inverse=True)[1]
    above, below = (np.stack([np.bincount(codes, row * part) for row in excess]) for part in (positive, ~positive))
    with_positive, with_negative = len(np.unique(codes[positive])), len(np.unique(codes[~positive]))
    if min(with_positive, with_negative) < 2:
        return areas, np.full((methods, methods), np.nan)
    everyone = codes.max() + 1
    cross = everyone / (everyone - 1) * (above @ below.T) / (n_positive * n_negative)
    covariance = with_positive / (with_positive - 1) * (above @ above.T) / n_positive**2
    covariance += with_negative / (with_negative - 1) * (below @ below.T) / n_negative**2
    return areas, covariance + cross + cross.T


def delong_test(
    positive: Bool[np.ndarray, " n"],
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
) -> Estimate:
    """First ROC area minus the second, with a normal 95 % interval and two-sided p-value.

    The p-value is 1 for two scores that order the samples alike (no difference, no variance).
    """
    areas, covariance = auc_covariance(positive, np.stack([first, second]), groups)
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = np.sqrt(max(variance, 0.0)) if np.isfinite(variance) else float("nan")
    half = norm.ppf(0.975) * error
    if error < 1e-12:
        p_value = 1.0 if abs(difference) < 1e-12 else float("nan")
    else:
        p_value = float(2 * norm.sf(abs(difference) / error))
    return Estimate(difference, difference - half, difference + half, len(np.unique(groups)), p_value)
