"""Stored work: found again by its key, whole or not there; the bundle gives back what was exported."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from cag.chapters import bundle
from cag.chapters import store as module
from cag.chapters.bundle import PARTS, Part, export_part, load_part
from cag.chapters.classification.settings import ClassificationSettings
from cag.chapters.store import RunFolder, Store, fill, run_tasks, task_folder
from cag.data import fingerprint
from cag.data.cohort import Cohort
from cag.data.fingerprint import code_digest
from cag.settings import InputError, Settings


class Example(Settings):
    number: int = 1


@pytest.fixture
def cohort():
    manifest = pd.DataFrame({"run_id": ["a"], "patient_id": ["p"], "source": "simulated"})
    return Cohort(manifest, pd.DataFrame({"patient_id": ["p"]}), pd.DataFrame(), pd.DataFrame(), None, origin="drawn")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def keep(cohort: Cohort, settings: Example, folder: RunFolder) -> None:
    folder.save_table("result", pd.DataFrame({"number": [settings.number]}))


def fail(cohort: Cohort, settings: Example, folder: RunFolder) -> None:
    folder.save_json("half", {})
    raise ZeroDivisionError


def drafts(store: Store) -> list[Path]:
    return [path for path in store.working.iterdir() if path.suffix != ".lock"]


def test_what_is_stored_comes_back_and_a_folder_appears_whole_and_replaces_a_broken_one(store, cohort):
    folder, table = RunFolder(store.root / "run", store), pd.DataFrame({"run_id": ["a", "b"], "score": [0.25, 0.5]})
    folder.save_table("scores", table)
    folder.save_weights("net", {"w": torch.arange(6.0).view(2, 3).T})
    folder.save_json("notes", {"epochs": 3})
    pd.testing.assert_frame_equal(folder.load_table("scores"), table)
    assert torch.equal(folder.load_weights("net")["w"], torch.arange(6.0).view(2, 3).T)
    assert folder.load_json("notes") == {"epochs": 3}
    folder = task_folder("kind", keep, Example(), cohort, store)
    folder.save_json("old", {})
    with pytest.raises(ZeroDivisionError):
        fill(cohort, fail, Example(), folder)
    assert not folder.complete and not drafts(store)
    assert fill(cohort, keep, Example(), folder) and folder.complete
    assert not (folder.path / "old.json").exists() and not drafts(store)
    assert fill(cohort, fail, Example(), folder), "it is there already"


def test_finished_work_is_found_again_and_broken_work_is_done_again(store, cohort):
    calls: list[int] = []

    def work(cohort, settings, folder):
        calls.append(settings.number)
        keep(cohort, settings, folder)
        if settings.number == 2 and calls.count(2) == 1:
            raise RuntimeError("killed")

    settings = [Example(number=n) for n in (1, 2, 3)]
    with pytest.raises(RuntimeError, match="killed"):
        run_tasks("square", work, settings, cohort, store)
    folders = run_tasks("square", work, settings, cohort, store)
    assert calls == [1, 2, 2, 3]
    assert [folder.load_table("result")["number"][0] for folder in folders] == [1, 2, 3]
    assert folders[0].load_json("settings") == {"number": 1}
    assert 0 <= folders[0].load_json("complete")["seconds"] < 5
    assert run_tasks("square", work, [], cohort, store) == []


HOLDER = """
import sys
from pathlib import Path
from cag.chapters.store import RunFolder, Store, fill
from cag.settings import Settings
store = Store(Path(sys.argv[1]))
def work(cohort, settings, draft):
    draft.save_json("half", {})
    print("begun", flush=True)
    sys.stdin.readline()
fill(None, work, Settings(), RunFolder(Path(sys.argv[2]), store))
"""


@pytest.mark.parametrize("killed", [True, False])
def test_another_process_at_it_is_left_alone_and_one_killed_is_replaced(store, cohort, killed):
    folder = task_folder("kind", keep, Example(), cohort, store)
    command = [sys.executable, "-c", HOLDER, str(store.root), str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "begun\n" and not fill(cohort, keep, Example(), folder)
        if killed:
            os.kill(other.pid, signal.SIGKILL)
        other.communicate("" if killed else "go on\n", timeout=20)
    assert folder.complete != killed and fill(cohort, keep, Example(), folder)
    assert (folder.path / "result.parquet").exists() == killed and not drafts(store)


def test_settings_cohort_and_weights_decide_the_key(store, cohort, monkeypatch):
    class Inner(Settings):
        weights: str = "xa"

    class Outer(Settings):
        parts: tuple[Inner, ...] = (Inner(),)

    def places(people):
        every = (Example(), Example(number=2), Inner(), Outer(), Inner(weights="random"))
        return [task_folder("kind", keep, one, people, store).path for one in every]

    monkeypatch.setattr(module, "weights_digest", lambda *_: "old")
    before = places(cohort)
    assert before == places(cohort) and len(set(before)) == len(before)
    other = Cohort(cohort.manifest, cohort.patients, cohort.lesions, cohort.boxes, None, origin="another")
    assert not set(places(other)) & set(before)
    monkeypatch.setattr(module, "weights_digest", lambda *_: "new")
    assert [a == b for a, b in zip(before, places(cohort), strict=True)] == [True, True, False, False, True]


TASK = '''"""A task."""
from cag.book.page import Page
from cag.metrics import weighted
from cag.networks import training

def loss(x):
    """Its loss."""
    return x ** 2  # squared
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('"""A task."""', '"""Words about it."""', True),
        ('    """Its loss."""\n', "", True),
        ("  # squared", "  # to the power of two", True),
        ("x ** 2", "abs(x)", False),
        ("from cag.metrics import weighted\n", "", False),
        ("from cag.book.page import Page\n", "from cag.book.page import readable_table\n", False),
    ],
)
def test_an_edited_loss_gives_a_new_key_an_edited_docstring_does_not(monkeypatch, old, new, same):
    original, digests = fingerprint._source, []
    for text in (TASK, TASK.replace(old, new)):
        monkeypatch.setattr(fingerprint, "_source", lambda name, text=text: text if name == "task" else original(name))
        code_digest.cache_clear()
        digests.append(code_digest("task", module.COUNTED, module.NOT_COUNTED))
    code_digest.cache_clear()
    assert TASK.replace(old, new) != TASK and (digests[0] == digests[1]) == same


def test_code_that_a_task_reaches_counts_and_figures_and_pages_do_not(monkeypatch):
    original, edited = fingerprint._source, ""

    def source(name):
        text = original(name)
        return f"{text}\nedited = 1\n" if name == edited else text

    monkeypatch.setattr(fingerprint, "_source", source)
    task, digests = "cag.chapters.classification.training", {}
    for edited in ("", "cag.networks.classifier", "cag.data.splits", "cag.book.page", "cag.data.dicom"):
        code_digest.cache_clear()
        digests[edited] = code_digest(task, module.COUNTED, module.NOT_COUNTED)
    code_digest.cache_clear()
    assert digests["cag.book.page"] == digests["cag.data.dicom"] == digests[""]
    assert len({digests[""], digests["cag.networks.classifier"], digests["cag.data.splits"]}) == 3


@pytest.mark.parametrize("load", ["load_table", "load_json", "load_weights"])
def test_a_torn_file_is_refused_with_the_remedy(store, load):
    folder = RunFolder(store.root, store)
    folder.path.mkdir()
    for suffix in ("parquet", "json", "safetensors"):
        (folder.path / f"x.{suffix}").write_bytes(b"{torn")
    with pytest.raises(InputError, match="Delete its folder and run again"):
        getattr(folder, load)("x")


@pytest.mark.parametrize("save", ["save_table", "save_weights", "save_json"])
def test_a_write_that_the_system_stops_half_way_is_a_sentence_and_leaves_the_old_file(store, save):
    """A limit on file size stops the writers of all three formats as a full disk does."""
    folder = RunFolder(store.root / "run", store)
    content = {
        "save_table": lambda count: pd.DataFrame({"x": torch.rand(count).numpy()}),
        "save_weights": lambda count: {"x": torch.rand(count)},
        "save_json": lambda count: {"x": list(range(count))},
    }[save]
    getattr(folder, save)("x", content(1))
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be written \(File too large.*Free some space"):
            getattr(folder, save)("x", content(20_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert before == {path.name: path.read_bytes() for path in folder.path.iterdir()}


@pytest.fixture
def export(drawn_cohort, tmp_path):
    store = Store(tmp_path / "demo")

    def export(value=1.0, weights="random"):
        settings = ClassificationSettings.checked({"weights": weights})
        state = {"rca": {"weight": torch.full((3,), value)}}
        common = {"settings": settings, "cohort": drawn_cohort, "weights": state}
        export_part(store, "classification", facts={"folds": {"P00": 1}}, **common)
        return store

    return export


def weight_of(part: Part) -> float:
    (value,) = part.folder.load_weights("rca")["weight"].unique()
    return float(value)


def test_a_part_is_what_was_exported_by_either_folder(export, drawn_cohort):
    root = export().root
    for folder in (root, root / "bundle"):
        part = load_part(folder, "classification")
        assert part.facts == {"folds": {"P00": 1}} and part.settings["weights"] == "random"
        assert weight_of(part) == 1 and (part.profile, part.patients, part.runs) == ("demo", 12, 24)
        assert part.cohort_digest == drawn_cohort.digest() and part.cohort == drawn_cohort.simulated_or_real
        assert set(part.folder.load_table("runs").run_id) == set(drawn_cohort.manifest.run_id)


def test_an_export_takes_the_place_of_the_one_before_unless_it_fails(export, monkeypatch):
    root = [export(value).root for value in (0.5, 1.0)][-1]

    def full(*_):
        raise InputError("cannot be written (no space)")

    monkeypatch.setattr(bundle.RunFolder, "save_json", full)
    with pytest.raises(InputError, match="no space"):
        export(2.0)
    assert weight_of(load_part(root, "classification")) == 1


@pytest.mark.parametrize("name", PARTS)
def test_a_missing_part_names_its_notebook(name, tmp_path):
    with pytest.raises(InputError, match=f"notebook {PARTS[name][1]}"):
        load_part(tmp_path, name)


def test_a_frozen_trunk_must_still_be_there(export, monkeypatch):
    root = export(weights="xa").root
    assert load_part(root, "classification").trunk
    monkeypatch.setattr(module, "weights_digest", lambda *_: "another")
    with pytest.raises(InputError, match=r"other weights \(xa\). Execute notebook 03"):
        load_part(root, "classification")
