"""Figures and tables of frame selection, drawn from small tables."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from cag.book.figures import frame_selection as figures
from cag.book.figures import frame_tables as tables
from cag.book.figures.cine_player import cine_player, show_interactive
from cag.book.figures.style import panels
from cag.chapters.frames import candidate_scores, scores


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
    estimates = scores.method_estimates(runs, resamples=50, seed=0)
    table = tables.method_table(estimates)
    assert table.Arm.tolist() == ["clean"] * 6 + ["as published"] * 2
    assert table.Method.tolist()[:6] == list(figures.METHOD_NAMES.values())
    assert table["Within 3 frames"].str.match(r"^0\.\d\d \(0\.\d\d to \d\.\d\d\)$").all()


def test_headline_and_verdict_are_those_of_the_tables(runs: pd.DataFrame) -> None:
    estimates = scores.method_estimates(runs, resamples=50, seed=0)
    compared = scores.against_best_baseline(runs, estimates, resamples=50, seed=0)
    difference = scores.headline(estimates)["acceptance_rate"].value - compared["baseline_acceptance_rate"].value
    assert compared["baseline_difference"].value == pytest.approx(difference)
    assert "borders" in str(compared["baseline_verdict"])
    assert scores.test_counts(runs) == {
        "test_patients": 6,
        "test_runs": 12,
        "runs_without_contrast": 1,
        "runs_censored": 1,
        "runs_short": 0,
    }


def test_each_border_has_its_own_best_method_without_a_network() -> None:
    rows = [
        ("clean", method, f"acceptance_rate_{border}", value, value - 0.1, value + 0.1, 6)
        for method, begin, end in (("vesselness", 0.6, 0.5), ("prior", 0.4, 0.7), ("cnn_lstm", 0.9, 0.9))
        for border, value in (("begin", begin), ("end", end))
    ]
    estimates = pd.DataFrame(rows, columns=["arm", "method", "metric", "value", "low", "high", "n_groups"])
    best = scores.best_by_border(estimates)
    assert (best["baseline_begin_method"], best["baseline_begin_rate"].value) == (scores.BASELINES["vesselness"], 0.6)
    assert (best["baseline_end_method"], best["baseline_end_rate"].value) == (scores.BASELINES["prior"], 0.7)


def test_subgroups_and_optimism_have_a_row_each(runs: pd.DataFrame) -> None:
    groups = tables.subgroup_table(scores.subgroup_estimates(runs, resamples=20, seed=0))
    assert set(groups.By) == {"artery", "view", "frame rate", "contrast", "end"}
    assert groups[groups.By == "contrast"].Runs.sum() == 12
    differences = scores.optimism(runs, ("cnn_lstm", "cnn"), resamples=20, seed=0)
    assert tables.difference_table(differences).Method.tolist() == ["CNN + biLSTM", "CNN, frame by frame"]


def test_candidate_table_sets_both_ways_beside_each_other() -> None:
    rows = [
        ("P1", "clean", "cnn", way, inside) for way in ("quality", "middle") for inside in (True, True, False, True)
    ]
    candidates = pd.DataFrame(rows, columns=["patient_id", "arm", "method", "chosen_by", "inside"])
    table = tables.candidate_table(candidate_scores.candidate_estimates(candidates, resamples=5, seed=0))
    assert table.shape == (1, 3) and table.iloc[0, 1].startswith("0.75") and table.iloc[0, 2].startswith("0.75")


def test_candidates_are_compared_on_the_same_patients() -> None:
    rows = [
        (f"P{patient}", "clean", method, "quality", frame < inside)
        for patient in range(6)
        for method, inside in (("cnn_lstm", 4), ("vesselness", 3), ("darkness", 1))
        for frame in range(4)
    ]
    candidates = pd.DataFrame(rows, columns=["patient_id", "arm", "method", "chosen_by", "inside"])
    compared = candidate_scores.candidates_against_baselines(candidates, resamples=20, seed=0)
    difference = compared["candidates_difference"]
    assert compared["candidates_baseline"] == scores.BASELINES["vesselness"]
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.25, 0.25, 0.25))
    assert "at least as often" in str(compared["candidates_verdict"])
    worse = candidate_scores.candidates_against_baselines(candidates, resamples=20, seed=0, method="darkness")
    assert "less often" in str(worse["candidates_verdict"])


def test_examples_are_the_best_the_median_and_the_worst(runs: pd.DataFrame) -> None:
    examples = scores.example_runs(runs)
    assert examples.total.is_monotonic_increasing and len(examples) == 3
    assert examples.title.iloc[2].endswith("no interval found")
    frames = pd.concat(pd.DataFrame({"run_id": run, "frame": range(60), "probability": 0.5}) for run in examples.run_id)
    candidates = pd.DataFrame({"run_id": examples.run_id.iloc[:1], "frame": [25]})
    figure = figures.plot_examples(examples, frames, candidates)
    assert len(figure.axes) == 3


def test_error_and_acceptance_figures_draw_every_method(runs: pd.DataFrame) -> None:
    errors = {name: scores.method_errors(runs, "clean", name) for name in figures.METHOD_NAMES}
    ax = figures.plot_acceptance_curves(errors).axes[0]
    lines = [line for line in ax.lines if len(line.get_xdata()) > 2]
    assert len(lines) == 6
    assert all((np.diff(line.get_ydata()) >= 0).all() for line in lines)
    assert len(figures.plot_errors(errors).axes) == 2
    _, axes = panels(1, 1)
    figures.plot_probability(axes[0, 0], np.linspace(0, 1, 10), None, None)
    assert axes[0, 0].get_xlim() == (-0.5, 9.5)


def test_candidate_frames_are_shown_with_their_numbers() -> None:
    figure = figures.plot_candidates(np.zeros((7, 16, 16), np.uint8), list(range(7)), [0.5] * 7)
    assert [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes][:2] == ["frame 0: 0.50", "frame 1: 0.50"]


def test_cine_player_is_small_and_moves_along(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (50, 512, 512)).astype(np.uint8)
    figure = cine_player(frames, np.linspace(0, 1, 50), (10, 40), None)
    assert len(figure.frames) == 24 and len(figure.layout.sliders[0].steps) == 24
    assert figure.frames[-1].data[1].x == (49,) and figure.frames[-1].data[1].y == (1.0,)
    shown: list[dict[str, object]] = []
    monkeypatch.setattr("cag.book.figures.cine_player.display", lambda bundle, raw: shown.append(bundle))
    show_interactive(figure)
    html = str(shown[0]["text/html"])
    assert set(shown[0]) == {"application/vnd.plotly.v1+json", "text/html"}
    assert "<script src" not in html and "import(" not in html
    assert len(html) + len(json.dumps(shown[0]["application/vnd.plotly.v1+json"])) < 1_500_000
