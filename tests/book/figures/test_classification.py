from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cag.book.figures import classification as figures
from cag.book.figures import classification_curves as curves
from cag.book.figures import cohort as cohort_figures


@pytest.fixture
def ax():
    return Figure().subplots()


def test_roc_curve_names_its_area(ax):
    figures.roc(ax, np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]), "images", "k")
    assert ax.lines[0].get_label() == "images: AUC 0.75"


def test_one_class_is_said_and_not_drawn(ax):
    figures.roc(ax, np.array([1, 1]), np.array([0.1, 0.4]), "images", "k")
    assert ax.lines[0].get_label() == "images: one class only"
    assert len(ax.lines[0].get_xdata()) == 0


def test_roc_band_encloses_the_curve_of_all_patients():
    rng = np.random.default_rng(0)
    target = np.arange(200) % 2
    scores = pd.DataFrame(
        {"patient_id": np.arange(200) // 4, "target": target, "score": target + rng.normal(0, 1, 200)}
    )
    figure = figures.roc_panels({"one": {"a": scores}, "two": {"a": scores}}, resamples=30, rng=rng)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    curve = figure.axes[0].lines[0]
    at_half = np.interp(0.5, curve.get_xdata(), curve.get_ydata())
    near = band[np.abs(band[:, 0] - 0.5) < 0.006, 1]
    assert near.min() <= at_half <= near.max()


def test_confusion_counts(ax):
    figures.confusion(ax, np.array([0, 0, 1]), np.array([0, 2, 1]), ["<25", ">=25"])
    assert [text.get_text() for text in ax.texts] == ["1", "0", "1", "0", "1", "0"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["<25", ">=25", "redundant"]


def test_forest_draws_asymmetric_intervals_first_on_top(ax):
    table = pd.DataFrame({"value": [0.1, 0.3], "low": [0.0, 0.2], "high": [0.4, 0.35]})
    figures.forest(ax, table, ["first", "second"])
    segments = ax.collections[0].get_segments()
    assert segments[0].tolist() == [[0.0, 1.0], [0.4, 1.0]]


def test_severity_curve_leaves_empty_bands_empty(ax):
    table = pd.DataFrame({"band": [25.0], "value": [0.5], "low": [0.2], "high": [0.9]})
    curves.severity_curve(ax, table, (0, 25, 50, 70, 100, 101), "k")
    values = ax.lines[0].get_ydata()
    assert np.isnan(values[0]) and values[1] == 0.5
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0-24", "25-49", "50-69", "70-99", "100"]


def test_precision_recall_names_its_area_and_says_where_there_is_none(ax):
    curves.precision_recall(ax, np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]), "images", "k")
    curves.precision_recall(ax, np.array([0, 0]), np.array([0.1, 0.4]), "images", "k")
    assert [line.get_label() for line in ax.lines] == ["images: AP 0.83", "images: no stenosis"]


def test_precision_recall_panels_mark_the_prevalence():
    scores = pd.DataFrame({"patient_id": range(8), "target": [0, 0, 0, 1] * 2, "score": np.linspace(0, 1, 8)})
    figure = curves.precision_recall_panels({"one": {"a": scores}}, resamples=20, rng=np.random.default_rng(0))
    (ax,) = figure.axes
    assert 0.25 in [line.get_ydata()[0] for line in ax.lines] and len(ax.collections) == 1


def test_reliability_sizes_its_points_by_the_frames_behind_them(ax):
    table = pd.DataFrame({"mean_score": [0.2, 0.8], "observed": [0.1, 0.7], "low": 0.0, "high": 0.9, "n": [30, 10]})
    curves.reliability(ax, table, "before", "k")
    sizes = ax.collections[-1].get_sizes()
    assert sizes[0] > sizes[1] and list(ax.lines[-1].get_xdata()) == [0, 1]


def test_decision_panel_shows_both_strategies():
    curve = pd.DataFrame({"threshold": [0.1, 0.5], "net_benefit": [0.4, 0.2], "low": 0.1, "high": 0.5})
    figure = curves.decision_panel({"score": curve.assign(act_on_all=[0.4, 0.0], act_on_none=0.0)})
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["score", "act on all", "act on none"]


def test_cross_table_puts_each_count_in_its_cell(ax):
    counts = pd.Series({"true_positive": 5, "false_negative": 1, "false_positive": 2, "true_negative": 4})
    figures.cross_table(ax, counts, "RCA")
    assert [text.get_text() for text in ax.texts] == ["4", "2", "1", "5"]


def test_heatmaps_stand_under_their_frames():
    frames = np.zeros((2, 8, 8), dtype=np.uint8)
    figure = figures.heatmap_grid(frames, {"with": np.ones((2, 8, 8))}, ["a", "b"])
    assert [len(axis.images) for axis in figure.axes] == [1, 1, 2, 2]


def test_cohort_figures(ax):
    flow = pd.DataFrame(
        {"step": ["a", "b"], "patients": [2, 2], "runs": [4, 3], "frames": [9, 5], "set_aside": ["", "1 runs"]}
    )
    texts = [text.get_text() for text in cohort_figures.flow_diagram(ax, flow).texts]
    assert any("set aside: 1 runs" in text for text in texts)
    lesions = pd.DataFrame({"artery": ["LCA", "RCA"], "segment": [12, 2], "percent_stenosis": [100.0, 10.0]})
    bars = cohort_figures.site_bars(Figure().subplots(), lesions)
    assert [label.get_text() for label in bars.get_yticklabels()] == ["proximal LAD"]
    counted = cohort_figures.severity_histogram(Figure().subplots(), lesions)
    assert sum(patch.get_height() for patch in counted.patches) >= 2
    assert {25, 50, 70, 100} <= {round(patch.get_x()) for patch in counted.patches}, "no bar lies across a cut-point"
    sheet = cohort_figures.view_sheet([np.zeros((8, 8), np.uint8)], [np.array([[1, 1, 3, 3]])], ["view"])
    assert len(sheet.axes[0].patches) == 1
