"""Stored pixel values into grey levels 0..255, one frame at a time; what a display shutter hides is black."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from struct import unpack
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Bool, Float, UInt8
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import iter_pixels
from skimage.draw import polygon2mask

from cag.data.dicom_header import DECODERS, frame_count, number, unusable

_JPEG = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81)}
_JPEG_2000 = {"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"}
#: Every stream of these ends with this marker, then padding; decoders take a cut one for grey, or work on it for long.
_END, _PADDING = b"\xff\xd9", 1024
#: Start-of-frame markers of JPEG (ITU-T T.81, table B.1) and of JPEG-LS (T.87).
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def grey_table(dataset: Dataset) -> UInt8[np.ndarray, " n"]:
    """Grey level of every stored value, by its bit pattern.

    VOI LUT where there is one, else the first window (linear, linear exact or sigmoid; PS3.3
    C.11.2), else the whole range of Bits Stored; one that is impossible counts as not there. Then MONOCHROME1 is
    inverted. A modality transform is not applied: in XA it leads back to beam intensity, not to display
    (PS3.3 C.8.7.1.1.2).
    """
    bits = int(dataset.BitsStored)
    stored = np.arange(2**bits)
    if dataset.get("PixelRepresentation", 0) == 1:
        stored = np.where(stored >= 2 ** (bits - 1), stored - 2**bits, stored)
    grey = _looked_up(dataset, stored)
    if grey is None:
        grey = _windowed(dataset, stored)
    if grey is None:
        grey = (stored - stored.min()) / max(np.ptp(stored), 1)
    return np.rint(255 * (1 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey)).astype(np.uint8)


def _looked_up(dataset: Dataset, stored: np.ndarray) -> Float[np.ndarray, " n"] | None:
    """A VOI LUT (PS3.3 C.11.2.1.1), as 0..1; values before its first and after its last entry take those.

    Not pydicom's, which counts the entries of an 8-bit table modulo 256.
    """
    for item in list(dataset.get("VOILUTSequence") or [])[:1]:
        count, first, depth = (int(value) for value in item.LUTDescriptor)
        count, data = count or 2**16, item.LUTData
        first -= 2**16 if dataset.get("PixelRepresentation", 0) == 1 and first >= 2**15 else 0
        if isinstance(data, bytes):
            order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
            data = np.frombuffer(data, np.uint8 if len(data) in (count, count + count % 2) else f"{order}u2")
        entries = np.atleast_1d(np.asarray(data, dtype=float))[:count]
        if len(entries) == count and 8 <= depth <= 16:
            return np.clip(entries[np.clip(stored - first, 0, count - 1)] / (2**depth - 1), 0, 1)
    return None


def _windowed(dataset: Dataset, stored: np.ndarray) -> Float[np.ndarray, " n"] | None:
    """A window by its function (PS3.3 C.11.2.1.2 and C.11.2.1.3), as 0..1."""
    center, width = number(dataset, "WindowCenter"), number(dataset, "WindowWidth")
    function = dataset.get("VOILUTFunction")
    exact = function in ("SIGMOID", "LINEAR_EXACT")
    if center is None or width is None or width <= 0 or (width < 1 and not exact):
        return None
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (stored - center) / width, -50, 50)))
    if not exact:
        center, width = center - 0.5, width - 1
    return np.clip((stored - center) / width + 0.5, 0, 1) if width else (stored > center).astype(float)


def shutter(dataset: Dataset) -> Bool[np.ndarray, "h w"]:
    """Which pixels the display shutter leaves open (PS3.3 C.7.6.11).

    Several shapes hide what any of them hides. Edges and centers count pixels from 1; the edges themselves are open.
    A shutter that lacks its numbers, or leaves nothing open, hides nothing.
    """
    names, everything = dataset.get("ShutterShape"), np.ones((int(dataset.Rows), int(dataset.Columns)), dtype=bool)
    try:
        shapes = [_inside(name, dataset) for name in ([names] if isinstance(names, str) else names or [])]
    except (AttributeError, TypeError, ValueError):
        return everything
    visible = np.logical_and.reduce([everything, *shapes])
    return visible if visible.any() else everything


def _inside(name: str, dataset: Dataset) -> Bool[np.ndarray, ...]:
    """Pixels within one shape; an unknown one hides nothing."""
    y, x = np.ogrid[1 : int(dataset.Rows) + 1, 1 : int(dataset.Columns) + 1]
    if name == "RECTANGULAR":
        rows = (y >= int(dataset.ShutterUpperHorizontalEdge)) & (y <= int(dataset.ShutterLowerHorizontalEdge))
        return rows & (x >= int(dataset.ShutterLeftVerticalEdge)) & (x <= int(dataset.ShutterRightVerticalEdge))
    if name == "CIRCULAR":
        row, column = (int(value) for value in dataset.CenterOfCircularShutter)
        return np.asarray((y - row) ** 2 + (x - column) ** 2 <= int(dataset.RadiusOfCircularShutter) ** 2)
    if name == "POLYGONAL":
        corners = np.array([int(value) for value in dataset.VerticesOfThePolygonalShutter], dtype=float)
        return np.asarray(polygon2mask((int(dataset.Rows), int(dataset.Columns)), corners.reshape(-1, 2) - 1))
    return np.ones((y.size, x.size), dtype=bool)


def declared(codestream: bytes, syntax: str) -> tuple[int, int, int, int] | None:
    """Rows, columns, components and bits that a compressed frame declares in its own header; None where it does not."""
    if syntax in _JPEG_2000:
        if codestream[:4] != b"\xff\x4f\xff\x51" or len(codestream) < 43:
            return None
        width, height, left, top = unpack(">4L", codestream[8:24])
        components, depth = unpack(">HB", codestream[40:43])
        return height - top, width - left, components, (depth & 0x7F) + 1
    position = 2
    while position + 10 <= len(codestream) and codestream[position] == 0xFF:
        marker = codestream[position + 1]
        if marker in _START_OF_FRAME:
            bits, rows, columns, components = unpack(">BHHB", codestream[position + 4 : position + 10])
            return rows, columns, components, bits
        filling = marker == 0xFF
        position += 1 if filling else 2 + unpack(">H", codestream[position + 2 : position + 4])[0]
    return None


def _check_codestreams(path: Path, file: BinaryIO, dataset: Dataset, indices: Sequence[int]) -> None:
    """Refuse frames that are cut off, or declare another form than the header, before a decoder sees them."""
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax not in _JPEG | _JPEG_2000 or not indices:
        return
    expected = (int(dataset.Rows), int(dataset.Columns), 1, int(dataset.BitsAllocated))
    for index, codestream in enumerate(generate_frames(file, number_of_frames=frame_count(dataset))):
        if index not in indices:
            continue
        found = declared(codestream, syntax)
        if found is None or found[:3] != expected[:3] or found[3] > expected[3]:
            texts = ["{} x {} x {} of {} bits".format(*form) if form else "no size" for form in (found, expected)]
            problem = f"frame {index} holds {texts[0]} where the header declares {texts[1]}"
            raise unusable(path, "Pixel Data", problem)
        if _END not in codestream[-_PADDING:]:
            raise unusable(path, "Pixel Data", f"frame {index} is cut off")


def decode(path: Path, file: BinaryIO, dataset: Dataset, indices: Sequence[int]) -> UInt8[np.ndarray, "t h w"]:
    """Decode frames to grey levels, one at a time and no other.

    ``file`` stands at the first byte of the pixel data's value. Overlays are not drawn, and bits above Bits Stored,
    where old machines kept them, are dropped. Frames that are damaged, missing or of another size are refused
    (`DicomError`).
    """
    _check_codestreams(path, file, dataset, indices)
    rows, columns, bits = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsStored)
    table, hidden = grey_table(dataset), ~shutter(dataset)
    frames = np.empty((len(indices), rows, columns), dtype=np.uint8)
    if not indices:
        return frames  # the library takes an empty list for all frames
    decoder = DECODERS[str(dataset.file_meta.TransferSyntaxUID)]
    options: dict[str, Any] = {"decoding_plugin": decoder} if decoder else {}
    chosen = None if list(indices) == list(range(frame_count(dataset))) else list(indices)
    done = 0
    for done, stored in enumerate(iter_pixels(path, indices=chosen, raw=True, **options), start=1):
        patterns = stored.astype(np.uint8 if stored.dtype.itemsize == 1 else np.uint16, copy=False)
        frames[done - 1] = table[patterns & (2**bits - 1)]
        frames[done - 1][hidden] = 0
    if done < len(indices):
        problem = f"{done} frames found where {len(indices)} were expected; the file is truncated"
        raise unusable(path, "Pixel Data", problem)
    return frames
