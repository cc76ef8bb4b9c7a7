"""DeLong's variance by definition, by hand, and beside the bootstrap."""

import numpy as np
import pytest
from scipy.stats import norm

from cag.metrics.delong import auc_covariance, delong_test
from cag.metrics.intervals import bootstrap_many
from cag.metrics.weighted import roc_auc
from cag.settings import InputError


def draw(seed, n=80):
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    base = rng.normal(size=n) + positive
    return positive, np.stack([base + rng.normal(size=n), base.round(0) + 0.5 * rng.normal(size=n).round(0)])


def test_by_hand():
    # Positives .8, .4; negatives .4, .1. Placements of positives: 1, .75; of negatives: .75, 1.
    # Area .875; S10 = S01 = (.125^2 + .125^2)/1 = .03125; variance S10/2 + S01/2 = .03125.
    areas, covariance = auc_covariance(
        np.array([True, True, False, False]), np.array([[0.8, 0.4, 0.4, 0.1]]), np.arange(4)
    )
    assert areas[0] == pytest.approx(0.875) and covariance[0, 0] == pytest.approx(0.03125)


def test_by_definition():
    # DeLong 1988: covariance of the structural components over positives and over negatives.
    positive, scores = draw(0)
    psi = np.stack(
        [(row[positive][:, None] > row[~positive]) + 0.5 * (row[positive][:, None] == row[~positive]) for row in scores]
    )
    expected = np.cov(psi.mean(2)) / positive.sum() + np.cov(psi.mean(1)) / (~positive).sum()
    areas, covariance = auc_covariance(positive, scores, np.arange(80))
    np.testing.assert_allclose(areas, psi.mean((1, 2)))
    np.testing.assert_allclose(covariance, expected)
    np.testing.assert_allclose(areas, [roc_auc(positive, row, np.ones((1, 80)))[0] for row in scores])


def test_clustered_frames_know_no_more_than_their_patients():
    # Every sample ten times: naive DeLong shrinks tenfold, the clustered variance stays.
    positive, scores = draw(2)
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
    estimate = areas["auc"]
    _, covariance = auc_covariance(positive, score[None], groups)
    width = 2 * norm.ppf(0.975) * np.sqrt(covariance[0, 0])
    assert width == pytest.approx(estimate.high - estimate.low, rel=0.12)


def test_difference():
    positive, scores = draw(4)
    areas, covariance = auc_covariance(positive, scores, np.arange(80))
    result, other = (delong_test(positive, *pair, np.arange(80)) for pair in (scores, scores[::-1]))
    z = (areas[0] - areas[1]) / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert (result.value, result.p_value) == pytest.approx((areas[0] - areas[1], 2 * norm.sf(abs(z))))
    assert (other.value, other.p_value) == pytest.approx((-result.value, result.p_value))
    same = delong_test(positive, scores[0], np.exp(scores[0]), np.arange(80))
    assert (same.value, same.p_value) == (0, 1)


def test_degenerate():
    areas, covariance = auc_covariance(np.array([True, True]), np.ones((1, 2)), np.arange(2))
    assert np.isnan(areas).all() and np.isnan(covariance).all()
    area, spread = auc_covariance(np.array([True, False, False]), np.array([[0.9, 0.1, 0.2]]), np.arange(3))
    assert area[0] == 1 and np.isnan(spread).all()
    with pytest.raises(InputError, match="1 scores are not finite"):
        auc_covariance(np.array([True, False]), np.array([[0.1, np.nan]]), np.arange(2))
