"""Headers: timing, angles, files that are none."""

import numpy as np
import pytest
from dicom_variants import tags, write_variant

from cag.data.dicom import read_cine, read_frames
from cag.settings import DicomError


@pytest.mark.parametrize(
    "odd, fps",
    [
        ({"CineRate": 10}, 10),
        ({"CineRate": 0}, 15),
        ({"CineRate": None, "FrameTime": "40"}, 25),
        ({"CineRate": None, "FrameTime": None, "FrameTimeVector": [0, 50, 150]}, 10),
        ({"CineRate": None, "FrameTime": None, "RecommendedDisplayFrameRate": 12}, 12),
        ({"CineRate": None, "FrameTime": None, "RecommendedDisplayFrameRate": None}, None),
    ],
)
def test_precedence_of_rates(change, run, odd, fps):
    path = change(run[0], lambda ds: ds.update(odd))
    assert read_cine(path, frames=[]).fps == fps


@pytest.mark.parametrize(
    "name, angles, fps, plane, burned_in",
    [
        ("plain", (40, 0), 15.0, "", False),
        ("no_angles", (None, None), 15.0, "", False),
        ("frame_time_vector", (40, 0), 12.5, "", False),
        ("enhanced", (-30, 25), 15.0, "", False),
        ("enhanced_rotating", (None, None), 15.0, "", False),
        ("biplane_a", (40, 0), 15.0, "A", False),
        ("biplane_b", (-40, 25), 15.0, "B", False),
        ("burned_in", (40, 0), 15.0, "", True),
    ],
)
def test_what_the_header_tells(name, angles, fps, plane, burned_in, tmp_path):
    cine = read_cine(write_variant(name, tmp_path), frames=[])
    assert ((cine.primary_angle, cine.secondary_angle), cine.fps, cine.plane) == (angles, fps, plane)
    assert cine.says_burned_in == burned_in


def test_what_is_no_dicom_is_refused_and_a_manifest_may_admit_other_classes(tmp_path, key, change, run):
    for name, content in (("text.dcm", b"hello"), ("empty.dcm", b""), ("zeros.dcm", bytes(2000))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DicomError, match="is not a DICOM file"):
            read_cine(tmp_path / name, key=key)
    (tmp_path / "runs.7z").write_bytes(b"7z\xbc\xaf" + bytes(200))
    with pytest.raises(DicomError, match=r"is an archive or document, no DICOM file\. If it holds runs, unpack"):
        read_cine(tmp_path / "runs.7z", key=key)
    with pytest.raises(DicomError, match="cannot be opened"):
        read_cine(tmp_path / "absent.dcm", key=key)
    np.testing.assert_array_equal(read_frames(change(run[0], tags(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"))), run[1])


def test_truncated_at_every_part(run, key, tmp_path):
    whole = run[0].read_bytes()
    for length in range(0, len(whole) - 1, 97):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        with pytest.raises(DicomError):
            read_cine(tmp_path / "cut.dcm", key=key)
