"""Thresholds and decision curves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cag.metrics.operating import at_threshold, decision_curve, net_benefit, sensitivity_threshold, youden_threshold

# Score: .9 P, .8 P, .7 N, .6 P, .4 N, .2 N. Sensitivity - (1 - specificity) from each score on:
# .9: 1/3; .8: 2/3; .7: 2/3 - 1/3; .6: 1 - 1/3 = 2/3; .4: 1/3; .2: 0.
POSITIVE = np.array([True, True, False, True, False, False])
SCORE = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.2])


def test_youden_by_hand_takes_the_higher_of_equals():
    assert youden_threshold(POSITIVE, SCORE) == 0.8


def test_sensitivity_by_hand():
    assert sensitivity_threshold(POSITIVE, SCORE, 0.95) == 0.6
    assert sensitivity_threshold(POSITIVE, SCORE, 2 / 3) == 0.8
    assert sensitivity_threshold(POSITIVE, SCORE, 0.1) == 0.9


def test_one_class_has_no_threshold():
    assert np.isnan(youden_threshold(np.array([True, True]), np.array([0.1, 0.2])))
    assert np.isnan(sensitivity_threshold(np.zeros(0, dtype=bool), np.zeros(0)))


def test_at_a_threshold_by_hand():
    result = {name: value[0] for name, value in at_threshold(POSITIVE, SCORE, 0.7).items()}
    assert result == pytest.approx(
        {"sensitivity": 2 / 3, "specificity": 2 / 3, "ppv": 2 / 3, "npv": 2 / 3, "called": 1 / 2}
    )
    nobody = at_threshold(POSITIVE, SCORE, 1.0)
    assert np.isnan(nobody["ppv"][0]) and nobody["npv"][0] == 0.5


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100_000), st.floats(0.05, 1.0))
def test_the_promised_sensitivity_is_reached_at_the_highest_such_threshold(seed, minimum):
    rng = np.random.default_rng(seed)
    positive, score = rng.random(30) < 0.5, rng.integers(0, 10, 30) / 10
    positive[:2] = True, False
    threshold = sensitivity_threshold(positive, score, minimum)
    assert at_threshold(positive, score, threshold)["sensitivity"][0] >= minimum - 1e-9
    assert at_threshold(positive, score, np.nextafter(threshold, 2))["sensitivity"][0] < minimum


def test_net_benefit_by_hand(rng):
    # From .6 on: 3 true and 1 false of 6; at p = .6 a false call costs 1.5: (3 - 1.5)/6.
    assert net_benefit(POSITIVE, SCORE, np.array([0.6]))[0, 0] == pytest.approx(1.5 / 6)
    curve = decision_curve(POSITIVE, SCORE, np.array([0.0, 0.5]), n=200, rng=rng)
    assert curve["act_on_all"].tolist() == pytest.approx([0.5, 0.0])  # prevalence .5
    assert curve["net_benefit"].tolist() == pytest.approx([0.5, (3 - 1) / 6])
    assert (curve["act_on_none"] == 0).all()
    assert ((curve["low"] <= curve["net_benefit"]) & (curve["net_benefit"] <= curve["high"])).all()


def test_a_patient_s_rows_are_drawn_together(rng):
    twice = decision_curve(np.repeat(POSITIVE, 2), np.repeat(SCORE, 2), np.array([0.3]), n=400, rng=rng)
    whose = np.repeat(np.arange(len(SCORE)), 2)
    grouped = decision_curve(np.repeat(POSITIVE, 2), np.repeat(SCORE, 2), np.array([0.3]), n=400, rng=rng, groups=whose)
    assert (grouped["high"] - grouped["low"]).item() > (twice["high"] - twice["low"]).item()


def test_weights_repeat_rows():
    weights = np.array([[1.0, 1, 3, 1, 1, 1]])
    rows = [0, 1, 2, 2, 2, 3, 4, 5]
    repeated = at_threshold(POSITIVE[rows], SCORE[rows], 0.5)
    for name, value in at_threshold(POSITIVE, SCORE, 0.5, weights).items():
        assert value[0] == pytest.approx(repeated[name][0])
