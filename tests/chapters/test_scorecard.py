"""A verdict by margins named beforehand for every published number, and statements in paired differences."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from notebook_cells import page_of, run_cells

from cag.chapters import scorecard as experiment
from cag.chapters.scorecard import DIRECTIONS, LOWER, VERDICTS, paired_directions
from cag.chapters.store import RunFolder, Store
from cag.metrics.intervals import Estimate

RAISED = "Redundancy training raises the AUC of 2-CAT for the LCA"
#: Every statement of the paper holds here; then one that cannot be told, and one that is turned around.
UP, DOWN = Estimate(0.05, 0.04, 0.06, 24, 0.001), Estimate(-0.05, -0.06, -0.04, 24, 0.001)
HOLDS = {statement: DOWN if first[3] in LOWER else UP for statement, (first, _) in DIRECTIONS.items()}
NOT_TOLD = HOLDS | {RAISED: Estimate(0.05, -0.01, 0.11, 24, 0.2)}
AGAINST = HOLDS | {RAISED: DOWN}


def trained(store: Store, trainable: str = "all") -> Store:
    """A bundle on record whose networks were trained so."""
    for part in ("frames", "classification", "localization"):
        RunFolder(store.root / "bundle" / part, store).save_json("part", {"settings": {"trainable": trainable}})
    return store


@pytest.fixture
def store(tmp_path):
    store, rows = trained(Store(tmp_path)), []
    for redundancy, auc in ((True, 0.85), (False, 0.80)):
        for k, artery in ((k, artery) for k in (2, 3) for artery in ("LCA", "RCA")):
            own = {"artery": artery, "n_categories": k, "redundancy": redundancy, "arm": "as_published", "n_groups": 50}
            rows.append(own | {"metric": "auc", "value": auc, "low": auc - 0.05, "high": auc + 0.05})
            rows.append(own | {"metric": "accuracy", "value": 0.9 - 0.1 * k, "low": 0.5, "high": 0.9})
            rows.append(own | {"metric": "sensitivity", "value": 1.0, "low": 1.0, "high": 1.0})
    store.publish("classification_image_metrics", pd.DataFrame(rows))
    ill = pd.DataFrame({"patient_id": range(50), "artery": "RCA", "target": [1] * 40 + [0] * 10})
    store.publish("classification_reference", ill)
    levels = experiment.claims().query("source == 'Table 1'")["subset"].str.replace(":", ": ").unique()
    store.publish("cohort_severity", pd.DataFrame({"level": levels, "<25 %": 1, "25-99 %": 13, "100 %": 6}))
    return store


@pytest.fixture
def card(store):
    return experiment.scorecard(store)


def row(card: pd.DataFrame, *key: str) -> dict:
    (found,) = card.set_index(experiment.KEYS).loc[[key]].to_dict("records")
    return found


def directions(store: Store, found: dict[str, Estimate], monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """The table of statements that notebook 08 makes of these differences."""
    monkeypatch.setattr(experiment, "paired_directions", lambda *own, **more: found)
    settings = SimpleNamespace(bootstrap=0, seed=0)
    return run_cells("08_scorecard", "cell-05", page=page_of(store=store), settings=settings)["words"]


def test_every_published_number_has_a_row_and_a_reason_and_a_grade_is_skilled_above_one_half(card, store):
    assert len(card) == len(experiment.claims()) == 184
    assert card["reason"].str.len().gt(0).all() and set(card["verdict"]) <= set(VERDICTS)
    assert card[card["source"] == "Table 4"]["reason"].eq("not computed in this study").all()
    assert card[card["source"] == "Discussion"]["verdict"].eq("not comparable").all()
    count = row(card, "Table 1", "patient", "100%", "count")
    assert (count["own"], count["verdict"]) == (6, "not comparable"), "a count has no interval"
    all_or_none = row(card, "Table 3", "image:RCA", "3-CAT, redundancy", "sensitivity")
    assert (all_or_none["own_low"], all_or_none["own_high"]) == (pytest.approx(0.912, abs=1e-3), 1.0), "Wilson's, of 40"
    place = ("Table 3", "image:LCA", "2-CAT, redundancy", "accuracy")
    assert row(card, *place)["skilled"]
    table = pd.read_parquet(store.table("classification_image_metrics"))
    store.publish("classification_image_metrics", table.assign(low=table["low"].mask(table["metric"].eq("auc"), 0.49)))
    assert not row(experiment.scorecard(store), *place)["skilled"]


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
    assert experiment.judge(pd.DataFrame([row | {"untested": ""}]))["verdict"][0] == verdict
    untested = experiment.judge(pd.DataFrame([row | {"untested": "heads only"}]))
    assert untested["verdict"][0] == ("not comparable" if np.isnan(low) else "not tested")


@pytest.mark.parametrize(("trainable", "verdict"), [("all", "compatible"), ("head", "not tested")])
def test_a_run_that_trains_heads_only_tests_no_network_of_the_paper(store, trainable, verdict, monkeypatch):
    card = experiment.scorecard(trained(store, trainable))
    found = row(card, "Table 3", "image:LCA", "2-CAT, redundancy", "auc")
    assert found["verdict"] == verdict  # .84 in .80 to .90
    words = directions(store, HOLDS, monkeypatch)
    assert words["reproduced"].eq("yes" if trainable == "all" else "not tested").all()


@pytest.mark.parametrize(("begin", "place", "skilled"), [(2.6, 0.3, True), (2.4, 0.5, False)])
def test_frames_are_skilled_above_the_constant_interval_and_boxes_above_the_place_prior(store, begin, place, skilled):
    rows = [("cnn_lstm", "as_published", 2.0, 1.5, 2.5), ("prior", "clean", begin, 2, 3)]
    table = pd.DataFrame(rows, columns=["method", "arm", "value", "low", "high"])
    store.publish("frame_selection_metrics", table.assign(metric="begin_error"))
    rows = [("fpn", 0.45, 0.4, 0.5), ("prior", place, place, place)]
    table = pd.DataFrame(rows, columns=["method", "value", "low", "high"])
    store.publish("localization_metrics", table.assign(artery="RCA", arm="as_published", metric="sens_s"))
    card = experiment.scorecard(store)
    (own,) = card.query("metric == 'mean_error_begin'").to_dict("records")
    assert own["skilled"] == skilled and own["verdict"] == ("reproduced" if skilled else "compatible")
    assert row(card, "Table 4", "RCA", "FPN, IoU>0.5", "sens_s")["skilled"] == skilled


def test_holm_by_hand_of_statements_that_are_the_papers_own_and_stand_once(store, monkeypatch):
    p_values = dict(zip(DIRECTIONS, (0.01, np.nan, 0.04, 0.03), strict=False))
    found = {statement: Estimate(0.1, 0.0, 0.2, 24, p_value) for statement, p_value in p_values.items()}
    adjusted = directions(store, found, monkeypatch)["p_holm"].to_numpy()
    assert adjusted[[0, 2, 3]].tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert np.isnan(adjusted[[1, *range(4, len(DIRECTIONS))]]).all()
    words = directions(store, {}, monkeypatch)
    assert words["statement"].tolist() == list(DIRECTIONS) and len(DIRECTIONS) == 18
    better = np.where([first[3] in LOWER for first, _ in DIRECTIONS.values()], -1, 1)
    assert (words["paper"] * better > 0).all()


@pytest.mark.parametrize(
    ("found", "verdict"), [(HOLDS, "yes"), (NOT_TOLD, "not told apart"), (AGAINST, "no"), ({}, "not measured")]
)
def test_directions_compare_differences_with_their_intervals(store, found, verdict, monkeypatch):
    raised = directions(store, found, monkeypatch).set_index("statement").loc[RAISED]
    assert raised["paper"] == pytest.approx(0.84 - 0.80) and raised["reproduced"] == verdict


def classified(redundancy: bool, scores: dict[str, float]) -> pd.DataFrame:
    """One frame a patient, diseased if the patient's name is a capital, with a probability of disease."""
    rows = pd.DataFrame({"patient_id": list(scores), "p_1": list(scores.values())})
    same = {"part": "outer", "redundant": False, "artery": "LCA", "arm": "as_published", "n_categories": 2}
    target = rows["patient_id"].str.isupper().astype(int)
    redundant = 0.0 if redundancy else np.nan
    return rows.assign(target=target, p_0=1 - rows["p_1"], p_redundant=redundant, redundancy=redundancy, **same)


def test_what_the_paper_says_in_words_is_measured_on_the_same_patients(tmp_path):
    store = Store(tmp_path)
    assert paired_directions(store, bootstrap=10, seed=0) == {}
    better, worse = ({"A": 0.9, "B": b, "a": 0.1, "b": 0.3} for b in (0.8, 0.2))
    store.publish("classification", pd.concat([classified(True, better), classified(False, worse)]))
    found = paired_directions(store, bootstrap=200, seed=0)
    raised = [RAISED, *(RAISED.replace("AUC", name) for name in ("weighted F1", "kappa", "accuracy"))]
    assert list(found) == raised, "other systems were not trained"
    # Of the four pairs of a diseased and a normal frame one is in the wrong order without redundancy training.
    assert found[RAISED].value == pytest.approx(1 - 0.75)
    assert found[RAISED].low == 0 and found[RAISED].n_groups == 4


def test_the_beginning_is_set_against_the_end_run_by_run_and_boxes_of_two_methods_against_each_other(tmp_path):
    store = Store(tmp_path)
    runs = pd.DataFrame({"run_id": ["1", "2"], "patient_id": ["A", "B"], "n_frames": 60, "begin_true": 10})
    runs = runs.assign(end_true=40, end_censored=False, begin_pred=[11, 12], end_pred=[43, 44])
    store.publish("frame_selection_runs", runs.assign(arm="as_published", method="cnn_lstm"))
    (estimate,) = paired_directions(store, bootstrap=50, seed=0).values()
    assert (estimate.value, estimate.low, estimate.high) == (-2, -2, -2)
    corners = ["x1", "y1", "x2", "y2"]
    images = pd.DataFrame({"image_id": ["a", "b"], "patient_id": ["P", "Q"], "artery": "RCA", "width": 512})
    images = images.assign(height=512, arm="as_published")
    store.publish("localization_images", pd.concat([images.assign(method=method) for method in ("fpn", "cam")]))
    truth = pd.DataFrame([(0, 0, 80, 80), (0, 0, 80, 80)], columns=corners).assign(image_id=["a", "b"])
    store.publish("localization_truth", truth)
    found = truth.assign(score=0.9, arm="as_published", operating=True)
    cam = found.assign(x1=[0, 300], x2=[80, 380], method="cam")
    store.publish("localization_detections", pd.concat([found.assign(method="fpn"), cam]))
    found = paired_directions(store, bootstrap=50, seed=0)
    assert found["The FPN finds more lesions than the CAM in the RCA (Sens_s)"].value == pytest.approx(0.5)
    assert found["The FPN is nearer to the lesion than the CAM in the RCA"].value == pytest.approx(-150)
