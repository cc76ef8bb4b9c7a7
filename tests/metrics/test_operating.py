"""Thresholds, by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cag.metrics.classification import sensitivity_threshold, youden_threshold

# Score: .9 P, .8 P, .7 N, .6 P, .4 N, .2 N. Sensitivity - (1 - specificity) from each score on:
# .9: 1/3; .8: 2/3; .7: 2/3 - 1/3; .6: 1 - 1/3 = 2/3; .4: 1/3; .2: 0.
POSITIVE = np.array([True, True, False, True, False, False])
SCORE = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.2])


def test_youden_by_hand_takes_the_higher_of_equals():
    assert youden_threshold(POSITIVE, SCORE) == 0.8


@pytest.mark.parametrize(("minimum", "threshold"), [(0.95, 0.6), (2 / 3, 0.8), (0.1, 0.9)])
def test_sensitivity_by_hand(minimum, threshold):
    assert sensitivity_threshold(POSITIVE, SCORE, minimum) == threshold


def test_one_class_has_no_threshold():
    assert np.isnan(youden_threshold(np.array([True, True]), np.array([0.1, 0.2])))
    assert np.isnan(sensitivity_threshold(np.zeros(0, dtype=bool), np.zeros(0)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100_000), st.floats(0.05, 1.0))
def test_the_promised_sensitivity_is_reached_at_the_highest_such_threshold(seed, minimum):
    rng = np.random.default_rng(seed)
    positive, score = rng.random(30) < 0.5, rng.integers(0, 10, 30) / 10
    positive[:2] = True, False
    threshold = sensitivity_threshold(positive, score, minimum)
    assert (score[positive] >= threshold).mean() >= minimum - 1e-9
    assert (score[positive] > threshold).mean() < minimum
