"""What a DICOM file says about itself: read without its pixels, checked before anything is allocated."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from struct import unpack
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.multival import MultiValue
from pydicom.uid import UID

from cag.settings import DicomError, InputError

#: X-Ray Angiographic and Enhanced XA Image Storage.
XA_CLASSES = ("1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.5.1.4.1.1.12.1.1")

#: Transfer syntax -> the decoder that reads it (one each, so that pixels are the same everywhere).
DECODERS = {
    **dict.fromkeys(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"), ""),  # uncompressed
    **{f"1.2.840.10008.1.2.4.{number}": "pylibjpeg" for number in (50, 51, 57, 70)},  # JPEG, lossy and lossless
    **{f"1.2.840.10008.1.2.4.{number}": "pyjpegls" for number in (80, 81)},  # JPEG-LS
    **{f"1.2.840.10008.1.2.4.{number}": "pylibjpeg" for number in (90, 91)},  # JPEG 2000
    "1.2.840.10008.1.2.5": "pydicom",  # RLE
}

#: A run of more pixels (frames x rows x columns) is refused before anything is allocated: half a gigabyte of uint8.
MAX_PIXELS = 2**29
MAX_FRAMES = 4096

_CLASS = ["StudyInstanceUID", "SOPInstanceUID", "SOPClassUID"]
_IMAGE = ["SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored"]
_GREY = ["HighBit", "PixelRepresentation", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"]
_RUN = ["PatientID", "SeriesInstanceUID", "InstanceNumber", "ImageType", "BurnedInAnnotation", "NumberOfFrames"]
_TIMING = ["CineRate", "FrameTime", "FrameTimeVector", "RecommendedDisplayFrameRate"]
_GEOMETRY = ["PositionerMotion", "PositionerPrimaryAngle", "PositionerSecondaryAngle"]
_SHUTTER = [f"Shutter{edge}Edge" for edge in ("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal")]
_SHUTTER += ["CenterOfCircularShutter", "RadiusOfCircularShutter", "VerticesOfThePolygonalShutter", "ShutterShape"]
_GROUPS = ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"]
#: Nothing else is parsed: names, dates and institutions never reach memory as text.
_TAGS: list[str] = [*_CLASS, *_IMAGE, *_GREY, *_RUN, *_TIMING, *_GEOMETRY, *_SHUTTER, *_GROUPS]

#: Degrees by which angles may differ within a run that counts as one view.
_STEADY = 2.0
_AGAIN, _ORIGINAL = "Export the run again from the archive", "Export the original grey-level run"


def unusable(path: Path, field: str | None, problem: str, remedy: str = _AGAIN) -> DicomError:
    """The refusal of a file, by its name and not its folder's."""
    return DicomError(problem, file=path.name, field=field, remedy=remedy)


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn whatever a broken file makes its readers raise into one `DicomError`, and keep their warnings quiet.

    pydicom quotes the offending value, which may be a patient's name.
    """
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except InvalidDicomError:
        raise unusable(path, None, "is not a DICOM file", "Give XA cine runs as DICOM files") from None
    except Exception as error:  # the library raises nearly every built-in exception on broken files
        if isinstance(error, OSError) and error.strerror:  # raised by the system
            problem, remedy = f"cannot be opened ({error.strerror})", "Check that it exists and that you may read it"
            raise unusable(path, None, problem, remedy) from None
        raise unusable(path, None, f"cannot be read ({type(error).__name__}); it is damaged or truncated") from None
    finally:
        logging.disable(disabled)


def read_dataset(path: Path, file: BinaryIO, *, allow_non_xa: bool) -> Dataset:
    """Read the tags this study needs, up to the pixels, and refuse what it cannot use (`DicomError`).

    Afterwards ``file`` stands at the first byte of the pixel data's value.
    """
    syntax = UID(read_file_meta_info(path).get("TransferSyntaxUID", ""))
    if syntax not in DECODERS:
        shown = f"{syntax.name!r}" if syntax.is_transfer_syntax and not syntax.is_private else "this transfer syntax"
        remedy = "Convert it to JPEG lossless or an uncompressed syntax"
        raise unusable(path, "Transfer Syntax UID", f"{shown} is not read", remedy)
    dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
    uid = UID(str(dataset.get("SOPClassUID", "")))
    if uid not in XA_CLASSES and not allow_non_xa:
        shown = f"{uid.name} is" if uid.type == "SOP Class" else "this class of object is"
        raise unusable(path, "SOP Class UID", f"{shown} not X-ray angiography", "Leave it out")
    for keyword in (*_CLASS, *_IMAGE):
        if dataset.get(keyword) in (None, ""):
            raise unusable(path, keyword, "mandatory tag is missing")
    _bring_up(dataset)
    _check_image(path, dataset)
    _check_pixel_element(path, file, dataset)
    return dataset


def _bring_up(dataset: Dataset) -> None:
    """Put tags that Enhanced XA keeps in functional groups (shared, else of the first frame) where XA has them."""
    groups = [items[0] for name in _GROUPS if len(items := dataset.get(name) or [])]
    for group, keyword in product(groups, (*_GREY, *_TIMING, *_GEOMETRY, *_SHUTTER)):
        if keyword not in dataset and (item := _in_group(group, keyword)) is not None:
            dataset[keyword] = item[keyword]


def _in_group(group: Dataset, keyword: str) -> Dataset | None:
    """The item of a functional group that holds a tag."""
    items = (element.value[0] for element in group if element.VR == "SQ" and len(element.value))
    return next((item for item in items if keyword in item), None)


def _check_image(path: Path, dataset: Dataset) -> None:
    """Refuse images that are not grey, or declare impossible or absurd sizes."""
    samples, allocated, stored = int(dataset.SamplesPerPixel), int(dataset.BitsAllocated), int(dataset.BitsStored)
    high, sign = int(dataset.get("HighBit", stored - 1)), int(dataset.get("PixelRepresentation", 0))
    rows, columns, frames = int(dataset.Rows), int(dataset.Columns), frame_count(dataset)
    grey = dataset.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2")
    size, place = f"{rows} x {columns} x {frames}", "Rows, Columns, Number of Frames"
    small = frames <= MAX_FRAMES and rows * columns * frames <= MAX_PIXELS
    most = f"{size} is more than the {MAX_PIXELS} pixels or {MAX_FRAMES} frames read"
    bits, depth = allocated in (8, 16) and 1 <= stored <= allocated, "Bits Allocated, Bits Stored"
    for fine, field, problem, remedy in (
        (samples == 1, "Samples per Pixel", f"{samples} instead of 1 (a color image)", _ORIGINAL),
        (grey, "Photometric Interpretation", "neither MONOCHROME1 nor MONOCHROME2", _ORIGINAL),
        (min(rows, columns, frames) > 0, place, f"{size} declares no image", _AGAIN),
        (small, place, most, "Split the run, or check that the header is right"),
        (bits, depth, f"{allocated} and {stored} instead of 8 or 16 and at most that", _AGAIN),
        (high == stored - 1, "High Bit", f"{high} instead of {stored - 1} for {stored} bits stored", _AGAIN),
        (sign in (0, 1), "Pixel Representation", f"{sign} instead of 0 or 1", _AGAIN),
    ):
        if not fine:
            raise unusable(path, field, problem, remedy)


def _check_pixel_element(path: Path, file: BinaryIO, dataset: Dataset) -> None:
    """Refuse a file without pixels, or with fewer than it declares; leave ``file`` at their first byte."""
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    order = "<" if syntax.is_little_endian else ">"
    head = file.read(8 if syntax.is_implicit_VR else 12)
    if len(head) < 8 or unpack(f"{order}HH", head[:4]) != (0x7FE0, 0x0010):
        raise unusable(path, "Pixel Data", "has no pixel data")
    if syntax.is_encapsulated:
        return
    start = file.tell()
    available = min(file.seek(0, 2) - start, unpack(f"{order}L", head[-4:])[0])
    file.seek(start)
    needed = dataset.Rows * dataset.Columns * frame_count(dataset) * dataset.BitsAllocated // 8
    if available < needed:
        problem = f"{available} bytes instead of the {needed} its size declares; the file is truncated"
        raise unusable(path, "Pixel Data", problem)


def frame_count(dataset: Dataset) -> int:
    """Number of frames; one where the tag is absent (PS3.3 C.7.6.6)."""
    value = dataset.get("NumberOfFrames")
    return 1 if value in (None, "") else int(value)


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Values of an optional tag; empty where there are none, or what is there are no numbers."""
    try:
        value = dataset.get(keyword)
        return [float(one) for one in (value if isinstance(value, MultiValue) else [value])]
    except (ValueError, TypeError):
        return []


def number(dataset: Dataset, keyword: str) -> float | None:
    """First value of an optional tag; None where there is no finite one."""
    return next(filter(math.isfinite, numbers(dataset, keyword)[:1]), None)


def frame_rate(dataset: Dataset) -> float | None:
    """Frames a second at acquisition, or None where the file does not tell.

    First of: Cine Rate; 1000 / Frame Time; 1000 / mean of Frame Time Vector (whose first entry is 0);
    Recommended Display Frame Rate (PS3.3 C.7.6.5). Zero or less means unknown and passes to the next.
    """
    steps = numbers(dataset, "FrameTimeVector")[1:]
    times = (number(dataset, "FrameTime"), sum(steps) / len(steps) if steps else None)
    rates = [1000 / time if time is not None and time > 0 else None for time in times]
    rates = [number(dataset, "CineRate"), *rates, number(dataset, "RecommendedDisplayFrameRate")]
    return next((round(rate, 4) for rate in rates if rate is not None and 0 < rate < 1000), None)


def angles(dataset: Dataset) -> tuple[float | None, float | None]:
    """Positioner primary and secondary angle in degrees, LAO+ and CRA+ (PS3.3 C.8.7.5).

    None where the file gives none up to 180 degrees, or where the positioner moves during the run (one pair then
    describes no view).
    """
    if str(dataset.SOPClassUID) not in XA_CLASSES or dataset.get("PositionerMotion") == "DYNAMIC" or _turns(dataset):
        return None, None
    found = (number(dataset, f"Positioner{name}Angle") for name in ("Primary", "Secondary"))
    primary, secondary = (None if angle is None or abs(angle) > 180 else angle for angle in found)
    return primary, secondary


def _turns(dataset: Dataset) -> bool:
    """Whether the functional groups of an Enhanced XA object hold the C-arm at other angles at the end."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or [Dataset()]
    ends = [_in_group(frames[place], "PositionerPrimaryAngle") or Dataset() for place in (0, -1)]
    turned = ([number(end, f"Positioner{name}Angle") or 0 for end in ends] for name in ("Primary", "Secondary"))
    return all(ends) and any(abs(first - last) > _STEADY for first, last in turned)
