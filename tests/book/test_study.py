from __future__ import annotations

import ast
import json
import os

import nbformat
import pytest

from cag.book import lanes, profiles, reuse, study
from cag.chapters.progress import OutOfTime
from cag.settings import ROOT, InputError, SettingsError


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one notebook in a temporary folder."""
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    )
    parameters = nbformat.v4.new_code_cell("profile = 'demo'  # results\nnumber = 1  # a number")
    parameters.metadata["tags"] = ["parameters"]
    code = "import sys\nprint(number, file=sys.stderr)\nassert number > 0, 'number is not positive'\nnumber + 1"
    notebook.cells = [parameters, nbformat.v4.new_code_cell(code)]
    (tmp_path / "notebooks" / "parameters").mkdir(parents=True)
    nbformat.write(notebook, tmp_path / "notebooks" / "01_example.ipynb")
    (tmp_path / "notebooks" / "parameters" / "demo.yaml").write_text("example: {number: 4}\n")
    monkeypatch.setattr(study, "ROOT", tmp_path)
    for module in (profiles, study):
        monkeypatch.setattr(module, "NOTEBOOKS", tmp_path / "notebooks")
        monkeypatch.setattr(module, "SECTIONS", {"01_example": "example"})
    return tmp_path


def output(project):
    notebook = nbformat.read(project / "results" / "demo" / "notebooks" / "01_example.ipynb", as_version=4)
    return notebook, notebook.cells[-1].outputs[-1]["data"]["text/plain"]


@pytest.mark.filterwarnings("default")
def test_executes_with_the_profile_s_parameters_and_finds_it_again(project, monkeypatch):
    first = study.run_study("demo")
    assert [execution.reused for execution in first] == [False]
    notebook, shown = output(project)
    assert shown == "5"
    assert "papermill" not in json.dumps(notebook.metadata)
    assert "stream" not in {one.output_type for cell in notebook.cells for one in cell.get("outputs", [])}
    assert study.run_study("demo")[0].reused
    monkeypatch.setitem(reuse.SHOWN, "01_example", ("$CAG_DATA/set",))
    (project / "data" / "set").mkdir(parents=True)
    (project / "data" / "set" / "a.png").write_bytes(b"frame")
    monkeypatch.setenv("CAG_DATA", str(project / "data"))
    assert not study.run_study("demo")[0].reused
    assert study.run_study("demo")[0].reused
    assert not study.run_study("demo", overrides={"number": 7})[0].reused
    assert output(project)[1] == "8"


@pytest.mark.filterwarnings("default")
def test_a_failing_notebook_is_a_sentence_and_leaves_the_last_good_one(project):
    study.run_study("demo")
    with pytest.raises(
        InputError, match=r"01_example.ipynb: cell .* stopped with AssertionError: number is not positive"
    ):
        study.run_study("demo", overrides={"number": -1})
    assert output(project)[1] == "5"


@pytest.mark.filterwarnings("default")
def test_scheduler_and_hours_reach_the_notebook_and_its_end_of_time_is_told(project, monkeypatch):
    notebook = nbformat.read(project / "notebooks" / "01_example.ipynb", as_version=4)
    notebook.cells[-1].source = (
        "import os\nfrom cag.chapters.progress import OutOfTime, Progress\n"
        "with Progress('folds', 2, False) as bar:\n    bar.check()\n(os.environ['CAG_SCHEDULER'], number)"
    )
    nbformat.write(notebook, project / "notebooks" / "01_example.ipynb")
    monkeypatch.setattr(study, "BY_VALUE", ["01_example"])
    study.run_study("demo", scheduler="tcp://10.0.0.1:8786", hours=1)
    assert output(project)[1] == "('tcp://10.0.0.1:8786', 4)"
    with pytest.raises(OutOfTime, match=r"01_example.ipynb: folds: the hours are over: 0 of 2 open tasks were done"):
        study.run_study("demo", overrides={"number": 5}, hours=0)
    assert "CAG_SCHEDULER" not in os.environ and "CAG_DEADLINE" not in os.environ


def test_every_notebook_has_its_place_by_value():
    assert sorted(study.BY_VALUE) == sorted(profiles.SECTIONS)


def test_unknown_profiles_sections_and_notebooks_are_refused(project):
    with pytest.raises(SettingsError, match=r"nowhere: no such profile. Known: demo"):
        profiles.load_profile("nowhere")
    with pytest.raises(SettingsError, match="no notebook begins so"):
        study.run_study("demo", only=["07"])
    (project / "notebooks" / "parameters" / "odd.yaml").write_text("exmaple: {}\n")
    with pytest.raises(SettingsError, match=r"odd.yaml, exmaple: belongs to no notebook"):
        profiles.load_profile("odd")
    (project / "notebooks" / "parameters" / "torn.yaml").write_text("a: [1\n")
    with pytest.raises(SettingsError, match=r"torn.yaml: not readable as YAML"):
        profiles.load_profile("torn")


@pytest.mark.filterwarnings("default")
def test_each_execution_leaves_its_time_and_machine(project):
    study.run_study("demo", overrides={"number": 5})
    record = json.loads((project / "results" / "demo" / "notebooks" / "01_example.json").read_text())
    assert record["seconds"] > 0 and record["cores"] >= 1 and record["peak_memory_gb"] > 0
    assert record["profile"] == "demo" and record["overrides"] == {"number": "5"}


def test_paths_among_the_overrides_stay_private():
    assert study._shown({"study": "/home/someone/patient", "seed": 1}) == {"study": "PATH", "seed": "1"}


@pytest.mark.parametrize("profile", ["demo", "paper"])
def test_profiles_of_the_study_are_settings_their_notebooks_accept(profile):
    from cag.chapters.classification.training import ClassificationSettings
    from cag.chapters.cohort.samples import CohortPageSettings
    from cag.chapters.frames.settings import FrameSelectionSettings
    from cag.chapters.localization.settings import LocalizationSettings
    from cag.chapters.scorecard.scorecard import ScorecardSettings

    sections = profiles.load_profile(profile)
    models = {
        "cohort": CohortPageSettings,
        "frame_selection": FrameSelectionSettings,
        "classification": ClassificationSettings,
        "two_vs_three": ClassificationSettings,
        "redundancy": ClassificationSettings,
        "localization": LocalizationSettings,
        "scorecard": ScorecardSettings,
    }
    for section, model in models.items():
        model.checked(sections[section])


def test_every_notebook_has_its_section():
    assert sorted(profiles.SECTIONS) == sorted(path.stem for path in (ROOT / "notebooks").glob("0[1-9]*.ipynb"))


@pytest.mark.filterwarnings("default")
def test_two_notebooks_run_side_by_side_with_a_core_each(project, monkeypatch):
    notebook = nbformat.read(project / "notebooks" / "01_example.ipynb", as_version=4)
    notebook.cells[-1].source = "import os\nos.environ.get('OMP_NUM_THREADS'), os.getcwd()"
    for name in ("01_example", "02_other"):
        nbformat.write(notebook, project / "notebooks" / f"{name}.ipynb")
    for module in (profiles, study):
        monkeypatch.setattr(module, "SECTIONS", {"01_example": "example", "02_other": "other"})
    monkeypatch.setattr(study, "READS_FROM", {"02_other": (), "01_example": ("02_other",)})
    for module in (study, lanes):
        monkeypatch.setattr(module, "cores", lambda: 4)
    monkeypatch.setattr(lanes, "memory_gb", lambda: 64.0)
    monkeypatch.setattr(lanes.torch.cuda, "is_available", lambda: False)
    assert [one.notebook for one in study.run_study("demo")] == ["01_example", "02_other"]
    assert ast.literal_eval(output(project)[1]) == ("2", str(project))
    monkeypatch.setattr(lanes, "memory_gb", lambda: 4.0)
    study.run_study("demo", overrides={"number": 2})
    assert ast.literal_eval(output(project)[1]) != ("2", str(project))


def test_every_notebook_says_what_it_reads_from():
    assert study.READS_FROM.keys() == study.SECTIONS.keys()
    assert {name for names in study.READS_FROM.values() for name in names} <= study.SECTIONS.keys()


@pytest.mark.filterwarnings("default")
def test_the_record_tells_which_tasks_a_notebook_made_and_which_it_found(project):
    notebook = nbformat.read(project / "notebooks" / "01_example.ipynb", as_version=4)
    notebook.cells[-1].source = (
        "from pathlib import Path\nfrom types import SimpleNamespace\nfrom cag.settings import Settings\n"
        "from cag.chapters.store import Store\nfrom cag.chapters.tasks import Task, run_tasks\n"
        "work = lambda cohort, settings, folder: folder.save_json('x', {})\n"
        "cohort = SimpleNamespace(digest=lambda: 'c')\n"
        "tasks = [Task('kind', Settings(), work)]\n"
        "len(run_tasks(tasks, cohort, Store(Path('results/demo')), progress=False))"
    )
    nbformat.write(notebook, project / "notebooks" / "01_example.ipynb")
    records = []
    for number in (1, 2):
        study.run_study("demo", overrides={"number": number})
        records.append(json.loads((project / "results" / "demo" / "notebooks" / "01_example.json").read_text()))
    (made,) = records[0]["tasks"]["made"]
    assert made.startswith("kind/") and records[0]["tasks"]["found"] == {}
    assert records[1]["tasks"]["made"] == [] and records[1]["tasks"]["found"][made] >= 0
    assert "CAG_TASKS_USED" not in os.environ and "before" not in records[1]
