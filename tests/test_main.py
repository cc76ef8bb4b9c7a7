import sys

import pytest
from typer.testing import CliRunner

from cag import __main__ as command


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("simulate --patients 0", "cag: patients: 0 is not accepted"),
        ("study -p epochs", "cag: -p: 'epochs' is not NAME=VALUE. Write it as -p epochs=3"),
        ("study --profile nowhere", "cag: nowhere: no such profile"),
        ("verify data_manifest.csv", "cag: data_manifest.csv, patient_id: this column is missing"),
        ("read . --models . --scheduler local:2", "cag: --scheduler: one study is read by one process. Add --batch"),
        ("publish --profile nowhere --real", "cag: results/nowhere: holds no results"),
    ],
)
def test_a_refused_input_is_one_sentence(arguments, sentence, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_manifest.csv").write_text("run_id\nP0001_R01\n")
    monkeypatch.setattr(sys, "argv", ["cag", *arguments.split()])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code.startswith(sentence)


@pytest.mark.parametrize(
    ("arguments", "choices"),
    [("read . --models . --artery LAD", "'LCA', 'RCA'"), ("fetch imagenet --out .", "'arcade', 'cadica', 'danilov'")],
)
def test_a_wrong_word_names_those_that_are_known(arguments, choices):
    said = CliRunner().invoke(command.app, arguments.split(), env={"COLUMNS": "200"})
    assert said.exit_code == 2 and choices in said.output


def test_nothing_is_fetched_before_the_license_is_accepted(tmp_path):
    said = CliRunner().invoke(command.app, ["fetch", "danilov", "--out", str(tmp_path / "sets")], input="n\n")
    assert said.exit_code == 1 and not (tmp_path / "sets").exists()
    assert "Creative Commons" in said.output and "data.mendeley.com" in said.output
