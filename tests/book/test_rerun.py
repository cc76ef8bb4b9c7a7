"""A notebook runs by papermill from any folder, and a second run gives the same tables."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from cag.settings import ROOT

PROFILE = "test-rerun"


@pytest.fixture
def cohort(tmp_path, write_run):
    """The manifest of two tiny runs."""
    from cag.data.manifest import build_manifest

    folder = tmp_path / "dicom"
    folder.mkdir()
    for name in ("P0001_R01", "P0001_R02"):
        write_run(folder / f"{name}.dcm")
    build_manifest(folder, folder / "data_manifest.csv")
    yield folder / "data_manifest.csv"
    shutil.rmtree(ROOT / "results" / PROFILE, ignore_errors=True)


def execute(folder: Path, cohort: Path) -> dict[str, str]:
    """Run notebook 08 by papermill from ``folder``; the texts of its tables by name."""
    folder.mkdir()
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / "08_scorecard.ipynb"), "out.ipynb"]
    command += ["-p", "profile", PROFILE, "-p", "manifest", str(cohort), "--no-progress-bar"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert nbformat.read(folder / "out.ipynb", as_version=4).cells
    tables = sorted((ROOT / "results" / PROFILE / "exhibits" / "scorecard").glob("*.csv"))
    return {path.name: path.read_text() for path in tables}


def test_papermill_runs_a_notebook_from_any_folder_and_again_alike(tmp_path, cohort):
    first = execute(tmp_path / "here", cohort)
    assert {"tab-scorecard.csv", "tab-directions.csv", "tab-verdicts.csv"} <= set(first)
    shutil.rmtree(ROOT / "results" / PROFILE)
    assert execute(tmp_path / "elsewhere", cohort) == first
