"""Figures and their tables say what the numbers behind them say."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from notebook_cells import page_of, run_cells

from cag.book.figures import classification, frame_selection
from cag.book.figures.localization import examples
from cag.book.figures.style import Panel, gallery
from cag.book.page import with_interval_columns
from cag.chapters.localization.scores import Scored, scoring_rule


@pytest.fixture
def ax():
    return Figure().subplots()


def scores(target, score):
    return pd.DataFrame({"patient_id": np.arange(len(target)) // 2, "target": target, "score": score})


@pytest.mark.parametrize(("kind", "area"), [("roc", "images: AUC 0.75"), ("precision", "images: AP 0.83")])
def test_a_curve_names_its_area_and_one_class_has_none(kind, area, rng):
    curves = {"images": scores([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), "noisy_or": scores([1, 1], [0.1, 0.4])}
    lines = classification.curve_panels({"one": curves}, kind, resamples=3, rng=rng).axes[0].lines[:2]
    assert [line.get_label() for line in lines] == [area, "noisy-or: one class only"]
    assert len(lines[1].get_xdata()) == 0


@pytest.mark.parametrize("kind", ["roc", "precision"])
def test_the_band_encloses_the_curve_of_all_patients(kind):
    rng = np.random.default_rng(0)
    target = np.arange(200) % 4 // 3
    table = scores(target, target + rng.normal(0, 1, 200))
    figure = classification.curve_panels({"one": {"a": table}, "two": {"a": table}}, kind, resamples=40, rng=rng)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    curve, chance = figure.axes[0].lines
    at_half = np.interp(0.5, curve.get_xdata(), curve.get_ydata())
    near = band[np.abs(band[:, 0] - 0.5) < 0.006, 1]
    assert near.min() <= at_half <= near.max()
    assert list(chance.get_ydata()) == ([0, 1] if kind == "roc" else [0.25, 0.25]), "what no information reaches"


def test_confusion_counts_and_heatmaps_and_true_boxes_stand_on_their_frames(ax):
    classification.confusion(ax, np.array([0, 0, 1]), np.array([0, 2, 1]), ["<25", ">=25"])
    assert [text.get_text() for text in ax.texts] == ["1", "0", "1", "0", "1", "0"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["<25", ">=25", "redundant"]
    frames, boxes = np.zeros((2, 8, 8), dtype=np.uint8), [np.array([[1, 1, 3, 3]]), np.zeros((0, 4))]
    figure = classification.heatmap_grid(frames, {"with": np.ones((2, 8, 8))}, ["a", "b"], boxes)
    assert [(len(ax.images), len(ax.patches)) for ax in figure.axes] == [(1, 1), (1, 0), (2, 1), (2, 0)]


def test_forest_draws_asymmetric_intervals_first_on_top(ax):
    table = pd.DataFrame({"value": [0.1, 0.3], "low": [0.0, 0.2], "high": [0.4, 0.35]})
    classification.forest(ax, table, ["first", "second"])
    assert ax.collections[0].get_segments()[0].tolist() == [[0.0, 1.0], [0.4, 1.0]]


def test_method_table_lists_methods_in_order_with_intervals_and_a_row_has_one_where_found():
    names = ["prior", "cnn_lstm", "cnn"]
    rows = [(name, metric, 0.5, 0.25, 0.75) for name in names for metric in ("end_error", "acceptance_rate")]
    estimates = pd.DataFrame(rows, columns=["method", "metric", "value", "low", "high"])
    table = frame_selection.method_table(estimates, ["acceptance_rate", "end_error"])
    assert table.columns.tolist() == ["method", "acceptance_rate", "end_error"]
    assert table.method.tolist() == [frame_selection.METHOD_NAMES[name] for name in ("cnn_lstm", "cnn", "prior")]
    assert set(table.end_error) == {"0.50 (0.25 to 0.75)"}
    rows = pd.DataFrame({"begin_pred": [3, pd.NA], "end_pred": [7, pd.NA]})
    assert [frame_selection.interval_of(row, "pred") for _, row in rows.iterrows()] == [(3, 7), None]


def test_a_run_is_shown_with_three_frames_of_what_was_found():
    frames = np.zeros((10, 8, 8), np.uint8)
    found = frame_selection.ShownRun("run", frames, np.linspace(0, 1, 10), (5, 9), (4, 8), np.array([6]))
    too_short = frame_selection.ShownRun("short", frames[:5], np.zeros(0), None, None)
    figure = frame_selection.plot_runs([found, too_short])
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes]
    assert titles == ["run", "frame 4", "frame 6", "frame 8", "short", "frame 0", "frame 2", "frame 4"]
    assert figure.axes[0].get_xlim() == (-0.5, 9.5)
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["true interval", "found interval"]


def test_a_gallery_draws_every_box_and_the_heatmap_over_the_frame():
    frame, true_boxes = np.zeros((16, 16), "uint8"), np.array([[1, 1, 5, 5], [8, 8, 12, 12]])
    boxes = (true_boxes, true_boxes[:1])
    figure = gallery([Panel(frame, "seen", *boxes, np.ones((4, 4))), Panel(frame, "", *boxes)] * 2)
    assert [(len(ax.images), len(ax.patches)) for ax in figure.axes] == [(2, 3), (1, 3)] * 2
    true, found = figure.axes[1].patches[0], figure.axes[1].patches[-1]
    assert found.get_linestyle() == "--" and true.get_linewidth() > found.get_linewidth(), "a box on a lesion hides it"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["true lesion", "found"]
    assert not any(ax.images or ax.axison for ax in gallery([]).axes), "nothing to show is an empty figure"


def test_examples_show_the_boxes_that_count():
    images = pd.DataFrame({"image_id": ["a", "b"], "run_id": ["R1", "R2"], "frame": 3, "width": 32, "patient_id": "P"})
    corners = {"x1": 1.0, "y1": 1.0, "x2": 9.0, "y2": 9.0}
    truth = pd.DataFrame({"image_id": ["a", "b", "b"], **corners})
    found = truth.assign(score=0.5, operating=[True, False, True])

    def frames(run_id, indices):
        return torch.full((len(indices), 32, 32), int(run_id[1:]), dtype=torch.uint8)

    cohort = SimpleNamespace(frames_of_runs=lambda wanted: (frames(*own) for own in wanted))
    chosen = pd.DataFrame({"image_id": ["b"], "sentence": "a long sentence about a lesion that goes on over the width"})
    side = Scored(images, found, truth, scoring_rule("clean", "fpn", 0.5, 0))
    (own,) = examples(chosen, side, cohort, {"b": np.ones((4, 4))})
    assert (own.frame == 2).all() and own.frame.shape == (32, 32)
    assert (len(own.truth), len(own.found)) == (2, 1) and "\n" in own.title and own.heat is not None


def test_drawn_examples_say_what_a_hand_calculation_says_of_boxes_overlaps_and_intervals():
    page = page_of()
    shown = run_cells("08_scorecard", "cell-17", "cell-17b", "cell-17c", page=page)
    two, sure, each, none = shown["measured"].values()
    assert two["global_sensitivity"] == 1 and two["sens_s"] == pytest.approx(1 / 2), "B is missed"
    assert two["spec_s"] == pytest.approx(2 / 3), "the duplicate is forgiven"
    assert none["sens_s"] == 0 and np.isnan(none["spec_s"]) and np.isnan(none["mse"])
    assert sure["mse"] < each["mse"] and sure["sens_s"] < each["sens_s"], "one sure box looks nearer"
    titles = [ax.get_title() for ax in page.shown["fig-audit-overlap"].axes]
    overlaps = np.array([float(title.split()[1].rstrip(",")) for title in titles]).reshape(2, 4)
    assert (overlaps[1] > overlaps[0]).all() and (np.diff(overlaps) < 0).all()
    run_cells("08_scorecard", "cell-19", page=page)
    words = [text.get_text() for text in page.shown["fig-audit-intervals"].axes[0].texts]
    assert {"begin 2 (accepted),\nend 2 (accepted)", "begin 6 (neither),\nend 6 (neither)"} <= set(words)
    assert {"begin 15 (an error),\nend 20 (an error)", "missed: counted as an error"} <= set(words)


@pytest.fixture
def card():
    nowhere = "not comparable"
    rows = [
        ("Table 1", "image:RCA", "<25%", "count", 624.0, 190.0, np.nan, np.nan, nowhere, "drawn to these shares"),
        ("Table 2", "participants", "", "age median (years)", 66.0, np.nan, np.nan, np.nan, nowhere, "drawn"),
        ("Table 3", "image:LCA", "2-CAT", "f1_weighted", 0.8, 0.7, 0.6, 0.85, "compatible", "same definition"),
        ("Table 3", "patient", "2-CAT", "sensitivity", 0.9, 1.0, 1.0, 1.0, "not reproduced", "same definition"),
        ("Table 4", "RCA", "FPN", "mse", 37.5, 50.0, 40.0, 60.25, "not tested", "simulated patients"),
    ]
    names = ["source", "subset", "condition", "metric", "value", "own", "own_low", "own_high", "verdict", "reason"]
    return pd.DataFrame(rows, columns=names)


def test_a_number_is_named_in_words_and_has_its_interval_where_there_is_one(card):
    named = run_cells("08_scorecard", "cell-04")
    shown = named["numbers_in_words"](card)
    assert list(shown) == ["source", "verdict", "number", "paper", "this study", "rests on"]
    assert shown[["number", "paper", "this study"]].to_numpy().tolist() == [
        ["RCA images · <25% · count", "624", "190"],
        ["participants · age median (years)", "66", "–"],
        ["LCA images · 2-CAT · F1 (weighted)", "0.80", "0.70 (0.60 to 0.85)"],
        ["patients · 2-CAT · sensitivity", "0.90", "1.00 (1.00 to 1.00)"],
        ["RCA · FPN · distance, pixels (printed as MSE)", "37.50", "50.00 (40.00 to 60.25)"],
    ]
    compared = named["numbers_in_words"](card.iloc[:0])
    assert compared.empty and list(with_interval_columns(compared)) == list(compared)
    rows = np.array([(-0.03, -0.08, 0.02), (np.nan, np.nan, np.nan)])
    assert [named["own_text"](*row) for row in rows] == ["-0.03 (-0.08 to 0.02)", "–"]


def test_the_figure_shows_shares_only_and_its_legend_lies_outside(card):
    page = page_of()
    run_cells("08_scorecard", "cell-04", "cell-11", page=page, compared=card)
    figure = page.shown["fig-scorecard"]
    names = [label.get_text() for ax in figure.axes for label in ax.get_yticklabels()]
    assert names == ["LCA images · 2-CAT · F1 (weighted)", "patients · 2-CAT · sensitivity"]
    assert len(figure.legends) == 1 and all(ax.get_legend() is None for ax in figure.axes)
