"""Headers: timing, angles, one-sentence refusals, hostile files, privacy."""

import traceback
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from dicom_variants import write_variant
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from cag.data.dicom import read_cine, read_frames
from cag.settings import DicomError

SECRET = "MUELLER^ANNA"


@pytest.mark.parametrize(
    "tags, fps",
    [
        ({"CineRate": 10}, 10),
        ({"CineRate": 0}, 15),
        ({"CineRate": None, "FrameTime": "40"}, 25),
        ({"CineRate": None, "FrameTime": None, "FrameTimeVector": [0, 50, 150]}, 10),
        ({"CineRate": None, "FrameTime": None, "RecommendedDisplayFrameRate": 12}, 12),
        ({"CineRate": None, "FrameTime": None, "RecommendedDisplayFrameRate": None}, None),
    ],
)
def test_precedence_of_rates(change, run, tags, fps):
    path = change(run[0], lambda ds: ds.update(tags))
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


def call_video(dataset: Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID, dataset.PixelData = UID("1.2.840.10008.1.2.4.107"), encapsulate([bytes(100)])


REFUSALS: dict[str, tuple[Callable[[Dataset], object], str]] = {
    "not XA": (lambda ds: setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"), "Secondary Capture"),
    "unknown class": (lambda ds: setattr(ds, "SOPClassUID", "1.2.3.4"), "(0008,0016): '1.2.3.4' is not read"),
    "no pixels": (lambda ds: delattr(ds, "PixelData"), "no pixel data"),
    "color": (lambda ds: setattr(ds, "SamplesPerPixel", 3), "Samples per Pixel (0028,0002): 3 instead of 1"),
    "huge": (lambda ds: ds.update({"Rows": 65535, "Columns": 65535}), "65535 x 65535 x 5 is more"),
    "many frames": (lambda ds: setattr(ds, "NumberOfFrames", 1_000_000), "1000000 is more"),
    "no image": (lambda ds: setattr(ds, "Rows", 0), "0 x 40 x 5 declares no image"),
    "more than there is": (lambda ds: setattr(ds, "NumberOfFrames", 6), "of 5 frames, Number of Frames says 6"),
    "no rows": (lambda ds: delattr(ds, "Rows"), "Rows (0028,0010): this tag is missing; it tells how many rows"),
    "no instance": (
        lambda ds: delattr(ds, "SOPInstanceUID"),
        "SOP Instance UID (0008,0018): this tag is missing; it tells",
    ),
    "bits": (lambda ds: setattr(ds, "BitsStored", 9), "8 and 9"),
    "high bit": (lambda ds: setattr(ds, "HighBit", 6), "High Bit (0028,0102): 6 instead of 7"),
    "syntax": (call_video, "'HEVC/H.265 Main Profile / Level 5.1' is not read. Convert"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_are_one_sentence(change, run, key, name):
    edit, expected = REFUSALS[name]
    path = change(run[0], edit)
    with pytest.raises(DicomError) as caught:
        read_cine(path, key=key)
    message = str(caught.value)
    assert expected in message and message.startswith("run.dcm") and caught.value.remedy
    assert "\n" not in message


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
    np.testing.assert_array_equal(read_frames(change(run[0], REFUSALS["not XA"][0])), run[1])


def test_truncated_at_every_part(run, key, tmp_path):
    whole = run[0].read_bytes()
    for length in range(0, len(whole) - 1, 97):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        with pytest.raises(DicomError):
            read_cine(tmp_path / "cut.dcm", key=key)


def test_no_identifier_leaves_the_file(change, run, key, recwarn):
    path = run[0]
    texts = [e.keyword for e in pydicom.dcmread(path) if e.VR in ("PN", "LO", "SH", "LT", "ST", "DA", "TM", "CS")]
    texts += ["InstitutionName", "StationName", "AccessionNumber", "OtherPatientIDs", "PatientComments", "StudyDate"]
    kept = {"ImageType", "PhotometricInterpretation", "PositionerMotion"}

    def plant(ds):
        for keyword in set(texts) - kept:
            ds[keyword] = pydicom.DataElement(keyword, "LO", SECRET)

    cine = read_cine(change(path, plant), key=key)
    shown = repr(cine) + str(vars(cine))
    for edit, _ in REFUSALS.values():
        broken = change(path, edit, path.with_name("broken.dcm"))
        with pytest.raises(DicomError) as caught:
            read_cine(broken, key=key)
        shown += "".join(traceback.format_exception(caught.value))
    for keyword in ("PhotometricInterpretation", "PositionerPrimaryAngle", "SOPClassUID", "PositionerMotion"):
        broken = path.with_name("broken.dcm")
        element = pydicom.DataElement(keyword, "LO", SECRET)
        change(path, lambda ds, k=keyword, e=element: ds.__setitem__(k, e), broken)
        try:
            shown += repr(read_cine(broken, key=key))
        except DicomError as error:
            shown += "".join(traceback.format_exception(error))
    uids = [str(pydicom.dcmread(path)[name].value) for name in ("SOPInstanceUID", "StudyInstanceUID")]
    assert not any(text in shown for text in ("MUELLER", "ANNA", "Anna", *uids)) and not recwarn.list
