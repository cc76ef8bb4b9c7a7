from __future__ import annotations

import sys
import threading

import pytest

from cag.book.lanes import LastLine, side_by_side

NEEDS = {"train": (), "cohort": (), "find": ("train",), "read": ("train", "find"), "score": ("read", "cohort")}


def never():
    raise AssertionError("nobody interrupted")


def test_a_piece_starts_when_all_it_reads_from_have_ended():
    ended: list[str] = []

    def work(name, shown):
        assert set(NEEDS[name]) <= set(ended)
        ended.append(name)
        return name.upper()

    results = side_by_side(NEEDS, work, 2, never)
    assert list(results.items()) == [(name, name.upper()) for name in NEEDS]
    assert sorted(ended) == sorted(NEEDS)


def test_as_many_pieces_run_at_once_as_there_are_lanes():
    meet = threading.Barrier(2, timeout=20)
    running, most = set(), []

    def work(name, shown):
        running.add(name)
        if name in ("train", "cohort"):
            meet.wait()  # ends only when both are under way
        most.append(len(running))
        running.discard(name)

    side_by_side(NEEDS, work, 2, never)
    assert max(most) <= 2


def test_after_a_failure_nothing_is_started_and_what_runs_is_let_finish():
    fails = threading.Event()
    ended = []

    def work(name, shown):
        if name == "train":
            fails.set()
            raise ValueError("no such weights")
        fails.wait(20)
        ended.append(name)

    with pytest.raises(ValueError, match="no such weights"):
        side_by_side(NEEDS, work, 2, never)
    assert ended == ["cohort"]


def test_an_interruption_ends_what_the_pieces_wait_for(monkeypatch):
    stopped = threading.Event()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cag.book.lanes.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        side_by_side({"train": ()}, lambda name, shown: stopped.wait(20), 1, stopped.set)
    assert stopped.is_set()


def test_the_last_line_of_a_stream_is_shown(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with LastLine("02_frame_selection", 0) as shown:
        shown.write("Features:  10%\rFeatures:  20%\n\n")
    assert "02_frame_selection: Features:  20%" in capsys.readouterr().err
