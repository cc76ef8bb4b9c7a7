"""Headers: timing, angles, one-sentence refusals, hostile files, privacy."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from cag.data.dicom import read_cine, read_header
from cag.settings import DicomError

Change = Callable[..., Path]


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
def test_precedence_of_rates(change: Change, run: tuple[Path, np.ndarray], tags: dict, fps: float | None) -> None:
    path = change(run[0], lambda ds: ds.update(tags))
    assert read_header(path).fps == fps


def test_missing_and_moving_angles_are_none(change: Change, run: tuple[Path, np.ndarray]) -> None:
    path = change(run[0], lambda ds: delattr(ds, "PositionerPrimaryAngle"))
    assert (read_header(path).primary_angle, read_header(path).secondary_angle) == (None, 2.25)
    assert read_header(change(path, lambda ds: setattr(ds, "PositionerMotion", "DYNAMIC"))).secondary_angle is None


def declare_huge(dataset: Dataset) -> None:
    dataset.Rows = dataset.Columns = 65535


REFUSALS: dict[str, tuple[Callable[[Dataset], object], str]] = {
    "not XA": (lambda ds: setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"), "Secondary Capture"),
    "unknown class": (lambda ds: setattr(ds, "SOPClassUID", "1.2.3.4"), "this class of object"),
    "no pixels": (lambda ds: delattr(ds, "PixelData"), "no pixel data"),
    "color": (lambda ds: setattr(ds, "SamplesPerPixel", 3), "Samples per Pixel: 3 instead of 1"),
    "palette": (lambda ds: setattr(ds, "PhotometricInterpretation", "PALETTE COLOR"), "MONOCHROME"),
    "huge": (declare_huge, "65535 x 65535 x 5 is more"),
    "many frames": (lambda ds: setattr(ds, "NumberOfFrames", 1_000_000), "1000000 is more"),
    "no frames": (lambda ds: setattr(ds, "NumberOfFrames", -1), "declares no image"),
    "more than there is": (lambda ds: setattr(ds, "NumberOfFrames", 6), "6400 bytes instead of the 7680"),
    "no rows": (lambda ds: delattr(ds, "Rows"), "Rows: mandatory tag is missing"),
    "no instance": (lambda ds: delattr(ds, "SOPInstanceUID"), "SOPInstanceUID: mandatory"),
    "bits": (lambda ds: setattr(ds, "BitsStored", 9), "8 and 9"),
    "high bit": (lambda ds: setattr(ds, "HighBit", 6), "High Bit: 6 instead of 7"),
    "window": (lambda ds: setattr(ds, "WindowWidth", 0), "0 about 128 is no window"),
    "angle": (lambda ds: setattr(ds, "PositionerPrimaryAngle", "400"), "400 is no angle"),
    "syntax": (lambda ds: setattr(ds.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2.1.99"), "Deflated"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_are_one_sentence(change: Change, run: tuple[Path, np.ndarray], key: bytes, name: str) -> None:
    edit, expected = REFUSALS[name]
    path = change(run[0], edit)
    with pytest.raises(DicomError) as caught:
        read_cine(path, key=key)
    message = str(caught.value)
    assert expected in message and message.startswith("run.dcm") and caught.value.remedy
    assert "\n" not in message


def test_what_is_no_dicom_is_refused(tmp_path: Path, key: bytes) -> None:
    for name, content in (("text.dcm", b"hello"), ("empty.dcm", b""), ("zeros.dcm", bytes(2000))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DicomError, match="is not a DICOM file"):
            read_cine(tmp_path / name, key=key)
    with pytest.raises(DicomError, match="cannot be opened"):
        read_cine(tmp_path / "absent.dcm", key=key)


def test_other_classes_can_be_allowed(change: Change, run: tuple[Path, np.ndarray], key: bytes) -> None:
    path = change(run[0], REFUSALS["not XA"][0])
    cine = read_cine(path, key=key, allow_non_xa=True)
    assert cine.primary_angle is None
    np.testing.assert_array_equal(cine.frames, run[1])


def test_truncated_at_every_part(run: tuple[Path, np.ndarray], key: bytes, tmp_path: Path) -> None:
    whole = run[0].read_bytes()
    for length in range(0, len(whole) - 1, 97):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        with pytest.raises(DicomError):
            read_cine(tmp_path / "cut.dcm", key=key)


def test_no_identifier_leaves_the_file(
    change: Change, run: tuple[Path, np.ndarray], key: bytes, recwarn: pytest.WarningsRecorder
) -> None:
    path = run[0]
    texts = [e.keyword for e in pydicom.dcmread(path) if e.VR in ("PN", "LO", "SH", "LT", "ST", "DA", "TM", "CS")]
    texts += ["InstitutionName", "StationName", "AccessionNumber", "OtherPatientIDs", "PatientComments", "StudyDate"]
    kept = {"ImageType", "PhotometricInterpretation", "PositionerMotion"}

    def plant(ds: Dataset) -> None:
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
    assert not any(text in shown for text in ("MUELLER", "ANNA", "Anna", *uids))
    assert not recwarn.list
