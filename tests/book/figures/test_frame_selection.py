"""Numbers, figures and tables of frame selection, from small tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cag.book.figures import frame_selection as figures
from cag.book.figures.cine_player import SHOWN_FRAMES, cine_player
from cag.book.figures.style import panels
from cag.chapters.frames import scores
from cag.metrics.frame_selection import of_frame_selection, run_errors
from cag.metrics.tables import stratified_table


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows, place = [], ("RCA", "RCA LAO", 15.0, 60)
    for arm, methods in (("clean", figures.METHOD_NAMES), ("as_published", ("cnn_lstm", "cnn"))):
        for method in methods:
            for number in range(12):
                empty, missed = number == 11, number == 5 and method != "prior"
                shift = generator.integers(-4, 5, 2)
                found = (pd.NA, pd.NA) if empty or missed else (20 + shift[0], 40 + shift[1])
                truth = (pd.NA, pd.NA) if empty else (20, 40)
                rows.append(
                    (f"P{number // 2}_R{number}", f"P{number // 2}", arm, method, *place, *truth, number == 3, *found)
                )
    columns = ["run_id", "patient_id", "arm", "method", "artery", "view", "fps", "n_frames"]
    table = pd.DataFrame(rows, columns=[*columns, "begin_true", "end_true", "end_censored", "begin_pred", "end_pred"])
    whole = ["begin_true", "end_true", "begin_pred", "end_pred"]
    table[whole] = table[whole].astype("Int64")
    return table


def test_method_table_lists_methods_in_order_with_intervals(runs: pd.DataFrame) -> None:
    by, rng = ["arm", "method"], np.random.default_rng(0)
    estimates = stratified_table(runs, of_frame_selection, by=by, n=20, rng=rng)
    clean = estimates[estimates.arm == "clean"]
    table = figures.method_table(clean, ["end_error", "acceptance_rate"])
    assert table.columns.tolist() == ["method", "end_error", "acceptance_rate"]
    assert table.method.tolist() == list(figures.METHOD_NAMES.values())
    assert table.acceptance_rate.str.match(r"^0\.\d\d \(0\.\d\d to \d\.\d\d\)$").all()


def test_each_metric_has_its_own_best_method_without_a_network() -> None:
    rows = [
        ("clean", method, f"acceptance_rate_{border}", value)
        for method, begin, end in (("vesselness", 0.6, 0.5), ("prior", 0.4, 0.7), ("cnn_lstm", 0.9, 0.9))
        for border, value in (("begin", begin), ("end", end))
    ]
    estimates = pd.DataFrame(rows, columns=["arm", "method", "metric", "value"])
    assert scores.best_baseline(estimates, "acceptance_rate_begin") == "vesselness"
    assert scores.best_baseline(estimates, "acceptance_rate_end") == "prior"


def test_a_difference_is_that_of_the_two_values_and_nothing_with_itself(runs: pd.DataFrame) -> None:
    own, other = ("clean", "cnn_lstm"), ("clean", "prior")
    values = {
        side: float(of_frame_selection(scores.method_runs(runs, *side)).metrics(np.ones((1, 12)))["end_error"][0])
        for side in (own, other)
    }
    table = scores.method_difference(runs, own, other, n=20, seed=0).set_index("metric")
    assert table.value["end_error"] == pytest.approx(values[own] - values[other])
    same = scores.method_difference(runs, own, own, n=20, seed=0).dropna(subset="value")
    assert len(same) and (same[["value", "low", "high"]] == 0).all(axis=None)


def test_candidates_are_compared_on_the_same_patients() -> None:
    rows = [
        (f"P{patient}", "clean", method, "quality", frame < inside)
        for patient in range(6)
        for method, inside in (("cnn_lstm", 4), ("vesselness", 3))
        for frame in range(4)
    ]
    candidates = pd.DataFrame(rows, columns=["patient_id", "arm", "method", "chosen_by", "inside"])
    difference = scores.inside_difference(candidates, "cnn_lstm", "vesselness", n=20, seed=0)
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.25, 0.25, 0.25))


def test_every_run_is_in_one_group_of_each_kind(runs: pd.DataFrame) -> None:
    groups = scores.subgroup_estimates(runs, n=20, seed=0)
    sizes = groups.drop_duplicates(["by", "group"]).groupby("by").n_rows.sum()
    assert sizes.to_dict() == dict.fromkeys(["artery", "view", "frame rate", "contrast", "end"], 12)
    assert {"no contrast", "5-29 frames"} == set(groups[groups.by == "contrast"].group)


def test_examples_are_the_best_the_median_and_the_worst(runs: pd.DataFrame) -> None:
    examples = scores.example_runs(runs)
    assert examples.total.is_monotonic_increasing and len(examples) == 3
    assert examples.title.iloc[2].endswith("no interval found")
    frames = pd.concat(pd.DataFrame({"run_id": run, "frame": range(60), "probability": 0.5}) for run in examples.run_id)
    candidates = pd.DataFrame({"run_id": examples.run_id.iloc[:1], "frame": [25]})
    assert len(figures.plot_examples(examples, frames, candidates).axes) == 3


def test_error_and_acceptance_figures_draw_every_method(runs: pd.DataFrame) -> None:
    errors = {name: run_errors(scores.method_runs(runs, "clean", name)) for name in figures.METHOD_NAMES}
    lines = [line for line in figures.plot_acceptance(errors).axes[0].lines if len(line.get_xdata()) > 2]
    assert len(lines) == 6 and all((np.diff(line.get_ydata()) >= 0).all() for line in lines)
    assert len(figures.plot_errors(errors).axes) == 2
    _, axes = panels(1, 1)
    assert figures.plot_probability(axes[0, 0], np.linspace(0, 1, 10), None, None).get_xlim() == (-0.5, 9.5)


def test_frames_are_shown_with_their_titles() -> None:
    figure = figures.plot_frames(np.zeros((7, 16, 16), np.uint8), [f"frame {number}" for number in range(7)])
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes]
    assert titles == [*(f"frame {number}" for number in range(7)), "", "", ""]


def test_a_run_is_shown_with_three_frames_of_what_was_found() -> None:
    frames = np.zeros((10, 8, 8), np.uint8)
    found = figures.ShownRun("run", frames, np.linspace(0, 1, 10), (5, 9), (4, 8), np.array([6]))
    too_short = figures.ShownRun("short", frames[:5], np.zeros(0), None, None)
    axes = figures.plot_runs([found, too_short]).axes
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in axes]
    assert titles == ["run", "frame 4", "frame 6", "frame 8", "short", "frame 0", "frame 2", "frame 4"]
    (title,) = [ax.get_title() or ax.get_title(loc="left") for ax in figures.plot_runs([]).axes][:1]
    assert "No run" in title


def test_cine_player_is_small_and_asks_nobody_for_anything() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (150, 512, 512)).astype(np.uint8)
    player = str(cine_player(frames, np.linspace(0, 1, 150), (10, 40), None).data)
    assert "<script src" not in player and "import(" not in player
    first_and_again = SHOWN_FRAMES + 1  # the first is shown before the script runs
    assert player.count("data:image/") == first_and_again and len(player) < 1_500_000
