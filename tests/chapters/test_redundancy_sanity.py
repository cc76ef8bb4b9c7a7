"""The heatmap's sanity check: correlation by hand, and on trained networks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import spearmanr

from cag.chapters.redundancy import sanity
from cag.settings import LabelError


def test_rank_correlation_is_scipy_s_and_undefined_without_any_order(rng):
    first, second = rng.random((2, 3, 4, 5))
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(sanity.rank_correlation(first, second), expected)
    np.testing.assert_allclose(sanity.rank_correlation(first, first**3), 1)
    assert np.isnan(sanity.rank_correlation(first, second * 0)).all()


def test_maps_change_when_weights_are_drawn_anew(drawn_cohort, grid_settings, grid_store, grid_predictions):
    check = sanity.randomization_check(drawn_cohort, grid_settings, grid_store)
    assert check.groupby("drawn").size().nunique() == 1
    summary = sanity.randomization_summary(check, bootstrap=5, seed=0)
    assert summary["drawn"].drop_duplicates().tolist() == list(sanity.STAGES_DRAWN)
    correlation = summary[summary["metric"] == "correlation"].set_index("drawn")["value"]
    assert correlation["nothing"] == pytest.approx(1)
    assert correlation.drop("nothing").min() < 0.99
    bare = dataclasses.replace(drawn_cohort, boxes=drawn_cohort.boxes.iloc[:0])
    with pytest.raises(LabelError, match="boxes"):
        sanity.randomization_check(bare, grid_settings, grid_store)
