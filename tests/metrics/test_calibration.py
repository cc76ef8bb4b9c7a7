"""Images to arteries to patients; calibration line, expected calibration error, temperature."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from cag.metrics.aggregation import HOWS, aggregate
from cag.metrics.calibration import calibration, fit_temperature, reliability_table, with_temperature
from cag.settings import InputError

IMAGES = pd.DataFrame(
    [("P1", "LCA", 0.2, 0), ("P1", "LCA", 0.6, 1), ("P1", "RCA", 0.5, 0), ("P2", "RCA", 0.1, 0)],
    columns=["patient_id", "artery", "score", "target"],
)


@pytest.mark.parametrize(
    ("how", "arteries", "patients"),
    [
        ("max", [0.6, 0.5, 0.1], [0.6, 0.1]),
        ("mean", [0.4, 0.5, 0.1], [0.45, 0.1]),
        ("noisy_or", [1 - 0.8 * 0.4, 0.5, 0.1], [1 - 0.8 * 0.4 * 0.5, 0.1]),
    ],
)
def test_by_hand(how, arteries, patients):
    by_artery, by_patient = aggregate(IMAGES, how), aggregate(IMAGES, how, level="patient")
    assert by_artery["score"].tolist() == pytest.approx(arteries)
    assert by_patient["score"].tolist() == pytest.approx(patients)
    assert by_artery["target"].tolist() == [1, 0, 0] and by_patient["target"].tolist() == [1, 0]
    assert by_artery["n_images"].tolist() == [2, 1, 1] and by_patient["n_images"].tolist() == [3, 1]
    assert aggregate(IMAGES.iloc[:0], how).empty, "no images are no arteries"


def draw_images(seed):
    rng = np.random.default_rng(seed)
    names = {"patient_id": rng.choice(["P1", "P2", "P3"], 30), "artery": rng.choice(["LCA", "RCA"], 30)}
    return pd.DataFrame(names | {"score": rng.random(30), "target": rng.integers(0, 3, 30)})


@given(st.integers(0, 100_000), st.sampled_from(HOWS), st.sampled_from(["artery", "patient"]))
def test_order_is_immaterial_and_the_rules_are_ordered(seed, how, level):
    images = draw_images(seed)
    result = aggregate(images, how, level=level)
    pd.testing.assert_frame_equal(aggregate(images.sample(frac=1, random_state=seed), how, level=level), result)
    scores = {rule: aggregate(images, rule, level=level)["score"] for rule in HOWS}
    assert (scores["mean"] <= scores["max"] + 1e-12).all() and (scores["max"] <= scores["noisy_or"] + 1e-12).all()
    assert result["score"].between(0, 1).all()


@pytest.mark.parametrize("wrong", [None, 1.5])
def test_bad_scores_are_refused(wrong):
    with pytest.raises(InputError, match="1 scores lie outside 0 to 1"):
        aggregate(IMAGES.assign(score=[0.1, wrong, 0.2, 0.3]))


def draw(seed, n=400, slope=1.0, shift=0.0):
    """Outcomes whose true logit is slope * logit(score) + shift."""
    rng = np.random.default_rng(seed)
    score = rng.uniform(0.05, 0.95, n)
    return rng.random(n) < expit(slope * logit(score) + shift), score


def test_the_slope_is_scikit_learns_and_the_intercept_makes_the_mean_right():
    positive, score = draw(0, slope=0.5, shift=0.7)
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(score)[:, None], positive)
    assert calibration(positive, score)["calibration_slope"][0] == pytest.approx(fit.coef_[0, 0], rel=1e-5)
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


def test_expected_calibration_error_and_the_table_behind_it(rng):
    positive, score = np.array([True, False, True]), np.array([0.22, 0.28, 0.9])
    assert calibration(positive, score)["ece"][0] == pytest.approx((2 * 0.25 + 0.1) / 3)
    positive, score = draw(4)
    observed, said = calibration_curve(positive, score, n_bins=10, strategy="uniform")
    size = np.histogram(score, bins=10, range=(0, 1))[0]
    expected = (np.abs(observed - said) * size[size > 0]).sum() / len(score)
    assert calibration(positive, score)["ece"][0] == pytest.approx(expected, abs=1e-6)
    positive, score = np.array([True, False, True]), np.array([0.22, 0.28, 1.0])
    table = reliability_table(positive, score, np.array(["a", "b", "c"]), n=50, rng=rng)
    assert table["n"].tolist() == [2, 1] and table["observed"].tolist() == [0.5, 1.0]
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
    assert fit_temperature(sharp, target) == pytest.approx(2.5, rel=0.03)
    np.testing.assert_allclose(with_temperature(sharp, 2.5), true, rtol=1e-9)


def test_temperature_keeps_order_and_zeros_is_the_identity_at_one_and_sharpens_perfect_images_to_the_limit():
    probabilities = np.random.default_rng(6).dirichlet(np.ones(4), 20)
    np.testing.assert_allclose(with_temperature(probabilities, 1.0), probabilities)
    np.testing.assert_array_equal(with_temperature(probabilities, 3.0).argsort(1), probabilities.argsort(1))
    assert fit_temperature(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])) == pytest.approx(0.05, rel=1e-3)
    assert np.isfinite(with_temperature(np.array([[1.0, 0.0]]), 2.0)).all()
