from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cag.figures import classification as figures
from cag.figures import cohort as cohort_figures
from cag.figures import scorecard as scorecard_figures


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


def test_severity_curve_is_the_mean_over_patients(ax):
    frames = pd.DataFrame({"patient_id": ["a", "a", "b"], "percent_stenosis": [30, 30, 40], "called": [1, 1, 0]})
    figures.severity_curve(ax, frames, (0, 25, 50), "x", "k")
    values = ax.lines[0].get_ydata()
    assert np.isnan(values[0]) and values[1] == pytest.approx(0.5)


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
    sheet = cohort_figures.view_sheet([np.zeros((8, 8), np.uint8)], [np.array([[1, 1, 3, 3]])], ["view"])
    assert len(sheet.axes[0].patches) == 1


def test_scorecard_figure_shows_shares_only():
    card = pd.DataFrame(
        {
            "source": ["Table 3", "Table 3"],
            "subset": ["a", "b"],
            "condition": ["", ""],
            "metric": ["auc", "mse"],
            "value": [0.8, 37.0],
            "own": [0.7, 50.0],
            "own_low": [0.6, 40.0],
            "own_high": [0.8, 60.0],
        }
    )
    figure = scorecard_figures.published_against_own(card)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a · auc"]
