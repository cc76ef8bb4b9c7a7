"""What the cohort decides for each patient: exact margins at the paper's 230 patients, the same shares elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int

from cag.simulator.phantom.acquisition import KIND_SHARES, RunKind
from cag.simulator.phantom.plan import FrameSet, stream

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


#: Frame selection at the paper's scale: patients and runs of its training and its test.
TRAIN_PATIENTS, TRAIN_RUNS, TEST_PATIENTS, TEST_RUNS, PAPER_RUNS_PER_PATIENT = 19, 146, 175, 582, 7
#: Table 2: age and BMI at shares of the cohort (median and quartiles are the paper's; 96 are below 60).
AGES = ((0.0, 0.25, 96 / 230, 0.5, 0.75, 1.0), (40.0, 55.0, 59.5, 62.0, 69.0, 84.0))
BMIS = ((0.0, 0.25, 0.5, 0.75, 179 / 230, 1.0), (18.5, 24.0, 26.0, 29.0, 30.0, 41.0))
#: Table 2: patients of 230 with each.
RISKS = {
    "hypertension": 188, "diabetes": 80, "dyslipidemia": 159, "smoker": 35, "family_history": 88, "previous_cva": 9,
    "low_quality": 36,
}  # fmt: skip
_COHORT = 1000


@dataclass(frozen=True)
class Share:
    """What the cohort decides for one patient; everything else is the patient's own draw."""

    severity: tuple[int, int]  # Category of the LCA and of the RCA: 0 below 25 %, 1 25-99 %, 2 100 %
    traits: dict[str, Any]  # Fields of ``PatientPlan``: Table 2's characteristics and the dominance
    frame_set: FrameSet
    kinds: tuple[RunKind, ...]  # One a run
    flagged: frozenset[int]  # Runs, from 1, that take part in frame selection


def _frame_sets(count: int, runs: int, seed: int) -> tuple[list[FrameSet], list[int], list[frozenset[int]]]:
    """Frame-selection part of each patient, how many runs the patient has, and which of them take part."""
    rng = stream(seed, _COHORT, 1)
    rest = PAPER_PATIENTS - TRAIN_PATIENTS - TEST_PATIENTS
    parts = largest_remainder((TRAIN_PATIENTS, TEST_PATIENTS, rest), count)
    if count >= 2 and parts[0] == 0:
        parts = parts + np.array([1, -1, 0])
    order = rng.permutation(count)
    scale = count / PAPER_PATIENTS * runs / PAPER_RUNS_PER_PATIENT
    names: list[FrameSet] = ["-"] * count
    totals, flagged = [runs] * count, [frozenset[int]()] * count
    groups: tuple[tuple[FrameSet, np.ndarray, float], ...] = (
        ("frame_train", order[: parts[0]], TRAIN_RUNS * scale),
        ("frame_test", order[parts[0] : parts[0] + parts[1]], TEST_RUNS * scale),
    )
    for name, members, wanted in groups:
        shares = largest_remainder([1.0] * max(len(members), 1), round(wanted))[: len(members)]
        for member, share in zip(members, shares, strict=True):
            names[member] = name
            totals[member] = max(runs, min(int(share), runs + 1))
            chosen = rng.permutation(totals[member])[: int(share)] + 1
            flagged[member] = frozenset(chosen.tolist())
    return names, totals, flagged


def cohort_shares(count: int, runs: int, seed: int) -> list[Share]:
    """Exact margins of severity, Table 2, frame sets and kinds of run, shared out over ``count`` patients.

    Each has ``runs`` runs, some of the frame-selection training set one more; ``seed`` is the cohort's.
    """
    cells = [(row, column) for row in range(3) for column in range(3)]
    severity = shared_out(cells, joint_severity(count).ravel().tolist(), count, stream(seed, _COHORT, 0))
    names, totals, flagged = _frame_sets(count, runs, seed)
    kinds = list(KIND_SHARES)
    drawn = shared_out(kinds, list(KIND_SHARES.values()), sum(totals), stream(seed, _COHORT, 2))
    first = np.concatenate([[0], np.cumsum(totals)])
    traits = _traits(count, seed)
    return [
        Share(severity[n], traits[n], names[n], tuple(drawn[first[n] : first[n + 1]]), flagged[n]) for n in range(count)
    ]


def _traits(count: int, seed: int) -> list[dict[str, Any]]:
    """Table 2's characteristics of every patient, each independent of the others and of severity."""

    def draws(number: int) -> np.random.Generator:
        return stream(seed, _COHORT, 10 + number)

    columns: dict[str, Sequence[Any]] = {
        "sex": shared_out(("M", "F"), (160, 70), count, draws(0)),
        "race": shared_out(("white", "black", "asian", "other"), (103, 18, 105, 4), count, draws(1)),
        "age": [int(np.floor(age + 0.5)) for age in quantiles(*AGES, count, draws(2))],
        "bmi": [round(float(bmi), 1) for bmi in quantiles(*BMIS, count, draws(3))],
        "dominance": shared_out(("right", "left", "co"), (80, 14, 6), count, draws(4)),
    }
    for number, (name, patients) in enumerate(RISKS.items()):
        columns[name] = shared_out((True, False), (patients, PAPER_PATIENTS - patients), count, draws(5 + number))
    return [{name: column[n] for name, column in columns.items()} for n in range(count)]
