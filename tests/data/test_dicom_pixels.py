"""Every kind of file that angiography departments write, synthesized: read as it is meant, refused where damaged."""

import numpy as np
import pytest
from dicom_variants import COLUMNS, FRAMES, ROWS, VARIANTS, base, deep, disk, lut, tags, write_variant
from fuzz_dicom import mutated

from cag.data.dicom import read_cine, read_frames
from cag.data.dicom_pixels import declared
from cag.settings import DicomError

#: Grey levels of kinds that are known, and how far each may be off; the first change no pixel.
EXPECTED = {
    **dict.fromkeys(("rle", "jpeg_ls", "jpeg_2000", "no_rate", "no_angles", "biplane_a", "overlay_plane"), (disk(), 0)),
    **dict.fromkeys(("bits_12_rle", "bits_12_jpeg_2000"), (disk(12) / 4095 * 255, 0.75)),
    **dict.fromkeys(("bits_10_window", "overlay_bits"), (disk(10) / 1023 * 255, 0.75)),
    **{"bits_16": (disk(16) / 65535 * 255, 0.75), "bits_12_voi_lut": (255 - disk(12) // 16, 0)},
    **{"monochrome1": (255 - disk(), 0), "mpeg_2": (disk(), 12), "h_264": (disk(), 12)},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_is_read_and_stored_values_become_grey_levels(name, tmp_path):
    frames = read_frames(write_variant(name, tmp_path))
    assert frames.shape == (FRAMES, ROWS, COLUMNS) and np.ptp(frames) > 100
    np.testing.assert_array_equal(read_frames(tmp_path / f"{name}.dcm", [4, 1]), frames[[4, 1]])
    if name in EXPECTED:
        expected, tolerance = EXPECTED[name]
        assert np.abs(frames - expected.astype(float)).max() <= tolerance


BEFORE_WINDOW = {"WindowCenter": 1, "WindowWidth": 2, "VOILUTSequence": [lut(np.array([200, 100, 50, 7]), 8, 10)]}


@pytest.mark.parametrize(
    "values, bits, more, expected",
    [
        ([0, 1023, 512, 256], 10, {}, [0, 255, 128, 64]),
        # linear window of PS3.3 C.11.2.1.2: (x - 99.5) / 100 + .5
        ([0, 49, 50, 100, 149, 150], 10, {"WindowCenter": 100, "WindowWidth": 101}, [0, 0, 1, 129, 254, 255]),
        ([0, 100, 101], 10, {"WindowCenter": 100.5, "WindowWidth": 1}, [0, 0, 255]),
        ([50, 100], 10, {"WindowCenter": 100, "WindowWidth": 200, "VOILUTFunction": "LINEAR_EXACT"}, [64, 128]),
        ([100, 1023], 10, {"WindowCenter": 100, "WindowWidth": 200, "VOILUTFunction": "SIGMOID"}, [128, 255]),
        ([0, 1023, 512], 10, {"WindowCenter": 100, "WindowWidth": 0}, [0, 255, 128]),
        ([-2048, 2047, 0, -1024], 12, {}, [0, 255, 128, 64]),
        ([-2048, 2047], 12, {"PhotometricInterpretation": "MONOCHROME1"}, [255, 0]),
        ([0, 10, 11, 12, 13, 14], 12, BEFORE_WINDOW, [200, 200, 100, 50, 7, 7]),
    ],
)
def test_windows_tables_and_signs(change, run, values, bits, more, expected):
    stored = np.array([[values]], np.int16 if min(values) < 0 else np.uint16)
    assert read_frames(change(run[0], deep(bits, stored, **more))).ravel().tolist() == expected


def test_shutters_hide_what_is_outside(tmp_path):
    rectangle = np.zeros((ROWS, COLUMNS), dtype=bool)
    rectangle[4:44, 8:56] = True
    y, x = np.mgrid[:ROWS, :COLUMNS]
    circle = (y - 23) ** 2 + (x - 31) ** 2 <= 400
    for name, visible in (("shutter_rectangle", rectangle), ("shutter_circle", circle)):
        np.testing.assert_array_equal(read_frames(write_variant(name, tmp_path)), np.where(visible, disk(), 0))
    triangle = read_frames(write_variant("shutter_polygon", tmp_path)).any(axis=0)
    assert triangle[2, 32] and not triangle[40, 2] and not triangle[40, 60]
    enhanced = read_frames(write_variant("enhanced", tmp_path))
    assert not enhanced[:, :2].any(), "Enhanced XA keeps its shutter in a functional group"
    for more in ({}, {"CenterOfCircularShutter": [500, 500], "RadiusOfCircularShutter": 2}):
        dataset = base(tmp_path / "run.dcm")
        tags(ShutterShape="CIRCULAR", **more)(dataset)
        dataset.save_as(tmp_path / "run.dcm")
        np.testing.assert_array_equal(read_frames(tmp_path / "run.dcm"), disk(), "an impossible shutter hides nothing")


@pytest.mark.parametrize("name", ["plain", "rle", "jpeg_ls", "jpeg_2000", "bits_12_voi_lut", "enhanced"])
def test_damaged_files_are_read_or_refused_by_name(tmp_path, key, name):
    whole = write_variant(name, tmp_path).read_bytes()
    outcomes = set()
    for seed in range(60):
        (tmp_path / "damaged.dcm").write_bytes(mutated(whole, seed))
        try:
            assert read_cine(tmp_path / "damaged.dcm", key=key).frames.dtype == np.uint8
            outcomes.add("read")
        except DicomError as error:
            assert str(error).startswith("damaged.dcm") and "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}, "the damage is neither always fatal nor never felt"


def test_what_a_codestream_declares():
    start = b"\xff\xd8\xff\xfe\x00\x04ab\xff\xff\xc3\x00\x0b\x08\x01\x00\x02\x00\x01\x01\x11\x00"
    assert declared(start) == (256, 512, 1, 8, "JPEG") and declared(b"\xff\xd8\xff") is None
