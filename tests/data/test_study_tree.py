"""What lies in a study: files in order, links and devices refused, archives opened."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from cag.data import archives
from cag.data.archives import opened, tree_entries
from cag.settings import InputError


def test_nothing_outside_is_reached(tmp_path: Path) -> None:
    outside, study = tmp_path / "outside", tmp_path / "study"
    (outside / "deep").mkdir(parents=True)
    (outside / "secret.dcm").write_bytes(b"secret")
    (study / "a").mkdir(parents=True)
    (study / "a" / "run.dcm").write_bytes(b"run")
    (study / "file_link.dcm").symlink_to(outside / "secret.dcm")
    (study / "folder_link").symlink_to(outside)
    (study / "loop").symlink_to(study)
    os.mkfifo(study / "pipe.dcm")
    found = {entry.name: entry.problem for entry in tree_entries(study)}
    assert found == {
        "a/run.dcm": "",
        "file_link.dcm": "is a link, and links are not followed",
        "folder_link": "is a link, and links are not followed",
        "loop": "is a link, and links are not followed",
        "pipe.dcm": "is no plain file",
    }


def test_archives_are_opened_once(tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (study / "z.dcm").write_bytes(b"last")
    with zipfile.ZipFile(study / "a.zip", "w") as archive:
        archive.writestr("in/one.dcm", "one")
        archive.writestr("in/more.zip", "PK")
        archive.writestr("../out.dcm", "evil")
    (study / "b.zip").write_bytes(b"no archive")
    read = [(f.name, f.path.read_bytes() if f.path else f.problem) for f in opened(tree_entries(study))]
    assert read == [
        ("a.zip/in/one.dcm", b"one"),
        ("a.zip/in/more.zip", "is an archive within an archive"),
        ("a.zip/../out.dcm", "its name leads out of the archive"),
        ("b.zip", "cannot be unpacked (BadZipFile); it is damaged or no such archive"),
        ("z.dcm", b"last"),
    ]
    assert next(f.name for f in opened(tree_entries(study / "a.zip"))) == "a.zip/in/one.dcm"


def test_what_is_no_study_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="holds no file"):
        tree_entries(tmp_path)
    (tmp_path / "x.dcm").write_bytes(b"x")
    for path in (tmp_path / "x.dcm", tmp_path / "absent"):
        with pytest.raises(InputError, match="neither a folder nor an archive"):
            tree_entries(path)
    monkeypatch.setattr(archives, "MAX_FILES", 0)
    with pytest.raises(InputError, match="more than 0 files"):
        tree_entries(tmp_path)
