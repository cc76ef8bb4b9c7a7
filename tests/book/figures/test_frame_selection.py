"""Figures and tables of frame selection, from small tables."""

import numpy as np
import pandas as pd

from cag.book.figures import frame_selection as figures


def titles(figure: figures.Figure) -> list[str]:
    return [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes]


def test_method_table_lists_methods_in_order_with_intervals():
    names = ["prior", "cnn_lstm", "cnn"]
    rows = [(name, metric, 0.5, 0.25, 0.75) for name in names for metric in ("end_error", "acceptance_rate")]
    estimates = pd.DataFrame(rows, columns=["method", "metric", "value", "low", "high"])
    table = figures.method_table(estimates, ["acceptance_rate", "end_error"])
    assert table.columns.tolist() == ["method", "acceptance_rate", "end_error"]
    assert table.method.tolist() == [figures.METHOD_NAMES[name] for name in ("cnn_lstm", "cnn", "prior")]
    assert set(table.end_error) == {"0.50 (0.25 to 0.75)"}


def test_an_interval_of_a_row():
    rows = pd.DataFrame({"begin_pred": [3, pd.NA], "end_pred": [7, pd.NA]})
    assert [figures.interval_of(row, "pred") for _, row in rows.iterrows()] == [(3, 7), None]


def test_a_run_is_shown_with_three_frames_of_what_was_found():
    frames = np.zeros((10, 8, 8), np.uint8)
    found = figures.ShownRun("run", frames, np.linspace(0, 1, 10), (5, 9), (4, 8), np.array([6]))
    too_short = figures.ShownRun("short", frames[:5], np.zeros(0), None, None)
    figure = figures.plot_runs([found, too_short])
    assert titles(figure) == ["run", "frame 4", "frame 6", "frame 8", "short", "frame 0", "frame 2", "frame 4"]
    assert figure.axes[0].get_xlim() == (-0.5, 9.5)
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["true interval", "found interval"]
