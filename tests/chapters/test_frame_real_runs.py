"""Real runs beside what was read by eye."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cag.chapters.frames import real_runs as real
from cag.chapters.frames.reading import FrameFinding

READ = pd.Series({"name": "artery", "begin_earliest": 3, "begin_latest": 5, "complete": 8, "end": 19})
SELECTOR = SimpleNamespace(settings=SimpleNamespace(rule="longest"))


def run_of(interval: tuple[int, int] | None, candidates: list[int], reading: pd.Series | None = READ) -> real.RealRun:
    curve = np.zeros(20)
    if interval:
        curve[interval[0] : interval[1] + 1] = 0.9
    finding = FrameFinding(curve, curve, curve, interval, np.array(candidates, dtype=int), "", curve)
    return real.RealRun("artery", 15.0, np.zeros((20, 8, 8), np.uint8), finding, reading)


def test_a_begin_within_the_readers_uncertainty_is_no_error() -> None:
    row = real.real_summary([run_of((4, 17), [4, 6, 9])], SELECTOR).iloc[0]
    assert (row.begin_off, row.end_off, row.agrees) == (0, -2, True)
    assert (row.candidates, row.filled, row.complete) == (3, 2, 1)
    assert (row.filled_by_eye, row.found, row.bilstm_alone) == ("3-5 to 19", "4 to 17", "4 to 17")


@pytest.mark.parametrize(("interval", "agrees"), [((8, 19), True), ((9, 19), False), ((5, 15), False), (None, False)])
def test_agreement_is_both_borders_within_three_frames(interval: tuple[int, int] | None, agrees: bool) -> None:
    assert real.real_summary([run_of(interval, [])], SELECTOR).agrees.tolist() == [agrees]


def test_a_run_that_nobody_read_is_not_judged() -> None:
    row = real.real_summary([run_of((4, 17), [4], None)], SELECTOR).iloc[0]
    assert row.filled_by_eye == "not read" and row.agrees is None and np.isnan(row.filled)


def test_readings_lie_in_order_and_a_missing_folder_gives_no_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    read = real.eye_readings()
    assert read.index.str.fullmatch("[0-9a-f]{64}").all() and read["name"].is_unique
    assert (read[["begin_earliest", "begin_latest", "complete", "end"]].diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    monkeypatch.setenv(real.VARIABLE, "/no/such/folder")
    assert real.real_folder() is None and real.read_real_runs(SELECTOR, None) == []


def test_public_runs_are_found_by_their_bytes(cag_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = np.zeros(0)
    finding = FrameFinding(nothing, nothing, nothing, None, np.zeros(0, dtype=int), "")
    monkeypatch.setattr(real, "find_interval", lambda frames, selector: finding)
    runs = real.read_real_runs(SELECTOR, cag_data / real.FOLDER)
    assert [(run.name, len(run.frames)) for run in runs][:3] == [
        ("right artery", 96), ("static model A", 9), ("static model B", 8),
    ]  # fmt: skip
