"""Which patients train, and which of their frames the frame classifier sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from cag.data.splits import check_disjoint
from cag.settings import LabelError

if TYPE_CHECKING:
    from cag.data.cohort import Cohort


def contrast_truth(run: pd.Series) -> Bool[np.ndarray, " t"]:
    """Which frames of a run of the manifest lie in its contrast interval (both ends inclusive)."""
    truth = np.zeros(int(run.n_frames), dtype=bool)
    if pd.notna(run.contrast_begin) and pd.notna(run.contrast_end):
        truth[int(run.contrast_begin) : int(run.contrast_end) + 1] = True
    return truth


def sample_frames(
    truth: Bool[np.ndarray, " t"], per_part: int, belt: int
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Frames of one run for the frame classifier: inside its interval, before it and after it.

    Frames next to a border are left out, since there filling is a matter of degree: a belt of
    ``belt`` frames outside each border, or half of what the run has there when it is short.

    Parameters
    ----------
    truth : array of bool, shape (t,)
        True inside the contrast interval, which is one stretch.
    per_part : int
        How many frames of each part, evenly spread; fewer where a part is shorter.
    belt : int
        Unused frames on the outer side of each border.

    Returns
    -------
    frames, targets : arrays of int, shape (k,)
        Increasing frame indices, and 1 inside the interval, 0 outside.
    """
    inside = np.flatnonzero(truth)
    if inside.size == 0:
        frames = _spread(0, truth.size - 1, 2 * per_part)
        return frames, np.zeros_like(frames)
    begin, end = int(inside[0]), int(inside[-1])
    after = truth.size - 1 - end
    last_before = begin - 1 - min(belt, begin // 2)
    first_after = end + 1 + min(belt, after // 2)
    parts = [
        _spread(0, last_before, per_part),
        _spread(begin, end, per_part),
        _spread(first_after, truth.size - 1, per_part),
    ]
    targets = [np.full(part.size, label) for part, label in zip(parts, (0, 1, 0), strict=True)]
    return np.concatenate(parts), np.concatenate(targets)


def sampled_frames(manifest: pd.DataFrame, per_part: int, belt: int) -> pd.DataFrame:
    """The frame classifier's samples of all runs: ``run_id, patient_id, frame, target``."""
    rows = []
    for _, run in manifest.iterrows():
        frames, targets = sample_frames(contrast_truth(run), per_part, belt)
        part = pd.DataFrame({"frame": frames, "target": targets})
        rows.append(part.assign(run_id=run.run_id, patient_id=run.patient_id))
    return pd.concat(rows, ignore_index=True)[["run_id", "patient_id", "frame", "target"]]


def split_patients(cohort: Cohort, train_patients: int | None, seed: int) -> tuple[list[str], list[str]]:
    """Training and test patients of frame selection: sorted, disjoint, never too few.

    Parameters
    ----------
    cohort : Cohort
    train_patients : int or None
        None takes the column ``set`` of ``patients.csv`` (``frame_train``, ``frame_test``). A number
        draws as many training patients, those of ``frame_train`` before those of no set before those
        of ``frame_test``; everyone else is tested.
    seed : int
        Of the draw.

    Raises
    ------
    LabelError
        If fewer than two patients would train or none be left for the test.
    """
    known = sorted(set(cohort.manifest.patient_id))
    sets = cohort.patients.set_index("patient_id")["set"] if "set" in cohort.patients else pd.Series(dtype=object)
    of = {patient: sets.get(patient) for patient in known}
    if train_patients is None:
        train = [patient for patient in known if of[patient] == "frame_train"]
        test = [patient for patient in known if of[patient] == "frame_test"]
    else:
        shuffled = [known[place] for place in np.random.default_rng(seed).permutation(len(known))]
        rank = {"frame_train": 0, "frame_test": 2}
        chosen = sorted(shuffled, key=lambda patient: rank.get(str(of[patient]), 1))[:train_patients]
        train, test = sorted(chosen), sorted(set(known) - set(chosen))
    if len(train) < 2 or not test:
        problem = f"{len(train)} training and {len(test)} test patients for frame selection"
        remedy = "Set train_patients to 2 or more, and fewer than there are patients"
        raise LabelError(problem, file="patients.csv", field="set", remedy=remedy)
    check_disjoint(training=train, test=test)
    return train, test


def inner_patients(train: Sequence[str], share: float, seed: int) -> list[str]:
    """The training patients that are set aside to choose a checkpoint: at least one, never all."""
    count = min(max(1, round(share * len(train))), len(train) - 1)
    chosen = np.random.default_rng([seed, 1]).permutation(len(train))[:count]
    return [sorted(train)[index] for index in sorted(chosen)]


def inner_folds(train: Sequence[str], share: float, seed: int, members: int) -> list[list[str]]:
    """The inner patients of each member: disjoint parts of all training patients; ``inner_patients`` for one member.

    Raises
    ------
    LabelError
        If there are fewer training patients than members.
    """
    if members == 1:
        return [inner_patients(train, share, seed)]
    if members > len(train):
        problem, remedy = f"{members} members for {len(train)} training patients", "Ask for fewer members"
        raise LabelError(problem, field="members", remedy=remedy)
    shuffled = np.random.default_rng([seed, 1]).permutation(sorted(train))
    return [sorted(part.tolist()) for part in np.array_split(shuffled, members)]


def _spread(first: int, last: int, count: int) -> Int[np.ndarray, " k"]:
    """Up to ``count`` different indices, evenly spread over ``first..last``."""
    if last < first:
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.linspace(first, last, count).round().astype(np.int64))
