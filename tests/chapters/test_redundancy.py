from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import spearmanr

from cag.chapters import redundancy as ablation
from cag.chapters.classification.settings import leading_cells
from cag.chapters.classification.training import parts_of
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
    np.testing.assert_allclose(mass["lumen_area"], 400 / 96**2, rtol=0.05)
    assert mass["either_area"].between(mass[["lumen_area", "lesion_area"]].max(axis=1), 1).all()


def test_a_cohort_without_visible_stenosis_is_refused(drawn_cohort, grid_settings, grid_store, grid_predictions):
    bare = dataclasses.replace(drawn_cohort, boxes=drawn_cohort.boxes.iloc[:0])
    with pytest.raises(LabelError, match="boxes"):
        ablation.activation_mass(bare, grid_settings, grid_store)


def test_frames_with_a_visible_stenosis_are_of_the_outer_fold_and_tightest_first(drawn_cohort, grid_settings):
    cell = leading_cells(grid_settings)[0]
    seen = ablation.seen_frames(drawn_cohort, cell)
    assert parts_of(drawn_cohort, cell, seen.rows).eq("outer").all() and not seen.rows["run_id"].duplicated().any()
    assert seen.rows["visible"].is_monotonic_decreasing and len(seen.images) == len(seen.rows) == len(seen.lumen)
    assert seen.lesion[0, 60, 60] and not seen.lesion[0, 80, 80], "a box from 30 to 50 of 96 lies at 40 to 67 of 128"


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
    assert check["drawn"].drop_duplicates().tolist() == list(ablation.STAGES_DRAWN)
    correlation = check.groupby("drawn")["correlation"].mean()
    assert correlation["nothing"] == pytest.approx(1)
    assert correlation.drop("nothing").min() < 0.99
    bare = dataclasses.replace(drawn_cohort, boxes=drawn_cohort.boxes.iloc[:0])
    with pytest.raises(LabelError, match="boxes"):
        ablation.randomization_check(bare, grid_settings, grid_store)
