"""Artery and patient level: pooling, and operating points chosen apart from the scored fold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cag.chapters.classification import levels, tables
from cag.metrics.operating import youden_threshold
from cag.metrics.tables import estimate


@pytest.fixture
def reference(drawn_cohort, grid_settings):
    return levels.reference_standard(drawn_cohort, grid_settings)


def test_the_reference_is_the_worst_segment_from_the_first_cut_point_on(drawn_cohort, grid_settings, reference):
    diseased = reference.set_index(["patient_id", "artery"])["target"]
    assert diseased["P00", "LCA"] == 1 and diseased["P00", "RCA"] == 0
    strict = grid_settings.model_copy(update={"cut_points": ((75.0,),)})
    assert levels.reference_standard(drawn_cohort, strict)["target"].sum() < reference["target"].sum()


def test_patient_auc_by_hand(grid_predictions, reference):
    table = levels.level_metrics(grid_predictions, reference, hows=("max",), bootstrap=5, seed=0)
    where = {"level": "patient", "threshold": "half", "n_categories": 2, "redundancy": True, "arm": "clean"}
    patient = estimate(table, metric="auc", **where)
    rows = tables.system(tables.labeled_frames(grid_predictions), 2, True)
    top = rows.assign(score=rows["p_1"] / (rows["p_0"] + rows["p_1"])).groupby("patient_id")["score"].max()
    worst = reference.groupby("patient_id")["target"].max()
    assert patient.value == pytest.approx(roc_auc_score(worst[top.index], top))
    published = table.query("arm == 'as_published'")["threshold"].unique().tolist()
    assert published == ["half"], "the published rules set no patients aside to choose on"


def test_a_threshold_never_sees_the_patients_it_is_used_for():
    outer = pd.DataFrame({"patient_id": ["a", "b"], "fold": [0, 1], "score": 0.5, "target": 1})
    inner = pd.DataFrame(
        {
            "patient_id": ["b", "c", "a", "c"],
            "fold": [0, 0, 1, 1],
            "score": [0.9, 0.2, 0.7, 0.4],
            "target": [1, 0, 1, 0],
        }
    )
    cuts = levels.operating_thresholds(outer, inner, "youden")
    assert cuts.tolist() == [0.9, 0.7], "fold 0 scores a and may look at b and c only; fold 1 the other way round"
    np.testing.assert_array_equal(levels.operating_thresholds(outer, inner, "half"), 0.5)
    assert np.isnan(levels.operating_thresholds(outer, inner[inner["target"] == 1], "rule_out")).all()


def test_rule_out_keeps_the_sensitivity_it_promises_on_inner_patients():
    target = np.arange(40) % 2
    inner = pd.DataFrame({"patient_id": [f"i{n}" for n in range(40)], "fold": 0, "target": target})
    inner["score"] = np.linspace(0.01, 0.99, 40)
    outer = pd.DataFrame({"patient_id": ["o"], "fold": [0], "score": [0.5], "target": [1]})
    cut = levels.operating_thresholds(outer, inner, "rule_out")[0]
    assert (inner.loc[inner["target"] == 1, "score"] >= cut).mean() >= 0.95
    assert cut <= youden_threshold(target > 0, inner["score"].to_numpy())


def test_every_artery_and_patient_is_called_once_at_each_point(grid_predictions, reference):
    for level, count in (("artery", 24), ("patient", 12)):
        table = levels.at_points(tables.leading(grid_predictions), reference, level)
        assert set(table["threshold"]) <= set(levels.POINTS)
        assert table.groupby("threshold").size()["half"] == count
        assert (table["called"] == (table["score"] >= table["cut"])).all()
