"""The runner: each notebook when its inputs changed, after those it reads from, in a process of its own."""

import getpass
import json
import platform
import subprocess
import sys
import threading
from concurrent.futures import Future

import nbformat
import pytest

from cag.book import execute
from cag.book.execute import CHAPTERS, Chapter, Execution, input_keys
from cag.data import fingerprint
from cag.settings import ROOT, InputError, SettingsError

LAST = "import os\nassert number > 0, 'number is not positive'\n(number, scheduler, os.environ.get('OMP_NUM_THREADS'))"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of two notebooks in a temporary folder; the second reads from the first."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    notebook = nbformat.v4.new_notebook(metadata=kernel)
    parameters = "profile = 'demo'  # results\nnumber = 1  # a number\nscheduler = ''  # whose workers train"
    notebook.cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    notebook.cells.append(nbformat.v4.new_code_cell(f"import sys\nprint('noise', file=sys.stderr)\n{LAST}"))
    (tmp_path / "notebooks" / "parameters").mkdir(parents=True)
    for name in ("01_first", "02_second"):
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
    (tmp_path / "notebooks" / "parameters" / "demo.yaml").write_text("first: {number: 4}\n")
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    monkeypatch.setattr(execute, "NOTEBOOKS", tmp_path / "notebooks")
    chapters = {"01_first": Chapter("first"), "02_second": Chapter("second", reads=("01_first",))}
    monkeypatch.setattr(execute, "CHAPTERS", chapters)
    return tmp_path


def shown(project, name="01_first"):
    notebook = nbformat.read(project / "results" / "demo" / "notebooks" / f"{name}.ipynb", as_version=4)
    return notebook, notebook.cells[-1].outputs[-1]["data"]["text/plain"]


@pytest.mark.filterwarnings("default")
def test_a_study_is_executed_found_again_and_stops_with_a_sentence(project, monkeypatch):
    monkeypatch.setattr(execute, "describe_machine", lambda: {"cores": 4, "memory_gb": 16.0, "card": ""})
    first = list(execute.run_study("demo", scheduler="tcp://10.0.0.1:8786"))
    assert [(one.notebook, one.reused) for one in first] == [("01_first", False), ("02_second", False)]
    notebook, text = shown(project)
    assert text == "(4, 'tcp://10.0.0.1:8786', '2')" and "10.0.0.1" not in notebook.cells[1].source
    assert "papermill" not in json.dumps(notebook.metadata)
    assert "stream" not in {one.output_type for cell in notebook.cells for one in cell.get("outputs", [])}
    record = json.loads((project / "results" / "demo" / "notebooks" / "01_first.json").read_text())
    assert record["seconds"] > 0 and record["peak_memory_gb"] > 0 and record["lanes"] == 2
    assert all(one.reused for one in execute.run_study("demo"))

    with pytest.raises(InputError, match=r"01_first.ipynb: cell .* stopped with AssertionError: number is not posit"):
        list(execute.run_study("demo", only=["01"], overrides={"number": -1}))
    assert shown(project)[1] == text, "the last good copy stays"


def test_notebooks_start_most_wanted_first_none_after_a_failure_and_two_need_cores_memory_and_no_card():
    started: list[str] = []

    def start(name):
        started.append(name)
        done: Future[Execution] = Future()
        if name == "fails":
            done.set_exception(InputError("no such weights"))
        else:
            threading.Timer(0.2, lambda: done.set_result(Execution(name, 1.0, reused=False))).start()
        return done

    needs = {"cohort": [], "train": [], "find": ["train"], "read": ["train", "find"]}
    ended = [one.notebook for one in execute._in_order(needs, start, 1)]
    assert ended == started == ["train", "find", "cohort", "read"]

    running = execute._in_order({"fails": [], "goes on": [], "later": []}, start, 2)
    assert next(running).notebook == "goes on", "what runs is let finish"
    with pytest.raises(InputError, match="no such weights"):
        next(running)
    assert set(started[4:]) == {"fails", "goes on"}
    machine = {"cores": 2, "memory_gb": 8.0, "card": ""}
    assert execute._lanes(9, machine) == 2
    for change in ({"cores": 1}, {"memory_gb": 7.9}, {"card": "H200"}):
        assert execute._lanes(9, machine | change) == 1
    assert execute._lanes(1, machine) == 1


def test_unknown_profiles_sections_and_notebooks_are_refused(project):
    with pytest.raises(SettingsError, match=r"nowhere: no such profile. Known: demo"):
        execute.load_profile("nowhere")
    with pytest.raises(SettingsError, match="no notebook begins so"):
        next(execute.run_study("demo", only=["07"]))
    for name, text, said in (("odd", "frist: {}", "frist: belongs to no"), ("torn", "a: [1", "not readable as YAML")):
        (project / "notebooks" / "parameters" / f"{name}.yaml").write_text(text)
        with pytest.raises(SettingsError, match=said):
            execute.load_profile(name)


def test_the_record_names_neither_machine_nor_user_nor_a_path_and_adds_up_stored_work_by_kind(tmp_path):
    record = execute.describe_machine()
    assert record["cores"] >= 1 and record["memory_gb"] > 0 and record["processor"] and record["versions"]["torch"]
    assert not {platform.node(), getpass.getuser()} & {str(value) for value in record.values()}
    assert execute._shown({"study": "/home/someone/patient", "seed": 1}) == {"study": "PATH", "seed": "1"}
    for number, seconds in enumerate((2.0, 3.5)):
        (tmp_path / "classification" / str(number)).mkdir(parents=True)
        (tmp_path / "classification" / str(number) / "complete.json").write_text(json.dumps({"seconds": seconds}))
    assert execute.stored_work(tmp_path) == {"classification": {"pieces": 2, "seconds": 5.5}}


# What makes a notebook's copy old.


@pytest.fixture
def keys(monkeypatch, tmp_path):
    """The keys of every notebook of the study, with changes to the package's modules."""
    whole = fingerprint._source

    def of(edited="", results=tmp_path / "none", **values):
        fingerprint.code_digest.cache_clear()
        with monkeypatch.context() as change:
            change.setattr(fingerprint, "_source", lambda name: whole(name) + "\nedited = 1" * (name == edited))
            return {name: input_keys(name, values, ROOT, results) for name in CHAPTERS}

    yield of
    fingerprint.code_digest.cache_clear()


def changed(before, after, key="inputs"):
    return {name[:2] for name in before if before[name][key] != after[name][key]}


def test_an_edited_figure_concerns_the_notebooks_that_show_it_metrics_the_work_and_what_reads_from_it(keys, tmp_path):
    before, figure, metrics = keys(), keys("cag.book.figures.frame_selection"), keys("cag.metrics.intervals")
    assert changed(before, figure) == {"02", "07"} and changed(before, figure, "work") == set()
    assert changed(before, metrics, "work") >= {"02", "03", "06", "08"}
    stamp = tmp_path / "notebooks" / "03_stenosis_classification.json"
    stamp.parent.mkdir()
    before = keys(results=tmp_path)
    stamp.write_text(json.dumps({"work": "of another loss"}))
    assert changed(before, keys(results=tmp_path)) == {"04", "05", "06", "07", "08", "09"}


def test_real_data_concern_the_notebooks_that_show_them(keys, tmp_path, monkeypatch):
    for name in ("arcade/images/1.png", "dicom_xa/1.dcm", "other/1.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        (tmp_path / "data" / name).write_bytes(b"frame")
    monkeypatch.delenv("CAG_DATA", raising=False)
    without, other = keys(), keys(manifest="$CAG_DATA/other")
    monkeypatch.setenv("CAG_DATA", str(tmp_path / "data"))
    with_data = keys()
    assert changed(without, with_data) == {"01", "02", "11"}
    assert changed(other, keys(manifest="$CAG_DATA/other")) == {name[:2] for name in CHAPTERS}
    monkeypatch.setenv("CAG_DATA", str((tmp_path / "data").rename(tmp_path / "elsewhere")))
    assert changed(with_data, keys()) == set()
    (tmp_path / "elsewhere" / "dicom_xa" / "2.dcm").write_bytes(b"frame")
    assert changed(with_data, keys()) == {"02"}


def test_every_notebook_has_its_place():
    assert {name for chapter in CHAPTERS.values() for name in chapter.reads} <= CHAPTERS.keys()
    for name, chapter in CHAPTERS.items():
        assert f'globals(), \\"{chapter.section}\\"' in (ROOT / "notebooks" / f"{name}.ipynb").read_text()


def test_what_a_killed_study_had_started_ends_with_it():
    start = "multiprocessing.get_context('fork').Process(target=child).start()\ntime.sleep(90)\n"
    child = "def child():\n    end_with_parent()\n    print('started', flush=True)\n    time.sleep(90)\n"
    parent = f"import multiprocessing, time\nfrom cag.book.execute import end_with_parent\n{child}{start}"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as study:
        assert study.stdout.readline() == "started\n"
        study.kill()
        study.communicate(timeout=45)  # the pipe closes with the last process that holds it
