"""What a DICOM file says about itself: read without its pixels, checked before anything is allocated."""

import csv
import io
import logging
import math
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, product
from pathlib import Path
from struct import unpack
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd
import pydicom
from jaxtyping import UInt8
from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from cag.settings import DicomError, InputError, escaped, quotable

#: X-Ray Angiographic and Enhanced XA Image Storage.
XA_CLASSES = ("1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.5.1.4.1.1.12.1.1")

with Path(__file__).with_name("syntaxes.csv").open(encoding="utf-8") as _file:
    #: Transfer syntax -> its one decoder, so that pixels are the same everywhere, and what its frames are.
    SYNTAXES = {row["uid"]: (row["decoder"], row["kind"]) for row in csv.DictReader(_file)}

#: A run of more pixels (frames x rows x columns) is refused before anything is allocated: half a gigabyte of uint8.
MAX_PIXELS = 2**29
MAX_FRAMES = 4096
MAX_PIECES = 2**16  #: Of compressed frames.

with Path(__file__).with_name("dicom_tags.csv").open(encoding="utf-8") as _file:
    #: Every tag that is parsed (names, dates and institutions never reach memory as text): ``keyword``; its ``use``,
    #: ``frame`` where Enhanced XA may have it in a functional group; limits within which a number means something.
    _ROWS = {row["keyword"]: row for row in csv.DictReader(_file)}
_TAGS = list(_ROWS)
_USED = {use: [name for name, row in _ROWS.items() if row["use"] == use] for use in ("mandatory", "frame", "group")}
_LIMITS = {name: (float(row["low"]), float(row["high"])) for name, row in _ROWS.items() if row["low"]}
_ANGLES = ("PositionerPrimaryAngle", "PositionerSecondaryAngle")
#: What a JPEG, JPEG 2000 (bare or in its box) frame begins with; other pieces go on with the frame before them.
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
#: Kinds of image that Photometric Interpretation names (PS3.3 C.7.6.3.1.2), retired and misspelled ones too.
_KINDS = re.compile(r"(MONOCHROME|A?RGB|HSV|CMYK|YBR|PALETTE COLOR)[\w ]{0,12}", re.IGNORECASE)
_PACKED = (b"PK\3\4", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!")  #: What archives begin with.
_ITEM, _UNDEFINED = 0xE000FFFE, 0xFFFFFFFF

STEADY = 2.0  #: Degrees by which angles may differ within a run that counts as one view.
_AS_XA = "Export the run as X-Ray Angiographic or Enhanced XA Image Storage, or leave it out"
_AGAIN, _ORIGINAL = "Export the run again from the archive", "Export the original grey-level run"


def unusable(path: Path, fields: str | None, problem: str, remedy: str = _AGAIN) -> DicomError:
    """The refusal of a file, by its name and not its folder's; tags among its fields are shown with their numbers."""
    tags = {field: tag_for_keyword(field) for field in (fields.split(", ") if fields else ())}
    shown = [f"{dictionary_description(tag)} {Tag(tag)}" if tag else field for field, tag in tags.items()]
    return DicomError(problem, file=escaped(path.name), field=", ".join(shown) or None, remedy=remedy)


@contextmanager
def guarded(path: Path, decoded: str = "") -> Iterator[None]:
    """Turn whatever broken files make readers raise into one `DicomError`: what a decoder says, and else no value."""
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception as error:  # the libraries raise nearly every built-in exception on broken files
        said = " ".join(str(error).rpartition("plugins:")[2].split())[:200].strip(". ") or type(error).__name__
        problem = f"{decoded} cannot be decoded; the decoder says: {said}"
        remedy = f"{_AGAIN}, without compression if it is refused once more"
        if not decoded and isinstance(error, OSError) and error.strerror:  # raised by the system
            problem, remedy = f"cannot be opened ({error.strerror})", "Check that it exists and that you may read it"
        elif not decoded:  # what was said may hold a name
            problem, remedy = f"cannot be read ({type(error).__name__}); it is damaged or truncated", _AGAIN
        raise unusable(path, "PixelData" if decoded else None, problem, remedy) from None
    finally:
        logging.disable(disabled)


class Opened(NamedTuple):
    """A file's header, where its frames lie, and what a reader of the run must know of both."""

    dataset: Dataset  #: Number of Frames is that of the frames that are there.
    file: BinaryIO
    start: int  #: Of the first byte of the pixel data's value.
    pieces: list[list[tuple[int, int]]]  #: Place and length of what makes up each compressed frame; empty without.
    pixel_vr: str
    notes: list[str]


def open_dicom(path: Path, file: BinaryIO, *, allow_non_xa: bool) -> Opened:
    """Read the tags this study needs, find the frames, and refuse what it cannot use (`DicomError`)."""
    dataset, file = _parsed(path, file)
    _check_mandatory(path, dataset)
    syntax, uid = dataset.file_meta.TransferSyntaxUID, dataset.SOPClassUID
    for keyword, own, known, remedy in (
        ("TransferSyntaxUID", syntax, list(SYNTAXES), "Convert it to JPEG lossless or an uncompressed syntax"),
        ("SOPClassUID", uid, [uid] if allow_non_xa else XA_CLASSES, _AS_XA),
    ):
        if own not in known:
            shown = repr(own.name) if own.type or re.fullmatch(r"[\d.]{1,64}", own) else "what stands there"
            raise unusable(path, keyword, f"{shown} is not read", remedy)
    if odd := [name for name in _USED["group"] if name in dataset and dataset[name].VR != "SQ"]:
        raise unusable(path, odd[0], f"is no sequence (SQ), but {dataset[odd[0]].VR}")
    # what Enhanced XA keeps in functional groups (shared, else of the first frame) goes where XA has it
    groups = [items[0] for name in _USED["group"] if len(items := dataset.get(name) or [])]
    for group, keyword in product(groups, _USED["frame"]):
        if keyword not in dataset and (item := _in_group(group, keyword)) is not None:
            dataset[keyword] = item[keyword]
    _check_image(path, dataset)
    return _with_frames(path, file, dataset)


def _check_mandatory(path: Path, dataset: FileDataset) -> None:
    """Refuse a header without a tag, or with a size that is none; then UIDs are UIDs and sizes whole numbers."""
    for keyword in _USED["mandatory"]:
        texts = _texts(holder := dataset.file_meta if keyword == "TransferSyntaxUID" else dataset, keyword)
        if not any(texts):
            problem = f"this tag is missing{', as are all others' * (not dataset)}; it tells {_ROWS[keyword]['need']}"
            remedy = f"{_AGAIN} with its whole header, or add the tag if you know its value"
            raise unusable(path, keyword, problem, remedy)
        if keyword in _LIMITS:
            value, *more = numbers(dataset, keyword)
            if more or math.isnan(value) or value % 1:
                problem = f"{_shown(', '.join(texts))} is no whole number from 0 to 65535"
                raise unusable(path, keyword, problem, f"Correct this tag, or {_AGAIN.lower()}")
            dataset[keyword] = DataElement(keyword, "US", int(value))
        elif keyword.endswith("UID"):
            holder[keyword] = DataElement(keyword, "UI", texts[0].partition("\\")[0])


def _parsed(path: Path, file: BinaryIO) -> tuple[FileDataset, BinaryIO]:
    """The header, with ``file`` before the pixels: of what is unpacked, if the syntax is the deflated one."""
    head = file.read(132)
    file.seek(0)
    if head[128:] != b"DICM" and head[:2] not in (b"\x02\0", b"\x08\0"):  # not even without its preamble
        if head.startswith(_PACKED):
            raise unusable(path, None, "is an archive or document, no DICOM file", "If it holds runs, unpack it first")
        raise unusable(path, None, "is not a DICOM file", "Give XA cine runs as DICOM files")
    read_preamble(file, force=True)
    meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    if _texts(meta, "MediaStorageSOPClassUID") == ["1.2.840.10008.1.3.10"]:
        raise unusable(path, None, "is a DICOMDIR, a list of files", "Leave it out: the files are found without it")
    if _texts(meta, "TransferSyntaxUID") == [DeflatedExplicitVRLittleEndian]:
        try:
            file = io.BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), MAX_PIXELS))
        except zlib.error:
            raise unusable(path, "TransferSyntaxUID", "says deflated, and what follows is not") from None
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.seek(0)
    dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS, force=True)
    dataset.file_meta = FileMetaDataset(meta)
    return dataset, file


def _shown(text: str) -> str:
    """A value in quotes where it looks like a number or a kind of image; only its length where it may be a name."""
    length = f"what stands there ({len(text)} characters)"
    return repr(text) if _KINDS.fullmatch(text) else quotable(text).replace("what stands there", length)


def _in_group(group: Dataset, keyword: str) -> Dataset | None:
    """The item of a functional group that holds a tag."""
    items = (element.value[0] for element in group if element.VR == "SQ" and len(element.value))
    return next((item for item in items if keyword in item), None)


def _check_image(path: Path, dataset: Dataset) -> None:
    """Refuse images that are not grey, or declare impossible or absurd sizes."""
    samples, allocated, stored = dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored
    high, sign = (number(dataset, name) for name in ("HighBit", "PixelRepresentation"))
    rows, columns, frames = dataset.Rows, dataset.Columns, int(number(dataset, "NumberOfFrames") or 1)
    video = SYNTAXES[dataset.file_meta.TransferSyntaxUID][1] == "video"  # in color by its syntax; brightness is read
    kind = ", ".join(_texts(dataset, "PhotometricInterpretation"))
    other = f"{_shown(kind)} is not read, only MONOCHROME1 and MONOCHROME2"
    grey = video or words(dataset, "PhotometricInterpretation") in (["MONOCHROME1"], ["MONOCHROME2"])
    size, place = f"{rows} x {columns} x {frames}", "Rows, Columns, NumberOfFrames"
    small = frames <= MAX_FRAMES and rows * columns * frames <= MAX_PIXELS
    most = f"{size} is more than the {MAX_PIXELS} pixels or {MAX_FRAMES} frames read"
    bits, depth = allocated in (8, 16) and 1 <= stored <= allocated, "BitsAllocated, BitsStored"
    for fine, field, problem, remedy in (
        (video or samples == 1, "SamplesPerPixel", f"{samples} instead of 1 (a color image)", _ORIGINAL),
        (grey, "PhotometricInterpretation", other, _ORIGINAL),
        (min(rows, columns) > 0, place, f"{size} declares no image", _AGAIN),
        (small, place, most, "Split the run, or check that the header is right"),
        (bits, depth, f"{allocated} and {stored} instead of 8 or 16 and at most that", _AGAIN),
        (high in (stored - 1, None), "HighBit", f"{high or 0:g} instead of {stored - 1}", _AGAIN),
        (sign in (0, 1, None), "PixelRepresentation", f"{sign or 0:g} instead of 0 or 1", _AGAIN),
    ):
        if not fine:
            raise unusable(path, field, problem, remedy)


def _with_frames(path: Path, file: BinaryIO, dataset: Dataset) -> Opened:
    """Count the frames that are there, and compare their number with the header's."""
    syntax, bits = UID(dataset.file_meta.TransferSyntaxUID), int(dataset.BitsAllocated)
    order, head = "<" if syntax.is_little_endian else ">", file.read(8)
    if len(head) < 8 or unpack(f"{order}HH", head[:4]) != (0x7FE0, 0x0010):
        raise unusable(path, "PixelData", "has no pixel data", f"{_AGAIN}, with its pixels, or leave it out")
    explicit = head[4:6] in (b"OB", b"OW", b"UN")  # as found: files may declare the other encoding than they have
    length, start = unpack(f"{order}L", file.read(4) if explicit else head[4:])[0], file.tell()
    if syntax.is_encapsulated != (length == _UNDEFINED):
        kinds = ("compressed", "uncompressed") if syntax.is_encapsulated else ("uncompressed", "compressed")
        problem = f"says {syntax.name!r}, {kinds[0]}, but holds {kinds[1]} frames"
        raise unusable(path, "TransferSyntaxUID", problem)
    pieces = _compressed_frames(path, file, syntax == RLELossless) if syntax.is_encapsulated else []
    available = min(file.seek(0, 2) - start, length)
    size = 0 if syntax.is_encapsulated else int(dataset.Rows) * int(dataset.Columns) * bits // 8
    found = available // size if size else len(pieces)
    if SYNTAXES[syntax][1] == "video":  # one stream of all frames
        pieces = [[piece for frame in pieces for piece in frame]]
        found = sum(1 for _ in islice(video_frames(path, joined(file, pieces[0]), dataset), MAX_FRAMES + 1))
    declared = int(number(dataset, "NumberOfFrames") or 0)
    notes = [
        f"{dictionary_description(keyword)}: {quotable(text)} counts as not given."
        for keyword in _LIMITS
        for text, value in zip(_texts(dataset, keyword), numbers(dataset, keyword), strict=True)
        if math.isnan(value)
    ]
    if found < max(declared or (length // size if size else 0), 1):
        problem = f"holds pixels of {found} frames, Number of Frames says {declared or 'nothing'}; it is truncated"
        raise unusable(path, "PixelData", problem)
    if found > max(declared, 1):
        said = f"says {declared}" if declared else "is missing"
        notes.append(f"Number of Frames {said}; the file holds pixels of {found} frames, and all are read.")
    if size and (rest := available % size) > 1:
        notes.append(f"After {found} frames of {dataset.Rows} x {dataset.Columns} pixels, {rest} bytes are left over.")
    sign = int(number(dataset, "PixelRepresentation") or 0)
    for keyword, value in (("NumberOfFrames", found), ("PixelRepresentation", sign)):
        dataset[keyword] = DataElement(keyword, "IS", value)
    _check_image(path, dataset)
    return Opened(dataset, file, start, pieces, head[4:6].decode() if explicit else "OW", notes)


def _compressed_frames(path: Path, file: BinaryIO, one_each: bool) -> list[list[tuple[int, int]]]:
    """Place and length of the pieces of each compressed frame (PS3.5 A.4); the table of offsets is not asked."""
    frames: list[list[tuple[int, int]]] = []
    place, end = file.tell(), file.seek(0, 2)
    for count in range(MAX_PIECES):
        file.seek(place)
        kind, length = unpack("<LL", file.read(8).ljust(8, b"\0"))
        place += 8
        if kind != _ITEM:
            break
        if place + length > end:
            problem = f"frame {len(frames)} is cut off: of {length} bytes {max(end - place, 0)} are there"
            raise unusable(path, "PixelData", problem)
        if count and (one_each or not frames or file.read(8).startswith(_STARTS)):
            frames.append([])
        if count:
            frames[-1].append((place, length))
        place += length
    return frames


def joined(file: BinaryIO, pieces: list[tuple[int, int]]) -> bytes:
    """The bytes of pieces of a file."""
    return b"".join(file.read(length) for place, length in pieces if file.seek(place) == place)


def video_frames(path: Path, stream: bytes, dataset: Dataset) -> Iterator[UInt8[np.ndarray, "h w"]]:
    """Brightness of each frame of a video, 0 to 255; a grey run has no color to be read."""
    try:
        import av  # an extra: it brings a hundred megabytes of codecs
    except ImportError:
        remedy = "Install it with: pip install av. Or convert the run to JPEG lossless or an uncompressed syntax"
        raise unusable(path, "TransferSyntaxUID", "the package that reads video is not installed", remedy) from None
    with guarded(path, "the video"), av.open(io.BytesIO(stream), mode="r") as video:
        for frame in video.decode(video=0):
            if (frame.height, frame.width) != (rows := int(dataset.Rows), columns := int(dataset.Columns)):
                problem = f"holds frames of {frame.height} x {frame.width} where the header declares {rows} x {columns}"
                raise unusable(path, "PixelData", problem)
            levels = frame.reformat(format="yuv420p").to_ndarray()[:rows].clip(16, 235)  # black and white of a video
            yield np.rint((levels - 16.0) * (255 / 219)).astype(np.uint8)


def _texts(dataset: Dataset, keyword: str) -> list[str]:
    """Values of a tag as they stand in the file: one odd number makes pydicom refuse them all."""
    try:
        value = dataset.get(keyword)
    except Exception:  # of the library, by nearly every built-in one
        value = bytes(dataset.get_item(keyword).value).decode("ascii", "replace").split("\\")
    values = value if isinstance(value, MultiValue | list) else [value]
    return [] if value in (None, "") else [str(one).strip(" \0") for one in values]


def words(dataset: Dataset, keyword: str) -> list[str]:
    """Values of a tag that holds words of the standard, in capitals and without blanks."""
    return [text.upper().replace(" ", "") for text in _texts(dataset, keyword)]


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Values of an optional tag, with point or comma; NaN for each that is no number or beyond its limits."""
    low, high = _LIMITS.get(keyword, (-1e9, 1e9))
    found = pd.to_numeric([text.replace(",", ".") for text in _texts(dataset, keyword)], errors="coerce")
    return [float(value) if low <= value <= high else math.nan for value in found]


def number(dataset: Dataset, keyword: str) -> float | None:
    """First value of an optional tag; None where there is none that means something."""
    return next((value for value in numbers(dataset, keyword)[:1] if not math.isnan(value)), None)


def frame_rate(dataset: Dataset) -> float | None:
    """Frames a second: by Cine Rate, Frame Time, the mean of Frame Time Vector, or Recommended Display Frame Rate."""
    steps = [step for step in numbers(dataset, "FrameTimeVector")[1:] if not math.isnan(step)]
    times = (number(dataset, "FrameTime"), sum(steps) / len(steps) if steps else None)
    rates = [1000 / time if time is not None and time > 0 else None for time in times]
    rates = [number(dataset, "CineRate"), *rates, number(dataset, "RecommendedDisplayFrameRate")]
    return next((round(rate, 4) for rate in rates if rate is not None and 0 < rate < 1000), None)


def angles(dataset: Dataset) -> tuple[float | None, float | None]:
    """Angles in degrees, LAO+ and CRA+ (PS3.3 C.8.7.5); None without one, and both while the positioner moves."""
    items = [_in_group(frame, _ANGLES[0]) for frame in dataset.get("PerFrameFunctionalGroupsSequence") or []]
    paths = [numbers(dataset, f"{name}Increment") for name in _ANGLES]
    paths += [[number(item, name) or 0.0 for item in items if item] for name in _ANGLES]
    turns = any(len(path) > 1 and np.nanmax(path) - np.nanmin(path) > STEADY for path in paths)
    if str(dataset.SOPClassUID) not in XA_CLASSES or "DYNAMIC" in words(dataset, "PositionerMotion") or turns:
        return None, None
    return number(dataset, _ANGLES[0]), number(dataset, _ANGLES[1])
