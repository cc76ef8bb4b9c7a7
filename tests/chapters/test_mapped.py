"""Tasks on a real local cluster of worker processes: the same results, whatever dies."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from cag.chapters import mapped
from cag.chapters import store as store_module
from cag.chapters.store import Store, run_tasks
from cag.data.cohort import Cohort
from cag.settings import InputError, LabelError, SettingsError
from tests.chapters.cluster_tasks import Number, count, die_once, refuse, twice, wait

pytestmark = pytest.mark.filterwarnings("ignore")  # Dask warns of what happens here on purpose


@pytest.fixture(scope="module")
def address():
    with mapped.open_scheduler("local:2") as found:
        yield found


@pytest.fixture
def cohort():
    manifest = pd.DataFrame({"run_id": ["a", "b", "c"], "patient_id": ["p", "p", "q"], "source": "simulated"})
    lesions = pd.DataFrame({"patient_id": ["p"], "percent_stenosis": [70.0]})
    return Cohort(manifest, pd.DataFrame({"patient_id": ["p", "q"]}), lesions, pd.DataFrame(), None, origin="drawn")


def numbers(*values: int) -> list[Number]:
    return [Number(number=value) for value in values]


@pytest.mark.parametrize(("work", "factor"), [(count, 1), (twice, 2)])
def test_workers_give_the_same_tables_and_load_what_they_share_once(work, factor, address, cohort, tmp_path):
    def results(store):
        folders = run_tasks("kind", work, numbers(*range(8)), cohort, store)
        assert all(folder.complete for folder in folders)
        return [int(folder.load_table("result").value[0]) for folder in folders]

    there = Store(tmp_path / "there", scheduler=address)
    assert results(Store(tmp_path / "here")) == results(there) == [factor * (3 * n + 1) for n in range(8)]
    processes = (tmp_path / "there.log").read_text().split()
    assert len(processes) == len(set(processes)) and str(os.getpid()) not in processes
    stamps = {path: path.stat().st_mtime_ns for path in there.root.rglob("*.parquet")}
    assert results(there) and stamps == {path: path.stat().st_mtime_ns for path in there.root.rglob("*.parquet")}


def test_a_worker_killed_in_the_middle_of_a_task_loses_nothing(address, cohort, tmp_path):
    store = Store(tmp_path / "store", scheduler=address)
    folders = run_tasks("die", die_once, numbers(0, 1, 2, 3), cohort, store)
    assert (store.root / "mark").exists()
    assert [int(folder.load_table("result").value[0]) for folder in folders] == [0, 1, 2, 3]
    assert {path.suffix for path in store.working.iterdir()} == {".lock"}


def test_a_refused_input_and_machines_that_do_not_share_the_folder_are_told(address, cohort, tmp_path, monkeypatch):
    with pytest.raises(LabelError, match=r"boxes: there is none. Add some"):
        run_tasks("refuse", refuse, numbers(1), cohort, Store(tmp_path, scheduler=address))
    monkeypatch.setattr(store_module, "_fill_there", _elsewhere)
    with pytest.raises(InputError, match="a worker does not see the results folder"):
        run_tasks("count", count, numbers(1), cohort, Store(tmp_path, scheduler=address))


def _elsewhere(task, **_):
    return None


def test_a_scheduler_that_is_gone_is_told_and_the_work_resumes(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "PATIENCE", 3.0)
    serve = "with open_scheduler('local:1') as a: print(a, flush=True); sys.stdin.read()"
    script = f"import sys; from cag.chapters.mapped import open_scheduler\n{serve}"
    command = [sys.executable, "-c", f"if __name__ == '__main__':\n    exec({script!r})"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        store = Store(tmp_path, scheduler=process.stdout.readline().strip())
        begun = f"until ls {tmp_path}/begun-* >/dev/null 2>&1; do sleep 0.1; done; kill -9 {process.pid}"
        killer, start = subprocess.Popen(["sh", "-c", begun]), time.monotonic()
        with pytest.raises(InputError, match=r"does not answer, or is gone .*finished work is kept"):
            run_tasks("wait", wait, numbers(0, 1, 2), cohort, store)
        assert time.monotonic() - start < 90
        assert killer.wait(timeout=5) == 0 and process.wait(timeout=5) == -signal.SIGKILL
    (tmp_path / "go").touch()
    folders = run_tasks("wait", wait, numbers(0, 1, 2), cohort, Store(tmp_path))
    assert [int(folder.load_table("result").value[0]) for folder in folders] == [0, 1, 2]


def test_what_is_no_scheduler_is_told():
    for wrong in ("local:0", "local:", "here", "http://x"):
        with pytest.raises(SettingsError, match="is no scheduler"), mapped.open_scheduler(wrong):
            pass
    with mapped.open_scheduler("tcp://10.0.0.1:8786") as address:
        assert address == "tcp://10.0.0.1:8786"
