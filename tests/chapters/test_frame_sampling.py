"""Which patients and frames train the frame classifier."""

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
from cag.chapters.frames.settings import CnnSettings
from cag.settings import LabelError


def _run(n: int, begin: int | None, end: int | None) -> pd.Series:
    return pd.Series({"n_frames": n, "contrast_begin": begin, "contrast_end": end}, dtype="Int64")


@pytest.mark.parametrize(
    ("run", "inside", "outside"),
    [
        ((100, 30, 60), [30, 38, 45, 52, 60], [0, 5, 10, 14, 19, 71, 78, 85, 92, 99]),  # belts of ten frames
        ((20, 6, 15), [6, 8, 10, 13, 15], [0, 1, 2, 18, 19]),  # a short run scales the belt
        ((40, None, None), [], [0, 4, 9, 13, 17, 22, 26, 30, 35, 39]),  # no contrast
    ],
)
def test_frames_are_spread_and_leave_a_belt(run, inside, outside):
    truth = contrast_truth(_run(*run))
    frames = sample_frames(truth, 5, 10)
    assert frames[truth[frames]].tolist() == inside and frames[~truth[frames]].tolist() == outside


@given(st.integers(8, 300), st.data())
def test_samples_are_unique_and_some_lie_inside(n, data):
    begin = data.draw(st.integers(0, n - 1))
    truth = contrast_truth(_run(n, begin, data.draw(st.integers(begin, n - 1))))
    frames = sample_frames(truth, 5, 10)
    assert len(set(frames.tolist())) == len(frames) <= 15 and 1 <= truth[frames].sum() <= 5


def test_samples_of_a_run_say_whether_they_lie_inside_both_ends_included():
    assert contrast_truth(_run(6, 2, 4)).tolist() == [False, False, True, True, True, False]
    row = {"run_id": "P1_R1", "patient_id": "P1", "n_frames": 30, "contrast_begin": 10, "contrast_end": 20}
    table = sampled_frames(pd.DataFrame([row]), 3, 2)
    assert table.target.sum() == 3 and set(table.patient_id) == {"P1"}


def _cohort(sets: list[str]) -> SimpleNamespace:
    patients = pd.DataFrame({"patient_id": [f"P{number:04d}" for number in range(len(sets))], "set": sets})
    return SimpleNamespace(manifest=patients, patients=patients)


@pytest.mark.parametrize(
    ("sets", "number", "train"),
    [
        (["frame_test", "frame_train", "-", "frame_train"], None, ["P0001", "P0003"]),
        (["frame_test", "frame_train", "-", "frame_test", "frame_test"], 2, ["P0001", "P0002"]),  # of no set first
    ],
)
def test_sets_of_the_cohort_decide(sets, number, train):
    assert split_patients(_cohort(sets), CnnSettings(train_patients=number))[0] == train


def test_patients_are_drawn_by_the_seed():
    cohort = _cohort(["-"] * 9)
    settings = CnnSettings(train_patients=3, seed=5)
    train, test = split_patients(cohort, settings)
    assert (train, test) == split_patients(cohort, settings) and (len(train), len(test)) == (3, 6)
    fewer = split_patients(cohort, settings.model_copy(update={"test_patients": 2}))
    assert fewer[0] == train and len(fewer[1]) == 2 and set(fewer[1]) < set(test)
    assert not set(train) & set(test) and train == sorted(train) and test == sorted(test)


@pytest.mark.parametrize(("sets", "number"), [(["frame_train"] * 3, None), (["-"] * 3, 3), (["-"] * 3, None)])
def test_a_side_without_patients_is_refused(sets, number):
    with pytest.raises(LabelError, match="train_patients"):
        split_patients(_cohort(sets), CnnSettings(train_patients=number))


def test_every_training_patient_chooses_for_one_member_only():
    train = [f"P{number}" for number in range(8)]
    folds = inner_folds(train, 0.25, 0, 4)
    assert sorted(own for fold in folds for own in fold) == train and [len(fold) for fold in folds] == [2, 2, 2, 2]
    (few,) = inner_folds(train, 0.25, 0)
    assert len(few) == 2 and set(few) < set(train)
    assert len(inner_folds(["A", "B"], 0.9, 0)[0]) == 1
    with pytest.raises(LabelError, match="members"):
        inner_folds(train, 0.25, 0, 9)


def test_arms_set_aside_patients_or_single_images():
    samples = pd.DataFrame({"patient_id": np.repeat([f"P{n}" for n in range(4)], 30)})
    clean, leaky = (inner_samples(samples, 0.25, 0, by_patient=own) for own in (True, False))
    assert samples[clean].patient_id.nunique() == 1 and clean.sum() == 30
    assert samples[leaky].patient_id.nunique() == 4 and leaky.sum() == 30
