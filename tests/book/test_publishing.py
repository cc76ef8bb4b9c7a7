from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from cag.book import build as book
from cag.book import publishing
from cag.book import swap as files
from cag.settings import InputError


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one executed notebook, in a git checkout with a built book."""
    monkeypatch.setattr(publishing, "ROOT", tmp_path)
    monkeypatch.setattr(publishing, "SECTIONS", {"01_example": "example"})
    for name in (
        "README.md",
        "_build/html/index.html",
        "results/demo/notebooks/01_example.ipynb",
        "results/demo/notebooks/01_example.json",
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


OF_THE_RUN = [
    *("exhibits/example/a.csv", "notebooks/01_example.ipynb", "notebooks/01_example.json"),
    *("predictions.parquet", "tables/a.csv"),
]


def write(path, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_the_published_run_holds_tables_and_pages_but_no_networks_and_no_keys(project):
    found = publishing.publish_run("demo")
    assert files_below(found.folder) == OF_THE_RUN
    assert found.size == sum((found.folder / name).stat().st_size for name in OF_THE_RUN)
    assert found.working == {"models": len("results/demo/models/large.safetensors")}
    assert "results/published: 0.0 MB" in str(found) and "models (0 MB)" in str(found)
    publishing.publish_run("demo")
    assert files_below(found.folder) == OF_THE_RUN
    assert [path.name for path in (project / "results").iterdir() if path.name.startswith(".")] == []


def test_publishing_replaces_the_run_before_and_keeps_every_other_file(project):
    target = project / "results" / "published"
    old = ["old.parquet", "notebooks/00_old.ipynb", "exhibits/old/a.svg", "tables/old.csv"]
    other = ["simulator_acceptance.csv", "measured/old.parquet", "measured/tables/a.csv"]
    for name in old + other:
        write(target / name)
    publishing.publish_run("demo")
    assert files_below(target) == sorted(OF_THE_RUN + other)


@pytest.mark.parametrize("moment", ["copying", "between the renames"])
def test_a_kill_leaves_the_old_run(project, monkeypatch, moment):
    target = project / "results" / "published"
    publishing.publish_run("demo")
    write(target / "notebooks" / "01_example.ipynb", "old")

    class KilledError(BaseException):
        pass

    def stop(*_):
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        if moment == "copying":
            patch.setattr(publishing.shutil, "copyfile", stop)
        else:  # the new folder does not reach its place, and nothing is cleaned up any more
            patch.setattr(files, "restore_folder", lambda folder: None)
            rename = Path.replace
            patch.setattr(Path, "replace", lambda a, b: stop() if a.name.endswith(".new") else rename(a, b))
        publishing.publish_run("demo")
    assert (target / "notebooks").is_dir() == (moment == "copying")
    monkeypatch.setattr(book, "ROOT", project)
    assert book.profile_to_show() == "published"
    assert (target / "notebooks" / "01_example.ipynb").read_text() == "old"
    publishing.publish_run("demo")
    assert files_below(target) == OF_THE_RUN


def test_a_profile_that_has_not_run_to_its_end_is_not_published(project):
    with pytest.raises(InputError, match="not executed yet: 01_example"):
        publishing.publish_run("nowhere")
    with pytest.raises(InputError, match="is the published run itself"):
        publishing.publish_run("demo") and publishing.publish_run("published")
    (project / "results" / "demo" / "notebooks" / "01_example.json").unlink()
    with pytest.raises(InputError, match=r"not executed yet: 01_example. Run `make study PROFILE=demo` to its end"):
        publishing.publish_run("demo")
    write(project / "results" / "demo" / "notebooks" / "01_example.json")
    shutil.rmtree(project / "results" / "demo" / "exhibits")
    with pytest.raises(InputError, match="results/demo: has no exhibits"):
        publishing.publish_run("demo")


def test_a_run_is_kept_small_by_leaving_out_pictures_and_then_tables(project, monkeypatch):
    demo = project / "results" / "demo"
    monkeypatch.setattr(publishing, "LARGEST_FILE", 1000)
    monkeypatch.setattr(publishing, "LARGEST_RUN", 3000)
    write(demo / "exhibits/example/a.png", "p" * 900)
    write(demo / "exhibits/example/a.json", '{"files": ["svg", "png", "csv"]}')
    write(demo / "exhibits/example/b.png", "p" * 400)
    write(demo / "long.parquet", "t" * 1001)
    write(demo / "short.parquet", "t" * 900)
    write(demo / "tables/b.csv", "c" * 1000)
    found = publishing.publish_run("demo")
    assert found.too_large == ("long.parquet", "exhibits/example/a.png")
    assert "left out to stay below 0 MB: long.parquet, exhibits/example/a.png" in str(found)
    kept = files_below(found.folder)
    assert {"exhibits/example/b.png", "short.parquet"} <= set(kept) and "long.parquet" not in kept
    assert json.loads((found.folder / "exhibits/example/a.json").read_text())["files"] == ["svg", "csv"]
    write(demo / "tables/b.csv", "c" * 1001)
    with pytest.raises(InputError, match=r"tables/b.csv: too large to publish"):
        publishing.publish_run("demo")


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
