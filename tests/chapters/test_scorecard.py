from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cag.chapters.scorecard import scorecard as experiment
from cag.chapters.scorecard import verdicts
from cag.chapters.scorecard.directions import DIRECTIONS, paired_directions
from cag.chapters.store import Store
from cag.metrics.intervals import Estimate

RAISED = "Redundancy training raises the AUC of 2-CAT for the LCA"
#: Every statement of the paper holds here, but one that cannot be told.
HOLDS = {
    direction.statement: Estimate(value, value - 0.01, value + 0.01, 24)
    for direction in DIRECTIONS
    for value in [0.05 if direction.higher_is_better else -0.05]
}
NOT_TOLD = HOLDS | {RAISED: Estimate(0.05, -0.01, 0.11, 24)}
AGAINST = HOLDS | {RAISED: Estimate(-0.05, -0.06, -0.04, 24)}


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
    card = experiment.scorecard(store, HOLDS)
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
    card = experiment.scorecard(store, HOLDS)
    place = {"source": "Table 3", "condition": "2-CAT, redundancy", "metric": "auc"}
    assert row(card, subset="image:LCA", **place)["verdict"] == "in size"  # .84 in .80 to .90
    moved = card.assign(value=card["value"].mask(card["metric"] == "auc", 0.99))
    for found, verdict, reason in (
        (HOLDS, "in direction", "go the same way"),
        (NOT_TOLD, "not reproduced", "not told apart"),
        (AGAINST, "not reproduced", "goes another way"),
    ):
        own = row(verdicts.judge(moved, found), subset="image:LCA", **place)
        assert own["verdict"] == verdict and reason in own["reason"]


def test_the_summary_counts_every_number_once(store):
    counts = verdicts.summary(experiment.scorecard(store, HOLDS)).set_index("source")
    assert counts.loc["All", "all"] == 184
    assert counts.loc["Discussion", "not comparable"] == 5


def test_counts_have_no_interval_and_other_people_s_numbers_no_counterpart(store):
    card = experiment.scorecard(store, HOLDS)
    assert row(card, source="Table 1", subset="patient", condition="100%")["own"] == 6
    assert row(card, source="Table 1", subset="patient", condition="100%")["verdict"] == "not comparable"
    assert card[card["source"] == "Discussion"]["verdict"].eq("not comparable").all()


def test_what_was_not_computed_is_said(store):
    card = experiment.scorecard(store, HOLDS)
    assert card[card["source"] == "Table 4"]["reason"].eq("not computed in this run").all()


def test_directions_compare_differences_with_their_intervals(store):
    card = experiment.scorecard(store, HOLDS)
    for found, verdict in ((HOLDS, "yes"), (NOT_TOLD, "not told apart"), (AGAINST, "no"), ({}, "not measured")):
        raised = verdicts.directions(card, found).set_index("statement").loc[RAISED]
        assert raised["paper"] == pytest.approx(0.84 - 0.80)
        assert raised["reproduced"] == verdict
    assert pd.isna(raised["low"])


def classified(redundancy: bool, scores: dict[str, float]) -> pd.DataFrame:
    """One frame a patient, diseased if the patient's name is a capital, with a probability of disease."""
    rows = pd.DataFrame({"patient_id": list(scores), "p_1": list(scores.values())})
    same = {"part": "outer", "redundant": False, "artery": "LCA", "arm": "as_published", "n_categories": 2}
    target = rows["patient_id"].str.isupper().astype(int)
    redundant = 0.0 if redundancy else np.nan
    return rows.assign(target=target, p_0=1 - rows["p_1"], p_redundant=redundant, redundancy=redundancy, **same)


def test_what_the_paper_says_in_words_is_measured_on_the_same_patients(tmp_path):
    store = Store(tmp_path)
    assert paired_directions(store, bootstrap=10) == {}
    better, worse = ({"A": 0.9, "B": b, "a": 0.1, "b": 0.3} for b in (0.8, 0.2))
    store.publish("classification", pd.concat([classified(True, better), classified(False, worse)]))
    found = paired_directions(store, bootstrap=200)
    assert list(found) == [RAISED], "other systems were not trained"
    # Of the four pairs of a diseased and a normal frame one is in the wrong order without redundancy training.
    assert found[RAISED].value == pytest.approx(1 - 0.75)
    assert found[RAISED].low == 0 and found[RAISED].n_groups == 4


def test_the_beginning_is_set_against_the_end_run_by_run(tmp_path):
    store = Store(tmp_path)
    runs = pd.DataFrame({"run_id": ["1", "2"], "patient_id": ["A", "B"], "n_frames": 60, "begin_true": 10})
    runs = runs.assign(end_true=40, end_censored=False, begin_pred=[11, 12], end_pred=[43, 44])
    store.publish("frame_selection_runs", runs.assign(arm="as_published", method="cnn_lstm"))
    (estimate,) = paired_directions(store, bootstrap=50).values()
    assert (estimate.value, estimate.low, estimate.high) == (-2, -2, -2)
