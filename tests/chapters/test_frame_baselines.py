"""Change points, calibration and the constant prior."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cag.chapters.frames.baselines import (
    Calibration,
    FoundInterval,
    apply_calibration,
    calibrate,
    change_interval,
    constant_prior,
    frame_curves,
)


@given(st.integers(2, 60), st.data())
def test_a_step_is_found_exactly(n: int, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, n - 1))
    end = data.draw(st.integers(begin, n - 1 if begin else n - 2))
    curve = np.zeros(n)
    curve[begin : end + 1] = 2.0
    found = change_interval(curve + 5)
    assert (found.begin, found.end) == (begin, end)


def test_a_flat_curve_has_no_step() -> None:
    found = change_interval(np.full(10, 3.0))
    assert (found.begin, found.end, found.step) == (0, 9, 0.0)


def test_the_interval_is_where_the_curve_is_high_not_low() -> None:
    found = change_interval(np.array([5.0, 5, 0, 0, 0, 5, 5, 5, 5]))
    assert (found.begin, found.end) == (5, 8)


def test_step_is_in_units_of_the_scatter() -> None:
    found = change_interval(np.array([-1.0, 1, -1, 1, 9, 11, 9, 11]))
    assert found.begin == 4 and found.step == pytest.approx(10.0)


def test_calibration_learns_shift_and_abstention() -> None:
    runs = pd.DataFrame(
        {
            "contrast_begin": pd.array([12, 22, pd.NA], dtype="Int64"),
            "contrast_end": pd.array([30, 40, pd.NA], dtype="Int64"),
            "end_censored": [False, True, False],
        }
    )
    found = [FoundInterval(10, 33, 8.0), FoundInterval(20, 40, 6.0), FoundInterval(1, 2, 2.0)]
    learned = calibrate(found, runs)
    assert learned == Calibration(2.0, -3.0, 4.0)
    assert apply_calibration(found[0], learned, 50) == (12, 30)
    assert apply_calibration(found[2], learned, 50) is None
    assert apply_calibration(FoundInterval(0, 59, 9.0), Calibration(-4.0, 5.0, 0.0), 60) == (0, 59)


def test_prior_is_a_share_of_the_run() -> None:
    runs = pd.DataFrame(
        {"contrast_begin": [10.0, 40.0, np.nan], "contrast_end": [50.0, 160.0, np.nan], "n_frames": [101, 201, 99]}
    )
    assert constant_prior(runs) == pytest.approx((0.15, 0.65))


def test_a_dark_tube_raises_both_curves() -> None:
    frames = torch.full((3, 192, 192), 180, dtype=torch.uint8)
    frames[1, 40:150, 90:96] = 60
    curves = frame_curves(frames)
    assert curves.frame.tolist() == [0, 1, 2]
    for name in ("vesselness", "darkness"):
        assert curves[name].idxmax() == 1
        assert curves[name][0] == pytest.approx(curves[name][2])
