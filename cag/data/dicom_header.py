"""What a DICOM file says about itself: read without its pixels, checked before anything is allocated."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import unpack
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID

from cag.data.dicom_values import XA_CLASSES, frame_count
from cag.settings import DicomError, InputError

#: Transfer syntax -> the decoder that reads it (one each, so that pixels are the same everywhere).
DECODERS = {
    "1.2.840.10008.1.2": "",  # implicit VR little endian
    "1.2.840.10008.1.2.1": "",  # explicit VR little endian
    "1.2.840.10008.1.2.2": "",  # explicit VR big endian
    "1.2.840.10008.1.2.4.50": "pylibjpeg",  # JPEG baseline
    "1.2.840.10008.1.2.4.51": "pylibjpeg",  # JPEG extended, 12 bit
    "1.2.840.10008.1.2.4.57": "pylibjpeg",  # JPEG lossless
    "1.2.840.10008.1.2.4.70": "pylibjpeg",  # JPEG lossless, selection value 1
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": "pyjpegls",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": "pylibjpeg",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": "pylibjpeg",  # JPEG 2000
    "1.2.840.10008.1.2.5": "pydicom",  # RLE lossless
}

#: A run of more pixels (frames x rows x columns) is refused before anything is allocated: half a gigabyte of uint8.
MAX_PIXELS = 2**29
MAX_FRAMES = 4096

_IDENTITY = ["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber"]
_IMAGE = ["SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated"]
_GREY = ["BitsStored", "HighBit", "PixelRepresentation", "VOILUTSequence", "WindowCenter", "WindowWidth"]
_TIMING = ["CineRate", "FrameTime", "FrameTimeVector", "RecommendedDisplayFrameRate"]
_GEOMETRY = ["PositionerMotion", "PositionerPrimaryAngle", "PositionerSecondaryAngle"]
_SHOWN = ["ImageType", "BurnedInAnnotation", "ShutterShape", "ShutterPresentationValue"]
_SHUTTER = [f"Shutter{edge}Edge" for edge in ("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal")]
_SHUTTER += ["CenterOfCircularShutter", "RadiusOfCircularShutter", "VerticesOfThePolygonalShutter"]
_NESTED = ["VOILUTFunction", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"]
#: Nothing else is parsed: names, dates and institutions never reach memory as text.
_TAGS: list[str] = [*_IDENTITY, *_IMAGE, *_GREY, *_TIMING, *_GEOMETRY, *_SHOWN, *_SHUTTER, *_NESTED]
_MANDATORY = ["StudyInstanceUID", "SOPInstanceUID", "SOPClassUID", *_IMAGE[:2], *_IMAGE[3:], "BitsStored"]

_LOGGERS = ("pydicom", "openjpeg.decode", "openjpeg.encode")
_AGAIN = "Export the run again from the archive"


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn whatever a broken file makes its readers raise into one sentence, and keep their warnings quiet.

    pydicom quotes the offending value, which may be a patient's name.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    disabled = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except InvalidDicomError:
        raise DicomError("is not a DICOM file", file=path.name, remedy="Give XA cine runs as DICOM files") from None
    except OSError as error:
        if error.strerror is None:  # raised by a reader, not by the system
            raise DicomError("cannot be read; it is damaged or truncated", file=path.name, remedy=_AGAIN) from None
        problem = f"cannot be opened ({error.strerror})"
        raise DicomError(problem, file=path.name, remedy="Check that it exists and that you may read it") from None
    except Exception as error:  # the library raises nearly every built-in exception on broken files
        problem = f"cannot be read ({type(error).__name__}); it is damaged or truncated"
        raise DicomError(problem, file=path.name, remedy=_AGAIN) from None
    finally:
        for logger, before in zip(loggers, disabled, strict=True):
            logger.disabled = before


def read_dataset(path: Path, file: BinaryIO, *, allow_non_xa: bool) -> Dataset:
    """Read the tags this study needs, up to the pixels, and refuse what it cannot use.

    Afterwards ``file`` stands at the first byte of the pixel data's value.

    Raises
    ------
    DicomError
    """
    syntax = UID(read_file_meta_info(path).get("TransferSyntaxUID", ""))
    if syntax not in DECODERS:
        shown = f"{syntax.name!r}" if syntax.is_transfer_syntax and not syntax.is_private else "this transfer syntax"
        remedy = "Convert it to JPEG lossless or an uncompressed syntax"
        raise DicomError(f"{shown} is not read", file=path.name, field="Transfer Syntax UID", remedy=remedy)
    dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
    _check_class(path, dataset, allow_non_xa)
    for keyword in _MANDATORY:
        if dataset.get(keyword) in (None, ""):
            raise DicomError("mandatory tag is missing", file=path.name, field=keyword, remedy=_AGAIN)
    _check_image(path, dataset)
    _check_pixel_element(path, file, dataset)
    return dataset


def _check_class(path: Path, dataset: Dataset, allow_non_xa: bool) -> None:
    uid = UID(str(dataset.get("SOPClassUID", "")))
    if uid in XA_CLASSES or allow_non_xa:
        return
    shown = f"{uid.name} is" if uid.type == "SOP Class" else "this class of object is"
    remedy = "Leave it out, or allow objects other than XA if you know that it shows an angiogram (it has no angles)"
    raise DicomError(f"{shown} not X-ray angiography", file=path.name, field="SOP Class UID", remedy=remedy)


def _check_image(path: Path, dataset: Dataset) -> None:
    """Refuse images that are not grey, or declare impossible or absurd sizes."""

    def refuse(field: str, problem: str, remedy: str = _AGAIN) -> None:
        raise DicomError(problem, file=path.name, field=field, remedy=remedy)

    samples, photometric = int(dataset.SamplesPerPixel), str(dataset.PhotometricInterpretation)
    if samples != 1:
        refuse("Samples per Pixel", f"{samples} instead of 1 (a color image)", "Export the original grey-level run")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        refuse("Photometric Interpretation", "neither MONOCHROME1 nor MONOCHROME2", "Export the original run")
    rows, columns, frames = int(dataset.Rows), int(dataset.Columns), frame_count(dataset)
    if min(rows, columns, frames) < 1:
        refuse("Rows, Columns, Number of Frames", f"{rows} x {columns} x {frames} declares no image")
    if frames > MAX_FRAMES or rows * columns * frames > MAX_PIXELS:
        problem = f"{rows} x {columns} x {frames} is more than the {MAX_PIXELS} pixels or {MAX_FRAMES} frames read"
        refuse("Rows, Columns, Number of Frames", problem, "Split the run, or check that the header is right")
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        refuse("Bits Allocated, Bits Stored", f"{allocated} and {stored} instead of 8 or 16 and at most that")
    if int(dataset.get("HighBit", stored - 1)) != stored - 1:
        refuse("High Bit", f"{int(dataset.HighBit)} instead of {stored - 1} for {stored} bits stored")
    if int(dataset.get("PixelRepresentation", 0)) not in (0, 1):
        refuse("Pixel Representation", f"{int(dataset.PixelRepresentation)} instead of 0 or 1")


def _check_pixel_element(path: Path, file: BinaryIO, dataset: Dataset) -> None:
    """Refuse a file without pixels, or with fewer than it declares; leave ``file`` at their first byte."""
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    order = "<" if syntax.is_little_endian else ">"
    head = file.read(8 if syntax.is_implicit_VR else 12)
    if len(head) < 8 or unpack(f"{order}HH", head[:4]) != (0x7FE0, 0x0010):
        raise DicomError("has no pixel data", file=path.name, field="Pixel Data", remedy=_AGAIN)
    if syntax.is_encapsulated:
        return
    start = file.tell()
    available = min(file.seek(0, 2) - start, unpack(f"{order}L", head[-4:])[0])
    file.seek(start)
    needed = dataset.Rows * dataset.Columns * frame_count(dataset) * dataset.BitsAllocated // 8
    if available < needed:
        problem = f"{available} bytes instead of the {needed} its size declares; the file is truncated"
        raise DicomError(problem, file=path.name, field="Pixel Data", remedy=_AGAIN)
