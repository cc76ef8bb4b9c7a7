"""Which frames are learned from, how the grid is trained, and how arteries and patients are decided and compared."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from cag.anatomy import MODEL_VIEWS
from cag.chapters.bundle import load_part
from cag.chapters.classification import analysis, operating, scores
from cag.chapters.classification import training as experiment
from cag.chapters.classification.samples import (
    classification_samples,
    contrast_frames,
    redundancy_frames,
    run_lesions,
    true_boxes,
)
from cag.chapters.classification.settings import STUDY, CellSettings, ClassificationSettings, grid, variants
from cag.chapters.classification.training import new_classifier
from cag.chapters.store import RunFolder, Store, trunk_digest
from cag.data.frames import shrink
from cag.data.splits import artery_severity, patient_folds, patient_severity
from cag.metrics.classification import of_scores
from cag.metrics.tables import difference_table, estimate, interval_table
from cag.networks.transforms import scale
from cag.networks.weights import weights_digest
from cag.settings import LabelError, SettingsError


def test_an_image_takes_the_worst_segment_of_its_view_and_boxes_of_the_size_of_the_picture(drawn_cohort):
    severity = run_lesions(drawn_cohort).set_index("run_id")["percent_stenosis"]
    assert severity["P01_LCA"] == 60
    assert severity["P00_LCA"] == 0, "segment 18 is not assigned to LAO cranial"
    artery = artery_severity(drawn_cohort).set_index(["patient_id", "artery"])["percent_stenosis"]
    assert artery["P00", "LCA"] == 80
    long = dataclasses.replace(drawn_cohort, lesions=drawn_cohort.lesions.assign(length_mm=12.0))
    assert run_lesions(long).set_index("run_id").loc["P01_RCA", "length_mm"] == 12
    frames = pd.DataFrame({"run_id": ["P00_RCA", "P00_RCA"], "frame": [30, 5]})
    inside, outside = true_boxes(drawn_cohort, frames, 48)
    assert inside.tolist() == [[15, 15, 25, 25]] and outside.shape == (0, 4)
    assert [len(own) for own in true_boxes(drawn_cohort, frames, 48, least=80)] == [0, 0]


def test_frames_keep_clear_of_filling_and_wash_out_and_redundancy_frames_of_them():
    assert contrast_frames(20, 40, 5).tolist() == [22, 26, 30, 34, 38]
    assert contrast_frames(20, 21, 5).tolist() == [20, 21]
    # Ten before 22 is 12, then every fifth down: 12, 7, 2; at most half of five labeled frames on each side: 2.
    # Ten after 38 is 48, then 53, 58: again two.
    assert redundancy_frames(np.array([22, 26, 30, 34, 38]), 60).tolist() == [7, 12, 48, 53]
    assert redundancy_frames(np.array([5, 6]), 10).tolist() == []


def test_samples_name_every_frame_and_its_label_by_either_rule_and_ask_for_labels_by_name(drawn_cohort):
    samples = classification_samples(drawn_cohort, 4)
    assert samples[~samples["redundant"]].groupby("run_id").size().eq(4).all()
    assert set(samples["model_view"]) == {"LCA LAO cranial", "RCA"}
    assert samples.loc[samples["redundant"], "frame"].isin([7, 12, 48, 53]).all()
    visible = classification_samples(drawn_cohort, 4, "visible")
    assert visible["percent_stenosis"].eq(np.where(visible["frame"].between(20, 40), 70, 0)).all()
    for missing, rule in (("lesions", "assigned"), ("boxes", "visible")):
        bare = dataclasses.replace(drawn_cohort, **{missing: getattr(drawn_cohort, missing).iloc[:0]})
        with pytest.raises(LabelError, match=missing):
            classification_samples(bare, 4, rule)


def test_the_published_grid_leads_with_the_paper_s_best_system_and_has_every_cell():
    cells = grid(ClassificationSettings(weights="random"))
    assert len({cell.digest() for cell in cells}) == len(cells) == 5 * 3 * 2 * 2
    assert {cell.model_view for cell in cells} == set(MODEL_VIEWS)
    assert cells[0].cut_points == (25,) and cells[0].redundancy and cells[0].trunk == "", "random weights have no files"
    assert grid(ClassificationSettings(weights="random").leading) == cells[:15]
    settings = ClassificationSettings(variants=({"weights": ("xa-labels", "imagenet")},))
    assert trunk_digest(settings.model_dump(mode="json")) == weights_digest("xa"), "their own, not their variants'"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("cut_points", ((25,), (50, 100)), "start at the same cut-point"),
        ("cut_points", ((25, 50), (25, 100)), "same number of categories"),
        ("cut_points", ((100, 25),), "increasing"),
        ("cut_points", ((),), "increasing"),
        ("model_views", ("LAD",), "the classifiers are LCA"),
        ("variants", ({"weights": "xa"},), "tuple"),
    ],
)
def test_settings_that_make_no_sense_are_refused(field, value, message):
    with pytest.raises(SettingsError, match=message):
        ClassificationSettings.checked({field: value})


def test_every_outer_frame_is_predicted_once_by_a_network_that_never_saw_its_patient(drawn_cohort, grid_predictions):
    folds = patient_folds(patient_severity(drawn_cohort), 2, 0).set_index("patient_id")["fold"]
    outer = grid_predictions[grid_predictions["part"] == "outer"]
    assert not outer.duplicated(["run_id", "frame", "n_categories", "redundancy", "arm"]).any()
    assert (outer["patient_id"].map(folds) == outer["fold"]).all()
    inner = grid_predictions[grid_predictions["part"] == "inner"]
    assert (inner["patient_id"].map(folds) != inner["fold"]).all()
    assert "P11" not in set(inner["patient_id"]), "studies of low quality choose no epoch"
    assert "P11" in set(outer["patient_id"])
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


def test_arms_pick_the_epoch_by_the_part_they_claim_and_trunks_are_shared_where_they_start_alike(grid_settings):
    def epoch(number, inner, outer):
        rows = {"part": ["inner", "outer"], "p_0": [1 - inner, 1 - outer], "p_1": [inner, outer], "target": 1}
        return pd.DataFrame(rows).assign(epoch=number, redundant=False)

    chosen = experiment.select_epochs(pd.concat([epoch(0, 0.9, 0.2), epoch(1, 0.3, 0.8)]))
    assert chosen.groupby("arm")["epoch"].unique().map(list).to_dict() == {"clean": [0], "as_published": [1]}
    assert chosen.query("arm == 'as_published'")["part"].tolist() == ["outer"]
    cell = grid(grid_settings)[0]
    other = cell.model_copy(update={"seed": 5})
    trunk = experiment.new_classifier(cell).trunk
    assert experiment.new_classifier(cell.model_copy(update={"fold": 1})).trunk is trunk
    assert experiment.new_classifier(other).trunk is not trunk, "another seed draws other random weights"
    xa = {"weights": "xa", "trunk": "digest"}
    assert experiment.start_of(cell.model_copy(update=xa)) == experiment.start_of(other.model_copy(update=xa))


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


def test_dealt_labels_spare_the_outer_fold_and_stay_with_their_run(drawn_cohort, grid_settings, tmp_path):
    cell = grid(grid_settings.changed(model_views=["RCA"], label_rule="permuted"))[0]
    samples = experiment.samples_of(drawn_cohort, experiment.frames_of(cell), "permuted")
    parts = experiment.parts_of(drawn_cohort, cell, samples)
    dealt = experiment._dealt_anew(samples, parts, cell)["percent_stenosis"]
    outer, own = parts.eq("outer"), samples["percent_stenosis"]
    assert dealt[outer].equals(own[outer]) and not dealt.equals(own)
    assert dealt.groupby(samples["run_id"]).nunique().eq(1).all()
    assert sorted(dealt[~outer]) == sorted(own[~outer])
    empty = grid(grid_settings)[0].model_copy(update={"model_view": "LCA RAO caudal"})
    with pytest.raises(LabelError, match="no frame to train on"):
        experiment.train_cell(drawn_cohort, empty, RunFolder(tmp_path, Store(tmp_path)))


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


@pytest.fixture
def reference(drawn_cohort, grid_settings):
    return scores.reference_standard(drawn_cohort, grid_settings)


def test_the_reference_is_the_worst_segment_from_the_first_cut_point_on(drawn_cohort, grid_settings, reference):
    diseased = reference.set_index(["patient_id", "artery"])["target"]
    assert diseased["P00", "LCA"] == 1 and diseased["P00", "RCA"] == 0
    strict = grid_settings.changed(cut_points=[[75]])
    assert scores.reference_standard(drawn_cohort, strict)["target"].sum() < reference["target"].sum()


def test_a_threshold_never_sees_the_patients_it_is_used_for():
    outer = pd.DataFrame({"patient_id": ["a", "b"], "fold": [0, 1], "score": 0.5, "target": 1})
    inner = {"patient_id": ["b", "c", "a", "c"], "fold": [0, 0, 1, 1], "target": [1, 0, 1, 0]}
    inner = pd.DataFrame(inner).assign(score=[0.9, 0.2, 0.7, 0.4])
    cuts = scores.operating_thresholds(outer, inner, "youden")
    assert cuts.tolist() == [0.9, 0.7], "fold 0 scores a and may look at b and c only; fold 1 the other way round"
    np.testing.assert_array_equal(scores.operating_thresholds(outer, inner, "half"), 0.5)
    assert np.isnan(scores.operating_thresholds(outer, inner[inner["target"] == 1], "rule_out")).all()


def test_every_artery_and_patient_is_called_once_at_each_point(grid_predictions, reference):
    for level, count in (("artery", 24), ("patient", 12)):
        table = scores.at_points(scores.leading(grid_predictions), reference, level)
        assert set(table["threshold"]) <= set(scores.POINTS)
        assert table.groupby("threshold").size()["half"] == count
        assert (table["called"] == (table["score"] >= table["cut"])).all()
    of_arteries = scores.at_points(scores.leading(grid_predictions), reference, "artery")
    called = of_arteries.groupby(["threshold", "patient_id"])["called"].any()
    one_rule = table.set_index(["threshold", "patient_id"])["called"].sort_index()
    pd.testing.assert_series_equal(one_rule, called, obj="a patient is called exactly when an artery is")


@pytest.mark.parametrize(("column", "other"), [("redundancy", "n_categories"), ("n_categories", "redundancy")])
def test_differences_of_the_area_agree_with_the_areas_themselves(reference, grid_predictions, column, other):
    first, second = analysis.sides(grid_predictions, column)
    assert first[column].min() > second[column].max()
    differences = analysis.differences(first, second, ["artery", other], n=5, rng=0)
    lead = {"redundancy": 2, "n_categories": True}[column]
    pair = [rows[rows[other].eq(lead)] for rows in (first, second)]
    tests = analysis.auc_differences(*pair, reference, n=5, rng=0)
    assert tests["level"].tolist() == ["image"] * 2 + ["artery"] * 2 + ["patient"]
    np.testing.assert_allclose(tests["first"] - tests["second"], tests["value"], atol=1e-12)
    image = tests.query("level == 'image' and artery == 'RCA'")["value"].item()
    assert estimate(differences, artery="RCA", metric="auc", **{other: lead}).value == pytest.approx(image)
    with pytest.raises(SettingsError, match="redundancy"):
        analysis.sides(grid_predictions.query("redundancy"), "redundancy")


def test_the_mean_over_trainings_is_that_of_their_areas_and_varies_with_them():
    rows = pd.DataFrame({"patient_id": list("abcd"), "target": [0, 0, 1, 1]})
    right, wrong = (of_scores(rows.assign(score=score)) for score in ([0.1, 0.2, 0.8, 0.9], [0.9, 0.8, 0.2, 0.1]))
    first, again = (analysis.over_draws([right, wrong], seed=0) for _ in range(2))
    mean, apart = interval_table(first, n=200, rng=0).iloc[0], difference_table(again, first, n=200, rng=0).iloc[0]
    assert (apart.low, apart.high) == (0.0, 0.0), "both sides of a difference draw the same trainings"
    assert (mean.value, mean.low, mean.high) == (0.5, 0.0, 1.0), "each training alone is drawn as well"
    assert interval_table(analysis.over_draws([right, right], seed=0), n=200, rng=0).low[0] == 1.0


#: Fold -> artery scores of healthy and diseased inner patients, and of the outer ones: (patient, score, target).
INNER = {0: [("C", 0.1, 0), ("D", 0.3, 1)], 1: [("A", 0.6, 0), ("B", 0.9, 1)]}
OUTER = {0: [("A", 0.2, 0), ("B", 0.4, 1)], 1: [("C", 0.7, 0), ("D", 0.95, 1)]}


def predictions(inner: dict, outer: dict) -> pd.DataFrame:
    sides = [(part, fold, rows) for part, own in (("inner", inner), ("outer", outer)) for fold, rows in own.items()]
    rows = [(part, fold, *row) for part, fold, own in sides for row in own]
    same = {"artery": "RCA", "n_categories": 2, "redundancy": True, "arm": "clean", "redundant": False}
    table = pd.DataFrame(rows, columns=["part", "fold", "patient_id", "p_1", "target"])
    return table.assign(**same, p_0=1 - table["p_1"], p_redundant=0.0)


def operating_point(rows: pd.DataFrame) -> operating.OperatingPoint:
    """With the reference standard that the rows themselves agree with."""
    reference = rows.groupby(["patient_id", "artery"], as_index=False)["target"].max().assign(percent_stenosis=0.0)
    return operating.operating_point(rows, reference)


def test_each_patient_is_called_by_the_inner_patients_of_the_own_fold_which_says_where_they_are_of_one_class():
    point = operating_point(predictions(INNER, OUTER))
    assert point.of_folds == pytest.approx({0: 0.3, 1: 0.9})
    rates = (point.artery.sensitivity.value, point.artery.specificity.value)
    assert (rates, point.artery.count) == ((1.0, 1.0), 4), "one threshold for all would miss B"
    assert repr(point.patient) == repr(point.artery), "as text, since NaN equals nothing"
    assert (point.of(0), point.of(1), point.of(None)) == pytest.approx((0.3, 0.9, point.threshold))
    healthy = {fold: [(name, score, 0) for name, score, _ in own] for fold, own in INNER.items()}
    spared = {fold: [(name, score, 0) for name, score, _ in own] for fold, own in OUTER.items()}
    point = operating_point(predictions({**INNER, 1: healthy[1]}, {**OUTER, 0: spared[0]}))
    assert point.of(1) == 0.5 and "fold 2" in point.origin
    point = operating_point(predictions(healthy, spared))
    assert point.threshold == 0.5 and point.origin.startswith("Set to one half")


@pytest.mark.parametrize("fold", [0, 1])
def test_what_other_folds_say_of_a_patient_has_no_part_in_his_call(fold):
    """The patients scored in one fold are inner in the other: there their scores may be anything."""
    only = {fold: OUTER[fold]}
    expected = operating_point(predictions(INNER, only))
    for changed in ((0.01, 0.02), (0.98, 0.99), (0.99, 0.01)):
        other = [(name, score, target) for (name, _, target), score in zip(INNER[1 - fold], changed, strict=True)]
        found = operating_point(predictions({**INNER, 1 - fold: other}, only))
        assert found.of(fold) == expected.of(fold)
        assert repr((found.artery, found.patient)) == repr((expected.artery, expected.patient))


def test_rates_have_an_interval_over_patients_and_calls_that_follow_no_disease_are_no_better_than_chance():
    """Of four diseased patients two are missed; a second artery of each that goes the same way adds no certainty."""
    inner = {0: [("Y", 0.2, 0), ("Z", 0.5, 1)]}
    outer = {0: [(name, score, 1) for name, score in zip("ABCD", (0.1, 0.3, 0.6, 0.9), strict=True)]}
    rows = predictions(inner, outer)
    one = operating_point(rows).artery
    two = operating_point(pd.concat([rows, rows.query("part == 'outer'").assign(artery="LCA")])).artery
    assert (one.count, two.count) == (4, 8) and repr(one.sensitivity) == repr(two.sensitivity)
    assert (one.sensitivity.value, one.sensitivity.low, one.sensitivity.high) == (0.5, 0.0, 1.0)
    assert pd.isna(one.specificity.value) and not one.better_than_chance, "no healthy patient, no interval"
    names = [f"{letter}{number}" for letter in "ABCD" for number in range(10)]
    right = {0: [(name, 0.2 + 0.6 * (name[0] < "C"), int(name[0] < "C")) for name in names]}
    chance = {0: [(name, 0.2 + 0.6 * (name[0] < "C"), int(name[0] in "AC")) for name in names]}
    inner = {0: [("Y", 0.2, 0), ("Z", 0.5, 1)]}
    for outer, youden in ((right, 1.0), (chance, 0.0)):
        called = operating_point(predictions(inner, outer)).patient
        assert called.youden.value == pytest.approx(youden) and called.better_than_chance == (youden == 1.0)


def test_the_bundle_holds_the_classifiers_that_read_a_study(
    drawn_cohort, grid_settings, grid_store, grid_predictions, reference
):
    given = (grid_predictions, reference)
    operating.export_classifiers(drawn_cohort, grid_settings, grid_store, *given)
    part = load_part(grid_store.root, "classification")
    cells = {name: CellSettings.checked(own) for name, own in part.facts["cells"].items()}
    assert len(cells) == 2 * 2 * 2 and all(cell.redundancy for cell in cells.values())
    assert set(part.facts["folds"]) == set(drawn_cohort.manifest["patient_id"])
    assert 0 <= part.facts["operating"]["threshold"] <= 1
    for name, cell in cells.items():
        new_classifier(cell).head.load_state_dict(part.folder.load_weights(name))
    lone = grid_settings.model_copy(update={"redundancy": (False,), "profile": "lone"})
    elsewhere = Store(grid_store.root / "lone")
    operating.export_classifiers(drawn_cohort, lone, elsewhere, *given)
    assert not elsewhere.root.exists()
