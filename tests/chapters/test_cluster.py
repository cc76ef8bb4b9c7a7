"""Tasks on a real local cluster of worker processes: the same results, whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from cag.chapters import cluster
from cag.chapters.mapped import open_scheduler
from cag.chapters.store import Store
from cag.chapters.task import Task
from cag.chapters.tasks import run_tasks
from cag.data.cohort import Cohort
from cag.settings import InputError, LabelError, SettingsError
from tests.chapters.cluster_tasks import Number, Shared, count, die_once, refuse, wait

pytestmark = pytest.mark.filterwarnings("ignore")  # Dask warns of what happens here on purpose


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with open_scheduler("local:2") as found:
        yield found


@pytest.fixture
def cohort() -> Cohort:
    manifest = pd.DataFrame({"run_id": ["a", "b", "c"], "patient_id": ["p", "p", "q"], "source": "simulated"})
    lesions = pd.DataFrame({"patient_id": ["p"], "percent_stenosis": [70.0]})
    return Cohort(manifest, pd.DataFrame({"patient_id": ["p", "q"]}), lesions, pd.DataFrame(), None, origin="drawn")


def test_workers_give_the_same_tables_and_load_what_they_share_once(address: str, cohort: Cohort, tmp_path: Path):
    def results(store: Store, log: Path, scheduler: str | None) -> list[int]:
        work = partial(count, shared=Shared(cohort, log))
        tasks = [Task("count", Number(number=n), work) for n in range(12)]
        folders = run_tasks(tasks, cohort, store, progress=False, scheduler=scheduler)
        assert all(folder.complete for folder in folders)
        return [int(folder.load_table("result").value[0]) for folder in folders]

    here = results(Store(tmp_path / "here"), tmp_path / "here.log", None)
    there = results(Store(tmp_path / "there"), tmp_path / "there.log", address)
    assert here == there == [3 * n + 1 for n in range(12)]
    processes = (tmp_path / "there.log").read_text().split()
    assert len(processes) == len(set(processes)) and str(os.getpid()) not in processes
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "there").rglob("*.parquet")}
    assert results(Store(tmp_path / "there"), tmp_path / "there.log", address) == there
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "there").rglob("*.parquet")}


def test_a_worker_killed_in_the_middle_of_a_task_loses_nothing(address: str, cohort: Cohort, tmp_path: Path):
    tasks = [Task("die", Number(number=n), partial(die_once, mark=tmp_path / "mark")) for n in range(4)]
    folders = run_tasks(tasks, cohort, Store(tmp_path / "store"), progress=False, scheduler=address)
    assert (tmp_path / "mark").exists()
    assert [int(folder.load_table("result").value[0]) for folder in folders] == [0, 1, 2, 3]
    assert not list((tmp_path / "store" / ".working").iterdir())


def test_a_refused_input_and_work_without_a_name_are_sentences(address: str, cohort: Cohort, tmp_path: Path):
    store = Store(tmp_path)
    with pytest.raises(LabelError, match=r"boxes: there is none. Add some"):
        run_tasks([Task("refuse", Number(number=1), refuse)], cohort, store, progress=False, scheduler=address)
    with pytest.raises(InputError, match="unnamed: cannot be sent to a worker"):
        unnamed = Task("unnamed", Number(number=1), lambda cohort, settings, folder: None)
        run_tasks([unnamed], cohort, store, progress=False, scheduler=address)


def test_a_task_marked_so_stays_here(address: str, cohort: Cohort, tmp_path: Path):
    seen: list[int] = []
    task = Task("here", Number(number=1), lambda cohort, settings, folder: seen.append(os.getpid()), here=True)
    assert run_tasks([task], cohort, Store(tmp_path), progress=False, scheduler=address)[0].complete
    assert seen == [os.getpid()]


def test_machines_that_do_not_share_the_folder_are_told(address: str, cohort: Cohort, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(cluster, "_submitted", partial(_elsewhere, cluster._submitted, tmp_path / "other"))
    work = partial(count, shared=Shared(cohort, tmp_path / "log"))
    with pytest.raises(InputError, match="a worker does not see the results folder"):
        run_tasks([Task("c", Number(number=1), work)], cohort, Store(tmp_path), progress=False, scheduler=address)


def _elsewhere(submitted, root, client, parcel, held, _, mark, resources):
    return submitted(client, parcel, held, root, mark, resources)


def test_a_scheduler_that_is_gone_is_told_and_the_work_resumes(cohort: Cohort, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 3.0)
    store, mark = Store(tmp_path / "store"), tmp_path / "mark"
    tasks = [Task("wait", Number(number=n), partial(wait, mark=mark)) for n in (0, 1, 2)]
    script = (
        "import sys; from cag.chapters.mapped import open_scheduler\n"
        "with open_scheduler('local:1') as a: print(a, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        killer = subprocess.Popen(
            ["sh", "-c", f"until ls {tmp_path}/begun-* >/dev/null 2>&1; do sleep 0.1; done; kill -9 {process.pid}"]
        )
        start = time.monotonic()
        with pytest.raises(InputError, match=r"the Dask scheduler is gone: [01] of 3 open tasks"):
            run_tasks(tasks, cohort, store, progress=False, scheduler=address)
        assert time.monotonic() - start < 60
        assert killer.wait(timeout=5) == 0
        assert process.wait(timeout=5) == -signal.SIGKILL
    with pytest.raises(InputError, match=r"no Dask scheduler answers there.*finished work is kept"):
        run_tasks(tasks, cohort, store, progress=False, scheduler=address)
    mark.touch()
    folders = run_tasks(tasks, cohort, store, progress=False)
    assert [int(folder.load_table("result").value[0]) for folder in folders] == [0, 1, 2]


def test_what_is_no_scheduler_is_told():
    for wrong in ("local:0", "local:", "here", "http://x"):
        with pytest.raises(SettingsError, match="is no scheduler"), open_scheduler(wrong):
            pass
    with open_scheduler("tcp://10.0.0.1:8786") as address:
        assert address == "tcp://10.0.0.1:8786"
