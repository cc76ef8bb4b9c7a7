from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from cag.anatomy import VIEWS
from cag.chapters.classification import tables
from cag.chapters.classification import training as experiment
from cag.chapters.classification.samples import (
    classification_samples,
    contrast_frames,
    redundancy_frames,
    run_lesions,
    run_severity,
    true_boxes,
)
from cag.chapters.store import RunFolder, Store
from cag.data.frames import shrink
from cag.data.severity import artery_severity, patient_severity
from cag.data.splits import patient_folds
from cag.metrics.tables import estimate
from cag.networks.transforms import scale
from cag.settings import InputError, LabelError, SettingsError


def test_an_image_takes_the_worst_segment_of_its_view(drawn_cohort):
    severity = run_severity(drawn_cohort)
    assert severity["P01_LCA"] == 60
    assert severity["P00_LCA"] == 0, "segment 18 is not assigned to LAO cranial"
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
    folds = patient_folds(patient_severity(drawn_cohort), grid_settings.folds, grid_settings.seed)
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
    model = experiment.trained_classifier(cell, drawn_cohort, grid_store)
    rows = grid_predictions.query("n_categories == 2 and redundancy and arm == 'clean' and part == 'outer'")
    row = rows[(rows["model_view"] == cell.model_view) & (rows["fold"] == cell.fold)].iloc[0]
    image = drawn_cohort.frames(row["run_id"], [row["frame"]])
    with torch.no_grad():
        probabilities = model(scale(shrink(image, grid_settings.image_size))).softmax(dim=1)[0]
    assert probabilities[1].item() == pytest.approx(row["p_1"], abs=0.02)


def test_image_metrics_are_scikit_learn_s(grid_predictions):
    image = tables.image_metrics(grid_predictions, bootstrap=20, seed=0)
    assert set(image["artery"]) == {"LCA", "RCA"}
    assert {"value", "low", "high", "fold_mean", "fold_sd"} <= set(image)
    rows = tables.system(tables.labeled_frames(grid_predictions).query("artery == 'RCA'"), 2, True)
    p = rows["p_1"] / (rows["p_0"] + rows["p_1"])
    expected = roc_auc_score(rows["target"] > 0, p)
    own = estimate(image, artery="RCA", n_categories=2, redundancy=True, arm="clean", metric="auc")
    assert own.value == pytest.approx(expected)
    with pytest.raises(KeyError):
        estimate(image, artery="none")


def test_the_worst_assigned_lesion_brings_its_length(drawn_cohort):
    long = dataclasses.replace(drawn_cohort, lesions=drawn_cohort.lesions.assign(length_mm=12.0))
    assert run_lesions(long).set_index("run_id").loc["P01_RCA", "length_mm"] == 12
    assert "length_mm" not in run_lesions(drawn_cohort)


def test_category_systems_that_cannot_be_compared_are_refused():
    for cuts, message in (
        (((25,), (50, 100)), "start at the same cut-point"),
        (((25, 50), (25, 100)), "same number of categories"),
        (((100, 25),), "increasing"),
        (((),), "increasing"),
    ):
        with pytest.raises(SettingsError, match=message):
            experiment.ClassificationSettings.checked({"cut_points": cuts})


def test_five_categories_and_another_backbone_from_training_to_table(drawn_cohort, grid_settings, tmp_path):
    changes = {"cut_points": ((25.0, 50.0, 70.0, 100.0),), "backbone": "mobilenet_v3_small", "head": "plain"}
    settings = grid_settings.model_copy(update=changes | {"redundancy": (True,), "epochs": 1})
    predictions = experiment.run_grid(drawn_cohort, settings, Store(tmp_path))
    assert tables.systems(predictions) == [(5, True)]
    assert set(predictions.loc[~predictions["redundant"], "target"]) == {0, 2, 3, 4}, "60, 70 and 100 percent"
    columns = [f"p_{index}" for index in range(5)] + ["p_redundant"]
    np.testing.assert_allclose(predictions[columns].sum(axis=1), 1, atol=1e-4)
    image = tables.image_metrics(predictions, bootstrap=2, seed=0)
    assert set(image["n_categories"]) == {5} and "auc_ovr" in set(image["metric"])


def test_networks_of_other_weights_are_not_taken_for_these(
    drawn_cohort, grid_settings, grid_store, grid_predictions, monkeypatch
):
    digests = iter(["first", "second", "third"])
    module = "cag.chapters.classification.settings.weights_digest"
    monkeypatch.setattr(module, lambda *_: next(digests))
    xa = grid_settings.model_copy(update={"weights": "xa"})
    first, second = experiment.grid(xa)[0], experiment.grid(xa)[0]
    assert first.digest() != second.digest()
    with pytest.raises(InputError, match="other xa weights"):
        experiment.load_classifier(first, experiment.cell_folder(first, drawn_cohort, grid_store))
    assert experiment.grid(grid_settings)[0].trunk == "", "random weights have no shards"


def test_dealt_labels_spare_the_outer_fold_and_stay_with_their_run(drawn_cohort, grid_settings):
    cell = experiment.grid(grid_settings)[0]
    samples = experiment.samples_of(drawn_cohort, experiment.frames_of(cell))
    samples = samples[samples["model_view"] == "RCA"]
    parts = experiment.parts_of(drawn_cohort, cell, samples)
    dealt = experiment._dealt_anew(samples, parts, np.random.default_rng(1))
    outer = parts.eq("outer")
    assert dealt.loc[outer, "percent_stenosis"].equals(samples.loc[outer, "percent_stenosis"])
    assert not dealt["percent_stenosis"].equals(samples["percent_stenosis"])
    assert dealt.groupby("run_id")["percent_stenosis"].nunique().eq(1).all()
    first, second = (t.loc[~outer, "percent_stenosis"].sort_values().tolist() for t in (dealt, samples))
    assert first == second


def test_frames_of_one_view_are_those_of_all_views(drawn_cohort, grid_settings):
    cell = experiment.grid(grid_settings)[0]
    frames = experiment.frames_of(cell)
    own = frames._replace(views=("RCA",))
    rows = experiment.samples_of(drawn_cohort, frames)["model_view"].eq("RCA").to_numpy()
    assert len(experiment.samples_of(drawn_cohort, own)) == rows.sum()
    every = experiment.images_of(drawn_cohort, frames)
    assert torch.equal(experiment.images_of(drawn_cohort, own), every[torch.from_numpy(rows.copy())])


def test_trunks_are_shared_where_they_start_alike(grid_settings):
    cell = experiment.grid(grid_settings)[0]
    other = cell.model_copy(update={"seed": 5})
    trunk = experiment.new_classifier(cell).trunk
    assert experiment.new_classifier(cell.model_copy(update={"fold": 1})).trunk is trunk
    assert experiment.new_classifier(other).trunk is not trunk, "another seed draws other random weights"
    xa = {"weights": "xa", "trunk": "digest"}
    assert experiment.start_of(cell.model_copy(update=xa)) == experiment.start_of(other.model_copy(update=xa))


def test_a_view_without_frames_is_refused(drawn_cohort, grid_settings, tmp_path):
    cell = experiment.grid(grid_settings)[0].model_copy(update={"model_view": "LCA RAO caudal"})
    with pytest.raises(LabelError, match="no frame to train on"):
        experiment.train_cell(drawn_cohort, cell, RunFolder(tmp_path, Store(tmp_path)))


def test_true_boxes_follow_the_size_of_the_picture(drawn_cohort):
    frames = pd.DataFrame({"run_id": ["P00_RCA", "P00_RCA"], "frame": [30, 5]})
    inside, outside = true_boxes(drawn_cohort, frames, 48)
    assert inside.tolist() == [[15, 15, 25, 25]] and outside.shape == (0, 4)
    assert [len(own) for own in true_boxes(drawn_cohort, frames, 48, least=80)] == [0, 0]
