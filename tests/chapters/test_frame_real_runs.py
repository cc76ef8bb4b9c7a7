"""Real runs beside what was read by eye: sentences and tables that follow from the findings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cag.book.figures.frame_real import real_table
from cag.chapters.frames import real_runs as real
from cag.chapters.frames.reading import FrameFinding
from cag.chapters.frames.real_summary import NO_REAL_RUNS, real_statement, real_summary


def run_of(
    interval: tuple[int, int] | None,
    *,
    reading: real.Reading | None,
    candidates: tuple[int, ...] = (),
    count: int = 20,
    still: bool = False,
) -> real.RealRun:
    curve = np.zeros(count)
    if interval is not None:
        curve[interval[0] : interval[1] + 1] = 1.0
    sequence = np.zeros(count)
    sequence[-1] = 1.0
    chosen = np.array(candidates, dtype=np.int64)
    finding = FrameFinding(curve, curve, curve, interval, chosen, "", sequence if still else curve, still)
    frames = np.zeros((count, 8, 8), dtype=np.uint8)
    return real.RealRun(reading.name if reading else "run 1", 30.0, frames, finding, reading, "longest")


READING = real.Reading("right artery", (6, 8), 10, 19)
FULL = real.Reading("static model A", (0, 0), 0, 19)


def test_frames_are_marked_by_finding_and_by_eye() -> None:
    table = real.real_frames([run_of((7, 19), reading=READING, candidates=(7, 9, 12))])
    assert table.frame.tolist() == list(range(20))
    assert table[table.found].frame.tolist() == list(range(7, 20))
    assert table[table.filled].frame.tolist() == list(range(8, 20))
    assert table[table.complete].frame.tolist() == list(range(10, 20))
    assert table[table.candidate].frame.tolist() == [7, 9, 12]


def test_an_unread_run_has_no_filled_frames() -> None:
    table = real.real_frames([run_of((7, 19), reading=None)])
    assert table.filled.isna().all() and table.complete.isna().all()
    assert real_table(real_summary([run_of((7, 19), reading=None)]))["Filled, by eye"].tolist() == ["not read"]


@pytest.mark.parametrize(
    ("interval", "begin_off", "end_off", "agrees"),
    [
        ((6, 19), 0, 0, True),
        ((8, 19), 0, 0, True),
        ((3, 19), -3, 0, True),
        ((12, 19), 4, 0, False),
        ((7, 9), 0, -10, False),
    ],
)
def test_errors_count_from_the_readers_uncertainty(
    interval: tuple[int, int], begin_off: int, end_off: int, agrees: bool
) -> None:
    row = real_summary([run_of(interval, reading=READING, candidates=(9, 10))]).iloc[0]
    assert (row.begin_off, row.end_off, bool(row.agrees)) == (begin_off, end_off, agrees)
    assert (row.candidates, row.candidates_filled, row.candidates_complete) == (2, 2, 1)


def test_the_statement_tells_agreement_failure_and_guard_apart() -> None:
    good = real_statement(real_summary([run_of((7, 19), reading=READING, candidates=(9,))]))
    assert "frames 7 to 19" in good and "1 of 1 candidates" in good and "agrees with the eye" in good
    bad = real_statement(real_summary([run_of((14, 19), reading=READING)]))
    assert "begin 6 frames late" in bad and "fails on right artery" in bad
    nothing = real_statement(real_summary([run_of(None, reading=READING)]))
    assert "finds nothing" in nothing and "fails on right artery" in nothing
    guarded = real_statement(real_summary([run_of((0, 19), reading=FULL, still=True)]))
    assert "The biLSTM by itself fails on static model A" in guarded and "agrees with the eye" in guarded


def test_unread_runs_are_counted_not_judged() -> None:
    text = real_statement(real_summary([run_of((7, 19), reading=None)]))
    assert "1" in text and "agrees" not in text and "fails" not in text


def test_without_runs_the_page_says_so() -> None:
    summary = real_summary([])
    assert real_statement(summary) == NO_REAL_RUNS
    assert real_table(summary).Run.tolist() == ["no real run was read"]


def test_the_folder_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(real.VARIABLE, raising=False)
    assert real.real_folder() is None
    monkeypatch.setenv(real.VARIABLE, str(tmp_path))
    assert real.real_folder() is None
    (tmp_path / real.FOLDER).mkdir()
    assert real.real_folder() == tmp_path / real.FOLDER


def test_readings_are_of_the_files_at_hand(cag_data: Path) -> None:
    from cag.data.dicom import read_header
    from cag.data.fingerprint import file_digest

    found = {file_digest(path): path for path in (cag_data / real.FOLDER).glob("*.dcm")}
    for digest, reading in real.READINGS.items():
        header = read_header(found[digest])
        assert reading.begin[0] <= reading.begin[1] <= max(reading.complete, reading.begin[1]) <= reading.end
        assert reading.end < header.n_frames


def test_real_frames_of_nothing_is_an_empty_table() -> None:
    assert isinstance(real.real_frames([]), pd.DataFrame) and real.real_frames([]).empty
