"""Files, folders and sheets as hospitals write them, each odd in one way: read right, or refused by what is wrong."""

import io
import os
import re
import sys
import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from dicom_variants import FRAMES, VARIANTS, compress, deep, disk, tags, write_single_frames, write_variant
from openpyxl import Workbook
from PIL import Image
from pydicom import DataElement, dcmread
from pydicom.dataset import Dataset
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
    store = partial(Dataset.set_pixel_data, arr=HIGH, photometric_interpretation="MONOCHROME2", bits_stored=12)
    return both(tags("WindowCenter", "WindowWidth"), store, compress(syntax), tags(BitsStored=10, HighBit=9))


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


def table(depth):
    """A VOI LUT whose entries have 12 bits, and that says ``depth``."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, depth])
    item.add_new("LUTData", "OW", np.arange(4096, dtype=np.uint16).tobytes())
    return both(deep(12), tags(VOILUTSequence=[item]))


def text(keyword, value):
    return lambda ds: ds.add(DataElement(keyword, "LO", value))


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
    "LUT says 16": (table(16), None, GREY_12, "", {}),
    "LUT says 8": (table(8), None, GREY_12, "", {}),
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
    "no end": (streams("j2k", lambda frame: frame[:-2]), None, GREY, "have no end marker", {}),
    "padded": (streams("j2k", lambda frame: frame + bytes(3000)), None, GREY, "", {}),
    "progressive": (partial(jpeg, progressive=True), None, GREY, "", {}),
    "zero before the end": (streams("jls", lambda frame: frame[:-2] + b"\0\xff\xd9"), None, GREY, "", {}),
    "scan end 0": (jpeg, None, GREY, "", {}),
    "no preamble": (None, slice(132, None), GREY, "", STILL),
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


NATIVE, RLE = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"
DEEPER = tags(BitsAllocated=16, BitsStored=12, HighBit=11)
kind = partial(text, "PhotometricInterpretation")
REFUSED = {
    "says native": (compress(RLELossless), (RLE, NATIVE), "'Explicit VR Little Endian', uncompressed, but holds compr"),
    "says compressed": (None, (NATIVE, RLE), "says 'RLE Lossless', compressed, but holds uncompressed frames. Export"),
    "8 in 16, RLE": (both(compress(RLELossless), DEEPER), None, "holds 1 bytes a pixel where the header declares 2"),
    "no syntax": (None, (b"\2\0\x10\0UI", b"\2\0\x11\0UI"), "Transfer Syntax UID: mandatory tag is missing"),
    "no class": (tags("SOPClassUID"), None, "SOP Class UID: mandatory tag is missing"),
    "RF": (tags(SOPClassUID="1.2.840.10008.5.1.4.1.1.12.2"), None, "X-Ray Radiofluoroscopic Image Storage is not read"),
    "rows text": (text("Rows", "many"), None, "Rows: what stands there (4 characters) is no whole number from 0 to 65"),
    "two sizes": (text("Columns", ["48", "64"]), None, "Columns: '48, 64' is no whole number from 0 to 65535. Correct"),
    "part of a row": (text("Rows", "48.5"), None, "Rows: '48.5' is no whole number from 0 to 65535. Correct this tag"),
    "palette": (kind("PALETTE COLOR"), None, "'PALETTE COLOR' is not read, only MONOCHROME1 and MONOCHROME2. Export"),
    "third": (kind("Monochrome 3"), None, "Photometric Interpretation: 'Monochrome 3' is not read, only MONOCHROME1"),
    "no groups": (text("SharedFunctionalGroupsSequence", "1"), None, "Functional Groups Sequence: is no sequence"),
    "8 bits in 12": (both(compress(JPEGLSLossless), DEEPER), None, "of 8 bits where the header declares 48 x 64 x 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_is_refused_by_its_cause(tmp_path, change, name):
    edit, patch, expected = REFUSED[name]
    with pytest.raises(DicomError, match=re.escape(expected)):
        read_cine(write(tmp_path / "odd.dcm", change, edit, patch))


def test_video_asks_for_its_package_and_has_the_size_it_says(tmp_path, change, monkeypatch):
    path = change(write_variant("mpeg_2", tmp_path), tags(Rows=46))
    with pytest.raises(DicomError, match="holds frames of 48 x 64 where the header declares 46 x 64"):
        read_cine(path)
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


@pytest.mark.parametrize(
    "edit, expected",
    [
        (lambda ds: setattr(ds, "AcquisitionNumber", ds.InstanceNumber % 2), [(5, ""), (5, "")]),
        (lambda ds: setattr(ds, "AcquisitionTime", f"1200{ds.InstanceNumber % 2:02}"), [(5, ""), (5, "")]),
        (planes, [(5, "A"), (5, "B")]),
        (clock(lambda n: 0, lambda n: (n - 1) % 5 + 1), [(1, "")] * 10),
        (clock(lambda n: n // 6, lambda n: (n - 1) % 5 + 1), [(5, ""), (5, "")]),
        (clock(lambda n: n / 15 + n // 6, lambda n: (n - 1) % 5 + 1), [(5, ""), (5, "")]),
        (clock(lambda n: 30 * (n // 6)), [(5, ""), (5, "")]),
        (clock(lambda n: n // 3), [(10, "")]),
        (clock(lambda n: 30 * n), [(10, "")]),
        (clock(lambda n: 30 * (n // 10)), [(1, ""), (9, "")]),
        (clock(lambda n: n / 15, name="AcquisitionTime"), [(10, "")]),
        (clock(lambda n: 115958 + (n > 5)), [(10, "")]),
        (lambda ds: setattr(ds, "InstanceNumber", 1), [(1, "")] * 10),
    ],
)
def test_a_run_is_what_was_acquired_together_in_a_manifest_too(tmp_path, key, change, edit, expected):
    for path in write_single_frames(tmp_path / "study"):
        change(path, edit)
    assert sorted(run[:2] for run in runs(tmp_path / "study", key)) == expected
    report = build_manifest(tmp_path / "study", tmp_path / "m.csv", key=key, progress=False)
    assert sorted(report.manifest.n_frames) == [count for count, _ in expected]
    cohort = Cohort.from_manifest(tmp_path / "m.csv")
    assert {len(cohort.frames(run)) for run in cohort.manifest.run_id} == {count for count, _ in expected}


def test_one_identifier_of_several_things_is_said(tmp_path, key, change):
    for number in range(3):
        path = write_variant("plain", tmp_path / str(number))
        change(path, tags(StudyInstanceUID=f"1.2.{number}", ImageComments=str(number)))
    _, second, third = (notes for *_, notes in runs(tmp_path, key))
    assert all("Another file has the same SOP" in notes and "Several studies" in notes for notes in (second, third))


def test_poor_pictures_are_told_whenever_their_cohort_is_opened(tmp_path, key, change):
    write_variant("plain", tmp_path)
    change(write_variant("jpeg_ls", tmp_path), READ["no grey"][0])
    build_manifest(tmp_path, tmp_path / "m.csv", key=key, progress=False)
    with pytest.warns(UserWarning, match=r"m.csv, note: 1 of 2 runs have few grey levels, or are nearly all black"):
        cohort = Cohort.from_manifest(tmp_path / "m.csv")
    assert cohort.manifest.note.str.contains("of it is black or white").sum() == 1
    assert replace(cohort, manifest=cohort.manifest.drop(columns="note")).digest() == cohort.digest()


def test_names_may_hold_any_bytes(tmp_path, key):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/study/M\xfcller"))
    write_variant("plain", folder)
    build_manifest(tmp_path / "study", tmp_path / "m.csv", key=key, progress=False)
    cohort = Cohort.from_manifest(tmp_path / "m.csv")
    assert cohort.manifest.path.tolist() == [r"study/M\udcfcller/plain.dcm"]
    assert len(cohort.frames(cohort.manifest.run_id[0])) == FRAMES
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
    book.save(tmp_path / "qca.xlsx")
    with pytest.raises(ManifestError, match=r"holds 2 sheets, 'Sheet', 'More'\. Keep one, or the columns patient"):
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
