"""Scoring rules and image-level metrics, by hand and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from cag.metrics.classification import Scored, metrics, scored, sensitivity_threshold, youden_threshold
from cag.settings import InputError


def draw(seed, k, n=60):
    rng = np.random.default_rng(seed)
    every = rng.dirichlet(np.ones(k + 1), n)
    target = rng.integers(0, k, n)
    target[:k] = np.arange(k)
    return target, every[:, :k], every[:, k]


def as_outputs(predicted, k=2):
    predicted = np.asarray(predicted)
    score = np.where(predicted == 0, 0.2, 0.8)
    return Scored(np.column_stack([1 - score, *[score / (k - 1)] * (k - 1)]), score, predicted)


def values(target, outputs):
    return {name: value[0] for name, value in metrics(np.asarray(target, dtype=int), outputs).items()}


def test_the_two_rules_by_hand_agree_without_a_redundant_class():
    outputs = np.array([[0.3, 0.2]]), np.array([0.5])
    published, clean = scored(*outputs, "as_published"), scored(*outputs, "clean")
    assert published.predicted[0] == 2, "redundant won: wrong for either target"
    assert published.score[0] == pytest.approx(0.7), "P(redundant) counts as disease"
    assert clean.predicted[0] == 0 and clean.score[0] == pytest.approx(0.2 / 0.5)
    np.testing.assert_allclose(clean.probabilities, [[0.6, 0.4]])
    certain = scored(np.array([[0.0, 0.0]]), np.array([1.0]))
    np.testing.assert_array_equal(certain.probabilities, [[0.5, 0.5]])
    assert certain.predicted[0] == 0, "of equal categories the lower"
    real = draw(0, 3)[1]
    real = real / real.sum(1, keepdims=True)
    clean, published = scored(real), scored(real, np.full(len(real), np.nan), "as_published")
    np.testing.assert_allclose(clean.score, published.score)
    np.testing.assert_array_equal(clean.predicted, published.predicted)


@given(st.integers(0, 100_000), st.integers(2, 5))
def test_clean_outputs_are_probabilities(seed, k):
    _, real, redundant = draw(seed, k)
    clean = scored(real, redundant)
    np.testing.assert_allclose(clean.probabilities.sum(1), 1)
    assert ((clean.score >= 0) & (clean.score <= 1) & (clean.predicted < k)).all()
    assert (scored(real, redundant, "as_published").score >= clean.score - 1e-12).all()


@pytest.mark.parametrize(
    ("real", "redundant"), [([[0.5, 0.4]], None), ([[0.5, np.nan]], None), ([[1.2, -0.2]], None), ([[0.5, 0.5]], [0.5])]
)
def test_what_is_no_probability_is_refused(real, redundant):
    with pytest.raises(InputError, match="1 rows are no probabilities"):
        scored(np.array(real), None if redundant is None else np.array(redundant))


def test_one_category_and_targets_outside_the_categories_are_refused():
    with pytest.raises(InputError, match="1 categories"):
        scored(np.ones((3, 1)))
    with pytest.raises(InputError, match="1 targets are no category of 0 to 1, first 2"):
        values([0, 2], as_outputs([0, 1]))


def test_categories_by_hand_redundant_is_wrong_for_everyone_and_any_stenosis_forgives_the_wrong_degree():
    result = values([0] * 4 + [1] * 6, as_outputs([0, 0, 0, 1, 1, 1, 1, 1, 0, 0]))
    assert result["accuracy"] == pytest.approx(7 / 10) and result["sensitivity"] == pytest.approx(4 / 6)
    assert result["specificity"] == pytest.approx(3 / 4)
    # F1: normal 2*3/(4+5) = 2/3, stenosis 2*4/(6+5) = 8/11; weighted (4*2/3 + 6*8/11)/10.
    assert result["f1_weighted"] == pytest.approx((4 * 2 / 3 + 6 * 8 / 11) / 10)
    # Kappa: chance (4*5 + 6*5)/100 = .5; (.7 - .5)/(1 - .5).
    assert result["kappa"] == pytest.approx(0.4)
    # AUC of the two-valued score: (sensitivity + specificity)/2.
    assert result["auc"] == pytest.approx((4 / 6 + 3 / 4) / 2)
    # Brier: 7 right at distance .2, 3 wrong at .8.
    assert result["brier"] == pytest.approx((7 * 0.04 + 3 * 0.64) / 10)
    result = values([0, 0, 1, 1], as_outputs([0, 2, 1, 2]))
    assert (result["accuracy"], result["sensitivity"], result["specificity"]) == (0.5, 0.5, 0.5)
    # 3 categories: an occlusion called 25-99 % is found, though in the wrong category.
    result = values([0, 1, 2], as_outputs([0, 1, 1], k=3))
    assert result["sensitivity"] == 1 and result["accuracy"] == pytest.approx(2 / 3)


@given(st.integers(0, 100_000), st.integers(2, 4), st.sampled_from(["clean", "as_published"]))
def test_every_metric_is_scikit_learns_under_the_same_weights(seed, k, rule):
    target, real, redundant = draw(seed, k)
    outputs = scored(real, redundant, rule)
    weights = np.random.default_rng(seed).integers(0, 4, (2, len(target))).astype(float)
    weights[:, :k] = 1
    found, called, diseased = metrics(target, outputs, weights), outputs.predicted, target > 0
    labels = {"labels": list(range(k)), "average": "weighted", "zero_division": 0.0}
    for row, own in enumerate(weights):
        ours, w = {name: value[row] for name, value in found.items()}, {"sample_weight": own}
        expected = {
            "accuracy": sk.accuracy_score(target, called, **w),
            "sensitivity": sk.recall_score(diseased, (called > 0) & (called < k), **w),
            "specificity": sk.recall_score(~diseased, called == 0, **w),
            "recall_weighted": sk.recall_score(target, called, **labels, **w),
            "f1_weighted": sk.f1_score(target, called, **labels, **w),
            "kappa": sk.cohen_kappa_score(target, called, **w),
            "auc": sk.roc_auc_score(diseased, outputs.score, **w),
            "pr_auc": sk.average_precision_score(diseased, outputs.score, **w),
            "brier": sk.brier_score_loss(diseased, outputs.score.clip(0, 1), **w),
        }
        if k > 2:
            pairs = enumerate(outputs.probabilities.T)
            expected["auc_ovr"] = np.mean([sk.roc_auc_score(target == label, p, **w) for label, p in pairs])
        assert {name: ours[name] for name in expected} == pytest.approx(expected, rel=1e-9)
        rows = np.repeat(np.arange(len(target)), own.astype(int))
        again = Scored(outputs.probabilities[rows], outputs.score[rows], called[rows])
        assert ours == pytest.approx(values(target[rows], again), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(
    ("target", "undefined"),
    [
        ([1, 1, 1], {"specificity", "auc", "calibration_slope", "calibration_intercept"}),
        ([0, 0, 0], {"sensitivity", "pr_auc", "auc", "calibration_slope", "calibration_intercept"}),
    ],
)
def test_degenerate_cases_are_nan_without_a_warning(target, undefined):
    outputs = scored(np.array([[0.3, 0.7], [0.6, 0.4], [0.2, 0.8]]))
    assert {name for name, value in values(target, outputs).items() if np.isnan(value)} == undefined
    assert np.isnan(list(values([], scored(np.zeros((0, 2)))).values())).all()
    assert np.isnan(values([1, 1], as_outputs([1, 1]))["kappa"])


# Score: .9 P, .8 P, .7 N, .6 P, .4 N, .2 N. Sensitivity - (1 - specificity) from each score on:
# .9: 1/3; .8: 2/3; .7: 2/3 - 1/3; .6: 1 - 1/3 = 2/3; .4: 1/3; .2: 0.
POSITIVE = np.array([True, True, False, True, False, False])
SCORE = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.2])


def test_thresholds_by_hand_take_the_higher_of_equals_and_one_class_has_none():
    assert youden_threshold(POSITIVE, SCORE) == 0.8
    assert [sensitivity_threshold(POSITIVE, SCORE, minimum) for minimum in (0.95, 2 / 3, 0.1)] == [0.6, 0.8, 0.9]
    assert np.isnan(youden_threshold(np.array([True, True]), np.array([0.1, 0.2])))
    assert np.isnan(sensitivity_threshold(np.zeros(0, dtype=bool), np.zeros(0)))


@given(st.integers(0, 100_000), st.floats(0.05, 1.0))
def test_the_promised_sensitivity_is_reached_at_the_highest_such_threshold(seed, minimum):
    rng = np.random.default_rng(seed)
    positive, score = rng.random(30) < 0.5, rng.integers(0, 10, 30) / 10
    positive[:2] = True, False
    threshold = sensitivity_threshold(positive, score, minimum)
    assert (score[positive] >= threshold).mean() >= minimum - 1e-9
    assert (score[positive] > threshold).mean() < minimum
