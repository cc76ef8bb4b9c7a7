"""Which patients train, which choose a checkpoint, and which frames the frame classifier sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from cag.chapters.frames.settings import CnnSettings
from cag.data.cohort import Cohort
from cag.settings import LabelError


def contrast_truth(run: pd.Series) -> Bool[np.ndarray, " t"]:
    """Which frames of a run of the manifest lie in its contrast interval (both ends inclusive)."""
    frames = np.arange(int(run.n_frames))
    if pd.isna(run.contrast_begin) or pd.isna(run.contrast_end):
        return np.zeros(frames.size, dtype=bool)
    return (frames >= int(run.contrast_begin)) & (frames <= int(run.contrast_end))


def sample_frames(truth: Bool[np.ndarray, " t"], per_part: int, belt: int) -> Int[np.ndarray, " k"]:
    """Increasing frames of one run inside its interval, before it and after it, evenly spread.

    Filling is a matter of degree near a border, so a belt of ``belt`` frames outside each is left out, or half of
    what the run has there when it is short. A run without contrast gives ``2 * per_part`` frames.
    """
    inside, last = np.flatnonzero(truth), truth.size - 1
    if inside.size == 0:
        return _spread(0, last, 2 * per_part)
    begin, end = int(inside[0]), int(inside[-1])
    before = _spread(0, begin - 1 - min(belt, begin // 2), per_part)
    after = _spread(end + 1 + min(belt, (last - end) // 2), last, per_part)
    return np.concatenate([before, _spread(begin, end, per_part), after])


def sampled_frames(manifest: pd.DataFrame, per_part: int, belt: int) -> pd.DataFrame:
    """The frame classifier's samples of all runs: ``run_id, patient_id, frame, target`` (1 inside, 0 outside)."""
    parts = []
    for _, run in manifest.iterrows():
        truth = contrast_truth(run)
        frames = sample_frames(truth, per_part, belt)
        own = {"run_id": run.run_id, "patient_id": run.patient_id, "frame": frames, "target": truth[frames].astype(int)}
        parts.append(pd.DataFrame(own))
    return pd.concat(parts, ignore_index=True)


def split_patients(cohort: Cohort, settings: CnnSettings) -> tuple[list[str], list[str]]:
    """Training and test patients of frame selection: sorted, disjoint, never too few.

    ``train_patients`` None takes the column ``set`` of ``patients.csv`` (``frame_train``, ``frame_test``). A number
    draws as many training patients by ``seed``, those of ``frame_train`` before those of no set before those of
    ``frame_test``; everyone else is tested, or ``test_patients`` of them. Raises `LabelError` if fewer than two
    patients would train or none be left for the test.
    """
    known = sorted(set(cohort.manifest.patient_id))
    sets = cohort.patients.set_index("patient_id")["set"] if "set" in cohort.patients else pd.Series(dtype=object)
    if settings.train_patients is None:
        train, test = ([own for own in known if sets.get(own) == name] for name in ("frame_train", "frame_test"))
    else:
        shuffled = [known[place] for place in np.random.default_rng(settings.seed).permutation(len(known))]
        rank = {"frame_train": 0, "frame_test": 2}
        train = sorted(sorted(shuffled, key=lambda own: rank.get(str(sets.get(own)), 1))[: settings.train_patients])
        test = sorted(set(known) - set(train))
    if len(train) < 2 or not test:
        problem = f"{len(train)} training and {len(test)} test patients for frame selection"
        remedy = "Set train_patients to 2 or more, and fewer than there are patients"
        raise LabelError(problem, file="patients.csv", field="set", remedy=remedy)
    drawn = np.random.default_rng(settings.seed).permutation(test)[: settings.test_patients]
    return train, sorted(map(str, drawn))


def inner_folds(train: Sequence[str], share: float, seed: int, members: int = 1) -> list[list[str]]:
    """The training patients that choose the checkpoint of each member.

    One member has a share of them, at least one and never all; several have disjoint parts of all of them. Raises
    `LabelError` if there are fewer training patients than members.
    """
    if members > len(train):
        problem, remedy = f"{members} members for {len(train)} training patients", "Ask for fewer members"
        raise LabelError(problem, field="members", remedy=remedy)
    shuffled = np.random.default_rng([seed, 1]).permutation(sorted(train))
    if members == 1:
        shuffled = shuffled[: min(max(1, round(share * len(train))), len(train) - 1)]
    return [sorted(part.tolist()) for part in np.array_split(shuffled, members)]


def inner_samples(samples: pd.DataFrame, share: float, seed: int, *, by_patient: bool) -> Bool[np.ndarray, " n"]:
    """Which sampled frames choose the checkpoint of stage 1.

    By patient: all frames of the inner patients. Else, as published, frames drawn one by one, so that neighbours
    of the same run stand on both sides.
    """
    if by_patient:
        return samples.patient_id.isin(inner_folds(sorted(set(samples.patient_id)), share, seed)[0]).to_numpy()
    drawn = np.random.default_rng([seed, 2]).permutation(len(samples))[: max(1, round(share * len(samples)))]
    return np.isin(np.arange(len(samples)), drawn)


def _spread(first: int, last: int, count: int) -> Int[np.ndarray, " k"]:
    """Up to ``count`` different indices, evenly spread over ``first..last``."""
    return np.unique(np.linspace(first, last, count).round().astype(np.int64)) if first <= last else np.arange(0)
