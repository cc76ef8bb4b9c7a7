"""One process fills a folder, nobody sees it before it is whole, and a killed one leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cag.chapters.claims import claim, fill
from cag.chapters.store import RunFolder, Store
from cag.settings import InputError, Settings


class Example(Settings):
    number: int = 1


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def _folder(store: Store) -> RunFolder:
    return store.folder("kind", Example(), "cohort")


def test_a_folder_appears_whole(store: Store):
    folder, seen = _folder(store), []

    def work(draft: RunFolder) -> None:
        draft.save_json("notes", {"a": 1})
        seen.append(folder.path.exists())

    assert fill(store, folder, Example(), work)
    assert seen == [False] and folder.complete and folder.load_json("notes") == {"a": 1}
    assert fill(store, folder, Example(), lambda draft: pytest.fail("it is there already"))
    assert not list(store.working.iterdir())


def test_an_old_broken_folder_is_replaced_and_a_failed_work_leaves_nothing(store: Store):
    folder = _folder(store)
    folder.save_json("old", {})
    with pytest.raises(ZeroDivisionError):
        fill(store, folder, Example(), lambda draft: 1 / 0)
    assert not folder.complete and not list(store.working.iterdir())
    assert fill(store, folder, Example(), lambda draft: draft.save_json("new", {}))
    assert folder.has("new.json") and not folder.has("old.json")


def test_two_threads_of_one_claim(tmp_path: Path):
    with claim(tmp_path / "lock") as first, claim(tmp_path / "lock") as second:
        assert (first, second) == (True, False)
    with claim(tmp_path / "lock") as again:
        assert again


HOLDER = """
import sys, time
from pathlib import Path
from cag.chapters.claims import fill
from cag.settings import Settings
from cag.chapters.store import Store
class Example(Settings):
    number: int = 1
store = Store(Path(sys.argv[1]))
def work(draft):
    draft.save_json("half", {})
    print("begun", flush=True)
    sys.stdin.readline()
fill(store, store.folder("kind", Example(), "cohort"), Example(), work)
"""


@pytest.mark.parametrize("killed", [True, False])
def test_another_process_at_it_is_left_alone_and_one_killed_is_replaced(store: Store, killed: bool):
    folder, work = _folder(store), lambda draft: draft.save_json("mine", {})
    command = [sys.executable, "-c", HOLDER, str(store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        assert not fill(store, folder, Example(), work)
        if killed:
            os.kill(other.pid, signal.SIGKILL)
        else:
            other.stdin.write("go on\n")
            other.stdin.flush()
        other.wait(timeout=20)
    assert folder.complete != killed
    assert fill(store, folder, Example(), work)
    assert folder.has("mine.json") == killed and folder.has("half.json") != killed
    assert not list(store.working.iterdir())


def test_a_results_folder_that_cannot_be_is_a_sentence(tmp_path: Path):
    (tmp_path / "results").write_text("a file in its place")
    store = Store(tmp_path / "results")
    with pytest.raises(InputError, match=r"cannot be written .*choose a results folder you may write to"):
        fill(store, _folder(store), Example(), lambda draft: None)
