import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cag.book.figures import classification as figures


@pytest.fixture
def ax():
    return Figure().subplots()


def scores(target, score):
    return pd.DataFrame({"patient_id": np.arange(len(target)) // 2, "target": target, "score": score})


@pytest.mark.parametrize(("kind", "area"), [("roc", "images: AUC 0.75"), ("precision", "images: AP 0.83")])
def test_a_curve_names_its_area_and_one_class_has_none(kind, area):
    curves = {"images": scores([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), "noisy_or": scores([1, 1], [0.1, 0.4])}
    figure = figures.curve_panels({"one": curves}, kind, resamples=3, rng=np.random.default_rng(0))
    lines = figure.axes[0].lines[:2]
    assert [line.get_label() for line in lines] == [area, "noisy-or: one class only"]
    assert len(lines[1].get_xdata()) == 0


@pytest.mark.parametrize("kind", ["roc", "precision"])
def test_the_band_encloses_the_curve_of_all_patients(kind):
    rng = np.random.default_rng(0)
    target = np.arange(200) % 4 // 3
    table = scores(target, target + rng.normal(0, 1, 200))
    figure = figures.curve_panels({"one": {"a": table}, "two": {"a": table}}, kind, resamples=40, rng=rng)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    curve, chance = figure.axes[0].lines
    at_half = np.interp(0.5, curve.get_xdata(), curve.get_ydata())
    near = band[np.abs(band[:, 0] - 0.5) < 0.006, 1]
    assert near.min() <= at_half <= near.max()
    assert list(chance.get_ydata()) == ([0, 1] if kind == "roc" else [0.25, 0.25]), "what no information reaches"


def test_confusion_counts(ax):
    figures.confusion(ax, np.array([0, 0, 1]), np.array([0, 2, 1]), ["<25", ">=25"])
    assert [text.get_text() for text in ax.texts] == ["1", "0", "1", "0", "1", "0"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["<25", ">=25", "redundant"]


def test_forest_draws_asymmetric_intervals_first_on_top(ax):
    table = pd.DataFrame({"value": [0.1, 0.3], "low": [0.0, 0.2], "high": [0.4, 0.35]})
    figures.forest(ax, table, ["first", "second"])
    segments = ax.collections[0].get_segments()
    assert segments[0].tolist() == [[0.0, 1.0], [0.4, 1.0]]


def test_heatmaps_and_true_boxes_stand_on_their_frames():
    frames, boxes = np.zeros((2, 8, 8), dtype=np.uint8), [np.array([[1, 1, 3, 3]]), np.zeros((0, 4))]
    figure = figures.heatmap_grid(frames, {"with": np.ones((2, 8, 8))}, ["a", "b"], boxes)
    assert [len(axis.images) for axis in figure.axes] == [1, 1, 2, 2]
    assert [len(axis.patches) for axis in figure.axes] == [1, 0, 1, 0]
