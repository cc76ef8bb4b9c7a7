from __future__ import annotations

import pandas as pd
import pytest

from cag.experiments import scorecard as experiment
from cag.store import Store


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    rows = []
    for redundancy, auc in ((True, 0.85), (False, 0.80)):
        for k in (2, 3):
            for artery in ("LCA", "RCA"):
                own = {"artery": artery, "n_categories": k, "redundancy": redundancy, "arm": "as_published"}
                rows.append(own | {"metric": "auc", "value": auc, "low": auc - 0.05, "high": auc + 0.05})
                rows.append(own | {"metric": "accuracy", "value": 0.9 - 0.1 * k, "low": 0.5, "high": 0.9})
    store.publish("classification_image_metrics", pd.DataFrame(rows))
    counts = {"level": ["patient"], "<25 %": [5], "25-99 %": [13], "100 %": [6]}
    levels = [level for level in experiment._VIEW_OF_LEVEL.values() if level != "patient"]
    counts["level"] += levels
    for name in ("<25 %", "25-99 %", "100 %"):
        counts[name] += [1] * len(levels)
    store.publish("cohort_severity", pd.DataFrame(counts))
    return store


def row(card, **conditions):
    for column, value in conditions.items():
        card = card[card[column] == value]
    (found,) = card.to_dict("records")
    return found


def test_every_published_number_has_a_row_and_a_reason(store):
    card = experiment.scorecard(store)
    assert len(card) == len(experiment.claims()) == 184
    assert card["comparable"].str.len().gt(0).all()
    assert set(card["verdict"]) <= {"within the interval", "outside the interval", "no interval", "not compared"}


def test_the_verdict_is_whether_the_published_number_lies_in_the_interval(store):
    card = experiment.scorecard(store)
    place = {"source": "Table 3", "condition": "2-CAT, redundancy", "metric": "auc"}
    assert row(card, subset="image:LCA", **place)["verdict"] == "within the interval"  # .84 in .80 to .90
    card = card.assign(value=card["value"].mask(card["metric"] == "auc", 0.99))
    assert row(experiment.scorecard(store), subset="image:RCA", **place)["own"] == 0.85


def test_counts_have_no_interval_and_other_people_s_numbers_no_counterpart(store):
    card = experiment.scorecard(store)
    assert row(card, source="Table 1", subset="patient", condition="100%")["own"] == 6
    assert row(card, source="Table 1", subset="patient", condition="100%")["verdict"] == "no interval"
    assert card[card["source"] == "Discussion"]["verdict"].eq("not compared").all()


def test_what_was_not_computed_is_said(store):
    card = experiment.scorecard(store)
    assert card[card["source"] == "Table 4"]["comparable"].eq("not computed in this run").all()


def test_directions_compare_differences(store):
    words = experiment.directions(experiment.scorecard(store)).set_index("statement")
    raised = words.loc["Redundancy training raises the AUC of 2-CAT for the LCA"]
    assert raised["paper"] == pytest.approx(0.84 - 0.80)
    assert raised["own"] == pytest.approx(0.05) and raised["reproduced"] == "yes"
    assert words.loc["The FPN is nearer to the lesion than the CAM in the LCA", "reproduced"] == "not measured"
