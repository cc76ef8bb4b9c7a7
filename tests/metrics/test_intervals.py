"""Bootstrap over patients, paired differences, Wilson."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from cag.metrics.intervals import (
    bootstrap,
    bootstrap_many,
    paired_difference,
    resample_counts,
    resample_weights,
    wilson,
)
from cag.settings import InputError


def mean_of(values):
    return lambda weights: weights @ values / weights.sum(1)


def draw(seed, n=60, groups=20):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n), np.array([f"P{index:04d}" for index in rng.integers(0, groups, n)])


def test_resamples_draw_as_many_patients_as_there_are():
    counts = resample_counts(7, 50, np.random.default_rng(0))
    assert counts.shape == (50, 7)
    assert (counts.sum(1) == 7).all() and (counts >= 0).all()


def test_rows_of_a_patient_are_drawn_together():
    weights = resample_weights(np.array(["b", "a", "b"]), 20, np.random.default_rng(0))
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    assert (weights[:, 0] + weights[:, 1] == 2).all()


def test_a_constant_has_no_width():
    values, groups = np.full(12, 0.25), np.repeat(["a", "b", "c"], 4)
    estimate = bootstrap(mean_of(values), groups, n=100, rng=np.random.default_rng(0))
    assert (estimate.value, estimate.low, estimate.high, estimate.n_groups) == (0.25, 0.25, 0.25, 3)


def test_interval_of_a_mean_is_the_textbook_one():
    # 400 patients, one row each: mean +- 1.96 SD / sqrt(400); the percentiles of 4,000 resamples are
    # within a few percent of the width.
    values = np.random.default_rng(1).normal(3, 2, 400)
    estimate = bootstrap(mean_of(values), np.arange(400), n=4000, rng=np.random.default_rng(2))
    half = norm.ppf(0.975) * values.std() / 20
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_patients_are_resampled_not_frames():
    # Ten patients with 50 identical frames each know no more than ten frames would.
    of_patient = np.random.default_rng(3).normal(size=10)
    one = bootstrap(mean_of(of_patient), np.arange(10), n=500, rng=np.random.default_rng(4))
    many = bootstrap(
        mean_of(np.repeat(of_patient, 50)), np.repeat(np.arange(10), 50), n=500, rng=np.random.default_rng(4)
    )
    assert (many.low, many.high) == pytest.approx((one.low, one.high))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_same_seed_same_interval_in_any_order_of_rows(seed):
    values, groups = draw(seed)
    order = np.random.default_rng(seed + 1).permutation(len(values))
    first = bootstrap(mean_of(values), groups, n=50, rng=np.random.default_rng(seed))
    again = bootstrap(mean_of(values[order]), groups[order], n=50, rng=np.random.default_rng(seed))
    assert (first.low, first.high) == pytest.approx((again.low, again.high), abs=1e-12)
    assert first.low <= first.high


def test_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        values, groups = np.random.default_rng(seed).normal(size=40), np.arange(40)
        estimate = bootstrap(mean_of(values), groups, n=200, rng=np.random.default_rng(seed))
        covered += estimate.low <= 0 <= estimate.high
        assert estimate.low <= estimate.value <= estimate.high
    assert 0.88 <= covered / 200 <= 0.99


def test_blocks_change_nothing(monkeypatch):
    values, groups = draw(5)
    whole = bootstrap(mean_of(values), groups, n=40, rng=np.random.default_rng(6))
    monkeypatch.setattr("cag.metrics.intervals._CELLS_AT_ONCE", 200)
    blocks = bootstrap(mean_of(values), groups, n=40, rng=np.random.default_rng(6))
    assert (blocks.value, blocks.low, blocks.high) == pytest.approx((whole.value, whole.low, whole.high), rel=1e-12)


def test_undefined_resamples_are_counted_and_left_out():
    # Of two patients only "a" has rows that count: a resample of b, b (1 in 4) is undefined.
    def share(weights):
        part = weights[:, 0]
        return np.divide(part, part, out=np.full(len(part), np.nan), where=part > 0)

    estimate = bootstrap(share, np.array(["a", "b"]), n=400, rng=np.random.default_rng(0))
    assert (estimate.value, estimate.low, estimate.high) == (1, 1, 1)
    assert estimate.undefined == pytest.approx(100, abs=30)


def test_one_patient_and_no_patient_have_no_interval():
    one = bootstrap(mean_of(np.array([1.0, 2.0])), np.array(["a", "a"]), n=10, rng=np.random.default_rng(0))
    assert one.value == 1.5 and np.isnan(one.low) and one.n_groups == 1
    none = bootstrap(lambda weights: np.full(len(weights), np.nan), np.array([]), n=10, rng=np.random.default_rng(0))
    assert np.isnan(none.value) and none.n_groups == 0


def test_the_value_may_come_from_elsewhere():
    values, groups = draw(7)
    many = bootstrap_many(
        lambda weights: {"mean": mean_of(values)(weights)},
        groups,
        n=20,
        rng=np.random.default_rng(0),
        values={"mean": 9.0},
    )
    assert many["mean"].value == 9.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"n": 0}, "0 resamples"), ({"n": 5, "level": 95.0}, "95.0 is not a coverage")],
)
def test_impossible_requests_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        bootstrap(mean_of(np.ones(2)), np.array(["a", "b"]), rng=np.random.default_rng(0), **arguments)


def test_rows_without_a_patient_are_refused():
    with pytest.raises(InputError, match="1 rows belong to no patient"):
        bootstrap(mean_of(np.ones(2)), np.array(["a", None]), n=5, rng=np.random.default_rng(0))


def as_metrics(values):
    return lambda weights: {"mean": mean_of(values)(weights)}


def test_paired_difference_cancels_what_both_share():
    # b = a - 1 row by row: the difference is 1 in every resample, although each mean varies.
    values, groups = draw(8)
    difference = paired_difference(
        as_metrics(values), groups, as_metrics(values - 1), groups, n=200, rng=np.random.default_rng(0)
    )["mean"]
    assert (difference.value, difference.low, difference.high) == pytest.approx((1, 1, 1))
    assert difference.p_value == pytest.approx(2 / 201)


def test_no_difference_has_p_value_one():
    values, groups = draw(9)
    same = paired_difference(as_metrics(values), groups, as_metrics(values), groups, n=50, rng=np.random.default_rng(0))
    assert same["mean"].value == 0 and same["mean"].p_value == 1


def test_sides_may_have_other_rows_of_the_same_patients():
    first, second = (
        pd.DataFrame({"p": list("aabbcc"), "v": [1.0, 1, 2, 2, 3, 3]}),
        pd.DataFrame({"p": list("abc"), "v": [1.0, 2, 3]}),
    )
    result = paired_difference(
        as_metrics(first["v"].to_numpy()),
        first["p"].to_numpy(),
        as_metrics(second["v"].to_numpy()),
        second["p"].to_numpy(),
        n=100,
        rng=np.random.default_rng(0),
    )["mean"]
    # Each patient's mean is the same on both sides and rows per patient are equal within a side.
    assert (result.low, result.high) == pytest.approx((0, 0), abs=1e-12)


def test_wilson_by_hand():
    # 8 of 10, z = 1.959964: center (.8 + 3.8415/20)/(1 + .38415) = .71674; half = 1.959964/1.38415 *
    # sqrt(.016 + 3.8415/400) = .22654 -> .4902 to .9433.
    estimate = wilson(8, 10)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=2e-4)
    assert np.isnan(wilson(0, 0).value)
