"""Weighted metrics against scikit-learn and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from cag.metrics.weighted import average_precision, confusion, ratio, roc_auc


def draw(seed, n=40):
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    positive[:2] = True, False
    weights = rng.multinomial(n, np.full(n, 1 / n), size=5).astype(float)
    weights[:, :2] += 1
    return positive, rng.integers(0, 12, n) / 11, weights


def test_areas_by_hand():
    positive, score = np.array([True, True, False, False]), np.array([0.8, 0.4, 0.4, 0.1])
    assert roc_auc(positive, score, np.ones((1, 4)))[0] == 3.5 / 4
    # The negative at .1 counted three times: (1 + 3 + .5 + 3) of 2 x 4.
    assert roc_auc(positive, score, np.array([[1.0, 1, 1, 3]]))[0] == 7.5 / 8
    positive, score = np.array([True, False, True]), np.array([0.9, 0.5, 0.2])
    assert average_precision(positive, score, np.ones((1, 3)))[0] == pytest.approx(5 / 6)


@given(st.integers(0, 100_000))
def test_rank_metrics_are_scikit_learns(seed):
    positive, score, weights = draw(seed)
    for function, oracle in ((roc_auc, roc_auc_score), (average_precision, average_precision_score)):
        expected = [oracle(positive, score, sample_weight=row) for row in weights]
        np.testing.assert_allclose(function(positive, score, weights), expected, rtol=1e-12)


@pytest.mark.parametrize("positive", [[True, True], [False, False], []])
def test_one_class_and_no_rows_are_nan_without_a_warning(positive):
    known = np.array(positive, dtype=bool)
    score, weights = np.linspace(0, 1, len(known)), np.ones((3, len(known)))
    assert np.isnan(roc_auc(known, score, weights)).all()
    assert known.any() or np.isnan(average_precision(known, score, weights)).all()


def test_confusion_counts_and_a_ratio_of_nothing_is_nan():
    table = confusion(np.array([0, 1, 1]), np.array([0, 2, 1]), 2, np.array([[1.0, 2, 5]]))
    np.testing.assert_array_equal(table, [[[1, 0, 0], [0, 5, 2]]])
    np.testing.assert_array_equal(ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0])), [0.5, np.nan])
