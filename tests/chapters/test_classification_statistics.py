"""Differences, arms, calibration and subgroups, on stored predictions and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cag.chapters.classification import analysis, tables
from cag.chapters.classification.levels import reference_standard
from cag.metrics.calibration import CLIP
from cag.metrics.measured import of_classification
from cag.metrics.tables import estimate, stratified_table
from cag.settings import SettingsError


def test_optimism_is_the_published_number_minus_the_clean_one(grid_predictions):
    image = tables.image_metrics(grid_predictions, bootstrap=2, seed=0)
    optimism = analysis.optimism(grid_predictions, bootstrap=2, seed=0)
    where = {"artery": "RCA", "n_categories": 2, "redundancy": True, "metric": "accuracy"}
    published = estimate(image, arm="as_published", **where).value
    clean = estimate(image, arm="clean", **where).value
    assert estimate(optimism, part="both", **where).value == pytest.approx(published - clean)
    assert set(optimism.loc[~optimism["redundancy"], "part"]) == {"both"}


def test_a_rule_that_calls_contrast_redundant_costs_accuracy_and_counts_as_disease():
    rows = {"p_0": [0.3, 0.5], "p_1": [0.1, 0.1], "p_redundant": [0.6, 0.4], "target": [0, 0], "frame": [0, 1]}
    table = pd.DataFrame(rows).assign(
        patient_id=["a", "b"], run_id="r", artery="RCA", n_categories=2, redundancy=True, part="outer", redundant=False
    )
    both = pd.concat([table.assign(arm="clean"), table.assign(arm="as_published")], ignore_index=True)
    optimism = analysis.optimism(both, bootstrap=2, seed=0)
    at = {"metric": "accuracy"}
    assert estimate(optimism, part="epoch", **at).value == 0
    assert estimate(optimism, part="scoring", **at).value == pytest.approx(-0.5)


def test_optimism_of_patients_by_hand():
    """Two of two patients are in order by the published rules; by the clean ones, one pair of four is not."""
    truth = {"A": 1, "B": 1, "a": 0, "b": 0}
    scores = {"clean": (0.9, 0.4, 0.1, 0.6), "as_published": (0.9, 0.8, 0.1, 0.6)}
    rows = pd.DataFrame(
        {"patient_id": name, "arm": arm, "p_1": p, "target": truth[name]}
        for arm, own in scores.items()
        for name, p in zip(truth, own, strict=True)
    )
    same = {"artery": "RCA", "n_categories": 2, "redundancy": True, "part": "outer", "redundant": False, "fold": 0}
    rows = rows.assign(p_0=1 - rows["p_1"], p_redundant=0.0, **same)
    reference = pd.DataFrame({"patient_id": list(truth), "artery": "RCA", "target": list(truth.values())})
    table = analysis.level_optimism(rows, reference.assign(percent_stenosis=0.0), bootstrap=20, seed=0)
    assert list(table["level"].unique()) == ["artery", "patient"]
    values = table[table["level"].eq("patient")].set_index("metric")["value"]
    assert values.to_dict() == pytest.approx({"as published": 1.0, "clean": 0.75, "difference": 0.25})


@pytest.mark.parametrize(("what", "other"), [("redundancy", "n_categories"), ("categories", "redundancy")])
def test_tests_of_the_area_agree_with_the_areas_themselves(drawn_cohort, grid_settings, grid_predictions, what, other):
    differences = analysis.system_differences(grid_predictions, what, bootstrap=5, seed=0)
    assert differences[other].nunique() == 2
    reference = reference_standard(drawn_cohort, grid_settings)
    tests = analysis.auc_tests(grid_predictions, reference, what, bootstrap=5, seed=0)
    assert tests["level"].tolist() == ["image", "image", "artery", "artery", "patient"]
    np.testing.assert_allclose(tests["first"] - tests["second"], tests["value"], atol=1e-12)
    image = tests.query("level == 'image' and artery == 'RCA'")["value"].item()
    lead = {"redundancy": 2, "categories": True}[what]
    assert estimate(differences, artery="RCA", metric="auc", **{other: lead}).value == pytest.approx(image)


def test_one_system_alone_is_not_compared(grid_predictions):
    with pytest.raises(SettingsError, match="redundancy"):
        analysis.pooled_difference(grid_predictions.query("redundancy"), "redundancy", bootstrap=2, seed=0)


def _overconfident(patients: int) -> pd.DataFrame:
    """A network whose logits are three times too large: the outcome follows a third of its logit."""
    rng = np.random.default_rng(0)
    parts = []
    for part in ("inner", "outer"):
        true_logit = rng.normal(0, 1.5, patients * 4)
        chance = 1 / (1 + np.exp(-true_logit))
        score = 1 / (1 + np.exp(-3 * true_logit))
        rows = pd.DataFrame({"p_0": 1 - score, "p_1": score, "target": (rng.random(len(score)) < chance).astype(int)})
        parts.append(rows.assign(part=part, patient_id=[f"{part}{n // 4}" for n in range(len(rows))]))
    table = pd.concat(parts, ignore_index=True).assign(frame=range(2 * patients * 4), run_id="r", artery="RCA", fold=0)
    return table.assign(n_categories=2, redundancy=False, p_redundant=0.0, redundant=False, arm="clean")


def test_the_temperature_of_the_inner_part_mends_the_outer_part():
    predictions = _overconfident(400)
    after = analysis.tempered(predictions)
    assert after["temperature"].unique() == pytest.approx(3, abs=0.5)
    measures = [
        stratified_table(tables.labeled_frames(rows), of_classification, by=(), n=5, rng=0)
        for rows in (predictions, after)
    ]
    before, mended = (table.set_index("metric")["value"] for table in measures)
    assert before["calibration_slope"] == pytest.approx(1 / 3, abs=0.06)
    assert mended["calibration_slope"] == pytest.approx(1, abs=0.15)
    assert mended["ece"] < before["ece"] and mended["brier"] < before["brier"]


def test_a_fold_without_inner_frames_keeps_its_probabilities():
    outer = _overconfident(20).query("part == 'outer'")
    after = analysis.tempered(outer)
    assert after["temperature"].eq(1).all()
    np.testing.assert_allclose(after["p_1"], outer["p_1"], atol=1e-6)


def test_scaling_keeps_the_order_and_uses_no_outer_label():
    predictions = _overconfident(20)
    flipped = predictions.assign(target=predictions["target"].where(predictions["part"] == "inner", 0))
    after, same = (analysis.tempered(table) for table in (predictions, flipped))
    pd.testing.assert_series_equal(after["p_1"], same["p_1"])
    inside = predictions["p_1"].between(10 * CLIP, 1 - 10 * CLIP)
    pd.testing.assert_series_equal(after["p_1"][inside].rank(), predictions["p_1"][inside].rank())


def test_the_tests_are_read_with_a_dash_where_there_is_no_interval():
    row = {"level": "patient", "artery": "both", "first": 0.8, "second": 0.7, "value": 0.1, "n_groups": 9}
    row |= {"low": np.nan, "high": np.nan, "p_value": np.nan}
    row |= {"bootstrap_low": -0.1, "bootstrap_high": 0.3, "bootstrap_p": 0.2}
    shown = analysis.readable_tests(pd.DataFrame([row]), "with", "without").iloc[0]
    assert (shown["AUC, with"], shown["AUC, without"], shown["patients"]) == (0.8, 0.7, 9)
    assert (shown["DeLong: p"], shown["bootstrap: 95 % interval"]) == ("–", "-0.10 to 0.30")
