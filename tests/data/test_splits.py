"""Splits: patients are dealt evenly and reproducibly."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cag.data.splits import inner_split, leaky_image_folds, patient_folds
from cag.settings import InputError

SEVERITY = {f"P{n:04d}": ("none", "mild", "severe")[n % 3] for n in range(24)}


@given(st.lists(st.integers(0, 3), min_size=8, max_size=60), st.integers(2, 5), st.integers(0, 5))
def test_folds_and_severities_are_even(labels, n_folds, seed):
    severity = {f"P{n:03d}": label for n, label in enumerate(labels)}
    folds = patient_folds(severity, n_folds, seed)
    assert folds.patient_id.tolist() == sorted(severity)
    sizes = folds.fold.value_counts().reindex(range(n_folds), fill_value=0)
    assert sizes.max() - sizes.min() <= 1
    table = pd.crosstab(folds.fold, folds.patient_id.map(severity)).reindex(range(n_folds), fill_value=0)
    assert (table.max() - table.min() <= 1).all()


def test_order_does_not_matter_and_seed_does_and_every_patient_has_one_part():
    folds = patient_folds(SEVERITY, seed=3)
    pd.testing.assert_frame_equal(folds, patient_folds(dict(reversed(SEVERITY.items())), seed=3))
    assert not folds.fold.equals(patient_folds(SEVERITY, seed=4).fold)
    folds = patient_folds(SEVERITY)
    split = inner_split(folds, SEVERITY, outer_fold=1, share=0.34)
    parts = split.groupby("part").patient_id.apply(set)
    assert parts["outer"] == set(folds.patient_id[folds.fold == 1])
    assert len(parts["inner"]) == 6 and set.union(*parts) == set(SEVERITY)
    assert {SEVERITY[patient] for patient in parts["inner"]} == {"none", "mild", "severe"}
    pd.testing.assert_frame_equal(split, inner_split(folds, SEVERITY, outer_fold=1, share=0.34))


def test_few_patients_keep_one_on_each_side_and_image_folds_leak_by_design():
    severity = {"P1": 0, "P2": 0, "P3": 1}
    split = inner_split(patient_folds(severity, 3), severity, 0, share=0.01)
    assert sorted(split.part) == ["inner", "outer", "train"]
    with pytest.raises(InputError, match="4 folds of 2 patients"):
        patient_folds({"P1": 0, "P2": 1}, 4)
    with pytest.raises(InputError, match="1 patients are left"):
        inner_split(patient_folds({"P1": 0, "P2": 0}, 2), {"P1": 0, "P2": 0}, 0)
    folds = leaky_image_folds(22, 4)
    assert np.bincount(folds).tolist() == [6, 6, 5, 5]
    patients = np.repeat(np.arange(11), 2)
    assert set(patients[folds != 0]) & set(patients[folds == 0])
