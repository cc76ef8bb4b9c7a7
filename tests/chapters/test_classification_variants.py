"""The leading system trained again: what is compared, what is refused, and where it is stored."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cag.chapters.classification import variants as experiment
from cag.settings import InputError


@pytest.fixture(scope="module")
def found(drawn_cohort, grid_settings, grid_store, grid_predictions):
    settings = grid_settings.model_copy(update={"compare_weights": (), "further_seeds": (1,), "epochs": 1})
    settings = settings.model_copy(update={"backbone": "mobilenet_v3_small"})
    return experiment.run_variants(drawn_cohort, settings, grid_store)


def test_every_variant_changes_one_thing(grid_settings):
    named = experiment.variants(grid_settings)
    assert list(named) == [
        "seed 1",
        "plain head",
        "visible labels",
        "imagenet weights",
        experiment.PERMUTED,
    ], "the study of these settings starts from random weights itself"
    assert named["plain head"] == {"head": "plain"} and named[experiment.PERMUTED] == {}


def test_variants_score_the_same_frames_apart_from_the_grid(found, grid_store):
    outer = found.predictions.query("part == 'outer' and arm == 'clean' and not redundant")
    keys = [sorted(zip(own["run_id"], own["frame"], strict=True)) for _, own in outer.groupby("variant")]
    assert all(rows == keys[0] for rows in keys) and found.refused == {}
    assert set(outer["model_view"]) == {"RCA"}
    assert (grid_store.root / "classification_variant").is_dir()
    study, dealt = (
        outer[outer["variant"] == name]["target"].to_numpy() for name in (experiment.STUDY, "permuted labels")
    )
    np.testing.assert_array_equal(study, dealt)


def test_what_cannot_be_trained_is_said(found, drawn_cohort, grid_settings, grid_store):
    settings = grid_settings.model_copy(update={"compare_weights": ("xa",), "further_seeds": (), "epochs": 1})
    settings = settings.model_copy(update={"backbone": "mobilenet_v3_small"})
    bare = dataclasses.replace(drawn_cohort, boxes=drawn_cohort.boxes.iloc[:0])
    again = experiment.run_variants(bare, settings, grid_store)
    assert set(again.refused) == {"xa weights", "visible labels"}
    assert "no xa weights for mobilenet_v3_small" in again.refused["xa weights"]
    assert "boxes" in again.refused["visible labels"]
    with pytest.raises(InputError, match="variant_views"):
        experiment.run_variants(bare, settings.model_copy(update={"variant_views": ("elsewhere",)}), grid_store)
