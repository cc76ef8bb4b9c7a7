"""Differences, arms, calibration and subgroups, on stored predictions and by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from cag.chapters.classification import arms, calibration, comparisons, tables
from cag.chapters.classification.levels import reference_standard
from cag.chapters.classification.subgroups import subgroups
from cag.metrics.calibration import CLIP
from cag.settings import SettingsError


def test_optimism_is_the_published_number_minus_the_clean_one(grid_predictions):
    image = tables.image_metrics(grid_predictions, bootstrap=2, seed=0)
    optimism = arms.optimism(grid_predictions, bootstrap=2, seed=0)
    where = {"artery": "RCA", "n_categories": 2, "redundancy": True, "metric": "accuracy"}
    published = tables.estimate(image, arm="as_published", **where).value
    clean = tables.estimate(image, arm="clean", **where).value
    assert tables.estimate(optimism, part="both", **where).value == pytest.approx(published - clean)
    assert set(optimism.loc[~optimism["redundancy"], "part"]) == {"both"}


def test_a_rule_that_calls_contrast_redundant_costs_accuracy_and_counts_as_disease():
    rows = {"p_0": [0.3, 0.5], "p_1": [0.1, 0.1], "p_redundant": [0.6, 0.4], "target": [0, 0], "frame": [0, 1]}
    table = pd.DataFrame(rows).assign(
        patient_id=["a", "b"], run_id="r", artery="RCA", n_categories=2, redundancy=True, part="outer", redundant=False
    )
    both = pd.concat([table.assign(arm="clean"), table.assign(arm="as_published")], ignore_index=True)
    optimism = arms.optimism(both, bootstrap=2, seed=0)
    at = {"metric": "accuracy"}
    assert tables.estimate(optimism, part="epoch", **at).value == 0
    assert tables.estimate(optimism, part="scoring", **at).value == pytest.approx(-0.5)


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
    table = arms.level_optimism(rows, reference.assign(percent_stenosis=0.0), bootstrap=20, seed=0)
    assert list(table["level"].unique()) == ["artery", "patient"]
    values = table[table["level"].eq("patient")].set_index("metric")["value"]
    assert values.to_dict() == pytest.approx({"as published": 1.0, "clean": 0.75, "difference": 0.25})


def test_mild_disease_three_ways_by_hand():
    rows = pd.DataFrame({"target": [0, 0, 1, 2], "percent_stenosis": [0.0, 10.0, 30.0, 100.0]})
    assert arms.with_mild(rows, "negative")["target"].tolist() == [0, 0, 1, 2]
    assert arms.with_mild(rows, "positive")["target"].tolist() == [0, 1, 1, 2]
    assert arms.with_mild(rows, "dropped")["target"].tolist() == [0, 1, 2]


def test_mild_table_counts_its_frames(grid_predictions):
    table = arms.mild_three_ways(grid_predictions, bootstrap=2, seed=0)
    sizes = table.query("artery == 'RCA' and metric == 'auc'").set_index("mild")["n_rows"]
    assert sizes["negative"] == sizes["positive"] == 48 and sizes["dropped"] == 24, "every second patient has 10 %"
    assert table.query("artery == 'RCA' and mild == 'positive'")["diseased"].eq(1).all()


@pytest.mark.parametrize(("what", "other"), [("redundancy", "n_categories"), ("categories", "redundancy")])
def test_tests_of_the_area_agree_with_the_areas_themselves(drawn_cohort, grid_settings, grid_predictions, what, other):
    differences = comparisons.system_differences(grid_predictions, what, bootstrap=5, seed=0)
    assert differences[other].nunique() == 2
    reference = reference_standard(drawn_cohort, grid_settings)
    tests = comparisons.auc_tests(grid_predictions, reference, what, bootstrap=5, seed=0)
    assert tests["level"].tolist() == ["image", "image", "artery", "artery", "patient"]
    np.testing.assert_allclose(tests["first"] - tests["second"], tests["value"], atol=1e-12)
    image = tests.query("level == 'image' and artery == 'RCA'")["value"].item()
    lead = {"redundancy": 2, "categories": True}[what]
    assert tables.estimate(differences, artery="RCA", metric="auc", **{other: lead}).value == pytest.approx(image)


def test_one_system_alone_is_not_compared(grid_predictions):
    with pytest.raises(SettingsError, match="redundancy"):
        comparisons.pooled_difference(grid_predictions.query("redundancy"), "redundancy", bootstrap=2, seed=0)


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
    assert calibration.temperatures(predictions)["temperature"].item() == pytest.approx(3, abs=0.5)
    table = calibration.calibration_table(predictions, bootstrap=20, seed=0).set_index(["scaling", "metric"])["value"]
    assert table["before", "calibration_slope"] == pytest.approx(1 / 3, abs=0.06)
    assert table["after", "calibration_slope"] == pytest.approx(1, abs=0.15)
    assert table["after", "ece"] < table["before", "ece"] and table["after", "brier"] < table["before", "brier"]


def test_scaling_keeps_the_order_and_uses_no_outer_label():
    predictions = _overconfident(20)
    flipped = predictions.assign(target=predictions["target"].where(predictions["part"] == "inner", 0))
    after, same = (calibration.tempered(table) for table in (predictions, flipped))
    pd.testing.assert_series_equal(after["p_1"], same["p_1"])
    inside = predictions["p_1"].between(10 * CLIP, 1 - 10 * CLIP)
    pd.testing.assert_series_equal(after["p_1"][inside].rank(), predictions["p_1"][inside].rank())


def test_reliability_and_decision_curves(drawn_cohort, grid_settings, grid_predictions):
    table = calibration.reliability(grid_predictions, bootstrap=5, seed=0)
    assert table.groupby(["artery", "scaling"])["n"].sum().eq(48).all()
    reference = reference_standard(drawn_cohort, grid_settings)
    curves = calibration.decision_curves(grid_predictions, reference, bootstrap=5, seed=0)
    assert set(curves["scaling"]) == {"before", "after"}
    prevalence = reference.groupby("patient_id")["target"].max().mean()
    assert curves["act_on_all"].max() == pytest.approx(prevalence, abs=0.01)


def test_subgroups_divide_the_frames(drawn_cohort, grid_predictions):
    people = drawn_cohort.patients.assign(sex=["F", "M"] * 6, age=np.arange(40, 88, 4))
    known = dataclasses.replace(
        drawn_cohort, patients=people, lesions=drawn_cohort.lesions.assign(length_mm=[5.0, 25.0] * 12 + [5.0])
    )
    table = subgroups(grid_predictions, known, bootstrap=3, seed=0).query("metric == 'auc'")
    for by in ("artery", "view", "sex", "age, years", "study quality"):
        assert table.loc[table["by"] == by, "frames"].sum() == 96, by
    bands = table[table["by"] == "stenosis, %"]
    healthy = tables.labeled_frames(tables.leading(grid_predictions))["target"].eq(0).sum()
    assert (bands["frames"] - healthy).sum() == 96 - healthy
    assert {"0 to below 10", "20 and more"} <= set(table.loc[table["by"] == "lesion length, mm", "subgroup"])


def test_what_a_cohort_does_not_know_makes_no_subgroup(drawn_cohort, grid_predictions):
    bare = dataclasses.replace(drawn_cohort, patients=drawn_cohort.patients[["patient_id"]])
    groups = set(subgroups(grid_predictions, bare, bootstrap=2, seed=0)["by"])
    assert groups == {"all", "artery", "view", "stenosis, %"}
