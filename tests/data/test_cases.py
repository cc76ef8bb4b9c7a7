"""Files, folders and sheets as hospitals write them, each odd in one way: read right, or refused by what is wrong."""

import io
import os
import re
import shutil
import sys
import tarfile
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from dicom_variants import FRAMES, VARIANTS, compress, deep, disk, lut, tags, write_single_frames, write_variant
from openpyxl import Workbook
from openpyxl.chart import BarChart
from PIL import Image
from pydicom import DataElement, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from cag.data.cohort import Cohort
from cag.data.dicom import read_cine
from cag.data.manifest import build_manifest
from cag.data.pseudonyms import pseudonym
from cag.data.qca import read_qca
from cag.data.study import study_files
from cag.settings import DicomError, ManifestError

HIGH, JP2 = (disk(10) * 1.2).astype(np.uint16), b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\0jp2c"
COMPRESSED = {"j2k": JPEG2000Lossless, "jls": JPEGLSLossless}


def both(*edits):
    return lambda ds: [edit(ds) for edit in edits]


def beyond(syntax):
    """A codestream of 12 bits, in a header of 10, with values above those."""
    return both(deep(12, HIGH), compress(syntax), tags(BitsStored=10, HighBit=9))


def streams(name, change):
    """An edit that changes each compressed frame, without its padding."""

    def edit(ds):
        compress(COMPRESSED[name])(ds)
        frames = generate_frames(ds.PixelData, number_of_frames=FRAMES)
        ds.PixelData = encapsulate([change(frame.rstrip(b"\0")) for frame in frames])

    return edit


def jpeg(ds, **options):
    """JPEG Extended whose scan says to end with coefficient 0, as NEMA's own XA1."""
    frames = [io.BytesIO() for _ in disk()]
    for frame, file in zip(disk(), frames, strict=True):
        Image.fromarray(frame).save(file, "jpeg", quality=100, **options)
    ds.PixelData = encapsulate([file.getvalue().replace(b"\1\1\0\0\x3f\0", b"\1\1\0\0\0\0") for file in frames])
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.51"


def text(keyword, value):
    return lambda ds: ds.add(DataElement(keyword, "LO", value))


def rle(rows, more=b""):
    """Frames of so many rows in a file that says 48."""

    def edit(ds):
        tags(Rows=rows, PixelData=np.tile(disk(), (1, 2, 1))[:, :rows].tobytes())(ds)
        compress(RLELossless)(ds)
        frames = generate_frames(ds.PixelData, number_of_frames=FRAMES)
        tags(Rows=48, PixelData=encapsulate([frame + more for frame in frames]))(ds)

    return edit


GREY, GREY_12 = disk(), disk(12) / 4095 * 255
CLIPPED = HIGH.clip(0, 1023) / 1023 * 255
SHORT = "{} the file holds pixels of 10 frames, and all are read."
UNKNOWN, STILL = {"primary_angle": None}, {"primary_angle": 40.0}
#: What is odd -> how the plain run becomes so (data set, bytes), the grey levels, what is noted, other values.
READ = {
    "frames absent": (tags("NumberOfFrames"), None, GREY, SHORT.format("is missing;"), {"n_frames": 10}),
    "frames 0": (tags(NumberOfFrames=0), None, GREY, SHORT.format("is missing;"), {}),
    "frames 5": (tags(NumberOfFrames=5), None, GREY, SHORT.format("says 5;"), {}),
    "frames 5, J2K": (both(compress(JPEG2000Lossless), tags(NumberOfFrames=5)), None, GREY, "says 5;", {}),
    "beyond Bits Stored, J2K": (beyond(JPEG2000Lossless), None, CLIPPED, "", {}),
    "beyond Bits Stored, JPEG-LS": (beyond(JPEGLSLossless), None, CLIPPED, "", {}),
    "12 bits in 16": (both(deep(12), tags(BitsStored=16, HighBit=15)), None, GREY_12, "Values use 12 bits", {}),
    "LUT says 16": (deep(12, VOILUTSequence=[lut(np.arange(4096), 16)]), None, GREY_12, "", {}),
    "LUT says 8": (deep(12, VOILUTSequence=[lut(np.arange(4096), 8)]), None, GREY_12, "", {}),
    "rescaled": (deep(12, RescaleSlope=1 / 16, WindowCenter=128, WindowWidth=256), None, GREY_12, "", {}),
    "no grey": (deep(12, WindowCenter=9, WindowWidth=4), None, None, "of it is black or white", {}),
    "turning": (tags("PositionerMotion", PositionerPrimaryAngleIncrement=[*range(10)]), None, GREY, "", UNKNOWN),
    "comma": (tags("CineRate"), (b"66.66", b"66,66"), GREY, "", {"fps": 15}),
    "sizes as text": (both(text("Rows", "48,0"), text("BitsStored", "8")), None, GREY, "", {"rows": 48}),
    "sizes of other kinds": (tags("HighBit", "PixelRepresentation"), None, GREY, "", {}),
    "sign text": (text("PixelRepresentation", "none"), None, GREY, "Pixel Representation: what stands", {}),
    "small letters": (None, (b"MONOCHROME2", b"monochrome2"), GREY, "", {}),
    "plane alone": (text("ImageType", "BIPLANE A"), None, GREY, "", {"plane": "A"}),
    "moves": (text("PositionerMotion", "dynamic"), None, GREY, "", UNKNOWN),
    "rate beyond": (tags(CineRate=999999), None, GREY, "Cine Rate: '999999' counts as not given.", {"fps": 15}),
    "angle comma": (None, (b"40.0", b"40,5"), GREY, "", {"primary_angle": 40.5, "secondary_angle": 0}),
    "angle text": (None, (b"40.0", b"left"), GREY, "Primary Angle: what stands there counts as not given.", UNKNOWN),
    "angle 330": (None, (b"40.0", b"330 "), GREY, "Positioner Primary Angle: '330' counts as not given.", UNKNOWN),
    "rate text": (text("CineRate", "fast"), None, GREY, "Cine Rate: what stands", {"fps": 15}),
    "number text": (text("InstanceNumber", "first"), None, GREY, "Instance Number: what", {"instance_number": None}),
    "window 0": (tags(WindowWidth=0), None, GREY, "Window Width: '0", STILL),
    "deflated": (VARIANTS["deflated"], None, GREY, "", STILL),
    "video, frames 5": (both(VARIANTS["h_264"], tags(NumberOfFrames=5)), None, None, SHORT.format("says 5;"), {}),
    "no sign": (both(compress(RLELossless), tags("PixelRepresentation")), None, GREY, "", {}),
    "JP2": (streams("j2k", lambda frame: JP2 + frame), None, GREY, "", {}),
    "no end": (streams("j2k", lambda frame: frame[:-2]), None, GREY, "do not end with an end marker", {}),
    "padded": (streams("j2k", lambda frame: frame + bytes(3000)), None, GREY, "", {}),
    "progressive": (partial(jpeg, progressive=True), None, GREY, "", {}),
    "zero before the end": (streams("jls", lambda frame: frame[:-2] + b"\0\xff\xd9"), None, GREY, "", {}),
    "scan end 0": (jpeg, None, GREY, "", {}),
    "no preamble": (None, slice(132, None), GREY, "", STILL),
    "rows 46": (tags(Rows=46), None, None, "After 10 frames of 46 x 64 pixels, 1280 bytes are left over.", {}),
    "7 of 8 bits": (tags(BitsStored=7, HighBit=6), None, None, "Bits above Bits Stored are set, as by old overl", {}),
    "zeros after RLE": (rle(48, bytes(3000)), None, GREY, "", {}),
}


def write(path, change, edit, patch=None, **options):
    """The plain run with an edit of its data set, then of its bytes."""
    change(write_variant("plain", path.parent), lambda ds: edit(ds) if edit else None, path)
    raw = path.read_bytes()
    if patch is not None:
        path.write_bytes(raw[patch] if isinstance(patch, slice) else raw.replace(*patch))
    return path


@pytest.mark.parametrize("name", READ)
def test_what_is_sound_is_read(tmp_path, change, name):
    edit, patch, grey, note, values = READ[name]
    cine = read_cine(write(tmp_path / "odd.dcm", change, edit, patch))
    if grey is not None:
        assert np.abs(cine.frames.astype(float) - grey).max() <= (4 if name in ("scan end 0", "progressive") else 0.75)
    assert note in " ".join(cine.notes) and bool(note) == bool(cine.notes)
    assert {field: getattr(cine, field) for field in values} == values


GARBLED = streams("j2k", lambda frame: frame[:99] + bytes(400) + frame[499:])
HEVC = both(tags(PixelData=encapsulate([bytes(100)])), lambda ds: setattr(ds.file_meta, *UNREAD))
UNREAD = "TransferSyntaxUID", "1.2.840.10008.1.2.4.107"
NATIVE, RLE, CUT = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", slice(None, -9000)
DICOMDIR = "MediaStorageSOPClassUID", "1.2.840.10008.1.3.10"
DEEPER = tags(BitsAllocated=16, BitsStored=12, HighBit=11)
kind = partial(text, "PhotometricInterpretation")
REFUSED = {
    "says native": (compress(RLELossless), (RLE, NATIVE), "'Explicit VR Little Endian', uncompressed, but holds compr"),
    "says compressed": (None, (NATIVE, RLE), "says 'RLE Lossless', compressed, but holds uncompressed frames. Export"),
    "8 in 16, RLE": (both(compress(RLELossless), DEEPER), None, "holds 8 bits a pixel where the header declares 16"),
    "50 rows, RLE": (rle(50), None, "frame 0 holds 3200 pixels where the header declares 48 x 64 = 3072. Export"),
    "46 rows, video": (both(VARIANTS["mpeg_2"], tags(Rows=46)), None, "holds frames of 48 x 64 where the header decl"),
    "46 rows, RLE": (rle(46), None, "frame 0 holds 2944 pixels where the header declares 48 x 64 = 3072. Export"),
    "60 columns, RLE": (both(rle(48), tags(Columns=60)), None, "holds 3072 pixels where the header declares 48 x 60 ="),
    "JPEG in JPEG-LS": (jpeg, (b".1.2.4.51", b".1.2.4.80"), "holds JPEG, 48 x 64 x 1 of 8 bits where the header decl"),
    "cut, J2K": (
        compress(JPEG2000Lossless),
        slice(None, -300),
        "Pixel Data (7FE0,0010): frame 9 is cut off: of ",
    ),
    "47 rows, J2K": (both(compress(JPEG2000Lossless), tags(Rows=47)), None, "declares JPEG 2000, 47 x 64 x 1 of 8"),
    "not deflated": (VARIANTS["deflated"], (b"CAG ", b"CAG \xff"), "says deflated, and what follows is not"),
    "cut": (tags("NumberOfFrames"), CUT, "holds pixels of 7 frames, Number of Frames says nothing; it is truncated"),
    "big endian": (None, (NATIVE, b"1.2.840.10008.1.2.2\0"), "SOP Class UID (0008,0016): this tag is missing, as are"),
    "list": (lambda ds: setattr(ds.file_meta, *DICOMDIR), None, "is a DICOMDIR, a list of files. Leave it out: the fi"),
    "no syntax": (
        None,
        (b"\2\0\x10\0UI", b"\2\0\x11\0UI"),
        "(0002,0010): this tag is missing; it tells how the file is encoded and comp",
    ),
    "no class": (tags("SOPClassUID"), None, "UID (0008,0016): this tag is missing; it tells what kind of object the"),
    "RF": (tags(SOPClassUID="1.2.840.10008.5.1.4.1.1.12.2"), None, "'X-Ray Radiofluoroscopic Image Storage' is not r"),
    "rows text": (
        text("Rows", "many"),
        None,
        "Rows (0028,0010): what stands there (4 characters) is no whole number from 0 to 65",
    ),
    "two sizes": (
        text("Columns", ["48", "64"]),
        None,
        "Columns (0028,0011): '48, 64' is no whole number from 0 to 65535. Correct",
    ),
    "part of a row": (
        text("Rows", "48.5"),
        None,
        "Rows (0028,0010): '48.5' is no whole number from 0 to 65535. Correct this tag",
    ),
    "palette": (kind("PALETTE COLOR"), None, "'PALETTE COLOR' is not read, only MONOCHROME1 and MONOCHROME2. Export"),
    "third": (kind("Monochrome 3"), None, "Interpretation (0028,0004): 'Monochrome 3' is not read, only MONOCHROME1"),
    "no groups": (
        text("SharedFunctionalGroupsSequence", "1"),
        None,
        "Groups Sequence (5200,9229): is no sequence (SQ), but LO",
    ),
    "garbled": (
        GARBLED,
        None,
        "(7FE0,0010): frame 0 in 'JPEG 2000 Image Compression (Lossless Only)' ca",
    ),
    "not XA": (tags(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), None, "'Secondary Capture Image Storage' is not read"),
    "unknown class": (tags(SOPClassUID="1.2.3.4"), None, "SOP Class UID (0008,0016): '1.2.3.4' is not read. Export"),
    "no pixels": (tags("PixelData"), None, "has no pixel data"),
    "color": (tags(SamplesPerPixel=3), None, "Samples per Pixel (0028,0002): 3 instead of 1"),
    "huge": (tags(Rows=65535, Columns=65535), None, "65535 x 65535 x 10 is more"),
    "many frames": (tags(NumberOfFrames=1_000_000), None, "1000000 is more"),
    "no image": (tags(Rows=0), None, "0 x 64 x 10 declares no image"),
    "more than there is": (tags(NumberOfFrames=11), None, "of 10 frames, Number of Frames says 11"),
    "no rows": (tags("Rows"), None, "Rows (0028,0010): this tag is missing; it tells how many rows"),
    "no instance": (tags("SOPInstanceUID"), None, "SOP Instance UID (0008,0018): this tag is missing; it tells"),
    "bits": (tags(BitsStored=9), None, "8 and 9"),
    "high bit": (tags(HighBit=6), None, "High Bit (0028,0102): 6 instead of 7"),
    "syntax": (HEVC, None, "'HEVC/H.265 Main Profile / Level 5.1' is not read. Convert"),
    "8 bits in 12": (both(compress(JPEGLSLossless), DEEPER), None, "of 8 bits where the header declares JPEG-LS, 48 x"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_is_refused_by_its_cause(tmp_path, change, key, name):
    edit, patch, expected = REFUSED[name]
    with pytest.raises(DicomError, match=r"^odd\.dcm[,:] .*" + re.escape(expected)) as caught:
        read_cine(write(tmp_path / "odd.dcm", change, edit, patch), key=key)
    assert "\n" not in str(caught.value) and caught.value.remedy


def test_no_identifier_leaves_the_file(change, tmp_path, key, recwarn):
    path, broken = write_variant("plain", tmp_path), tmp_path / "broken.dcm"
    texts = [e.keyword for e in dcmread(path) if e.VR in ("PN", "LO", "SH", "LT", "ST", "DA", "TM", "CS")]
    texts += ["InstitutionName", "StationName", "AccessionNumber", "OtherPatientIDs", "PatientComments", "StudyDate"]
    planted = set(texts) - {"ImageType", "PhotometricInterpretation", "PositionerMotion"}
    cine = read_cine(change(path, both(*(text(keyword, "MUELLER^ANNA") for keyword in planted))), key=key)
    shown = repr(cine) + str(vars(cine))
    edits = [edit for edit, patch, _ in REFUSED.values() if edit and not patch]
    odd = ("PhotometricInterpretation", "PositionerPrimaryAngle", "SOPClassUID", "PositionerMotion", "Rows", "CineRate")
    for edit in (*edits, *(text(keyword, "MUELLER^ANNA") for keyword in odd)):
        try:
            shown += repr(read_cine(change(path, edit, broken), key=key))
        except DicomError as error:
            shown += "".join(traceback.format_exception(error))
    uids = [str(dcmread(path)[name].value) for name in ("SOPInstanceUID", "StudyInstanceUID")]
    assert not any(name in shown for name in ("MUELLER", "ANNA", "Anna", *uids)) and not recwarn.list


def test_video_asks_for_its_package(tmp_path, monkeypatch):
    path = write_variant("mpeg_2", tmp_path)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DicomError, match=r"the package that reads video is not installed\. Install it"):
        read_cine(path)


def test_pixels_lie_where_the_parser_found_them(tmp_path):
    dataset = dcmread(write_variant("plain", tmp_path))
    dataset.save_as(tmp_path / "odd.dcm", implicit_vr=True, little_endian=True, force_encoding=True)
    np.testing.assert_array_equal(read_cine(tmp_path / "odd.dcm").frames, disk())


def runs(folder, key):
    found = list(study_files(folder, key, progress=False))
    return [(file.cine.n_frames, file.cine.plane, file.name, " ".join(file.notes)) for file in found]


def planes(ds):
    ds.ImageType = ["ORIGINAL", "PRIMARY", f"BIPLANE {'AB'[ds.InstanceNumber % 2]}"]


def clock(seconds, number=lambda n: n, name="ContentTime"):
    """Time and number of each frame, by its place from 1."""

    def edit(ds):
        time, ds.InstanceNumber = (120000 + seconds(ds.InstanceNumber)) % 235959, number(ds.InstanceNumber)
        setattr(ds, name, f"{time:09.2f}")

    return edit


def angle(degrees):
    return lambda ds: tags(PositionerPrimaryAngle=degrees(ds.InstanceNumber))(ds)


@pytest.mark.parametrize(
    "edit, counts, told, primary",
    [
        (lambda ds: setattr(ds, "AcquisitionNumber", ds.InstanceNumber % 2), [5, 5], "", 40),
        (lambda ds: setattr(ds, "AcquisitionTime", f"1200{ds.InstanceNumber % 2:02}"), [5, 5], "", 40),
        (planes, [5, 5], "numbers. B", 40),
        (clock(lambda n: 0, lambda n: (n - 1) % 5 + 1), [1] * 10, "", 40),
        (clock(lambda n: n // 6, lambda n: (n - 1) % 5 + 1), [5, 5], "", 40),
        (clock(lambda n: n / 15 + n // 6, lambda n: (n - 1) % 5 + 1), [5, 5], "", 40),
        (clock(lambda n: 30 * (n // 6)), [5, 5], "", 40),
        (clock(lambda n: n // 3), [10], "", 40),
        (clock(lambda n: 30 * n), [10], "", 40),
        (clock(lambda n: 30 * (n // 10)), [1, 9], "", 40),
        (clock(lambda n: n / 15, name="AcquisitionTime"), [10], "", 40),
        (clock(lambda n: 115958 + (n > 5)), [10], "", 40),
        (lambda ds: setattr(ds, "InstanceNumber", 1), [1] * 10, "", 40),
        (angle(lambda n: 40 + n / 100), [10], "Angles of its frames differ by up to 0.09 degrees; their", 40.055),
        (angle(lambda n: 40 + n % 2), [10], "differ by up to 1 degrees; their median counts.", 40.5),
        (angle(lambda n: 3 * n), [10], "in the order of their instance numbers. The arm turns by 27 degrees", None),
        (angle(lambda n: n // 3), [10], "The arm turns by 3 degrees, so it has no view.", None),
        (angle(lambda n: 40 + 3 * (n > 5)), [5, 5], "5 files of one frame", 40),
        (angle(lambda n: None if n == 3 else 40), [10], "10 files of one frame", 40),
        (both(clock(lambda n: n / 15), tags("InstanceNumber", AcquisitionTime="12")), [10], "content times", 40),
        (clock(lambda n: n / 15, lambda n: 1, "AcquisitionTime"), [10], "of their acquisition times", 40),
        (tags("InstanceNumber"), [10], "of their file names, since neither", 40),
        (lambda ds: ds.InstanceNumber == 3 and ds.pop("InstanceNumber"), [1] * 10, "frames without", 40),
        (tags("SeriesInstanceUID"), [1] * 10, "it names no series", 40),
    ],
)
def test_a_run_is_what_was_acquired_together_in_a_manifest_too(tmp_path, key, change, edit, counts, told, primary):
    for path in write_single_frames(tmp_path / "study"):
        change(path, edit)
    first, *more = study_files(tmp_path / "study", key, progress=False)
    assert sorted(run.cine.n_frames for run in (first, *more)) == counts
    assert told in " ".join([*first.notes, first.cine.plane]) and first.cine.primary_angle == primary
    if counts == [FRAMES] and "file names" not in told:
        np.testing.assert_array_equal(first.cine.frames, disk())
    report = build_manifest(tmp_path / "study", tmp_path / "m.csv", key=key, progress=False)
    assert {run.cine.run_id for run in (first, *more)} == set(report.manifest.run_id)
    cohort = Cohort.from_manifest(tmp_path / "m.csv")
    assert sorted(len(cohort.frames(run)) for run in cohort.manifest.run_id) == counts


def test_one_identifier_of_several_things_is_said_of_each(tmp_path, key, change):
    for number in range(3):
        path = write_variant("plain", tmp_path / "study" / str(number))
        change(path, tags(StudyInstanceUID=f"1.2.{number}", ImageComments=str(number)))
    notes = [notes for *_, notes in runs(tmp_path / "study", key)]
    assert len(notes) == 3 and all("Another file has the same SOP" in own and "Several stud" in own for own in notes)
    report = build_manifest(tmp_path / "study", tmp_path / "m.csv", key=key, progress=False)
    assert [note.partition(": ")[0] for note in report.notes] == ["0/plain.dcm, 1/plain.dcm, 2/plain.dcm"] * 2


def test_single_frames_share_one_grey_range(tmp_path, key, change):
    stored = np.stack([np.tile(np.arange(40, 80, dtype=np.uint16) * 2**n, (48, 1)) for n in range(5)])
    for number, path in enumerate(write_single_frames(tmp_path / "study", count=5)):
        change(path, deep(16, stored[number : number + 1]))
    (tmp_path / "study" / "04_frame.dcm").rename(tmp_path / "study" / "4|\\udcfc\n.dcm")
    expected, note = np.rint(stored * (255 / 2047)), "Values use 11 bits, Bits Stored says 16, and no window is given:"
    for source in (tmp_path / "study", shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "study")):
        (run,) = study_files(Path(source), key, progress=False)
        np.testing.assert_array_equal(run.cine.frames, expected)
        assert [text for text in run.notes if "bits" in text or "grey levels" in text] == [f"{note} 11 count."]
    build_manifest(tmp_path / "study", tmp_path / "m.csv", key=key, progress=False)
    cohort = Cohort.from_manifest(tmp_path / "m.csv")
    np.testing.assert_array_equal(cohort.frames(run.cine.run_id), expected)
    np.testing.assert_array_equal(cohort.frames(run.cine.run_id, [3, 1]), expected[[3, 1]])
    with pytest.raises(ManifestError, match=r"frames: frame 5 does not exist. It has frames 0 to 4"):
        cohort.frames(run.cine.run_id, [5])


def test_poor_pictures_are_told_whenever_their_cohort_is_opened(tmp_path, key, change):
    write_variant("plain", tmp_path)
    change(write_variant("jpeg_ls", tmp_path), READ["no grey"][0])
    build_manifest(tmp_path, tmp_path / "m.csv", key=key, progress=False)
    with pytest.warns(UserWarning, match=r"m.csv, note: 1 of 2 runs have few grey levels, or are nearly all black"):
        cohort = Cohort.from_manifest(tmp_path / "m.csv")
    assert cohort.manifest.note.str.contains("of it is black or white").sum() == 1
    assert replace(cohort, manifest=cohort.manifest.drop(columns="note")).digest() == cohort.digest()


def test_names_may_hold_any_bytes(tmp_path, key, change):
    folder, odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/study/M\xfcller")), "a\\udcfc|\n u\u0308"
    write_variant("plain", folder)
    change(write_variant("plain", tmp_path / "study" / odd), tags(SOPInstanceUID="1.2"))
    (tmp_path / "study" / "runs.csv").write_text(f'file,artery\n"{odd}/plain.dcm",LCA\nM\\udcfcller/plain.dcm,RCA\n')
    build_manifest(tmp_path / "study", tmp_path / "m.csv", key=key, progress=False)
    cohort = Cohort.from_manifest(tmp_path / "m.csv")
    paths = {"RCA": r"study/M\udcfcller/plain.dcm", "LCA": r"study/a\u005cudcfc\u007c\u000a u\u0308/plain.dcm"}
    assert cohort.manifest.set_index("artery").path.to_dict() == paths
    assert all(len(cohort.frames(run)) == FRAMES for run in cohort.manifest.run_id)
    with tarfile.open(tmp_path / "a.tar", "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as archive:
        archive.add(folder, "M\xfcller")
    assert [name for *_, name, _ in runs(tmp_path / "a.tar", key)] == [r"a.tar/M\udcfcller/plain.dcm"]


HEAD, ROW = "file,artery,contrast_begin,contrast_end\n", "1.dcm,LCA,3,7\n"
LABELS = {
    "semicolons": (HEAD + ROW).replace(",", ";"),
    "sep line": "sep=;\n" + (HEAD + ROW).replace(",", ";"),
    "tabs, UTF-16": ((HEAD + ROW).replace(",", "\t").encode("utf-16")),
    "capitals and blanks": HEAD.title() + " 1.dcm , lca ,3.0, 7\n\n",
    "trailing comma": HEAD + "1.dcm,LCA,3,7,\n",
    "backslash": HEAD + ".\\1.dcm,LCA,3,7\n",
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_read_however_they_are_written(tmp_path, key, name):
    write_variant("plain", tmp_path).rename(tmp_path / "1.dcm")
    text = LABELS[name]
    (tmp_path / "runs.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    run = build_manifest(tmp_path, tmp_path / "m.csv", key=key, progress=False).manifest.iloc[0]
    assert (run.artery, run.contrast_begin, run.contrast_end) == ("LCA", 3, 7)


@pytest.mark.parametrize(
    "text, expected",
    [
        (HEAD + "/1.dcm,LCA,3,7\n", "file: line 2: '/1.dcm' lies outside"),
        (HEAD + "../x/1.dcm,LCA,3,7\n", "file: line 2: '../x/1.dcm' lies outside"),
        (HEAD + ROW + ROW, "file: line 3: '1.dcm' is listed twice"),
        (HEAD + "2.dcm,LCA,3,7\n", "file: line 2: '2.dcm' is no file below"),
        (HEAD + "1.dcm,LAD,3,7\n", "artery: line 2: 'LAD' is neither LCA nor RCA"),
        (HEAD + "1.dcm,LCA,3²,7\n", "contrast_begin: line 2: '3²' is no frame number from 0 to 9"),
        (HEAD + "1.dcm,LCA,3,\n", "contrast_end: line 2: only one end"),
        (HEAD + "1.dcm,LCA,3,99\n", "contrast_end: line 2: '99' is no frame number from 0 to 9"),
        (HEAD + "1.dcm,LCA,7,3\n", "contrast_end: line 2: frame 3 is before contrast_begin, frame 7"),
        (HEAD + "1.dcm,LCA,3,7,x\n", "line 2: has 5 cells for 4 columns"),
        (HEAD.replace("begin", "start") + ROW, "contrast_start: no such column. Write 'contrast_begin'"),
        (HEAD.replace("file", "artery") + ROW, "artery: two columns have this name"),
        ("file\n1.dcm\n", "artery: this column is missing"),
    ],
)
def test_labels_that_cannot_be_are_refused_by_line_and_value(tmp_path, key, text, expected):
    write_variant("plain", tmp_path).rename(tmp_path / "1.dcm")
    (tmp_path / "runs.csv").write_text(text)
    with pytest.raises(ManifestError, match=r"^runs\.csv[,:] " + re.escape(expected)):
        build_manifest(tmp_path, tmp_path / "m.csv", key=key, progress=False)
    assert not (tmp_path / "m.csv").exists()


def test_a_workbook_is_a_table(tmp_path, key):
    book, people = Workbook(), {pseudonym("Mu\u0308ller", "patient", key)}
    for row in (["Patient", "Segment", "Percent Stenosis"], ["M\u00fcller", 13, 0.7], [None, 1, 0.0]):
        book.active.append(row)
    book.active.merge_cells("A2:A3")
    for cell in ("C2", "C3"):
        book.active[cell].number_format = "0%"
    book.save(tmp_path / "qca.xlsx")
    lesions, notes = read_qca(tmp_path / "qca.xlsx", people, key)
    assert lesions.percent_stenosis.tolist() == [70, 0] and set(lesions.patient_id) == people and len(notes) == 0
    book.create_sheet("More").append(["more"])
    book.save(tmp_path / "qca.xlsx")
    (note,) = read_qca(tmp_path / "qca.xlsx", people, key)[1]
    assert note == "qca.xlsx: of its sheets 'Sheet', 'More', 'Sheet' is read."
    book["Sheet"]["C3"] = "=1-1"
    book.save(tmp_path / "qca.xlsx")
    with pytest.raises(ManifestError, match=r"qca.xlsx: line 3: C3 holds a formula without its value\. Open"):
        read_qca(tmp_path / "qca.xlsx", people, key)
    book["Sheet"]["A1"], book["Sheet"]["C3"] = "name", 0
    book.create_chartsheet("Chart").add_chart(BarChart())
    book.save(tmp_path / "qca.xlsx")
    with pytest.raises(ManifestError, match=r"holds 2 sheets, 'Sheet', 'More'\. Keep one, or the columns patient"):
        read_qca(tmp_path / "qca.xlsx", people, key)
    book["Sheet"]["B1048576"].number_format = "0%"
    book.save(tmp_path / "qca.xlsx")
    with pytest.raises(ManifestError, match=r"sheet 'Sheet' has 1048576 rows and 3 columns\. Delete the empty ones"):
        read_qca(tmp_path / "qca.xlsx", people, key)


def test_one_table_of_labels_is_read_and_what_is_used_is_not_refused(tmp_path, key):
    write_variant("plain", tmp_path).rename(tmp_path / "1.dcm")
    (tmp_path / "RUNS.CSV").write_text(HEAD + ROW)
    (tmp_path / "qca.csv").write_text("patient,segment,percent_stenosis\nP0001,1,0.5 %\nP0001,12,0\n")
    report = build_manifest(tmp_path, tmp_path / "m.csv", key=key, qca=tmp_path / "qca.csv", progress=False)
    assert report.manifest.artery.tolist() == ["LCA"] and report.refused == {} and report.notes == []
    (tmp_path / "RUNS.CSV").write_text(HEAD)
    report = build_manifest(tmp_path, tmp_path / "m.csv", key=key, progress=False)
    assert report.notes == ["RUNS.CSV: holds no row below its first line."]
    Workbook().save(tmp_path / "runs.xlsx")
    with pytest.raises(ManifestError, match=r"RUNS.CSV and runs.xlsx lie side by side\. Keep the one that is right"):
        build_manifest(tmp_path, tmp_path / "m.csv", key=key, progress=False)
