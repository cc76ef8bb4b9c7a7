"""What leaves the project: the published run, a real run's numbers, and a deposit that holds no patient."""

import base64
import hashlib
import io
import subprocess
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cag.book import execute, publish
from cag.book.execute import Chapter
from cag.settings import InputError

OF_THE_RUN = ["exhibits/example/tab-a.csv", "notebooks/01_a.ipynb", "notebooks/01_a.json", "predictions.parquet"]
TABLE = pd.DataFrame({"x": np.linspace(0, 1, 500), "kind": "a", "n": range(500)})


def write(path, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def git(folder, *arguments):
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def commit(folder):
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "All of it")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one executed notebook, in a git checkout with a built book."""
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    monkeypatch.setattr(execute, "CHAPTERS", {"01_a": Chapter("example")})
    for name in ("README.md", "_build/html/index.html", "results/demo/models/large.safetensors"):
        write(tmp_path / name)
    for name in (*OF_THE_RUN, ".pseudonym_key"):
        write(tmp_path / "results" / "demo" / name)
    TABLE.to_parquet(tmp_path / "results" / "demo" / "predictions.parquet")
    write(tmp_path / ".gitignore", "/_build/\n/results/\n")
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    return tmp_path


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_publishing_replaces_the_run_before_and_keeps_every_other_file(project):
    target, other = project / "results" / "published", ["measured/arcade/a.csv", "simulator_acceptance.csv"]
    for name in ("old.parquet", "notebooks/00_old.ipynb", "exhibits/old/a.svg", *other):
        write(target / name)
    assert publish.publish_run("demo") == "results/published: 0.0 MB"
    assert files_below(target) == sorted(OF_THE_RUN + other), "no network and no key"
    with pytest.raises(InputError, match="is the published run itself"):
        publish.publish_run("published")
    with pytest.raises(InputError, match=r"not executed yet: 01_a\. Run `make study"):
        publish.publish_run("nowhere")


def test_a_run_is_kept_small_and_its_tables_and_pictures_stay_what_they_are(project, monkeypatch):
    place, pictures = "exhibits/example/a.svg", []
    for color in ([1, 1, 1], [1, 0, 0]):
        noise = np.random.default_rng(0).integers(0, 40, (40, 40, 1)) * color
        Image.fromarray(noise.astype("uint8")).save(out := io.BytesIO(), "png", compress_level=0)
        pictures.append(base64.b64encode(out.getvalue()))
    (project / "results" / "demo" / place).write_bytes(b"<image/>".join(pictures))
    publish.publish_run("demo")
    pd.testing.assert_frame_equal(pd.read_parquet(project / "results" / "published" / "predictions.parquet"), TABLE)
    published = (project / "results" / "published" / place).read_bytes().split(b"<image/>")
    for given, kept in zip(pictures, published, strict=True):
        before, after = (Image.open(io.BytesIO(base64.b64decode(own))).convert("RGB") for own in (given, kept))
        assert len(kept) < len(given) / 2 and before.tobytes() == after.tobytes()
    monkeypatch.setattr(publish, "LARGEST_RUN", 3000)
    with pytest.raises(InputError, match=r"too large to publish"):
        publish.publish_run("demo")


def test_of_a_real_run_go_numbers_and_curves_and_no_pixels_nor_boxes_of_the_set(project):
    real = project / "results" / "real"
    for name in ("run_line.txt", "fig-froc.svg", "fig-boxes.svg"):
        write(real / "exhibits" / "localization" / name)
    table = 'Metric,FPN,"FPN, value"\nRecall,0.30 (0.20 to 0.40),0.3\n'
    write(real / "exhibits" / "localization" / "tab-methods.csv", table)
    boxes = pd.DataFrame({"method": ["fpn", "prior"], "x1": [3.0, 4.0]})
    for name in ("detections", "truth"):
        boxes.to_parquet(real / f"localization_{name}.parquet")
    boxes.drop(columns="x1").to_parquet(real / "localization_metrics.parquet")
    out = publish.publish_real("real")
    assert out == project / "results" / "published" / "measured" / "real"
    names = ["fig-froc.svg", "localization_detections.parquet", "localization_metrics.parquet"]
    assert files_below(out) == [*names, "run_line.txt", "tab-methods.csv"]
    assert list(pd.read_csv(out / "tab-methods.csv")) == ["Metric", "FPN"]
    assert pd.read_parquet(out / "localization_detections.parquet")["method"].tolist() == ["fpn"]
    assert len(pd.read_parquet(out / "localization_metrics.parquet")) == 2
    with pytest.raises(InputError, match=r"results/other: holds no results of the section localization\. Execute"):
        publish.publish_real("other")


def test_the_archive_holds_the_last_commit_and_the_book_and_says_what_it_left_out(project):
    """A user who has read a patient's study, as the README shows, deposits nothing of it."""
    for name in (".pseudonym_key", "files_private.csv", "report.html"):
        write(project / "reading" / name, "who the patient is")
    write(project / "README.md", "changed since")
    assert publish.write_archive(project / "_build" / "a.zip") == ["README.md", "reading/"]
    with zipfile.ZipFile(project / "_build" / "a.zip") as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        assert names == {"project/README.md", "project/.gitignore", "book/index.html", "SHA256SUMS"}
        for line in archive.read("SHA256SUMS").decode().splitlines():
            digest, name = line.split("  ")
            assert hashlib.sha256(archive.read(name)).hexdigest() == digest


@pytest.mark.parametrize("name", publish.PRIVATE)
def test_what_must_stay_private_is_refused_although_it_was_committed(project, name):
    write(project / "reading" / name)
    commit(project)
    with pytest.raises(InputError, match=rf"project/reading/{name}: must stay private"):
        publish.write_archive(project / "_build" / "a.zip")
    assert not (project / "_build" / "a.zip").exists()


def test_without_a_book_or_git_there_is_nothing_to_archive(project, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("no-git")
    write(elsewhere / "_build" / "html" / "index.html")
    (project / "_build" / "html" / "index.html").unlink()
    with pytest.raises(InputError, match="there is no built book"):
        publish.write_archive(project / "a.zip")
    monkeypatch.setattr(publish, "ROOT", elsewhere)
    with pytest.raises(InputError, match="git does not know this folder"):
        publish.write_archive(elsewhere / "a.zip")
