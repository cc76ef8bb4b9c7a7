"""Which frames the networks are asked about, and what is measured of their heatmaps."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import spearmanr

from cag.chapters import redundancy
from cag.chapters.classification.settings import grid
from cag.chapters.classification.training import parts_of
from cag.settings import LabelError, SettingsError


def test_shares_of_the_mass_by_hand():
    maps = np.zeros((1, 4, 4))
    maps[0, 0] = [1, 1, 1, 1]
    lumen, lesion = np.zeros((2, 1, 4, 4), dtype=bool)
    lumen[0, 0, :2] = True
    lesion[0, 0, 1:3] = True
    shares = redundancy.shares_of(maps, lumen, lesion)
    assert shares["lumen"][0] == 0.5 and shares["lesion"][0] == 0.5
    assert shares["background"][0] == 0.25, "the fourth pixel of the row belongs to neither"
    assert shares["lumen_area"][0] == 2 / 16 and shares["either_area"][0] == 3 / 16
    assert np.isnan(redundancy.shares_of(maps * 0, lumen, lesion)["lumen"][0])


def test_rank_correlation_is_scipy_s_and_undefined_without_any_order(rng):
    first, second = rng.random((2, 3, 4, 5))
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(redundancy.rank_correlation(first, second), expected)
    np.testing.assert_allclose(redundancy.rank_correlation(first, first**3), 1)
    assert np.isnan(redundancy.rank_correlation(first, second * 0)).all()


def test_frames_with_a_visible_stenosis_are_of_the_outer_fold_and_tightest_first(drawn_cohort, grid_settings):
    found = redundancy.seen_by(drawn_cohort, grid_settings)
    assert {cell.model_view for cell, _ in found} == {"LCA LAO cranial", "RCA"}
    cell, seen = found[0]
    assert cell == grid(grid_settings.leading)[0] and (cell.redundancy, cell.n_categories) == (True, 2)
    assert parts_of(drawn_cohort, cell, seen.rows).eq("outer").all() and not seen.rows["run_id"].duplicated().any()
    assert seen.rows["visible"].is_monotonic_decreasing and len(seen.images) == len(seen.rows) == len(seen.lumen)
    assert seen.lesion[0, 60, 60] and not seen.lesion[0, 80, 80], "a box from 30 to 50 of 96 lies at 40 to 67 of 128"
    np.testing.assert_allclose(seen.lumen.mean(axis=(1, 2)), 400 / 96**2, rtol=0.05)


def test_without_a_visible_stenosis_or_with_one_training_alone_there_is_nothing_to_compare(drawn_cohort, grid_settings):
    bare = dataclasses.replace(drawn_cohort, boxes=drawn_cohort.boxes.iloc[:0])
    with pytest.raises(LabelError, match="boxes"):
        redundancy.seen_by(bare, grid_settings)
    with pytest.raises(SettingsError, match="redundancy"):
        redundancy.seen_by(drawn_cohort, grid_settings.changed(redundancy=[True]))
