"""Every kind of file that angiography departments write, synthesized: each is read as it is meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_variants import COLUMNS, FRAMES, ROWS, VARIANTS, base, disk, tags, write_variant

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
    assert cine.frames.shape == SHAPE and np.ptp(cine.frames) > 100


@pytest.mark.parametrize("name", ["rle", "jpeg_ls", "jpeg_2000", "no_rate", "no_angles", "biplane_a", "overlay_plane"])
def test_what_changes_no_pixel_changes_no_pixel(name: str, read, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(name).frames, disk())
    np.testing.assert_array_equal(read_frames(tmp_path / f"{name}.dcm", [4, 1]), disk()[[4, 1]])


@pytest.mark.parametrize(
    "name, expected, tolerance",
    [
        *((name, disk(12) / 4095 * 255, 0.75) for name in ("bits_12_rle", "bits_12_jpeg_2000")),
        *((name, disk(10) / 1023 * 255, 0.75) for name in ("bits_10_window", "overlay_bits")),
        ("bits_16", disk(16) / 65535 * 255, 0.75),
        ("bits_12_voi_lut", 255 - disk(12) // 16, 0),
        ("monochrome1", 255 - disk(), 0),
    ],
)
def test_stored_values_become_grey_levels(name: str, expected: np.ndarray, tolerance: float, read) -> None:
    assert np.abs(read(name).frames - expected.astype(float)).max() <= tolerance


@pytest.mark.parametrize(
    "name, angles, fps, plane, burned_in",
    [
        ("plain", (40, 0), 15.0, "", False),
        ("no_angles", (None, None), 15.0, "", False),
        ("frame_time_vector", (40, 0), 12.5, "", False),
        ("no_cine_rate", (40, 0), 15.0, "", False),
        ("no_rate", (40, 0), None, "", False),
        ("enhanced", (-30, 25), 15.0, "", False),
        ("enhanced_rotating", (None, None), 15.0, "", False),
        ("biplane_a", (40, 0), 15.0, "A", False),
        ("biplane_b", (-40, 25), 15.0, "B", False),
        ("burned_in", (40, 0), 15.0, "", True),
    ],
)
def test_what_the_header_tells(name: str, angles: tuple, fps: float | None, plane: str, burned_in: bool, read) -> None:
    cine = read(name)
    assert ((cine.primary_angle, cine.secondary_angle), cine.fps, cine.plane) == (angles, fps, plane)
    assert cine.says_burned_in == burned_in


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
