"""Which patients and frames train the frame classifier."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cag.chapters.frames.sampling import (
    contrast_truth,
    inner_folds,
    inner_samples,
    sample_frames,
    sampled_frames,
    split_patients,
)
from cag.settings import LabelError


def _truth(n: int, begin: int, end: int) -> np.ndarray:
    truth = np.zeros(n, dtype=bool)
    truth[begin : end + 1] = True
    return truth


def test_long_run_leaves_belts_of_ten_frames() -> None:
    frames, targets = sample_frames(_truth(100, 30, 60), 5, 10)
    assert frames[targets == 1].tolist() == [30, 38, 45, 52, 60]
    assert frames[targets == 0].tolist() == [0, 5, 10, 14, 19, 71, 78, 85, 92, 99]


def test_short_run_scales_the_belt() -> None:
    frames, targets = sample_frames(_truth(20, 6, 15), 5, 10)
    assert frames[targets == 0].tolist() == [0, 1, 2, 18, 19]


def test_run_without_contrast_gives_negatives_only() -> None:
    frames, targets = sample_frames(np.zeros(40, dtype=bool), 5, 10)
    assert len(frames) == 10 and not targets.any()


@given(st.integers(8, 300), st.data())
def test_samples_are_unique_and_labeled_by_the_truth(n: int, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, n - 1))
    truth = _truth(n, begin, data.draw(st.integers(begin, n - 1)))
    frames, targets = sample_frames(truth, 5, 10)
    assert len(set(frames.tolist())) == len(frames)
    assert (truth[frames] == targets.astype(bool)).all()
    assert 1 <= targets.sum() <= 5 and len(frames) <= 15


def test_truth_is_inclusive_at_both_ends() -> None:
    run = pd.Series({"n_frames": 6, "contrast_begin": 2, "contrast_end": 4})
    assert contrast_truth(run).tolist() == [False, False, True, True, True, False]
    assert not contrast_truth(pd.Series({"n_frames": 3, "contrast_begin": pd.NA, "contrast_end": pd.NA})).any()


def test_table_of_samples_names_run_and_patient() -> None:
    row = {"run_id": "P1_R1", "patient_id": "P1", "n_frames": 30, "contrast_begin": 10, "contrast_end": 20}
    table = sampled_frames(pd.DataFrame([row]), 3, 2)
    assert table.columns.tolist() == ["run_id", "patient_id", "frame", "target"]
    assert table.target.sum() == 3 and set(table.patient_id) == {"P1"}


def _cohort(sets: list[str]) -> SimpleNamespace:
    ids = [f"P{number:04d}" for number in range(len(sets))]
    return SimpleNamespace(
        manifest=pd.DataFrame({"patient_id": ids}), patients=pd.DataFrame({"patient_id": ids, "set": sets})
    )


def test_sets_of_the_cohort_decide() -> None:
    train, test = split_patients(_cohort(["frame_test", "frame_train", "-", "frame_train"]), None, 0)
    assert (train, test) == (["P0001", "P0003"], ["P0000"])


def test_a_number_fills_up_with_patients_of_no_set_first() -> None:
    cohort = _cohort(["frame_test", "frame_train", "-", "frame_test", "frame_test"])
    train, test = split_patients(cohort, 2, 0)
    assert (train, test) == (["P0001", "P0002"], ["P0000", "P0003", "P0004"])


def test_patients_are_drawn_by_the_seed() -> None:
    cohort = _cohort(["-"] * 9)
    train, test = split_patients(cohort, 3, 5)
    assert len(train) == 3 and not set(train) & set(test) and len(train + test) == 9
    assert (train, test) == split_patients(cohort, 3, 5)
    assert train == sorted(train) and test == sorted(test)


@pytest.mark.parametrize(("sets", "number"), [(["frame_train"] * 3, None), (["-"] * 3, 3), (["-"] * 3, None)])
def test_a_side_without_patients_is_refused(sets: list[str], number: int | None) -> None:
    with pytest.raises(LabelError, match="train_patients"):
        split_patients(_cohort(sets), number, 0)


def test_every_training_patient_chooses_for_one_member_only() -> None:
    train = [f"P{number}" for number in range(8)]
    folds = inner_folds(train, 0.25, 0, 4)
    assert sorted(patient for fold in folds for patient in fold) == train
    assert [len(fold) for fold in folds] == [2, 2, 2, 2]
    (few,) = inner_folds(train, 0.25, 0)
    assert len(few) == 2 and set(few) < set(train)
    assert len(inner_folds(["A", "B"], 0.9, 0)[0]) == 1
    with pytest.raises(LabelError, match="members"):
        inner_folds(train, 0.25, 0, 9)


def test_arms_set_aside_patients_or_single_images() -> None:
    samples = pd.DataFrame({"patient_id": np.repeat([f"P{n}" for n in range(4)], 30)})
    clean, leaky = (inner_samples(samples, 0.25, 0, by_patient=own) for own in (True, False))
    assert samples[clean].patient_id.nunique() == 1 and clean.sum() == 30
    assert samples[leaky].patient_id.nunique() == 4 and leaky.sum() == 30
