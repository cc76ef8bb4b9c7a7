"""The leading system trained again: what is compared, what is refused, and where it is stored."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from cag.chapters.classification import labels
from cag.chapters.classification import variants as experiment
from cag.chapters.classification.levels import reference_standard
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


def test_table_of_variants(found, drawn_cohort, grid_settings):
    table = experiment.variant_table(found, reference_standard(drawn_cohort, grid_settings), bootstrap=5, seed=0)
    own = table[table["variant"] == experiment.STUDY]
    assert own["level"].tolist() == ["image", "artery"] and own["difference"].isna().all()
    images = table[table["level"] == "image"].set_index("variant")
    gap = images.loc["plain head", "value"] - images.loc[experiment.STUDY, "value"]
    assert images.loc["plain head", "difference"] == pytest.approx(gap)
    spread = experiment.seed_spread(table)
    areas = images.loc[[experiment.STUDY, "seed 1"], "value"]
    assert spread["count"] == 2
    assert (spread["image_low"], spread["image_high"]) == (areas.min(), areas.max())
    assert spread["artery_low"] <= spread["artery_high"]


def test_what_cannot_be_trained_is_said(found, drawn_cohort, grid_settings, grid_store):
    settings = grid_settings.model_copy(update={"compare_weights": ("xa",), "further_seeds": (), "epochs": 1})
    settings = settings.model_copy(update={"backbone": "mobilenet_v3_small"})
    bare = dataclasses.replace(drawn_cohort, boxes=drawn_cohort.boxes.iloc[:0])
    again = experiment.run_variants(bare, settings, grid_store)
    assert set(again.refused) == {"xa weights", "visible labels"}
    table = experiment.variant_table(again, reference_standard(bare, settings), bootstrap=2, seed=0)
    notes = table.set_index("variant")["note"]
    assert "no xa weights for mobilenet_v3_small" in notes["xa weights"] and "boxes" in notes["visible labels"]
    with pytest.raises(InputError, match="variant_views"):
        experiment.run_variants(bare, settings.model_copy(update={"variant_views": ("elsewhere",)}), grid_store)


def test_label_rules_are_compared_frame_by_frame(found, drawn_cohort, grid_settings):
    table = labels.labels_by_rule(drawn_cohort, grid_settings)
    assert len(table) == 96 and table["visible"].eq(1).all()
    shares = labels.label_agreement(table, bootstrap=5, seed=0)
    rca = shares[shares["view"] == "RCA LAO"].set_index("metric")["value"]
    assert rca["assigned"] == 0.5 and rca["visible"] == 1 and rca["agreement"] == 0.5
    trained = {"assigned": found.predictions[found.predictions["variant"] == experiment.STUDY]}
    # A box is in view until frame 30 only, so that both rules know both classes.
    half = table.assign(visible=(table["frame"] < 30).astype(int))
    scored = labels.scored_by_either(trained, half, bootstrap=5, seed=0)
    assert scored["metric"].tolist() == ["assigned", "visible"] and scored["value"].notna().all()


def test_labels_without_any_variety_have_no_kappa():
    same = pd.DataFrame({"assigned": [1, 1], "visible": [1, 1]})
    assert np.isnan(labels._kappa(same))
