"""Change points, calibration and the constant prior."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cag.chapters.frames.baselines import (
    Calibration,
    FoundInterval,
    apply_calibration,
    calibrate,
    change_interval,
    constant_prior,
)


@given(st.integers(2, 60), st.data())
def test_a_step_is_found_exactly(n, data):
    begin = data.draw(st.integers(0, n - 1))
    end = data.draw(st.integers(begin, n - 1 if begin else n - 2))
    curve = np.zeros(n)
    curve[begin : end + 1] = 2.0
    found = change_interval(curve + 5)
    assert (found.begin, found.end) == (begin, end)


@pytest.mark.parametrize(
    ("curve", "found"),
    [
        ([3.0] * 10, (0, 9, 0.0)),  # a flat curve has no step
        ([-1.0, 1, -1, 1, 9, 11, 9, 11], (4, 7, 10.0)),  # in units of the scatter
        ([5.0, 5, 0, 0, 0, 5, 5, 5, 5], (5, 8, pytest.approx(3 / np.sqrt(10 / 3)))),  # where the curve is high, not low
    ],
)
def test_known_steps(curve, found):
    assert change_interval(np.array(curve)) == found


def test_calibration_learns_shift_and_abstention():
    borders = pd.DataFrame({"contrast_begin": [12, 22, pd.NA], "contrast_end": [30, 40, pd.NA]}, dtype="Int64")
    runs = borders.assign(end_censored=[False, True, False])
    found = [FoundInterval(10, 33, 8.0), FoundInterval(20, 40, 6.0), FoundInterval(1, 2, 2.0)]
    learned = calibrate(found, runs)
    assert learned == Calibration(2.0, -3.0, 4.0)
    assert apply_calibration(found[0], learned, 50) == (12, 30)
    assert apply_calibration(found[2], learned, 50) is None
    assert apply_calibration(FoundInterval(0, 59, 9.0), Calibration(-4.0, 5.0, 0.0), 60) == (0, 59)


def test_prior_is_a_share_of_the_run():
    rows = [(10.0, 50.0, 101), (40.0, 160.0, 201), (np.nan, np.nan, 99)]
    runs = pd.DataFrame(rows, columns=["contrast_begin", "contrast_end", "n_frames"])
    assert constant_prior(runs) == pytest.approx((0.15, 0.65))
