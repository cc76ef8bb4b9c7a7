"""The files of a study: single frames become a run, archives are opened, burned-in text is filled and told."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_variants import TEXT, disk, write_single_frames, write_variant
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread

from cag.data import study as reading_files
from cag.data.dicom import read_cine
from cag.data.study import MIN_FRAMES, StudyFile, burned_in, study_files, without_graphics


def found(source: Path, key: bytes) -> list[StudyFile]:
    return list(study_files(source, key, progress=False))


def test_too_many_single_frames_are_not_kept(tmp_path, key, monkeypatch):
    monkeypatch.setattr(reading_files, "MAX_PIXELS", 4 * disk()[0].size)
    write_single_frames(tmp_path)
    counts = [file.cine.n_frames for file in found(tmp_path, key) if file.cine]
    assert counts == [1] * 6 + [4]
    write_single_frames(tmp_path / "alone", count=1)
    (alone,) = found(tmp_path / "alone", key)
    assert alone.cine.n_frames == 1 and alone.notes == ()


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_reads_as_its_folder(tmp_path, key, kind):
    for name in ("plain", "jpeg_ls"):
        write_variant(name, tmp_path / "study" / "a")
    archive = Path(shutil.make_archive(str(tmp_path / "around" / "study"), kind, tmp_path / "study"))
    runs = {file.cine.run_id: file.cine.frames for file in found(tmp_path / "study", key) if file.cine}
    for source in (archive, archive.parent):
        inside = {file.cine.run_id: file.cine.frames for file in found(source, key) if file.cine}
        assert len(runs) == 2 and runs.keys() == inside.keys()
        assert all(np.array_equal(inside[run], frames) for run, frames in runs.items())


def test_burned_in_text_is_filled_and_told(tmp_path, key):
    write_variant("burned_in", tmp_path)
    (file,) = found(tmp_path, key)
    assert "were found and filled (51 pixels)" in file.notes[0] and file.cine.frames[:, TEXT].max() < 200
    dataset = dcmread(write_variant("burned_in", tmp_path / "short"))
    dataset.PixelData, dataset.NumberOfFrames = disk()[:3].tobytes(), 3
    dataset.save_as(tmp_path / "short" / "burned_in.dcm")
    (short,) = found(tmp_path / "short", key)
    (note,) = short.notes
    assert note == "The file says that text is burned into the picture, and none was found: look before you share it."


def noise(rng: np.random.Generator, level: float = 120) -> np.ndarray:
    return rng.normal(level, 12, (12, 256, 256)).clip(0, 255).astype(np.uint8)


def written(frames: np.ndarray, text: str = "DOE JOHN 1947") -> tuple[np.ndarray, np.ndarray]:
    canvas = Image.new("L", frames.shape[:0:-1])
    ImageDraw.Draw(canvas).text((20, 20), text, fill=255, font=ImageFont.load_default(16))
    drawn = np.asarray(canvas) > 128
    frames = frames.copy()
    frames[:, drawn] = 255
    return frames, drawn


def test_text_is_found_and_filled(rng):
    frames, drawn = written(noise(rng))
    found = burned_in(frames)
    assert found[drawn].mean() > 0.95 and not found[~drawn].any()
    filled = without_graphics(frames, found)
    assert filled[:, drawn].max() < 200 and not burned_in(filled).any()
    assert burned_in(written(np.zeros_like(frames))[0])[drawn].mean() > 0.95, "on black"
    assert not burned_in(frames[: MIN_FRAMES - 1]).any(), "short runs are not looked at"
    far = ~found & (np.arange(256)[:, None] > 60)
    np.testing.assert_array_equal(filled[:, far], frames[:, far])


def test_what_is_no_text_is_left_alone(rng):
    frames = noise(rng)
    assert not burned_in(frames).any() and np.array_equal(without_graphics(frames, burned_in(frames)), frames)
    bright = frames.copy()
    bright[:, 100:, :120] = 255
    assert not burned_in(bright).any(), "an over-exposed lung with a sharp border"
    white = np.full((9, 8, 8), 255, np.uint8)
    assert not without_graphics(white, np.ones((8, 8), bool)).any(), "all graphics"
    moving = np.zeros((12, 256, 256), np.uint8)
    for t in range(12):
        moving[t, 100 : 100 + 3, 4 * t : 4 * t + 60] = 255
    moving[:, :, 60:] = frames[:, :, 60:]
    assert burned_in(moving).sum() < 150, "what moves stands nowhere for long"


def test_a_real_run_without_text_has_none(cag_data, key):
    cine = read_cine(cag_data / "dicom_xa" / "rca_cine_jpeg_baseline.dcm", key=key)
    assert not burned_in(cine.frames).any()
    frames, drawn = written(cine.frames)
    assert burned_in(frames)[drawn].mean() > 0.6, "some of it lies on over-exposed lung"
