from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from cag.settings import Settings
from cag.store import Store
from cag.tasks import Task, run_tasks


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
