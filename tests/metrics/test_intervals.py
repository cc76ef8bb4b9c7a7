"""Bootstrap over patients, paired differences, Wilson."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from cag.metrics.intervals import bootstrap_many, paired_difference, resample_weights, wilson
from cag.settings import InputError


def mean_of(values):
    return lambda weights: {"mean": weights @ values / weights.sum(1)}


def draw(seed, n=60, groups=20):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n), np.array([f"P{index:04d}" for index in rng.integers(0, groups, n)])


def interval(values, groups, n, seed=0):
    return bootstrap_many(mean_of(values), groups, n=n, rng=np.random.default_rng(seed))["mean"]


def difference(first, first_groups, second, second_groups, n):
    sides = mean_of(first), first_groups, mean_of(second), second_groups
    return paired_difference(*sides, n=n, rng=np.random.default_rng(0))["mean"]


def test_rows_of_a_patient_are_drawn_together():
    weights = resample_weights(np.array(["b", "a", "b"]), 20, np.random.default_rng(0))
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    assert (weights[:, 0] + weights[:, 1] == 2).all()


def test_interval_of_a_mean_is_the_textbook_one():
    # 400 patients, one row each: mean +- 1.96 SD / sqrt(400); the percentiles of 4,000 resamples are
    # within a few percent of the width.
    values = np.random.default_rng(1).normal(3, 2, 400)
    estimate = interval(values, np.arange(400), 4000, seed=2)
    half = norm.ppf(0.975) * values.std() / 20
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_patients_are_resampled_not_frames():
    # Ten patients with 50 identical frames each know no more than ten frames would.
    of_patient = np.random.default_rng(3).normal(size=10)
    one = interval(of_patient, np.arange(10), 500)
    many = interval(np.repeat(of_patient, 50), np.repeat(np.arange(10), 50), 500)
    assert (many.low, many.high) == pytest.approx((one.low, one.high))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_same_seed_same_interval_in_any_order_of_rows(seed):
    values, groups = draw(seed)
    order = np.random.default_rng(seed + 1).permutation(len(values))
    first, again = interval(values, groups, 50, seed), interval(values[order], groups[order], 50, seed)
    assert (first.low, first.high) == pytest.approx((again.low, again.high), abs=1e-12)
    assert first.low <= first.high


def test_blocks_change_nothing(monkeypatch):
    values, groups = draw(5)
    whole = interval(values, groups, 40)
    monkeypatch.setattr("cag.metrics.intervals._CELLS_AT_ONCE", 200)
    blocks = interval(values, groups, 40)
    assert (blocks.value, blocks.low, blocks.high) == pytest.approx((whole.value, whole.low, whole.high), rel=1e-12)


def test_undefined_resamples_are_counted_and_left_out():
    # Of two patients only "a" has rows that count: a resample of b, b (1 in 4) is undefined.
    def share(weights):
        part = weights[:, 0]
        return {"share": np.divide(part, part, out=np.full(len(part), np.nan), where=part > 0)}

    estimate = bootstrap_many(share, np.array(["a", "b"]), n=400, rng=np.random.default_rng(0))["share"]
    assert (estimate.value, estimate.low, estimate.high) == (1, 1, 1)
    assert estimate.undefined == pytest.approx(100, abs=30)


def test_one_patient_and_no_patient_have_no_interval():
    one = interval(np.array([1.0, 2.0]), np.array(["a", "a"]), 10)
    assert one.value == 1.5 and np.isnan(one.low) and one.n_groups == 1
    with np.errstate(invalid="ignore"):
        none = interval(np.zeros(0), np.array([]), 10)
    assert np.isnan(none.value) and none.n_groups == 0


@pytest.mark.parametrize(
    ("groups", "n", "message"), [(["a", "b"], 0, "0 resamples"), (["a", None], 5, "1 rows belong to no patient")]
)
def test_impossible_requests_are_refused(groups, n, message):
    with pytest.raises(InputError, match=message):
        interval(np.ones(2), np.array(groups), n)


def test_paired_difference_cancels_what_both_share():
    # b = a - 1 row by row: the difference is 1 in every resample, although each mean varies.
    values, groups = draw(8)
    apart = difference(values, groups, values - 1, groups, 200)
    assert (apart.value, apart.low, apart.high) == pytest.approx((1, 1, 1))
    assert apart.p_value == pytest.approx(2 / 201)
    same = difference(values, groups, values, groups, 50)
    assert same.value == 0 and same.p_value == 1


def test_sides_may_have_other_rows_of_the_same_patients():
    twice = difference(np.array([1.0, 1, 2, 2, 3, 3]), list("aabbcc"), np.array([1.0, 2, 3]), list("abc"), 100)
    # Each patient's mean is the same on both sides and rows per patient are equal within a side.
    assert (twice.low, twice.high) == pytest.approx((0, 0), abs=1e-12)


def test_wilson_by_hand():
    # 8 of 10, z = 1.959964: center (.8 + 3.8415/20)/(1 + .38415) = .71674; half = 1.959964/1.38415 *
    # sqrt(.016 + 3.8415/400) = .22654 -> .4902 to .9433.
    estimate = wilson(8, 10)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=2e-4)
    assert np.isnan(wilson(0, 0).value)
