from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from cag.anatomy import VIEWS
from cag.errors import LabelError
from cag.experiments import classification as experiment
from cag.experiments import classification_tables as tables
from cag.experiments.classification_samples import (
    artery_severity,
    classification_samples,
    contrast_frames,
    redundancy_frames,
    run_severity,
)
from cag.store import Store


def test_an_image_takes_the_worst_segment_of_its_view(drawn_cohort):
    severity = run_severity(drawn_cohort)
    assert severity["P01_LCA"] == 60
    assert severity["P00_LCA"] == 0, "segment 18 is not assigned to LAO cranial (PROTOCOL section 1.3)"
    artery = artery_severity(drawn_cohort).set_index(["patient_id", "artery"])["percent_stenosis"]
    assert artery["P00", "LCA"] == 80


def test_frames_keep_clear_of_filling_and_wash_out():
    assert contrast_frames(20, 40, 5).tolist() == [22, 26, 30, 34, 38]
    assert contrast_frames(20, 21, 5).tolist() == [20, 21]


def test_redundancy_frames_by_hand():
    # Ten before 22 is 12, then every fifth down: 12, 7, 2; at most half of five labeled frames on each side: 2.
    # Ten after 38 is 48, then 53, 58: again two.
    assert redundancy_frames(np.array([22, 26, 30, 34, 38]), 60).tolist() == [7, 12, 48, 53]
    assert redundancy_frames(np.array([5, 6]), 10).tolist() == []


def test_samples_name_every_frame(drawn_cohort):
    samples = classification_samples(drawn_cohort, 4)
    labeled = samples[~samples["redundant"]]
    assert labeled.groupby("run_id").size().eq(4).all()
    assert set(samples["model_view"]) == {"LCA LAO cranial", "RCA"}
    assert samples.loc[samples["redundant"], "frame"].isin([7, 12, 48, 53]).all()


def test_labels_are_asked_for_by_name(drawn_cohort):
    bare = dataclasses.replace(drawn_cohort, lesions=drawn_cohort.lesions.iloc[:0])
    with pytest.raises(LabelError, match="lesions"):
        classification_samples(bare, 4)
    with pytest.raises(LabelError, match="boxes"):
        classification_samples(dataclasses.replace(drawn_cohort, boxes=drawn_cohort.boxes.iloc[:0]), 4, "visible")


def test_visible_labels_come_from_the_boxes_of_the_frame(drawn_cohort):
    samples = classification_samples(drawn_cohort, 4, "visible")
    boxed = samples["frame"].between(20, 40)
    assert samples.loc[boxed, "percent_stenosis"].eq(70).all() and samples.loc[~boxed, "percent_stenosis"].eq(0).all()


def test_grid_leads_with_the_paper_s_best_system_and_has_every_cell(grid_settings):
    cells = experiment.grid(grid_settings)
    assert len(cells) == 2 * 2 * 2 * 2
    assert cells[0].cut_points == (25,) and cells[0].redundancy
    assert len({cell.digest() for cell in cells}) == len(cells)


def test_every_view_is_in_the_published_grid():
    cells = experiment.grid(experiment.ClassificationSettings())
    assert len(cells) == 60
    assert {cell.model_view for cell in cells} == {view.model for view in VIEWS.values()}


def test_every_outer_frame_is_predicted_once_by_a_network_that_never_saw_its_patient(
    drawn_cohort, grid_settings, grid_predictions
):
    folds = experiment.patient_folds(experiment.patient_severity(drawn_cohort), grid_settings.folds, grid_settings.seed)
    folds = folds.set_index("patient_id")["fold"]
    outer = grid_predictions[grid_predictions["part"] == "outer"]
    keys = ["run_id", "frame", "n_categories", "redundancy", "arm"]
    assert not outer.duplicated(keys).any()
    assert (outer["patient_id"].map(folds) == outer["fold"]).all()
    inner = grid_predictions[grid_predictions["part"] == "inner"]
    assert (inner["patient_id"].map(folds) != inner["fold"]).all()
    assert "P11" not in set(inner["patient_id"]), "studies of low quality choose no epoch"
    assert "P11" in set(outer["patient_id"])


def test_probabilities_sum_to_one_and_redundant_belongs_to_redundancy_training(grid_predictions):
    columns = ["p_0", "p_1", "p_2", "p_redundant"]
    np.testing.assert_allclose(grid_predictions[columns].fillna(0).sum(axis=1), 1, atol=1e-4)
    assert grid_predictions.loc[~grid_predictions["redundancy"], "p_redundant"].eq(0).all()


def test_a_second_run_finds_everything(drawn_cohort, grid_settings, grid_store, grid_predictions):
    stamps = {path: path.stat().st_mtime_ns for path in grid_store.root.rglob("*.safetensors")}
    again = experiment.run_grid(drawn_cohort, grid_settings, grid_store)
    assert stamps == {path: path.stat().st_mtime_ns for path in grid_store.root.rglob("*.safetensors")}
    pd.testing.assert_frame_equal(grid_predictions, again)


def test_the_same_settings_give_the_same_predictions(drawn_cohort, grid_settings, tmp_path, grid_predictions):
    alone = grid_settings.model_copy(update={"cut_points": ((25.0,),), "redundancy": (True,), "model_views": ("RCA",)})
    table = experiment.run_grid(drawn_cohort, alone, Store(tmp_path))
    same = grid_predictions.query("n_categories == 2 and redundancy and model_view == 'RCA'").reset_index(drop=True)
    pd.testing.assert_frame_equal(table, same[table.columns])


def test_arms_pick_the_epoch_by_the_part_they_claim():
    def epoch(number, inner, outer):
        rows = {"part": ["inner", "outer"], "p_0": [1 - inner, 1 - outer], "p_1": [inner, outer], "target": 1}
        return pd.DataFrame(rows).assign(epoch=number, redundant=False)

    chosen = experiment.select_epochs(pd.concat([epoch(0, 0.9, 0.2), epoch(1, 0.3, 0.8)]))
    assert chosen.groupby("arm")["epoch"].unique().map(list).to_dict() == {"clean": [0], "as_published": [1]}
    assert chosen.query("arm == 'as_published'")["part"].tolist() == ["outer"]


def test_a_stored_classifier_gives_the_stored_probabilities(drawn_cohort, grid_settings, grid_store, grid_predictions):
    cell = experiment.grid(grid_settings)[0]
    model = experiment.load_classifier(grid_store, drawn_cohort.digest(), cell)
    rows = grid_predictions.query("n_categories == 2 and redundancy and arm == 'clean' and part == 'outer'")
    row = rows[(rows["model_view"] == cell.model_view) & (rows["fold"] == cell.fold)].iloc[0]
    image = drawn_cohort.frames(row["run_id"], [row["frame"]])
    with torch.no_grad():
        probabilities = model(experiment.scale(image)).softmax(dim=1)[0]
    assert probabilities[1].item() == pytest.approx(row["p_1"], abs=0.02)


def test_tables_of_the_predictions(drawn_cohort, grid_predictions):
    reference = artery_severity(drawn_cohort)
    image = tables.image_metrics(grid_predictions, bootstrap=20, seed=0)
    assert set(image["artery"]) == {"LCA", "RCA"}
    assert {"value", "low", "high", "fold_mean", "fold_sd"} <= set(image)
    rows = tables.system(tables.labeled_frames(grid_predictions).query("artery == 'RCA'"), 2, True)
    p = rows["p_1"] / (rows["p_0"] + rows["p_1"])
    expected = roc_auc_score(rows["target"] > 0, p)
    own = tables.estimate(image, artery="RCA", n_categories=2, redundancy=True, arm="clean", metric="auc")
    assert own.value == pytest.approx(expected)
    levels = tables.level_metrics(grid_predictions, reference, hows=("max",), bootstrap=20, seed=0)
    patient = tables.estimate(
        levels, level="patient", threshold="half", n_categories=2, redundancy=True, arm="clean", metric="auc"
    )
    scores = tables.system(tables.labeled_frames(grid_predictions), 2, True)
    scores = scores.assign(score=scores["p_1"] / (scores["p_0"] + scores["p_1"]))
    worst = reference.groupby("patient_id")["percent_stenosis"].max().ge(25)
    top = scores.groupby("patient_id")["score"].max()
    assert patient.value == pytest.approx(roc_auc_score(worst[top.index], top))


def test_optimism_is_the_published_number_minus_the_clean_one(grid_predictions):
    image = tables.image_metrics(grid_predictions, bootstrap=2, seed=0)
    optimism = tables.optimism(grid_predictions, bootstrap=2, seed=0)
    where = {"artery": "RCA", "n_categories": 2, "redundancy": False, "metric": "auc"}
    published = tables.estimate(image, arm="as_published", **where).value
    clean = tables.estimate(image, arm="clean", **where).value
    assert tables.estimate(optimism, **where).value == pytest.approx(published - clean)


def test_differences_and_background(grid_predictions):
    differences = tables.system_differences(grid_predictions, "redundancy", bootstrap=5, seed=0)
    assert set(differences["n_categories"]) == {2, 3}
    background = tables.background_calls(grid_predictions)
    np.testing.assert_allclose(background[["normal", "diseased", "redundant"]].sum(axis=1), 1)
    with pytest.raises(KeyError):
        tables.estimate(differences, artery="none")
