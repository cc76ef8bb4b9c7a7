"""The files of a study: single frames become a run, archives are opened, burned-in text is filled and told."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_variants import FRAMES, TEXT, disk, write_single_frames, write_variant

from cag.data import study as reading_files
from cag.data.study import StudyFile, study_files


def found(source: Path, key: bytes) -> list[StudyFile]:
    return list(study_files(source, key, progress=False))


def test_single_frames_of_a_series_become_a_run(tmp_path: Path, key: bytes) -> None:
    write_single_frames(tmp_path / "series")
    write_variant("plain", tmp_path)
    plain, whole = found(tmp_path, key)
    assert plain.cine is not None and whole.cine is not None
    assert whole.cine.n_frames == FRAMES and whole.cine.run_id != plain.cine.run_id
    np.testing.assert_array_equal(whole.cine.frames, disk())
    assert "10 files of one frame" in whole.notes[0] and "9 more" in whole.name and len(whole.sha256) == 64


def test_a_frame_alone_stays_alone(tmp_path: Path, key: bytes) -> None:
    write_single_frames(tmp_path, count=1)
    (alone,) = found(tmp_path, key)
    assert alone.cine is not None and alone.cine.n_frames == 1 and alone.notes == ()


def test_too_many_single_frames_are_not_kept(tmp_path: Path, key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_files, "MAX_PIXELS", 4 * disk()[0].size)
    write_single_frames(tmp_path)
    counts = [file.cine.n_frames for file in found(tmp_path, key) if file.cine]
    assert counts == [1] * 6 + [4]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_reads_as_its_folder(tmp_path: Path, key: bytes, kind: str) -> None:
    study = tmp_path / "study"
    for name in ("plain", "jpeg_ls"):
        write_variant(name, study / "a")
    archive = tmp_path / f"study.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in study.rglob("*.dcm"):
                file.write(path, path.relative_to(study))
    else:
        with tarfile.open(archive, "w:gz") as file:
            file.add(study, arcname=".")
    runs = {file.cine.run_id: file.cine.frames for file in found(study, key) if file.cine}
    inside = {file.cine.run_id: file.cine.frames for file in found(archive, key) if file.cine}
    assert len(runs) == 2 and runs.keys() == inside.keys()
    for run, frames in runs.items():
        np.testing.assert_array_equal(inside[run], frames)
    (tmp_path / "around").mkdir()
    shutil.move(archive, tmp_path / "around")
    assert {file.cine.run_id for file in found(tmp_path / "around", key) if file.cine} == set(runs)


def test_burned_in_text_is_filled_and_told(tmp_path: Path, key: bytes) -> None:
    write_variant("burned_in", tmp_path)
    (file,) = found(tmp_path, key)
    assert file.cine is not None and "were found and filled (51 pixels)" in file.notes[0]
    assert file.cine.frames[:, TEXT].max() < 200
    write_variant("burned_in", tmp_path / "short")
    import pydicom

    dataset = pydicom.dcmread(tmp_path / "short" / "burned_in.dcm")
    dataset.PixelData, dataset.NumberOfFrames = disk()[:3].tobytes(), 3
    dataset.save_as(tmp_path / "short" / "burned_in.dcm")
    (short,) = found(tmp_path / "short", key)
    assert short.notes == (
        "The file says that text is burned into the picture, and none was found: look before you share it.",
    )


def test_both_planes_are_runs(tmp_path: Path, key: bytes) -> None:
    for name in ("biplane_a", "biplane_b"):
        write_variant(name, tmp_path)
    assert [file.cine.plane for file in found(tmp_path, key) if file.cine] == ["A", "B"]
