from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pandas as pd
import pytest
import torch

from cag.chapters.store import RunFolder, Store, write_atomically
from cag.settings import InputError, Settings


class Example(Settings):
    epochs: int = 1


def test_tables_weights_and_json_come_back_as_stored(tmp_path):
    folder = RunFolder(tmp_path / "run")
    table = pd.DataFrame({"run_id": ["a", "b"], "score": [0.25, 0.5]})
    folder.save_table("scores", table)
    folder.save_weights("net", {"w": torch.arange(6.0).view(2, 3).T})
    folder.save_json("notes", {"epochs": 3})
    pd.testing.assert_frame_equal(folder.load_table("scores"), table)
    assert torch.equal(folder.load_weights("net")["w"], torch.arange(6.0).view(2, 3).T)
    assert folder.load_json("notes") == {"epochs": 3}


def test_settings_and_cohort_decide_the_folder(tmp_path):
    store = Store(tmp_path)
    same = store.folder("kind", Example(), "cohort")
    assert same.path == store.folder("kind", Example(), "cohort").path
    assert same.path != store.folder("kind", Example(epochs=2), "cohort").path
    assert same.path != store.folder("kind", Example(), "other").path


def test_a_folder_is_complete_only_when_finished(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.save_json("notes", {})
    assert not folder.complete
    folder.finish(Example())
    assert folder.complete
    assert folder.load_json("settings") == {"epochs": 1}


def test_tables_that_were_asked_for_and_are_not_there_are_not_used(tmp_path):
    store = Store(tmp_path)
    store.table("missing")
    store.publish("there", pd.DataFrame({"x": [1]}))
    assert store.used == ("there",)


def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    write_atomically(path, lambda p: p.write_text("whole"))

    def breaks_off(temporary):
        temporary.write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, breaks_off)
    assert path.read_text() == "whole"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_full_disk_is_a_sentence(tmp_path):
    def full(temporary):
        raise OSError(28, os.strerror(28))

    with pytest.raises(InputError, match=r"table.csv: cannot be written \(No space left"):
        write_atomically(tmp_path / "table.csv", full)


@pytest.mark.parametrize("load", ["load_table", "load_json", "load_weights"])
def test_a_torn_file_is_refused_with_the_remedy(tmp_path, load):
    folder = RunFolder(tmp_path)
    for suffix in ("parquet", "json", "safetensors"):
        (tmp_path / f"x.{suffix}").write_bytes(b"{torn")
    with pytest.raises(InputError, match="Delete its folder and run again"):
        getattr(folder, load)("x")


@pytest.mark.parametrize("save", ["save_table", "save_weights", "save_json"])
def test_a_write_that_the_system_stops_half_way_is_a_sentence_and_leaves_the_old_file(tmp_path, save):
    """A limit on file size stops the writers of all three formats as a full disk does."""
    folder = RunFolder(tmp_path / "run")
    small, large = (
        {
            "save_table": pd.DataFrame({"x": torch.rand(count).numpy()}),
            "save_weights": {"x": torch.rand(count)},
            "save_json": {"x": list(range(count))},
        }[save]
        for count in (1, 20_000)
    )
    getattr(folder, save)("x", small)
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be written \(File too large.*Free some space"):
            getattr(folder, save)("x", large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert before == {path.name: path.read_bytes() for path in folder.path.iterdir()}


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_folder_that_may_not_be_written_is_a_sentence(tmp_path, monkeypatch, number):
    def refused(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(InputError, match=rf"notes.json: cannot be written \({os.strerror(number)}\)"):
        RunFolder(tmp_path).save_json("notes", {})


def test_other_xa_weights_are_other_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Inner(Settings):
        weights: str = "xa"

    class Outer(Settings):
        parts: tuple[Inner, ...] = (Inner(),)

    class Other(Settings):
        weights: str = "random"

    places = {}
    for digest in ("old", "new"):
        monkeypatch.setattr("cag.chapters.store.weights_digest", lambda digest=digest: digest)
        places[digest] = [Store(tmp_path).folder("kind", made(), "cohort").path for made in (Inner, Outer, Other)]
    assert [a == b for a, b in zip(places["old"], places["new"], strict=True)] == [False, False, True]
