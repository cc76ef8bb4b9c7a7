from __future__ import annotations

import pandas as pd
import pytest

from cag.experiments import scorecard as experiment
from cag.experiments import scorecard_verdicts as verdicts
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
    assert card["reason"].str.len().gt(0).all()
    assert set(card["verdict"]) <= set(verdicts.VERDICTS)


def judged(value, low, high, **place):
    """The verdict on the AUC of 2-CAT with redundancy training, LCA, were the published number ``value``."""
    metric = place.pop("metric", "kappa")
    row = {"source": "Table 3", "subset": "image:LCA", "condition": "2-CAT, redundancy", "metric": metric}
    return verdicts._judge_row(pd.Series(row | {"value": value, "own_low": low, "own_high": high, "reason": ""}), [])[0]


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (0.5, 0.4, 0.6, "in size"),
        (0.7, 0.4, 0.6, "in direction"),  # both above no agreement beyond chance
        (0.7, -0.1, 0.6, "not reproduced"),  # chance lies inside the interval
        (0.7, float("nan"), float("nan"), "not comparable"),
    ],
)
def test_verdicts_of_a_number_that_the_paper_compares_with_none(value, low, high, verdict):
    assert judged(value, low, high) == verdict


def test_a_number_outside_the_interval_counts_by_the_comparisons_it_takes_part_in(store):
    card = experiment.scorecard(store)
    place = {"source": "Table 3", "condition": "2-CAT, redundancy", "metric": "auc"}
    assert row(card, subset="image:LCA", **place)["verdict"] == "in size"  # .84 in .80 to .90
    moved = card.assign(value=card["value"].mask(card["metric"] == "auc", 0.99))
    assert row(verdicts.judge(moved), subset="image:LCA", **place)["verdict"] == "in direction"
    own = moved["own"].mask(moved["condition"].str.contains("no redundancy"), 0.95)
    assert row(verdicts.judge(moved.assign(own=own)), subset="image:LCA", **place)["verdict"] == "not reproduced"


def test_the_summary_counts_every_number_once(store):
    counts = verdicts.summary(experiment.scorecard(store)).set_index("source")
    assert counts.loc["All", "all"] == 184
    assert counts.loc["Discussion", "not comparable"] == 5


def test_counts_have_no_interval_and_other_people_s_numbers_no_counterpart(store):
    card = experiment.scorecard(store)
    assert row(card, source="Table 1", subset="patient", condition="100%")["own"] == 6
    assert row(card, source="Table 1", subset="patient", condition="100%")["verdict"] == "not comparable"
    assert card[card["source"] == "Discussion"]["verdict"].eq("not comparable").all()


def test_what_was_not_computed_is_said(store):
    card = experiment.scorecard(store)
    assert card[card["source"] == "Table 4"]["reason"].eq("not computed in this run").all()


def test_directions_compare_differences(store):
    words = verdicts.directions(experiment.scorecard(store)).set_index("statement")
    raised = words.loc["Redundancy training raises the AUC of 2-CAT for the LCA"]
    assert raised["paper"] == pytest.approx(0.84 - 0.80)
    assert raised["own"] == pytest.approx(0.05) and raised["reproduced"] == "yes"
    assert words.loc["The FPN is nearer to the lesion than the CAM in the LCA", "reproduced"] == "not measured"
