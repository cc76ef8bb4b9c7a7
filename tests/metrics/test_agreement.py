"""Agreement of two methods, by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from cag.metrics.agreement import box_agreement, box_f1, lesion_agreement, lesion_metrics
from cag.metrics.matching import match_detections
from cag.settings import InputError

IMAGES = pd.DataFrame({"image_id": list("abc"), "patient_id": ["P1", "P2", "P3"], "width": 100, "height": 100})
CORNERS = ["x1", "y1", "x2", "y2"]


def boxes(*rows: tuple, score: bool = False) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["image_id", *CORNERS, *(["score"] if score else [])])


TRUTH = boxes(("a", 0.0, 0.0, 10.0, 10.0), ("a", 50.0, 50.0, 60.0, 60.0), ("b", 0.0, 0.0, 10.0, 10.0))
FIRST = boxes(("a", 0.0, 0.0, 10.0, 10.0, 0.9), ("a", 50.0, 50.0, 60.0, 60.0, 0.3), score=True)
SECOND = boxes(("a", 0.0, 0.0, 10.0, 9.0, 0.4), ("b", 0.0, 0.0, 10.0, 10.0, 0.8), score=True)


def test_lesions_by_hand() -> None:
    counts = lesion_agreement(*(match_detections(IMAGES, own, TRUTH) for own in (FIRST, SECOND)))
    assert counts[["both", "only_first", "only_second", "neither"]].to_numpy().tolist() == [
        [1, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
    ]
    # Observed 1/3; chance (2*2 + 1*1)/9 = 5/9: (3 - 5)/(9 - 5).
    assert lesion_metrics(counts)["kappa"] == pytest.approx(-0.5)
    assert lesion_metrics(counts, np.array([[1.0, 0, 0]]))["kappa"] == pytest.approx(0)
    assert lesion_metrics(counts)["both"] == pytest.approx(1 / 3)


def test_kappa_is_undefined_where_there_is_nothing_to_agree_on() -> None:
    same = match_detections(IMAGES, FIRST.iloc[:0], TRUTH)
    assert np.isnan(lesion_metrics(lesion_agreement(same, same))["kappa"]).all()


def test_different_truth_is_refused() -> None:
    with pytest.raises(InputError, match="different true boxes"):
        lesion_agreement(
            match_detections(IMAGES, FIRST, TRUTH), match_detections(IMAGES, FIRST.iloc[:0], TRUTH.iloc[:2])
        )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_kappa_is_that_of_scikit_learn_and_symmetric(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = rng.random((2, 40)) < 0.6
    found[:, :2] = [[True, False], [False, True]]
    kinds = zip(
        ("both", "only_first", "only_second", "neither"),
        (found[0] & found[1], found[0] & ~found[1], ~found[0] & found[1], ~found.any(axis=0)),
        strict=True,
    )
    counts = pd.DataFrame({name: rows.astype(int) for name, rows in kinds})
    kappa = lesion_metrics(counts)["kappa"][0]
    assert kappa == pytest.approx(cohen_kappa_score(*found))
    swapped = counts.rename(columns={"only_first": "only_second", "only_second": "only_first"})
    assert lesion_metrics(swapped)["kappa"][0] == pytest.approx(kappa)


def test_agreement_of_boxes() -> None:
    counts = box_agreement(FIRST, SECOND, IMAGES)
    assert counts[["n_first", "n_second", "pairs"]].to_numpy().tolist() == [[2, 1, 1], [0, 1, 0], [0, 0, 0]]
    assert box_f1(counts) == pytest.approx(2 / 4)
    assert box_f1(box_agreement(SECOND, FIRST, IMAGES)) == pytest.approx(2 / 4)
    assert np.isnan(box_f1(counts, np.array([[0.0, 0, 1]])))
    assert box_f1(box_agreement(TRUTH, TRUTH, IMAGES)) == 1
