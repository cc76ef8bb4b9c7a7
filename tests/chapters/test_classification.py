"""Which frames are learned from, how the grid is trained, and what is compared with it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from cag.anatomy import MODEL_VIEWS
from cag.chapters.classification import training as experiment
from cag.chapters.classification.samples import (
    classification_samples,
    contrast_frames,
    redundancy_frames,
    run_lesions,
    true_boxes,
)
from cag.chapters.classification.settings import STUDY, ClassificationSettings, grid, variants
from cag.chapters.store import RunFolder, Store, trunk_digest
from cag.data.frames import shrink
from cag.data.splits import artery_severity, patient_folds, patient_severity
from cag.networks.transforms import scale
from cag.networks.weights import weights_digest
from cag.settings import LabelError, SettingsError


def test_an_image_takes_the_worst_segment_of_its_view(drawn_cohort):
    severity = run_lesions(drawn_cohort).set_index("run_id")["percent_stenosis"]
    assert severity["P01_LCA"] == 60
    assert severity["P00_LCA"] == 0, "segment 18 is not assigned to LAO cranial"
    artery = artery_severity(drawn_cohort).set_index(["patient_id", "artery"])["percent_stenosis"]
    assert artery["P00", "LCA"] == 80
    long = dataclasses.replace(drawn_cohort, lesions=drawn_cohort.lesions.assign(length_mm=12.0))
    assert run_lesions(long).set_index("run_id").loc["P01_RCA", "length_mm"] == 12


def test_frames_keep_clear_of_filling_and_wash_out_and_redundancy_frames_of_them():
    assert contrast_frames(20, 40, 5).tolist() == [22, 26, 30, 34, 38]
    assert contrast_frames(20, 21, 5).tolist() == [20, 21]
    # Ten before 22 is 12, then every fifth down: 12, 7, 2; at most half of five labeled frames on each side: 2.
    # Ten after 38 is 48, then 53, 58: again two.
    assert redundancy_frames(np.array([22, 26, 30, 34, 38]), 60).tolist() == [7, 12, 48, 53]
    assert redundancy_frames(np.array([5, 6]), 10).tolist() == []


def test_samples_name_every_frame_and_its_label_by_either_rule(drawn_cohort):
    samples = classification_samples(drawn_cohort, 4)
    assert samples[~samples["redundant"]].groupby("run_id").size().eq(4).all()
    assert set(samples["model_view"]) == {"LCA LAO cranial", "RCA"}
    assert samples.loc[samples["redundant"], "frame"].isin([7, 12, 48, 53]).all()
    visible = classification_samples(drawn_cohort, 4, "visible")
    assert visible["percent_stenosis"].eq(np.where(visible["frame"].between(20, 40), 70, 0)).all()


def test_labels_are_asked_for_by_name(drawn_cohort):
    for missing, rule in (("lesions", "assigned"), ("boxes", "visible")):
        bare = dataclasses.replace(drawn_cohort, **{missing: getattr(drawn_cohort, missing).iloc[:0]})
        with pytest.raises(LabelError, match=missing):
            classification_samples(bare, 4, rule)


def test_true_boxes_follow_the_size_of_the_picture(drawn_cohort):
    frames = pd.DataFrame({"run_id": ["P00_RCA", "P00_RCA"], "frame": [30, 5]})
    inside, outside = true_boxes(drawn_cohort, frames, 48)
    assert inside.tolist() == [[15, 15, 25, 25]] and outside.shape == (0, 4)
    assert [len(own) for own in true_boxes(drawn_cohort, frames, 48, least=80)] == [0, 0]


def test_the_published_grid_leads_with_the_paper_s_best_system_and_has_every_cell():
    cells = grid(ClassificationSettings(weights="random"))
    assert len({cell.digest() for cell in cells}) == len(cells) == 5 * 3 * 2 * 2
    assert {cell.model_view for cell in cells} == set(MODEL_VIEWS)
    assert cells[0].cut_points == (25,) and cells[0].redundancy and cells[0].trunk == "", "random weights have no files"
    assert grid(ClassificationSettings(weights="random").leading) == cells[:15]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("cut_points", ((25,), (50, 100)), "start at the same cut-point"),
        ("cut_points", ((25, 50), (25, 100)), "same number of categories"),
        ("cut_points", ((100, 25),), "increasing"),
        ("cut_points", ((),), "increasing"),
        ("model_views", ("LAD",), "the classifiers are lca"),
        ("variants", ({"weights": "xa"},), "tuple"),
    ],
)
def test_settings_that_make_no_sense_are_refused(field, value, message):
    with pytest.raises(SettingsError, match=message):
        ClassificationSettings.checked({field: value})


def test_the_trunk_of_the_settings_is_their_own_not_that_of_their_variants():
    settings = ClassificationSettings(variants=({"weights": ("xa-labels", "imagenet")},))
    assert trunk_digest(settings.model_dump(mode="json")) == weights_digest("xa")


def test_every_outer_frame_is_predicted_once_by_a_network_that_never_saw_its_patient(
    drawn_cohort, grid_settings, grid_predictions
):
    folds = patient_folds(patient_severity(drawn_cohort), grid_settings.folds, grid_settings.seed)
    folds = folds.set_index("patient_id")["fold"]
    outer = grid_predictions[grid_predictions["part"] == "outer"]
    assert not outer.duplicated(["run_id", "frame", "n_categories", "redundancy", "arm"]).any()
    assert (outer["patient_id"].map(folds) == outer["fold"]).all()
    inner = grid_predictions[grid_predictions["part"] == "inner"]
    assert (inner["patient_id"].map(folds) != inner["fold"]).all()
    assert "P11" not in set(inner["patient_id"]), "studies of low quality choose no epoch"
    assert "P11" in set(outer["patient_id"])


def test_probabilities_sum_to_one_and_redundant_belongs_to_redundancy_training(grid_predictions):
    columns = ["p_0", "p_1", "p_2", "p_redundant"]
    np.testing.assert_allclose(grid_predictions[columns].fillna(0).sum(axis=1), 1, atol=1e-4)
    assert grid_predictions.loc[~grid_predictions["redundancy"], "p_redundant"].eq(0).all()


def test_a_second_run_finds_everything_and_a_part_of_it_gives_the_same(
    drawn_cohort, grid_settings, grid_store, grid_predictions, tmp_path
):
    stamps = {path: path.stat().st_mtime_ns for path in grid_store.root.rglob("*.safetensors")}
    again = experiment.run_grid(drawn_cohort, grid_settings, grid_store)
    assert stamps == {path: path.stat().st_mtime_ns for path in grid_store.root.rglob("*.safetensors")}
    pd.testing.assert_frame_equal(grid_predictions, again)
    table = experiment.run_grid(drawn_cohort, grid_settings.leading.changed(model_views=["RCA"]), Store(tmp_path))
    same = grid_predictions.query("n_categories == 2 and redundancy and model_view == 'RCA'").reset_index(drop=True)
    pd.testing.assert_frame_equal(table, same[table.columns])


def test_arms_pick_the_epoch_by_the_part_they_claim():
    def epoch(number, inner, outer):
        rows = {"part": ["inner", "outer"], "p_0": [1 - inner, 1 - outer], "p_1": [inner, outer], "target": 1}
        return pd.DataFrame(rows).assign(epoch=number, redundant=False)

    chosen = experiment.select_epochs(pd.concat([epoch(0, 0.9, 0.2), epoch(1, 0.3, 0.8)]))
    assert chosen.groupby("arm")["epoch"].unique().map(list).to_dict() == {"clean": [0], "as_published": [1]}
    assert chosen.query("arm == 'as_published'")["part"].tolist() == ["outer"]


@pytest.mark.parametrize("trainable", ["head", "all"])
def test_a_stored_classifier_gives_the_stored_probabilities(drawn_cohort, grid_settings, tmp_path, trainable):
    settings = grid_settings.leading.changed(trainable=trainable, backbone="mobilenet_v3_small", model_views=["RCA"])
    store = Store(tmp_path)
    rows = experiment.run_grid(drawn_cohort, settings, store).query("arm == 'clean' and part == 'outer' and fold == 0")
    model = experiment.trained_classifier(grid(settings)[0], drawn_cohort, store)
    image = drawn_cohort.frames(rows["run_id"].iloc[0], [rows["frame"].iloc[0]])
    with torch.no_grad():
        probabilities = model(scale(shrink(image, settings.image_size))).softmax(dim=1)[0]
    assert probabilities[1].item() == pytest.approx(rows["p_1"].iloc[0], abs=0.02)


def test_dealt_labels_spare_the_outer_fold_and_stay_with_their_run(drawn_cohort, grid_settings):
    cell = grid(grid_settings.changed(model_views=["RCA"], label_rule="permuted"))[0]
    samples = experiment.samples_of(drawn_cohort, experiment.frames_of(cell), "permuted")
    parts = experiment.parts_of(drawn_cohort, cell, samples)
    dealt = experiment._dealt_anew(samples, parts, cell)["percent_stenosis"]
    outer, own = parts.eq("outer"), samples["percent_stenosis"]
    assert dealt[outer].equals(own[outer]) and not dealt.equals(own)
    assert dealt.groupby(samples["run_id"]).nunique().eq(1).all()
    assert sorted(dealt[~outer]) == sorted(own[~outer])


def test_trunks_are_shared_where_they_start_alike(grid_settings):
    cell = grid(grid_settings)[0]
    other = cell.model_copy(update={"seed": 5})
    trunk = experiment.new_classifier(cell).trunk
    assert experiment.new_classifier(cell.model_copy(update={"fold": 1})).trunk is trunk
    assert experiment.new_classifier(other).trunk is not trunk, "another seed draws other random weights"
    xa = {"weights": "xa", "trunk": "digest"}
    assert experiment.start_of(cell.model_copy(update=xa)) == experiment.start_of(other.model_copy(update=xa))


def test_a_view_without_frames_is_refused(drawn_cohort, grid_settings, tmp_path):
    cell = grid(grid_settings)[0].model_copy(update={"model_view": "LCA RAO caudal"})
    with pytest.raises(LabelError, match="no frame to train on"):
        experiment.train_cell(drawn_cohort, cell, RunFolder(tmp_path, Store(tmp_path)))


def test_variants_cross_their_values_and_leave_out_the_study_itself(grid_settings):
    default = ["seed 1", "plain head", "visible labels", "imagenet weights", "permuted labels"]
    assert list(variants(grid_settings)) == [STUDY, *default], "the study of these settings starts from random weights"
    crossed = {"backbone": ["inception_v3", "efficientnet_lite0"], "seed": [0, 1], "trainable": ["all"]}
    ways = variants(grid_settings.changed(variants=[crossed], variant_views=["LCA LAO cranial", "RCA"]))
    assert list(ways)[1:3] == ["inception_v3, seed 0, trainable all", "inception_v3, seed 1, trainable all"]
    last = ways["efficientnet_lite0, seed 1, trainable all"]
    assert (last.backbone, last.seed, last.trainable) == ("efficientnet_lite0", 1, "all") and len(ways) == 5
    assert len(grid(last)) == 2 * 2, "the leading system, both views, two folds"
    with pytest.raises(SettingsError, match="Did you mean 'weights'"):
        variants(grid_settings.changed(variants=[{"weigths": ["xa"]}]))


def test_variants_score_the_same_frames_and_what_cannot_be_trained_is_said(drawn_cohort, grid_settings, tmp_path):
    ways = [{"label_rule": ["permuted", "visible"]}, {"weights": ["xa"]}]
    settings = grid_settings.changed(variants=ways, backbone="mobilenet_v3_small", epochs=1)
    bare = dataclasses.replace(drawn_cohort, boxes=drawn_cohort.boxes.iloc[:0])
    predictions, refused = experiment.run_variants(bare, settings, Store(tmp_path))
    outer = predictions.query("part == 'outer' and arm == 'clean' and not redundant")
    assert set(outer["model_view"]) == {"RCA"}
    study, dealt = (outer[outer["variant"] == name].reset_index(drop=True) for name in (STUDY, "permuted labels"))
    pd.testing.assert_frame_equal(study[["run_id", "frame", "target"]], dealt[["run_id", "frame", "target"]])
    assert not np.allclose(study["p_1"], dealt["p_1"])
    assert set(refused) == {"xa weights", "visible labels"} and "boxes" in refused["visible labels"]
    assert "no xa weights for mobilenet_v3_small" in refused["xa weights"]
