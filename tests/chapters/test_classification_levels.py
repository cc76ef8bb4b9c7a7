"""Artery and patient level: pooling, operating points chosen apart from the scored fold, counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cag.chapters.bundle import load_part
from cag.chapters.classification import levels, tables
from cag.chapters.classification.settings import CellSettings
from cag.chapters.classification.training import new_classifier
from cag.chapters.store import Store
from cag.metrics.operating import youden_threshold


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
    patient = tables.estimate(table, metric="auc", **where)
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


def test_cross_tabulations_count_every_artery_once_and_agree_with_the_metrics(grid_predictions, reference):
    counts = levels.cross_tabulations(grid_predictions, reference)
    cells = ["true_positive", "false_negative", "false_positive", "true_negative"]
    half = counts.query("threshold == 'half'").set_index(["level", "artery"])
    assert half[cells].sum(axis=1).eq(12).all()
    points = levels.operating_table(grid_predictions, reference, bootstrap=5, seed=0)
    one = points.query("level == 'artery' and artery == 'RCA' and threshold == 'half' and metric == 'sensitivity'")
    row = half.loc[("artery", "RCA")]
    assert one["value"].item() == pytest.approx(row["true_positive"] / (row["true_positive"] + row["false_negative"]))


def test_panels_of_the_curves(grid_predictions, reference):
    panels = levels.curve_groups(grid_predictions, reference)
    assert list(panels) == ["LCA, images", "RCA, images", "LCA, arteries", "RCA, arteries", "Patients"]
    assert list(panels["LCA, images"]) == ["2-CAT + redundancy", "2-CAT", "3-CAT + redundancy", "3-CAT"]
    assert all(len(table) == 12 for table in panels["Patients"].values())


def test_the_bundle_holds_the_classifiers_that_read_a_study(drawn_cohort, grid_settings, grid_store, grid_predictions):
    levels.export_classifiers(drawn_cohort, grid_settings, grid_store, grid_predictions)
    part = load_part(grid_store.root, "classification")
    cells = {name: CellSettings.checked(own) for name, own in part.facts["cells"].items()}
    assert len(cells) == 2 * 2 * 2 and all(cell.redundancy for cell in cells.values())
    assert set(part.facts["folds"]) == set(drawn_cohort.manifest["patient_id"])
    assert 0 <= part.facts["operating"]["threshold"] <= 1
    for name, cell in cells.items():
        new_classifier(cell).head.load_state_dict(part.folder.load_weights(name))
    lone = grid_settings.model_copy(update={"redundancy": (False,), "profile": "lone"})
    elsewhere = Store(grid_store.root / "lone")
    levels.export_classifiers(drawn_cohort, lone, elsewhere, grid_predictions)
    assert not elsewhere.root.exists()
