"""Artery and patient level, operating points chosen apart from the scored fold, and systems compared in pairs."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cag.chapters.classification import analysis, scores
from cag.metrics.classification import of_scores
from cag.metrics.tables import estimate, interval_table
from cag.settings import SettingsError


@pytest.fixture
def reference(drawn_cohort, grid_settings):
    return scores.reference_standard(drawn_cohort, grid_settings)


def test_the_reference_is_the_worst_segment_from_the_first_cut_point_on(drawn_cohort, grid_settings, reference):
    diseased = reference.set_index(["patient_id", "artery"])["target"]
    assert diseased["P00", "LCA"] == 1 and diseased["P00", "RCA"] == 0
    strict = grid_settings.changed(cut_points=[[75]])
    assert scores.reference_standard(drawn_cohort, strict)["target"].sum() < reference["target"].sum()


def test_image_metrics_are_scikit_learn_s(grid_predictions):
    image = scores.image_metrics(grid_predictions, n=20, rng=0)
    assert {"value", "low", "high", "fold_mean", "fold_sd"} <= set(image)
    rows = scores.system(scores.labeled_frames(grid_predictions).query("artery == 'RCA'"), 2, True)
    expected = roc_auc_score(rows["target"] > 0, rows["p_1"] / (rows["p_0"] + rows["p_1"]))
    own = estimate(image, artery="RCA", n_categories=2, redundancy=True, arm="clean", metric="auc")
    assert own.value == pytest.approx(expected)


def test_patient_auc_by_hand(grid_predictions, reference):
    table = scores.level_metrics(grid_predictions, reference, n=5, rng=0)
    where = {"how": "max", "threshold": "half", "n_categories": 2, "redundancy": True, "arm": "clean"}
    rows = scores.system(scores.labeled_frames(grid_predictions), 2, True)
    top = rows.assign(score=rows["p_1"] / (rows["p_0"] + rows["p_1"])).groupby("patient_id")["score"].max()
    worst = reference.groupby("patient_id")["target"].max()
    assert estimate(table, level="patient", metric="auc", **where).value == pytest.approx(
        roc_auc_score(worst[top.index], top)
    )
    published = table.query("arm == 'as_published'")["threshold"].unique().tolist()
    assert published == ["half"], "the published rules set no patients aside to choose on"


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


@pytest.mark.parametrize(("column", "other"), [("redundancy", "n_categories"), ("n_categories", "redundancy")])
def test_tests_of_the_area_agree_with_the_areas_themselves(reference, grid_predictions, column, other):
    first, second = analysis.sides(grid_predictions, column)
    assert first[column].min() > second[column].max()
    differences = analysis.differences(first, second, ["artery", other], n=5, rng=0)
    lead = {"redundancy": 2, "n_categories": True}[column]
    pair = [rows[rows[other].eq(lead)] for rows in (first, second)]
    tests = analysis.auc_tests(*pair, reference, n=5, rng=0)
    assert tests["level"].tolist() == ["image"] * 4 + ["artery"] * 4 + ["patient"] * 2
    np.testing.assert_allclose(tests["first"] - tests["second"], tests["value"], atol=1e-12)
    image = tests.query("level == 'image' and artery == 'RCA' and test == 'bootstrap'")["value"].item()
    assert estimate(differences, artery="RCA", metric="auc", **{other: lead}).value == pytest.approx(image)


def test_one_system_alone_is_not_compared(grid_predictions):
    with pytest.raises(SettingsError, match="redundancy"):
        analysis.sides(grid_predictions.query("redundancy"), "redundancy")


def test_the_mean_over_trainings_is_that_of_their_areas_and_varies_with_them():
    rows = pd.DataFrame({"patient_id": list("abcd"), "target": [0, 0, 1, 1]})
    right, wrong = (of_scores(rows.assign(score=score)) for score in ([0.1, 0.2, 0.8, 0.9], [0.9, 0.8, 0.2, 0.1]))
    mean = interval_table(analysis.over_draws([right, wrong], seed=0), n=200, rng=0).iloc[0]
    assert (mean.value, mean.low, mean.high) == (0.5, 0.0, 1.0), "each training alone is drawn as well"
    assert interval_table(analysis.over_draws([right, right], seed=0), n=200, rng=0).low[0] == 1.0
