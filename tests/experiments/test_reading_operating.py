"""The decision rule: nobody is called by a threshold that his own scores helped to choose."""

from __future__ import annotations

import pandas as pd
import pytest

from cag.experiments.reading_operating import operating_point

#: Fold -> artery scores of healthy and diseased inner patients, and of the outer ones: (patient, score, target).
INNER = {0: [("C", 0.1, 0), ("D", 0.3, 1)], 1: [("A", 0.6, 0), ("B", 0.9, 1)]}
OUTER = {0: [("A", 0.2, 0), ("B", 0.4, 1)], 1: [("C", 0.7, 0), ("D", 0.95, 1)]}


def predictions(inner: dict, outer: dict) -> pd.DataFrame:
    rows = [
        {"patient_id": patient, "fold": fold, "part": part, "p_0": 1 - score, "p_1": score, "target": target}
        for part, folds in (("inner", inner), ("outer", outer))
        for fold, own in folds.items()
        for patient, score, target in own
    ]
    same = {"artery": "RCA", "n_categories": 2, "redundancy": True, "arm": "clean", "redundant": False}
    return pd.DataFrame(rows).assign(**same, p_redundant=0.0)


def test_each_patient_is_called_by_the_inner_patients_of_the_own_fold() -> None:
    point = operating_point(predictions(INNER, OUTER))
    assert point.of_folds == pytest.approx({0: 0.3, 1: 0.9})
    assert point.artery == {"sensitivity": 1.0, "specificity": 1.0, "count": 4}, "one threshold for all would miss B"
    assert point.patient == point.artery
    assert (point.of(0), point.of(1), point.of(None)) == pytest.approx((0.3, 0.9, point.threshold))


@pytest.mark.parametrize("fold", [0, 1])
def test_what_other_folds_say_of_a_patient_has_no_part_in_his_call(fold: int) -> None:
    """The patients scored in one fold are inner in the other: there their scores may be anything."""
    only = {fold: OUTER[fold]}
    expected = operating_point(predictions(INNER, only))
    for changed in ((0.01, 0.02), (0.98, 0.99), (0.99, 0.01)):
        other = [(name, score, target) for (name, _, target), score in zip(INNER[1 - fold], changed, strict=True)]
        found = operating_point(predictions({**INNER, 1 - fold: other}, only))
        assert found.of(fold) == expected.of(fold)
        assert (found.artery, found.patient) == (expected.artery, expected.patient)


def test_a_fold_whose_inner_patients_are_of_one_class_says_so() -> None:
    point = operating_point(predictions({**INNER, 1: [("A", 0.6, 0), ("B", 0.9, 0)]}, OUTER))
    assert point.of(1) == 0.5 and "fold 2" in point.origin
    healthy = {fold: [(name, score, 0) for name, score, _ in own] for fold, own in INNER.items()}
    point = operating_point(predictions(healthy, OUTER))
    assert point.threshold == 0.5 and point.origin.startswith("Set to one half")
