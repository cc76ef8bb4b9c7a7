"""Who gets what in a cohort of any size: exact margins at the paper's 230 patients, the same shares elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int

T = TypeVar("T")

#: Table 1 of the paper: patients and arteries of <25, 25-99 and 100 % diameter stenosis.
PATIENT_COUNTS, LCA_COUNTS, RCA_COUNTS = (46, 127, 57), (57, 132, 41), (84, 118, 28)
#: One joint table (LCA by RCA) with those margins, near independence within each patient category.
JOINT_COUNTS = ((46, 9, 2), (32, 86, 14), (6, 23, 12))
PAPER_PATIENTS = 230


def largest_remainder(weights: Sequence[float], total: int) -> Int[np.ndarray, " k"]:
    """Whole numbers that sum to ``total`` in proportion to ``weights``; ties go to the earlier one."""
    quota = np.asarray(weights, dtype=float) / float(np.sum(weights)) * total
    counts = np.floor(quota).astype(int)
    order = np.argsort(-(quota - counts), kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return counts


def joint_severity(patients: int) -> Int[np.ndarray, "3 3"]:
    """Patients of each LCA category (rows) and RCA category (columns): <25, 25-99, 100 %.

    The three margins (patient = worse artery, LCA, RCA) are Table 1's, scaled by largest remainder.
    They leave two cells free, which are taken nearest to ``JOINT_COUNTS``. Two or three patients
    cannot have all three margins: then the joint table itself is scaled.
    """
    whole, left, right = (largest_remainder(c, patients) for c in (PATIENT_COUNTS, LCA_COUNTS, RCA_COUNTS))
    wanted = np.array(JOINT_COUNTS) * patients / PAPER_PATIENTS
    both = left[2] + right[2] - whole[2]
    near = [np.arange(max(0, round(cell) - 12), round(cell) + 13) for cell in (wanted[0, 2], wanted[2, 0])]
    x, y = np.meshgrid(*near, indexing="ij")
    upper = [np.full_like(x, whole[0]), left[0] - whole[0] - x, x]
    lower = [y, left[2] - both - y, np.full_like(x, both)]
    middle = [right[k] - upper[k] - lower[k] for k in range(3)]
    tables = np.stack([*upper, *middle, *lower], axis=-1).reshape(-1, 3, 3)
    tables = tables[(tables >= 0).all((1, 2))]
    if len(tables) == 0:
        return largest_remainder(np.ravel(JOINT_COUNTS).tolist(), patients).reshape(3, 3)
    return tables[((tables - wanted) ** 2).sum((1, 2)).argmin()]


def shared_out(values: Sequence[T], counts: Sequence[float], total: int, rng: np.random.Generator) -> list[T]:
    """Each value as often as its share of ``counts``, in random order."""
    owned = np.repeat(np.arange(len(values)), largest_remainder(counts, total))
    return [values[int(index)] for index in rng.permutation(owned)]


def quantiles(
    shares: Sequence[float], values: Sequence[float], total: int, rng: np.random.Generator
) -> Float[np.ndarray, " n"]:
    """``total`` values at equally spaced ranks of a piecewise linear distribution, in random order."""
    ranks = (rng.permutation(total) + 0.5) / total
    return np.interp(ranks, shares, values)
