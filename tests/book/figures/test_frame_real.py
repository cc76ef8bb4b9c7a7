"""The figure of real runs: a row a run, and a page without runs."""

from __future__ import annotations

import numpy as np

from cag.book.figures.frame_real import plot_real_runs, shown_frames
from cag.chapters.frames.reading import FrameFinding
from cag.chapters.frames.real_runs import READINGS, Reading, RealRun


def run_of(interval: tuple[int, int] | None, reading: Reading | None = None, *, still: bool = False) -> RealRun:
    curve = np.linspace(0, 1, 20)
    chosen = np.arange(*interval) if interval else np.zeros(0, dtype=np.int64)
    finding = FrameFinding(curve, curve, curve, interval, chosen, "", curve, still)
    return RealRun("run", 30.0, np.zeros((20, 8, 8), dtype=np.uint8), finding, reading, "longest")


def test_three_frames_of_the_found_interval_are_shown_or_of_the_run() -> None:
    assert shown_frames(run_of((7, 19))) == [("begin: 7", 7), ("middle: 13", 13), ("end: 19", 19)]
    assert shown_frames(run_of(None)) == [("first: 0", 0), ("middle: 9", 9), ("last: 19", 19)]


def test_figure_has_a_row_a_run_and_tells_who_decided() -> None:
    reading = next(iter(READINGS.values()))
    figure = plot_real_runs([run_of((7, 19), reading), run_of((0, 19), still=True), run_of(None)])
    assert len(figure.axes) == 12
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "CNN + biLSTM by itself" in labels and "filled, by eye" in labels and len(labels) == len(set(labels))


def test_a_run_too_short_to_read_has_no_curve() -> None:
    nothing = np.zeros(0)
    finding = FrameFinding(nothing, nothing, nothing, None, np.zeros(0, dtype=np.int64), "too short")
    figure = plot_real_runs([RealRun("run", None, np.zeros((5, 8, 8), dtype=np.uint8), finding, None, "longest")])
    assert not figure.axes[0].lines


def test_without_runs_one_panel_says_so() -> None:
    (axes,) = plot_real_runs([]).axes
    assert "No real run" in axes.texts[0].get_text()
