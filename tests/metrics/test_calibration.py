"""Calibration line, expected calibration error, temperature."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from cag.metrics.calibration import calibration, fit_temperature, reliability_table, with_temperature


def draw(seed, n=400, slope=1.0, shift=0.0):
    """Outcomes whose true logit is slope * logit(score) + shift."""
    rng = np.random.default_rng(seed)
    score = rng.uniform(0.05, 0.95, n)
    return rng.random(n) < expit(slope * logit(score) + shift), score


def test_the_line_is_scikit_learns():
    positive, score = draw(0, slope=0.5, shift=0.7)
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(score)[:, None], positive)
    assert calibration(positive, score)["calibration_slope"][0] == pytest.approx(fit.coef_[0, 0], rel=1e-5)


def test_intercept_makes_the_mean_right():
    # Calibration in the large: mean of expit(logit(score) + intercept) is the prevalence.
    positive, score = draw(1, shift=-1)
    intercept = calibration(positive, score)["calibration_intercept"][0]
    assert expit(logit(score) + intercept).mean() == pytest.approx(positive.mean(), abs=1e-9)


@pytest.mark.parametrize(
    ("positive", "score", "slope", "intercept"),
    [
        ([1, 1, 1, 0], [0.5] * 4, np.nan, np.log(3)),  # one score says nothing of a slope; logit(.75) = ln 3
        ([0, 0, 1], [0.1, 0.3, 0.3], np.nan, None),  # separated classes have no finite slope
        ([0, 1, 1, 0], [0, 1, 0, 1], 0, None),  # two of four right at either end: the best line is flat
    ],
)
def test_lines_by_hand(positive, score, slope, intercept):
    result = calibration(np.array(positive) > 0, np.array(score, dtype=float))
    assert result["calibration_slope"][0] == pytest.approx(slope, abs=1e-6, nan_ok=True)
    assert np.isfinite(result["calibration_intercept"][0])
    assert intercept is None or result["calibration_intercept"][0] == pytest.approx(intercept)


def test_undefined_weightings_leave_the_others_alone():
    positive, score = draw(3, n=50)
    weights = np.stack([np.ones(50), positive.astype(float), np.ones(50)])
    result = calibration(positive, score, weights)
    for name in ("calibration_slope", "calibration_intercept"):
        assert np.isnan(result[name][1]) and result[name][0] == pytest.approx(result[name][2])


def test_expected_calibration_error():
    # Bin [.2, .3): scores .2 and .3-, one of two positive: |.5 - .25| ; bin [.9, 1]: |1 - .9|. (2*.25 + .1)/3
    positive, score = np.array([True, False, True]), np.array([0.22, 0.28, 0.9])
    assert calibration(positive, score)["ece"][0] == pytest.approx((2 * 0.25 + 0.1) / 3)
    positive, score = draw(4)
    observed, said = calibration_curve(positive, score, n_bins=10, strategy="uniform")
    size = np.histogram(score, bins=10, range=(0, 1))[0]
    expected = (np.abs(observed - said) * size[size > 0]).sum() / len(score)
    assert calibration(positive, score)["ece"][0] == pytest.approx(expected, abs=1e-6)


def test_reliability_table(rng):
    table = reliability_table(
        np.array([True, False, True]), np.array([0.22, 0.28, 1.0]), np.array(["a", "b", "c"]), n=50, rng=rng
    )
    assert table["n"].tolist() == [2, 1]
    assert table["observed"].tolist() == [0.5, 1.0]
    assert table["mean_score"].tolist() == pytest.approx([0.25, 1.0])
    assert ((table["low"] <= table["observed"]) & (table["observed"] <= table["high"])).all()
    assert reliability_table(np.zeros(0, dtype=bool), np.zeros(0), np.zeros(0), n=2, rng=rng).empty


def test_temperature_is_recovered():
    # Targets drawn from softmax(z); the network says softmax(2.5 z): the temperature is 2.5.
    rng = np.random.default_rng(5)
    z = rng.normal(size=(20_000, 3))
    true = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    target = (true.cumsum(1) < rng.random((len(z), 1))).sum(1)
    sharp = np.exp(2.5 * z) / np.exp(2.5 * z).sum(1, keepdims=True)
    temperature = fit_temperature(sharp, target)
    assert temperature == pytest.approx(2.5, rel=0.03)
    np.testing.assert_allclose(with_temperature(sharp, 2.5), true, rtol=1e-9)


def test_temperature_one_is_the_identity_and_order_stays():
    probabilities = np.random.default_rng(6).dirichlet(np.ones(4), 20)
    np.testing.assert_allclose(with_temperature(probabilities, 1.0), probabilities)
    np.testing.assert_array_equal(with_temperature(probabilities, 3.0).argsort(1), probabilities.argsort(1))


def test_perfect_images_sharpen_to_the_limit_and_zeros_survive():
    assert fit_temperature(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])) == pytest.approx(0.05, rel=1e-3)
    assert np.isfinite(with_temperature(np.array([[1.0, 0.0]]), 2.0)).all()
