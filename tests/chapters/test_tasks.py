from __future__ import annotations

import time
from types import SimpleNamespace

import pandas as pd
import pytest

from cag.chapters.progress import OutOfTime
from cag.chapters.store import Store
from cag.chapters.tasks import USED_VARIABLE, Task, run_tasks, tasks_used
from cag.settings import Settings


class Example(Settings):
    number: int


COHORT = SimpleNamespace(digest=lambda: "cohort")


def test_finished_work_is_found_again_and_broken_work_is_redone(tmp_path):
    calls = []

    def work(cohort, settings, folder):
        calls.append(settings.number)
        folder.save_table("result", pd.DataFrame({"number": [settings.number]}))
        if settings.number == 2 and calls.count(2) == 1:
            raise RuntimeError("killed")

    tasks = [Task("square", Example(number=n), work) for n in (1, 2, 3)]
    with pytest.raises(RuntimeError, match="killed"):
        run_tasks(tasks, COHORT, Store(tmp_path), progress=False)
    folders = run_tasks(tasks, COHORT, Store(tmp_path), progress=False)
    assert calls == [1, 2, 2, 3]
    assert [folder.load_table("result")["number"][0] for folder in folders] == [1, 2, 3]


def test_nothing_to_do(tmp_path):
    assert run_tasks([], COHORT, Store(tmp_path), progress=False) == []


def test_the_hours_of_a_study_end_before_a_task_and_the_next_call_goes_on(tmp_path, monkeypatch):
    def work(cohort, settings, folder):
        time.sleep(0.3)
        folder.save_table("result", pd.DataFrame({"number": [settings.number]}))

    tasks = [Task("slow", Example(number=n), work) for n in range(5)]
    monkeypatch.setenv("CAG_DEADLINE", str(time.time() + 0.5))
    with pytest.raises(OutOfTime, match=r"slow: the hours are over: 1 of 5 open tasks were done. .*run the same"):
        run_tasks(tasks, COHORT, Store(tmp_path), progress=False)
    monkeypatch.delenv("CAG_DEADLINE")
    assert all(folder.complete for folder in run_tasks(tasks, COHORT, Store(tmp_path), progress=False))


def test_a_kernel_notes_which_tasks_it_made_and_which_it_found_with_their_seconds(tmp_path, monkeypatch):
    def work(cohort, settings, folder):
        time.sleep(0.05)
        folder.save_table("result", pd.DataFrame({"number": [settings.number]}))

    tasks = [Task("square", Example(number=n), work) for n in (1, 2)]
    store, notes = Store(tmp_path / "store"), tmp_path / "notes"
    (older,) = run_tasks(tasks[:1], COHORT, store, progress=False)
    assert not notes.exists() and 0.05 <= older.seconds < 5
    (older.path / "took.json").unlink()  # as folders were before
    monkeypatch.setenv(USED_VARIABLE, str(notes))
    for _ in range(2):
        folders = run_tasks(tasks, COHORT, store, progress=False)
    names = [f"square/{folder.path.name}" for folder in folders]
    assert tasks_used(notes) == {"made": names[1:], "found": {names[0]: None}}
    notes.unlink()
    run_tasks(tasks[1:], COHORT, store, progress=False)
    assert tasks_used(notes)["found"] == {names[1]: folders[1].seconds}
    assert tasks_used(tmp_path / "none") == {"made": [], "found": {}}
