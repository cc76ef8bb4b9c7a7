"""Weighted metrics against scikit-learn and by hand; DeLong's variance by definition and beside the bootstrap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from cag.metrics.delong import auc_covariance, delong_test
from cag.metrics.intervals import bootstrap_many
from cag.metrics.weighted import average_precision, confusion, ratio, roc_auc
from cag.settings import InputError


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


def draw_pair(seed, n=80):
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    base = rng.normal(size=n) + positive
    return positive, np.stack([base + rng.normal(size=n), base.round(0) + 0.5 * rng.normal(size=n).round(0)])


def test_variance_by_hand_and_by_definition():
    positive, scores = np.array([True, True, False, False]), np.array([[0.8, 0.4, 0.4, 0.1]])
    areas, covariance = auc_covariance(positive, scores, np.arange(4))
    assert areas[0] == pytest.approx(0.875) and covariance[0, 0] == pytest.approx(0.03125)
    positive, scores = draw_pair(0)
    ill, well = scores[:, positive, None], scores[:, None, ~positive]
    psi = (ill > well) + 0.5 * (ill == well)
    expected = np.cov(psi.mean(2)) / positive.sum() + np.cov(psi.mean(1)) / (~positive).sum()
    areas, covariance = auc_covariance(positive, scores, np.arange(80))
    np.testing.assert_allclose(areas, psi.mean((1, 2)))
    np.testing.assert_allclose(covariance, expected)
    np.testing.assert_allclose(areas, [roc_auc(positive, row, np.ones((1, 80)))[0] for row in scores])


def test_clustered_frames_know_no_more_than_their_patients():
    # Every sample ten times: naive DeLong shrinks tenfold, the clustered variance stays.
    positive, scores = draw_pair(2)
    once = auc_covariance(positive, scores, np.arange(80))[1]
    ten = np.repeat(np.arange(80), 10)
    np.testing.assert_allclose(auc_covariance(positive[ten], scores[:, ten], ten)[1], once)
    assert auc_covariance(positive[ten], scores[:, ten], np.arange(800))[1][0, 0] < once[0, 0] / 8


def test_clustered_variance_is_near_the_bootstraps():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(120), 5)
    of_patient = rng.normal(size=120)[groups]
    positive = rng.random(600) < np.where(of_patient > 0, 0.7, 0.3)
    score = positive + of_patient + rng.normal(size=600)
    areas = bootstrap_many(lambda weights: {"auc": roc_auc(positive, score, weights)}, groups, n=2000, rng=rng)
    width = 2 * norm.ppf(0.975) * np.sqrt(auc_covariance(positive, score[None], groups)[1][0, 0])
    assert width == pytest.approx(areas["auc"].high - areas["auc"].low, rel=0.12)


def test_a_difference_is_tested_by_the_covariance_and_degenerate_areas_are_nan_or_refused():
    positive, scores = draw_pair(4)
    areas, covariance = auc_covariance(positive, scores, np.arange(80))
    result, other = (delong_test(positive, *pair, np.arange(80)) for pair in (scores, scores[::-1]))
    z = (areas[0] - areas[1]) / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert (result.value, result.p_value) == pytest.approx((areas[0] - areas[1], 2 * norm.sf(abs(z))))
    assert (other.value, other.p_value) == pytest.approx((-result.value, result.p_value))
    same = delong_test(positive, scores[0], np.exp(scores[0]), np.arange(80))
    assert (same.value, same.p_value) == (0, 1)
    areas, covariance = auc_covariance(np.array([True, True]), np.ones((1, 2)), np.arange(2))
    assert np.isnan(areas).all() and np.isnan(covariance).all()
    area, spread = auc_covariance(np.array([True, False, False]), np.array([[0.9, 0.1, 0.2]]), np.arange(3))
    assert area[0] == 1 and np.isnan(spread).all()
    with pytest.raises(InputError, match="1 scores are not finite"):
        auc_covariance(np.array([True, False]), np.array([[0.1, np.nan]]), np.arange(2))
