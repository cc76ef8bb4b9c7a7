from __future__ import annotations

import hashlib
import subprocess
import zipfile

import pytest

from cag import publishing
from cag.errors import InputError


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one executed notebook, in a git checkout with a built book."""
    monkeypatch.setattr(publishing, "ROOT", tmp_path)
    monkeypatch.setattr(publishing, "SECTIONS", {"01_example": "example"})
    for name in (
        "README.md",
        "_build/html/index.html",
        "results/demo/notebooks/01_example.ipynb",
        "results/demo/tables/a.csv",
        "results/demo/exhibits/example/a.csv",
        "results/demo/predictions.parquet",
        "results/demo/models/large.safetensors",
        "results/demo/.pseudonym_key",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / ".gitignore").write_text("/_build/\n/results/\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_published_run_holds_tables_and_pages_but_no_networks_and_no_keys(project):
    target = publishing.publish_run("demo")
    expected = ["exhibits/example/a.csv", "notebooks/01_example.ipynb", "predictions.parquet", "tables/a.csv"]
    assert files_below(target) == expected
    publishing.publish_run("demo")
    assert files_below(target) == expected


def test_a_profile_that_has_not_run_is_not_published(project):
    with pytest.raises(InputError, match="not executed yet: 01_example"):
        publishing.publish_run("nowhere")
    with pytest.raises(InputError, match="is the published run itself"):
        publishing.publish_run("demo") and publishing.publish_run("published")


def test_the_archive_holds_every_part_and_its_checksums_are_right(project):
    with zipfile.ZipFile(publishing.write_archive(project / "_build" / "a.zip")) as archive:
        names = set(archive.namelist())
        assert {"project/README.md", "book/index.html", "results/demo/predictions.parquet"} <= names
        assert not [name for name in names if "models" in name or "key" in name]
        lines = archive.read("SHA256SUMS").decode().splitlines()
        assert len(lines) == len(names) - 1
        for line in lines:
            digest, name = line.split("  ")
            assert hashlib.sha256(archive.read(name)).hexdigest() == digest


def test_the_same_files_give_the_same_archive(project):
    first = publishing.write_archive(project / "_build" / "a.zip").read_bytes()
    (project / "README.md").touch()
    assert publishing.write_archive(project / "_build" / "b.zip").read_bytes() == first


def test_without_a_book_there_is_nothing_to_archive(project):
    (project / "_build" / "html" / "index.html").unlink()
    with pytest.raises(InputError, match="there is no built book"):
        publishing.write_archive(project / "a.zip")
