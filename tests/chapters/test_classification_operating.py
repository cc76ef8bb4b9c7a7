"""The decision rule: nobody is called by a threshold that his own scores helped to choose.

Estimates are compared as text, since NaN equals nothing.
"""

import pandas as pd
import pytest

from cag.chapters.bundle import load_part
from cag.chapters.classification import operating
from cag.chapters.classification.scores import reference_standard
from cag.chapters.classification.settings import CellSettings
from cag.chapters.classification.training import new_classifier
from cag.chapters.store import Store

#: Fold -> artery scores of healthy and diseased inner patients, and of the outer ones: (patient, score, target).
INNER = {0: [("C", 0.1, 0), ("D", 0.3, 1)], 1: [("A", 0.6, 0), ("B", 0.9, 1)]}
OUTER = {0: [("A", 0.2, 0), ("B", 0.4, 1)], 1: [("C", 0.7, 0), ("D", 0.95, 1)]}


def predictions(inner: dict, outer: dict) -> pd.DataFrame:
    rows = [
        {"patient_id": patient, "fold": fold, "part": part, "p_0": 1 - score, "p_1": score, "target": target}
        for part, folds in (("inner", inner), ("outer", outer))
        for fold, own in folds.items()
        for patient, score, target in own
    ]
    same = {"artery": "RCA", "n_categories": 2, "redundancy": True, "arm": "clean", "redundant": False}
    return pd.DataFrame(rows).assign(**same, p_redundant=0.0)


def operating_point(rows: pd.DataFrame) -> operating.OperatingPoint:
    """With the reference standard that the rows themselves agree with."""
    reference = rows.groupby(["patient_id", "artery"], as_index=False)["target"].max().assign(percent_stenosis=0.0)
    return operating.operating_point(rows, reference)


def test_each_patient_is_called_by_the_inner_patients_of_the_own_fold():
    point = operating_point(predictions(INNER, OUTER))
    assert point.of_folds == pytest.approx({0: 0.3, 1: 0.9})
    rates = (point.artery.sensitivity.value, point.artery.specificity.value)
    assert (rates, point.artery.count) == ((1.0, 1.0), 4), "one threshold for all would miss B"
    assert repr(point.patient) == repr(point.artery)
    assert (point.of(0), point.of(1), point.of(None)) == pytest.approx((0.3, 0.9, point.threshold))


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


def test_a_fold_whose_inner_patients_are_of_one_class_says_so():
    healthy = {fold: [(name, score, 0) for name, score, _ in own] for fold, own in INNER.items()}
    spared = {fold: [(name, score, 0) for name, score, _ in own] for fold, own in OUTER.items()}
    point = operating_point(predictions({**INNER, 1: healthy[1]}, {**OUTER, 0: spared[0]}))
    assert point.of(1) == 0.5 and "fold 2" in point.origin
    point = operating_point(predictions(healthy, spared))
    assert point.threshold == 0.5 and point.origin.startswith("Set to one half")


def test_rates_have_an_interval_over_patients_not_over_arteries():
    """Of four diseased patients two are missed; a second artery of each that goes the same way adds no certainty."""
    inner = {0: [("Y", 0.2, 0), ("Z", 0.5, 1)]}
    outer = {0: [(name, score, 1) for name, score in zip("ABCD", (0.1, 0.3, 0.6, 0.9), strict=True)]}
    rows = predictions(inner, outer)
    one = operating_point(rows).artery
    two = operating_point(pd.concat([rows, rows.query("part == 'outer'").assign(artery="LCA")])).artery
    assert (one.count, two.count) == (4, 8)
    assert repr(one.sensitivity) == repr(two.sensitivity)
    assert (one.sensitivity.value, one.sensitivity.low, one.sensitivity.high) == (0.5, 0.0, 1.0)
    assert pd.isna(one.specificity.value) and not one.better_than_chance, "no healthy patient, no interval"


def test_calls_that_follow_no_disease_are_no_better_than_chance():
    names = [f"{letter}{number}" for letter in "ABCD" for number in range(10)]
    right = {0: [(name, 0.2 + 0.6 * (name[0] < "C"), int(name[0] < "C")) for name in names]}
    chance = {0: [(name, 0.2 + 0.6 * (name[0] < "C"), int(name[0] in "AC")) for name in names]}
    inner = {0: [("Y", 0.2, 0), ("Z", 0.5, 1)]}
    for outer, youden in ((right, 1.0), (chance, 0.0)):
        called = operating_point(predictions(inner, outer)).patient
        assert called.youden.value == pytest.approx(youden) and called.better_than_chance == (youden == 1.0)


def test_the_bundle_holds_the_classifiers_that_read_a_study(drawn_cohort, grid_settings, grid_store, grid_predictions):
    given = (grid_predictions, reference_standard(drawn_cohort, grid_settings))
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
