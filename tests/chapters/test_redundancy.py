from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import spearmanr

from cag.chapters import redundancy as ablation
from cag.settings import LabelError, SettingsError


def test_shares_of_the_mass_by_hand():
    maps = np.zeros((1, 4, 4))
    maps[0, 0] = [1, 1, 1, 1]
    lumen, lesion = np.zeros((2, 1, 4, 4), dtype=bool)
    lumen[0, 0, :2] = True
    lesion[0, 0, 1:3] = True
    shares = ablation.shares_of(maps, lumen, lesion)
    assert shares["lumen"][0] == 0.5 and shares["lesion"][0] == 0.5
    assert shares["background"][0] == 0.25, "the fourth pixel of the row belongs to neither"
    assert shares["lumen_area"][0] == 2 / 16
    assert np.isnan(ablation.shares_of(maps * 0, lumen, lesion)["lumen"][0])


def test_both_trainings_look_at_the_same_frames(drawn_cohort, grid_settings, grid_store, grid_predictions):
    mass, examples = ablation.activation_mass(drawn_cohort, grid_settings, grid_store)
    keys = ["run_id", "frame", "fold"]
    pairs = mass.groupby(keys)["training"].apply(sorted)
    assert all(pair == ["with", "without"] for pair in pairs)
    assert {example.title[:3] for example in examples} == {"LCA", "RCA"} and len(examples) == 2
    summary = ablation.mass_summary(mass, bootstrap=5, seed=0)
    assert set(summary["training"]) == {"with", "without", "share of the area"}
    area = summary.query("training == 'share of the area' and metric == 'lumen'")["value"].iloc[0]
    assert area == pytest.approx(400 / 96**2, rel=0.05)


def test_a_cohort_without_visible_stenosis_is_refused(drawn_cohort, grid_settings, grid_store, grid_predictions):
    bare = dataclasses.replace(drawn_cohort, boxes=drawn_cohort.boxes.iloc[:0])
    with pytest.raises(LabelError, match="boxes"):
        ablation.activation_mass(bare, grid_settings, grid_store)


def test_the_difference_is_that_of_the_means_of_the_same_frames(
    drawn_cohort, grid_settings, grid_store, grid_predictions
):
    mass, _ = ablation.activation_mass(drawn_cohort, grid_settings, grid_store)
    difference = ablation.mass_difference(mass, bootstrap=5, seed=0).set_index("metric")["value"]
    means = mass.groupby("training")["lumen"].mean()
    assert difference["lumen"] == pytest.approx(means["with"] - means["without"])


def test_background_calls_add_up_and_only_redundancy_training_knows_redundant(grid_predictions):
    calls = ablation.background_calls(grid_predictions, bootstrap=5, seed=0)
    shares = calls[calls["metric"] != "p_stenosis"].groupby(["artery", "training"])["value"].sum()
    np.testing.assert_allclose(shares, 1)
    without = calls.query("training == 'without redundancy' and metric == 'redundant'")
    assert without["value"].eq(0).all() and calls["low"].notna().all()


def test_one_training_alone_has_nothing_to_compare(drawn_cohort, grid_settings, grid_store):
    with pytest.raises(SettingsError, match="redundancy"):
        alone = grid_settings.model_copy(update={"redundancy": (True,)})
        ablation.activation_mass(drawn_cohort, alone, grid_store)


def test_rank_correlation_is_scipy_s_and_undefined_without_any_order(rng):
    first, second = rng.random((2, 3, 4, 5))
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(ablation.rank_correlation(first, second), expected)
    np.testing.assert_allclose(ablation.rank_correlation(first, first**3), 1)
    assert np.isnan(ablation.rank_correlation(first, second * 0)).all()


def test_maps_change_when_weights_are_drawn_anew(drawn_cohort, grid_settings, grid_store, grid_predictions):
    check = ablation.randomization_check(drawn_cohort, grid_settings, grid_store)
    assert check.groupby("drawn").size().nunique() == 1
    summary = ablation.randomization_summary(check, bootstrap=5, seed=0)
    assert summary["drawn"].drop_duplicates().tolist() == list(ablation.STAGES_DRAWN)
    correlation = summary[summary["metric"] == "correlation"].set_index("drawn")["value"]
    assert correlation["nothing"] == pytest.approx(1)
    assert correlation.drop("nothing").min() < 0.99
    bare = dataclasses.replace(drawn_cohort, boxes=drawn_cohort.boxes.iloc[:0])
    with pytest.raises(LabelError, match="boxes"):
        ablation.randomization_check(bare, grid_settings, grid_store)
