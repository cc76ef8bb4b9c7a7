"""From predictions to tables of metrics with intervals: bootstrap over patients, paired differences, Wilson."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from cag.metrics import tables
from cag.metrics.classification import of_classification
from cag.metrics.intervals import bootstrap_many, paired_difference, resample_weights, wilson
from cag.settings import InputError


def predictions(seed=0, n=240, k=2, signal=1.0):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k + 1)) + signal * np.eye(k + 1)[target]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table = pd.DataFrame(p, columns=[*(f"p_{index}" for index in range(k)), "p_redundant"])
    patients, arteries = [f"P{index:04d}" for index in rng.integers(0, 30, n)], rng.choice(["LCA", "RCA"], n)
    names = {"patient_id": patients, "artery": arteries}
    return table.assign(**names, fold=rng.integers(0, 4, n), n_categories=k, target=target)


def value_of(own, metric):
    return own.metrics(np.ones((1, len(own.groups))))[metric][0]


def test_a_classification_table_has_intervals_and_mixed_categories_are_refused(rng):
    own = of_classification(predictions())
    table = tables.interval_table(own, n=100, rng=rng, arm="clean")
    estimates = ["value", "low", "high", "n_groups", "p_value", "undefined"]
    assert list(table.columns) == ["arm", "n_rows", "metric", *estimates]
    # Not so for the expected calibration error, which resampling pushes up.
    unbiased = table[table["metric"] != "ece"]
    assert ((unbiased["low"] <= unbiased["value"]) & (unbiased["value"] <= unbiased["high"])).all()
    assert (table["n_groups"] == 30).all()
    with pytest.raises(InputError, match="2 numbers of categories"):
        of_classification(pd.concat([predictions(k=2), predictions(k=3)]))


def test_an_undefined_metric_is_nan_and_a_readable_table_keeps_the_order_of_its_rows(rng):
    table = tables.interval_table(of_classification(predictions().assign(target=1)), n=20, rng=rng)
    auc = table.set_index("metric").loc["auc"]
    assert np.isnan(auc["value"]) and auc["undefined"] == 20
    table = pd.DataFrame({"name": ["b", "a"], "metric": "auc", "value": [0.5, 0.25], "low": [0.4, np.nan], "high": 0.6})
    shown = tables.readable(table, ["name"])
    assert shown["name"].tolist() == ["b", "a"]
    assert shown["auc"].tolist() == ["0.50 (0.40 to 0.60)", "0.25 (no interval)"]


def test_the_two_arms_and_the_folds_from_one_table(rng):
    rows = predictions(n=600)
    clean, published = (of_classification(rows, rule) for rule in ("clean", "as_published"))
    difference = tables.difference_table(published, clean, n=100, rng=rng).set_index("metric")
    direct = value_of(published, "accuracy") - value_of(clean, "accuracy")
    assert difference.loc["accuracy", "value"] == pytest.approx(direct)
    # An image called redundant is wrong, so that the published rule cannot be more accurate.
    assert difference.loc["accuracy", "high"] <= 0 and difference["p_value"].between(0, 1).all()
    rows = predictions(k=3)
    table = tables.fold_table(rows).set_index("metric")
    each = [value_of(of_classification(part), "auc") for _, part in rows.groupby("fold")]
    assert table.loc["auc", "mean"] == pytest.approx(np.mean(each))
    assert table.loc["auc", "sd"] == pytest.approx(np.std(each, ddof=1))
    assert (table["n_folds"] == 4).all() and "auc_ovr" in table.index


def test_a_seed_draws_each_stratum_anew_so_that_none_depends_on_another():
    table = predictions()
    draw = partial(tables.stratified_table, measure=of_classification, by=("artery",), n=20, rng=3)
    both, alone = draw(table), draw(table[table["artery"].eq("RCA")])
    pd.testing.assert_frame_equal(both[both["artery"].eq("RCA")].reset_index(drop=True), alone)
    assert both.drop_duplicates("artery")["n_rows"].sum() == 240
    assert tables.estimate(both, artery="RCA", metric="auc").value == alone.set_index("metric").loc["auc", "value"]
    with pytest.raises(KeyError):
        tables.estimate(both, artery="none")


def test_own_metrics_have_intervals_and_a_weighted_mean_leaves_missing_values_out(rng):
    rows = predictions(n=60)
    metrics = {"share": lambda table, weights: weights @ table["target"].to_numpy() / weights.sum(1)}
    table = tables.bootstrap_table(rows, metrics, n=30, rng=rng).set_index("metric")
    low, high = table.loc["share", ["low", "high"]]
    assert low < table.loc["share", "value"] == rows["target"].mean() < high
    assert tables.bootstrap_table(rows.iloc[:0], metrics, n=3, rng=rng, by=["fold"]).empty
    table = pd.DataFrame({"x": [1.0, np.nan, 3.0]})
    weights = np.array([[1.0, 1, 1], [2, 5, 0], [0, 1, 0]])
    np.testing.assert_array_equal(tables.weighted_mean("x")(table, weights), [2, 1, np.nan])


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


def test_rows_of_a_patient_are_drawn_together_so_that_patients_are_resampled_not_frames():
    weights = resample_weights(np.array(["b", "a", "b"]), 20, np.random.default_rng(0))
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    assert (weights[:, 0] + weights[:, 1] == 2).all()
    of_patient = np.random.default_rng(3).normal(size=10)
    one = interval(of_patient, np.arange(10), 500)
    many = interval(np.repeat(of_patient, 50), np.repeat(np.arange(10), 50), 500)
    assert (many.low, many.high) == pytest.approx((one.low, one.high))


def test_interval_of_a_mean_is_the_textbook_one_and_wilson_s_by_hand():
    values = np.random.default_rng(1).normal(3, 2, 400)
    estimate = interval(values, np.arange(400), 4000, seed=2)
    half = norm.ppf(0.975) * values.std() / 20
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    estimate = wilson(8, 10)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=2e-4)
    assert np.isnan(wilson(0, 0).value)


@given(st.integers(0, 10_000))
def test_same_seed_same_interval_in_any_order_of_rows(seed):
    values, groups = draw(seed)
    order = np.random.default_rng(seed + 1).permutation(len(values))
    first, again = interval(values, groups, 50, seed), interval(values[order], groups[order], 50, seed)
    assert (first.low, first.high) == pytest.approx((again.low, again.high), abs=1e-12)
    assert first.low <= first.high


def test_blocks_change_nothing(monkeypatch):
    whole = interval(*draw(5), 40)
    monkeypatch.setattr("cag.metrics.intervals._CELLS_AT_ONCE", 200)
    blocks = interval(*draw(5), 40)
    assert (blocks.value, blocks.low, blocks.high) == pytest.approx((whole.value, whole.low, whole.high), rel=1e-12)


def test_undefined_resamples_are_counted_and_left_out_and_one_patient_has_no_interval():
    def share(weights):
        part = weights[:, 0]
        return {"share": np.divide(part, part, out=np.full(len(part), np.nan), where=part > 0)}

    estimate = bootstrap_many(share, np.array(["a", "b"]), n=400, rng=np.random.default_rng(0))["share"]
    assert (estimate.value, estimate.low, estimate.high) == (1, 1, 1)
    assert estimate.undefined == pytest.approx(100, abs=30)
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


def test_paired_difference_cancels_what_both_share_and_sides_may_have_other_rows_of_the_same_patients():
    values, groups = draw(8)
    apart = difference(values, groups, values - 1, groups, 200)
    assert (apart.value, apart.low, apart.high) == pytest.approx((1, 1, 1))
    assert apart.p_value == pytest.approx(2 / 201)
    same = difference(values, groups, values, groups, 50)
    assert same.value == 0 and same.p_value == 1
    twice = difference(np.array([1.0, 1, 2, 2, 3, 3]), list("aabbcc"), np.array([1.0, 2, 3]), list("abc"), 100)
    # Each patient's mean is the same on both sides and rows per patient are equal within a side.
    assert (twice.low, twice.high) == pytest.approx((0, 0), abs=1e-12)
