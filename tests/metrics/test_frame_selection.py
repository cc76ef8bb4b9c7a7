"""Errors of contrast intervals."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cag.metrics.frame_selection import metrics, run_errors

COLUMNS = ["n_frames", "begin_true", "end_true", "end_censored", "begin_pred", "end_pred"]

RUNS = pd.DataFrame(
    [
        (60, 10, 39, False, 12, 39),  # begin off by 2, end exact; overlap 28 of 30
        (60, 10, 39, False, 10, 50),  # begin exact, end off by 11; overlap 30 of 41
        (40, 20, 39, True, 16, 30),  # begin off by 4, end censored; overlap 11 of 16..39 = 24
        (50, 10, 19, False, np.nan, np.nan),  # missed: both errors 50, never accepted
        (30, np.nan, np.nan, False, -1, -1),  # no contrast, and none found
        (30, -1, -1, False, 5, 9),  # no contrast, but an interval found
    ],
    columns=COLUMNS,
)


def test_errors_by_hand_have_a_sign_and_are_read_from_nullable_columns():
    result = {name: value[0] for name, value in metrics(run_errors(RUNS)).items()}
    assert result["begin_error"] == pytest.approx((2 + 0 + 4 + 50) / 4)
    assert result["end_error"] == pytest.approx((0 + 11 + 50) / 3)
    assert result["begin_error_sd"] == pytest.approx(np.std([2, 0, 4, 50], ddof=1))
    assert result["end_error_sd"] == pytest.approx(np.std([0, 11, 50], ddof=1))
    assert result["acceptance_rate_begin"] == 2 / 4  # 2 and 0; 4 is too far, one missed
    assert result["acceptance_rate_end"] == pytest.approx(1 / 3)
    assert result["acceptance_rate"] == pytest.approx(3 / 7) and result["error_rate_begin"] == 1 / 4
    assert result["error_rate_end"] == pytest.approx(2 / 3) and result["error_rate"] == pytest.approx(3 / 7)
    assert result["interval_iou"] == pytest.approx((28 / 30 + 30 / 41 + 11 / 24 + 0) / 4)
    assert result["abstention_sensitivity"] == 1 / 2 and result["abstention_specificity"] == 3 / 4
    errors = run_errors(RUNS)
    np.testing.assert_array_equal(errors["begin_shift"][:4], [2, 0, -4, np.nan])
    np.testing.assert_array_equal(errors["end_shift"][:4], [0, 11, np.nan, np.nan])
    runs = RUNS.assign(begin_true=RUNS["begin_true"].astype("Int64"), end_true=RUNS["end_true"].astype("Int64"))
    assert run_errors(runs)["contrast"].sum() == 4


def test_a_missed_short_run_is_an_error_and_the_limits_belong_to_both_rates():
    result = metrics(run_errors(pd.DataFrame([(3, 0, 2, False, -1, -1)], columns=COLUMNS)))
    assert result["begin_error"][0] == 3
    assert result["acceptance_rate"][0] == 0 and result["error_rate"][0] == 1
    # Errors of 3 and 10 frames: accepted is "at most 3", an error is "at least 10".
    errors = run_errors(pd.DataFrame([(90, 20, 60, False, 23, 70)], columns=COLUMNS))
    assert metrics(errors)["acceptance_rate"][0] == 0.5 and metrics(errors)["error_rate"][0] == 0.5


def draw(seed, n=40):
    rng = np.random.default_rng(seed)
    frames = rng.integers(8, 300, n)
    both = [np.sort(rng.integers(0, frames[:, None], (n, 2)), axis=1) for _ in range(2)]
    runs = pd.DataFrame(np.column_stack([frames, both[0], rng.random(n) < 0.2, both[1]]), columns=COLUMNS).astype(float)
    runs.loc[rng.random(n) < 0.2, ["begin_true", "end_true"]] = np.nan
    runs.loc[rng.random(n) < 0.2, ["begin_pred", "end_pred"]] = -1
    return runs


@given(st.integers(0, 100_000))
def test_weights_repeat_runs_and_order_is_immaterial(seed):
    errors = run_errors(draw(seed))
    weights = np.random.default_rng(seed).integers(0, 4, len(errors))
    rows = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(errors)), weights))
    repeated, many = metrics(errors.iloc[rows]), metrics(errors, weights[None].astype(float))
    for name, value in many.items():
        assert value[0] == pytest.approx(repeated[name][0], nan_ok=True, abs=1e-7), name


def test_the_truth_itself_is_perfect_no_runs_are_nan_and_one_run_has_no_sd():
    runs = draw(0)
    runs[["begin_pred", "end_pred"]] = runs[["begin_true", "end_true"]]
    result = metrics(run_errors(runs))
    assert result["begin_error"][0] == result["end_error"][0] == result["error_rate"][0] == 0
    assert result["interval_iou"][0] == result["acceptance_rate"][0] == result["abstention_sensitivity"][0] == 1
    assert all(np.isnan(value[0]) for value in metrics(run_errors(RUNS.iloc[:0])).values())
    result = metrics(run_errors(RUNS.iloc[:1]))
    assert result["begin_error"][0] == 2 and np.isnan(result["begin_error_sd"][0])
