"""The worked changes of the book are found, run as they stand, cleaned up after, and timed as the page says."""

import re
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import what_if
from cag.settings import ROOT

COMMANDS = """cag simulate --out data/other
.venv/bin/papermill notebooks/01_cohort.ipynb other.ipynb \\
    -p profile other -p manifest data/other/data_manifest.csv
"""


def test_what_a_change_leaves_is_read_from_its_commands():
    assert what_if.produced(COMMANDS) == [Path("other.ipynb"), Path("results/other"), Path("data/other")]


def test_a_change_is_run_and_cleaned_up_after(tmp_path):
    commands = "test ! -e data\nmkdir -p data/other && touch data/other/a kept\n: --out data/other\n"
    assert 0 < what_if.measure(commands, tmp_path) < 1
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["data", "kept"]
    assert not list((tmp_path / "data").iterdir())


def test_what_was_there_before_is_neither_found_again_nor_deleted(tmp_path):
    (tmp_path / "data" / "other").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="move it away"):
        what_if.measure(": --out data/other", tmp_path)
    assert (tmp_path / "data" / "other").exists()


def test_every_worked_change_has_a_measured_time_and_the_page_tells_it():
    page = what_if.PAGE.read_text(encoding="utf-8")
    measured = pd.read_csv(ROOT / "benchmarks" / "measured" / "what_if.csv", index_col="change").minutes
    told = dict(re.findall(r"<what-if-(\w+)>`\n  - (\d+) minutes?\b", page))
    assert set(told) == set(measured.index) == set(what_if.changes(page))
    assert {name: max(1, round(value)) for name, value in measured.items()} == {k: int(v) for k, v in told.items()}
