"""Every kind of file that angiography departments write, synthesized: each is read as it is meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_variants import COLUMNS, FRAMES, ROWS, TEXT, VARIANTS, base, disk, tags, write_variant

from cag.data.dicom import Cine, read_cine, read_frames
from cag.settings import DicomError

SHAPE = (FRAMES, ROWS, COLUMNS)


@pytest.fixture
def read(tmp_path: Path, key: bytes):
    def read(name: str) -> Cine:
        return read_cine(write_variant(name, tmp_path), key=key)

    return read


@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_is_read(name: str, read) -> None:
    cine = read(name)
    assert cine.frames.shape == SHAPE and cine.is_xa and np.ptp(cine.frames) > 100


@pytest.mark.parametrize("name", ["rle", "jpeg_ls", "jpeg_2000", "no_rate", "no_angles", "biplane_a", "overlay_plane"])
def test_what_changes_no_pixel_changes_no_pixel(name: str, read) -> None:
    np.testing.assert_array_equal(read(name).frames, disk())


@pytest.mark.parametrize(
    "name, depth", [("bits_10_window", 10), ("bits_12_rle", 12), ("bits_12_jpeg_2000", 12), ("bits_16", 16)]
)
def test_more_bits_become_eight(name: str, depth: int, read) -> None:
    expected = disk(depth).astype(float) / (2**depth - 1) * 255
    assert np.abs(read(name).frames - expected).max() <= 0.75


def test_a_voi_lut_is_looked_up_and_monochrome1_turned(read) -> None:
    np.testing.assert_array_equal(read("bits_12_voi_lut").frames, 255 - disk(12) // 16)
    np.testing.assert_array_equal(read("monochrome1").frames, 255 - disk())


@pytest.mark.parametrize(
    "name, fps", [("frame_time_vector", 12.5), ("no_cine_rate", 15.0), ("no_rate", None), ("enhanced", 15.0)]
)
def test_rates(name: str, fps: float | None, read) -> None:
    assert read(name).fps == fps


def test_angles(read) -> None:
    for name, expected in (
        ("plain", (40, 0)),
        ("no_angles", (None, None)),
        ("enhanced", (-30, 25)),
        ("enhanced_rotating", (None, None)),
        ("biplane_b", (-40, 25)),
    ):
        cine = read(name)
        assert (cine.primary_angle, cine.secondary_angle) == expected, name


def test_planes_are_told_apart(read) -> None:
    assert [read(name).plane for name in ("plain", "biplane_a", "biplane_b")] == ["", "A", "B"]


def test_shutters_hide_what_is_outside(read) -> None:
    rectangle = np.zeros((ROWS, COLUMNS), dtype=bool)
    rectangle[4:44, 8:56] = True
    y, x = np.mgrid[:ROWS, :COLUMNS]
    circle = (y - 23) ** 2 + (x - 31) ** 2 <= 400
    for name, visible in (("shutter_rectangle", rectangle), ("shutter_circle", circle)):
        frames = read(name).frames
        np.testing.assert_array_equal(frames[:, visible], disk()[:, visible])
        assert not frames[:, ~visible].any()
    triangle = read("shutter_polygon").frames.any(axis=0)
    assert triangle[2, 32] and not triangle[40, 2] and not triangle[40, 60]
    assert not read("enhanced").frames[:, :2].any(), "Enhanced XA keeps its shutter in a functional group"


@pytest.mark.parametrize(
    "values, expected",
    [
        ({"ShutterShape": "CIRCULAR"}, "lacks the numbers"),
        ({"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [500, 500], "RadiusOfCircularShutter": 2}, "hides"),
    ],
)
def test_impossible_shutters_are_refused(values: dict, expected: str, tmp_path: Path) -> None:
    dataset = base(tmp_path / "run.dcm")
    tags(**values)(dataset)
    dataset.save_as(tmp_path / "run.dcm")
    with pytest.raises(DicomError, match=f"Shutter Shape: {expected}"):
        read_frames(tmp_path / "run.dcm")


def test_overlays_are_not_part_of_the_picture(read) -> None:
    frames = read("overlay_bits").frames
    expected = disk(10).astype(float) / 1023 * 255
    assert np.abs(frames - expected).max() <= 0.75 and frames[:, TEXT].max() < 255


def test_the_file_says_that_text_is_burned_in(read) -> None:
    assert read("burned_in").says_burned_in and not read("plain").says_burned_in
