from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from cag import __main__ as command


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["cag", *arguments])
    with pytest.raises(SystemExit) as stop:
        command.main()
    return stop.value.code


def test_a_wrong_parameter_is_one_sentence(monkeypatch):
    assert run(monkeypatch, "simulate", "--patients", "0").startswith("cag: patients: 0 is not accepted")


def test_a_parameter_without_value_is_one_sentence(monkeypatch):
    assert run(monkeypatch, "study", "-p", "epochs") == ("cag: -p: 'epochs' is not NAME=VALUE. Write it as -p epochs=3")


def test_an_unknown_profile_is_one_sentence(monkeypatch):
    assert "no such profile" in run(monkeypatch, "study", "--profile", "nowhere")


def test_only_the_simulator_is_measured(monkeypatch):
    assert "'gpu' is not measured here" in run(monkeypatch, "bench", "gpu")


def test_a_manifest_without_its_columns_fails(monkeypatch, tmp_path):
    path = tmp_path / "data_manifest.csv"
    path.write_text("run_id\nP0001_R01\n")
    assert "data_manifest.csv" in run(monkeypatch, "verify", str(path))


def test_an_unknown_artery_is_one_sentence(monkeypatch, tmp_path):
    folders = ["--models", str(tmp_path), "--out", str(tmp_path / "out")]
    assert "'LAD' is no artery" in run(monkeypatch, "read", str(tmp_path), *folders, "--artery", "LAD")


def test_a_scheduler_without_a_batch_is_one_sentence(monkeypatch, tmp_path):
    folders = ["--models", str(tmp_path), "--out", str(tmp_path / "out")]
    said = run(monkeypatch, "read", str(tmp_path), *folders, "--scheduler", "local:2")
    assert said == "cag: --scheduler: one study is read by one process. Add --batch, or leave it out"


def test_publishing_a_real_run_that_is_not_there_is_one_sentence(monkeypatch):
    assert "results/nowhere: holds no results" in run(monkeypatch, "publish", "--profile", "nowhere", "--real")


def test_an_unknown_set_is_one_sentence(monkeypatch, tmp_path):
    assert run(monkeypatch, "fetch", "imagenet", "--out", str(tmp_path)).startswith(
        "cag: fetch: 'imagenet' is no known set. Known: arcade, cadica, danilov"
    )


def test_nothing_is_fetched_before_the_license_is_accepted(tmp_path):
    said = CliRunner().invoke(command.app, ["fetch", "danilov", "--out", str(tmp_path / "sets")], input="n\n")
    assert said.exit_code == 1 and not (tmp_path / "sets").exists()
    assert "Creative Commons" in said.output and "data.mendeley.com" in said.output
