"""From prediction tables to metric tables."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from cag.metrics import tables
from cag.metrics.classification import of_classification
from cag.settings import InputError


def predictions(seed=0, n=240, k=2, signal=1.0):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k + 1)) + signal * np.eye(k + 1)[target]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table = pd.DataFrame(p, columns=[*(f"p_{index}" for index in range(k)), "p_redundant"])
    return table.assign(
        patient_id=[f"P{index:04d}" for index in rng.integers(0, 30, n)],
        artery=rng.choice(["LCA", "RCA"], n),
        fold=rng.integers(0, 4, n),
        n_categories=k,
        target=target,
    )


def value_of(own, metric):
    return own.metrics(np.ones((1, len(own.groups))))[metric][0]


def test_classification_table(rng):
    own = of_classification(predictions())
    table = tables.interval_table(own, n=100, rng=rng, arm="clean")
    estimates = ["value", "low", "high", "n_groups", "p_value", "undefined"]
    assert list(table.columns) == ["arm", "n_rows", "metric", *estimates]
    # Not so for the expected calibration error, which resampling pushes up.
    unbiased = table[table["metric"] != "ece"]
    assert ((unbiased["low"] <= unbiased["value"]) & (unbiased["value"] <= unbiased["high"])).all()
    assert (table["n_groups"] == 30).all()


def test_an_undefined_metric_is_nan(rng):
    table = tables.interval_table(of_classification(predictions().assign(target=1)), n=20, rng=rng)
    auc = table.set_index("metric").loc["auc"]
    assert np.isnan(auc["value"]) and auc["undefined"] == 20


def test_the_two_arms_from_one_table(rng):
    rows = predictions(n=600)
    clean, published = (of_classification(rows, rule) for rule in ("clean", "as_published"))
    difference = tables.difference_table(published, clean, n=100, rng=rng).set_index("metric")
    direct = value_of(published, "accuracy") - value_of(clean, "accuracy")
    assert difference.loc["accuracy", "value"] == pytest.approx(direct)
    # An image called redundant is wrong, so that the published rule cannot be more accurate.
    assert difference.loc["accuracy", "high"] <= 0 and difference["p_value"].between(0, 1).all()


def test_a_seed_draws_each_stratum_anew_so_that_none_depends_on_another():
    table = predictions()
    draw = partial(tables.stratified_table, measure=of_classification, by=("artery",), n=20, rng=3)
    both, alone = draw(table), draw(table[table["artery"].eq("RCA")])
    pd.testing.assert_frame_equal(both[both["artery"].eq("RCA")].reset_index(drop=True), alone)
    assert both.drop_duplicates("artery")["n_rows"].sum() == 240
    assert tables.estimate(both, artery="RCA", metric="auc").value == alone.set_index("metric").loc["auc", "value"]
    with pytest.raises(KeyError):
        tables.estimate(both, artery="none")


def test_mixed_categories_are_refused():
    with pytest.raises(InputError, match="2 numbers of categories"):
        of_classification(pd.concat([predictions(k=2), predictions(k=3)]))


def test_folds():
    rows = predictions(k=3)
    table = tables.fold_table(rows).set_index("metric")
    each = [value_of(of_classification(part), "auc") for _, part in rows.groupby("fold")]
    assert table.loc["auc", "mean"] == pytest.approx(np.mean(each))
    assert table.loc["auc", "sd"] == pytest.approx(np.std(each, ddof=1))
    assert (table["n_folds"] == 4).all() and "auc_ovr" in table.index


def test_own_metrics(rng):
    rows = predictions(n=60)
    metrics = {"share": lambda table, weights: weights @ table["target"].to_numpy() / weights.sum(1)}
    table = tables.bootstrap_table(rows, metrics, n=30, rng=rng).set_index("metric")
    low, high = table.loc["share", ["low", "high"]]
    assert low < table.loc["share", "value"] == rows["target"].mean() < high
    assert tables.bootstrap_table(rows.iloc[:0], metrics, n=3, rng=rng, by=["fold"]).empty


def test_a_weighted_mean_leaves_missing_values_out():
    table = pd.DataFrame({"x": [1.0, np.nan, 3.0]})
    weights = np.array([[1.0, 1, 1], [2, 5, 0], [0, 1, 0]])
    np.testing.assert_array_equal(tables.weighted_mean("x")(table, weights), [2, 1, np.nan])


def test_a_readable_table_keeps_the_order_of_its_rows():
    table = pd.DataFrame({"name": ["b", "a"], "metric": "auc", "value": [0.5, 0.25], "low": [0.4, np.nan], "high": 0.6})
    shown = tables.readable(table, ["name"])
    assert shown["name"].tolist() == ["b", "a"]
    assert shown["auc"].tolist() == ["0.50 (0.40 to 0.60)", "0.25 (no interval)"]
