from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cag.chapters.scorecard import scorecard as experiment
from cag.chapters.scorecard import verdicts
from cag.chapters.scorecard.directions import DIRECTIONS, paired_directions
from cag.chapters.store import RunFolder, Store
from cag.metrics.intervals import Estimate

RAISED = "Redundancy training raises the AUC of 2-CAT for the LCA"
#: Every statement of the paper holds here, but one that cannot be told.
HOLDS = {
    direction.statement: Estimate(value, value - 0.01, value + 0.01, 24, 0.001)
    for direction in DIRECTIONS
    for value in [0.05 if direction.higher_is_better else -0.05]
}
NOT_TOLD = HOLDS | {RAISED: Estimate(0.05, -0.01, 0.11, 24, 0.2)}
AGAINST = HOLDS | {RAISED: Estimate(-0.05, -0.06, -0.04, 24, 0.001)}


def trained(store, trainable="all"):
    """A bundle on record whose networks were trained so."""
    for part in ("frames", "classification", "localization"):
        RunFolder(store.root / "bundle" / part, store).save_json("part", {"settings": {"trainable": trainable}})
    return store


@pytest.fixture
def store(tmp_path):
    store = trained(Store(tmp_path))
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


@pytest.mark.parametrize(
    ("metric", "value", "low", "high", "skilled", "verdict"),
    [
        ("kappa", 0.5, 0.42, 0.58, True, "reproduced"),
        ("kappa", 0.5, 0.42, 0.58, False, "compatible"),  # no better than a caller that sees no image
        ("kappa", 0.5, 0.39, 0.58, True, "compatible"),  # reaches beyond .10
        ("kappa", 0.5, 0.61, 0.9, True, "not reproduced"),
        ("auc", 0.84, 0.80, 0.90, True, "compatible"),  # a number inside a wide interval is not reproduced by it
        ("auc", 0.84, 0.80, 0.88, True, "reproduced"),
        ("mean_error_end", 2.27, 1.5, 3.2, True, "reproduced"),
        ("mse", 37.5, 48.0, 60.0, True, "not reproduced"),
        ("auc", 0.84, np.nan, np.nan, True, "not comparable"),
    ],
)
def test_verdicts_by_margins_named_beforehand(metric, value, low, high, skilled, verdict):
    row = {"metric": metric, "value": value, "own_low": low, "own_high": high, "skilled": skilled, "reason": ""}
    assert verdicts.judge(pd.DataFrame([row | {"untested": ""}]))["verdict"][0] == verdict
    untested = verdicts.judge(pd.DataFrame([row | {"untested": "heads only"}]))
    assert untested["verdict"][0] == ("not comparable" if np.isnan(low) else "not tested")


@pytest.mark.parametrize(("trainable", "verdict"), [("all", "compatible"), ("head", "not tested")])
def test_a_run_that_trains_heads_only_tests_no_network_of_the_paper(store, trainable, verdict):
    card = experiment.scorecard(trained(store, trainable))
    place = {"source": "Table 3", "condition": "2-CAT, redundancy", "metric": "auc"}
    assert row(card, subset="image:LCA", **place)["verdict"] == verdict  # .84 in .80 to .90
    words = verdicts.directions(card, HOLDS)
    assert words["reproduced"].eq("yes" if trainable == "all" else "not tested").all()


def test_a_grade_is_skilled_where_its_area_is_above_one_half(store):
    card = experiment.scorecard(store)
    place = {"source": "Table 3", "subset": "image:LCA", "metric": "accuracy"}
    assert row(card, condition="2-CAT, redundancy", **place)["skilled"]
    table = pd.read_parquet(store.table("classification_image_metrics"))
    store.publish("classification_image_metrics", table.assign(low=table["low"].mask(table["metric"].eq("auc"), 0.49)))
    assert not row(experiment.scorecard(store), condition="2-CAT, redundancy", **place)["skilled"]


def test_frames_are_skilled_where_they_beat_the_constant_interval(store):
    rows = [
        ("cnn_lstm", "as_published", "begin_error", 2.0, 1.5, 2.5),
        ("prior", "clean", "begin_error", 2.6, 2.0, 3.0),
    ]
    names = ["method", "arm", "metric", "value", "low", "high"]
    for prior, skilled in ((2.6, True), (2.4, False)):
        rows[1] = (*rows[1][:3], prior, 2.0, 3.0)
        store.publish("frame_selection_metrics", pd.DataFrame(rows, columns=names))
        own = row(experiment.scorecard(store), source="Results: frame selection", metric="mean_error_begin")
        assert own["skilled"] == skilled and own["verdict"] == ("reproduced" if skilled else "compatible")


def test_all_or_none_has_wilsons_interval():
    own = experiment._own(pd.Series({"value": 1.0, "low": 1.0, "high": 1.0, "n_groups": 50}), "sensitivity")
    assert own["own_low"] == pytest.approx(0.929, abs=1e-3) and own["own_high"] == 1.0


def test_holm_by_hand():
    found = verdicts.holm(np.array([0.01, np.nan, 0.04, 0.03]))
    assert found[[0, 2, 3]].tolist() == pytest.approx([0.03, 0.06, 0.06]) and np.isnan(found[1])


def test_every_statement_is_the_papers_own_and_stands_once(store):
    words = verdicts.directions(experiment.scorecard(store), {})
    better = {direction.statement: direction.higher_is_better for direction in DIRECTIONS}
    assert len(better) == len(DIRECTIONS) == len(words)
    wrong = [row.statement for row in words.itertuples() if (row.paper > 0) != better[row.statement]]
    assert not wrong


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


def test_directions_compare_differences_with_their_intervals(store):
    card = experiment.scorecard(store)
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
    raised = [RAISED, *(RAISED.replace("AUC", name) for name in ("weighted F1", "kappa", "accuracy"))]
    assert list(found) == raised, "other systems were not trained"
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
