"""Stored pixel values into grey levels 0..255, one frame at a time; what a display shutter hides is black."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import unpack
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames, get_frame
from pydicom.pixels import iter_pixels
from skimage.draw import polygon2mask

from cag.data.dicom_header import DECODERS, find, frame_count, unusable

#: Little endian without compression; big endian is left to the library, whose words of 8-bit pixels are swapped.
_PLAIN = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}
_JPEG = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81)}
_JPEG_2000 = {"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"}
#: Every stream of these ends with this marker, then padding; decoders take a cut one for grey, or work on it for long.
_END, _PADDING = b"\xff\xd9", 1024
#: Start-of-frame markers of JPEG (ITU-T T.81, table B.1) and of JPEG-LS (T.87).
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def grey_table(path: Path, dataset: Dataset) -> UInt8[np.ndarray, " n"]:
    """Grey level of every stored value, by its bit pattern; an impossible window is refused (`DicomError`).

    VOI LUT where there is one, else the first window (linear, linear exact or sigmoid; PS3.3
    C.11.2), else the whole range of Bits Stored; then MONOCHROME1 is inverted. A modality
    transform is not applied: in XA it leads back to beam intensity, not to display (PS3.3 C.8.7.1.1.2).
    """
    bits = int(dataset.BitsStored)
    stored = np.arange(2**bits)
    if dataset.get("PixelRepresentation", 0) == 1:
        stored = np.where(stored >= 2 ** (bits - 1), stored - 2**bits, stored)
    grey = _display(path, dataset, stored)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 1 - grey
    return np.rint(255 * grey).astype(np.uint8)


def _display(path: Path, dataset: Dataset, stored: np.ndarray) -> Float[np.ndarray, " n"]:
    """Display value 0..1 of each stored value."""
    table, window = find(dataset, "VOILUTSequence"), find(dataset, "WindowWidth")
    if table is not None and table.VOILUTSequence:
        return _looked_up(path, dataset, table.VOILUTSequence[0], stored)
    if window is not None and None not in (window.get("WindowCenter"), window.get("WindowWidth")):
        center, width = (np.atleast_1d(np.array(window[tag].value, float)) for tag in ("WindowCenter", "WindowWidth"))
        if center.size and width.size:
            return _windowed(path, stored, center[0], width[0], str(window.get("VOILUTFunction", "LINEAR")))
    return (stored - stored.min()) / max(np.ptp(stored), 1)


def _looked_up(path: Path, dataset: Dataset, item: Dataset, stored: np.ndarray) -> np.ndarray:
    """A VOI LUT (PS3.3 C.11.2.1.1), as 0..1; values before its first and after its last entry take those.

    Not pydicom's, which counts the entries of an 8-bit table modulo 256.
    """
    count, first, depth = (int(value) for value in item.LUTDescriptor)
    count = count or 2**16
    first -= 2**16 if dataset.get("PixelRepresentation", 0) == 1 and first >= 2**15 else 0
    data = item.LUTData
    if isinstance(data, bytes):
        order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
        data = np.frombuffer(data, np.uint8 if len(data) in (count, count + count % 2) else f"{order}u2")
    entries = np.atleast_1d(np.asarray(data, dtype=float))[:count]
    if len(entries) < count or not 8 <= depth <= 16:
        raise unusable(path, "VOI LUT Sequence", f"{len(entries)} of {count} entries of {depth} bits")
    place = np.clip(stored - first, 0, count - 1)
    return np.clip(entries[place] / (2**depth - 1), 0, 1)


def _windowed(path: Path, stored: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """A window by its function (PS3.3 C.11.2.1.2 and C.11.2.1.3), as 0..1."""
    least = 1 if function == "LINEAR" else np.nextafter(0, 1)
    if not (np.isfinite(center) and np.isfinite(width) and width >= least):
        raise unusable(path, "Window Width, Window Center", f"{width:g} about {center:g} is no window")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (stored - center) / width, -50, 50)))
    if function == "LINEAR_EXACT":
        return np.clip((stored - center) / width + 0.5, 0, 1)
    if width == 1:
        return (stored > center - 0.5).astype(float)
    return np.clip((stored - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def shutter(path: Path, dataset: Dataset) -> Bool[np.ndarray, "h w"] | None:
    """Which pixels the display shutter leaves open (PS3.3 C.7.6.11); None where it hides nothing.

    Several shapes hide what any of them hides. Edges and centers count pixels from 1; the edges themselves are open.
    A shutter that lacks its numbers, or leaves nothing open, is refused (`DicomError`).
    """
    group = find(dataset, "ShutterShape")
    names = group.get("ShutterShape") if group is not None else None
    if group is None or not names:
        return None
    visible = np.ones((int(dataset.Rows), int(dataset.Columns)), dtype=bool)
    field, remedy = "Shutter Shape", "Export the run again without a display shutter"
    try:
        for name in [names] if isinstance(names, str) else names:
            visible &= _inside(name, group, visible.shape)
    except (AttributeError, TypeError, ValueError):
        raise unusable(path, field, "lacks the numbers of its shape", remedy) from None
    if not visible.any():
        raise unusable(path, field, "hides the whole picture", remedy)
    return None if visible.all() else visible


def _inside(name: str, group: Dataset, shape: tuple[int, ...]) -> Bool[np.ndarray, ...]:
    """Pixels within one shape; an unknown one hides nothing."""
    y, x = np.ogrid[1 : shape[0] + 1, 1 : shape[1] + 1]
    if name == "RECTANGULAR":
        rows = (y >= int(group.ShutterUpperHorizontalEdge)) & (y <= int(group.ShutterLowerHorizontalEdge))
        return rows & (x >= int(group.ShutterLeftVerticalEdge)) & (x <= int(group.ShutterRightVerticalEdge))
    if name == "CIRCULAR":
        row, column = (int(value) for value in group.CenterOfCircularShutter)
        return np.asarray((y - row) ** 2 + (x - column) ** 2 <= int(group.RadiusOfCircularShutter) ** 2)
    if name == "POLYGONAL":
        corners = np.array([int(value) for value in group.VerticesOfThePolygonalShutter], dtype=float)
        return np.asarray(polygon2mask(shape, corners.reshape(-1, 2) - 1))
    return np.ones(shape, dtype=bool)


class Declared(NamedTuple):
    """What a compressed frame says of itself in its own header."""

    rows: int
    columns: int
    components: int
    bits: int

    def __str__(self) -> str:
        colors = "" if self.components == 1 else f" in {self.components} components"
        return f"{self.rows} x {self.columns}{colors} of {self.bits} bits"


def declared(codestream: bytes, syntax: str) -> Declared | None:
    """Size and depth a compressed frame declares in its own header; None where it declares none."""
    if syntax in _JPEG_2000:
        if codestream[:4] != b"\xff\x4f\xff\x51" or len(codestream) < 43:
            return None
        width, height, left, top = unpack(">4L", codestream[8:24])
        components, depth = unpack(">HB", codestream[40:43])
        return Declared(height - top, width - left, components, (depth & 0x7F) + 1)
    position = 2
    while syntax in _JPEG and position + 10 <= len(codestream) and codestream[position] == 0xFF:
        marker = codestream[position + 1]
        if marker in _START_OF_FRAME:
            bits, rows, columns, components = unpack(">BHHB", codestream[position + 4 : position + 10])
            return Declared(rows, columns, components, bits)
        filling = marker == 0xFF
        position += 1 if filling else 2 + unpack(">H", codestream[position + 2 : position + 4])[0]
    return None


def _check_codestreams(path: Path, file: BinaryIO, dataset: Dataset, indices: Sequence[int]) -> None:
    """Refuse frames that are cut off, or declare another form than the header, before a decoder sees them."""
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax not in _JPEG | _JPEG_2000:
        return
    rows, columns, allocated = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
    for index, codestream in _codestreams(file, frame_count(dataset), indices):
        found = declared(codestream, syntax)
        if found is None or found[:3] != (rows, columns, 1) or found.bits > allocated:
            expected = f"where the header declares {rows} x {columns} of {allocated} bits"
            raise unusable(path, "Pixel Data", f"frame {index} holds {found or 'no size'} {expected}")
        if _END not in codestream[-_PADDING:]:
            raise unusable(path, "Pixel Data", f"frame {index} is cut off")


def _codestreams(file: BinaryIO, n_frames: int, indices: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Compressed bytes of the frames; a whole run is read in one pass."""
    start = file.tell()
    if _is_whole(indices, n_frames):
        yield from enumerate(generate_frames(file, number_of_frames=n_frames))
        return
    for index in indices:
        file.seek(start)
        yield index, get_frame(file, index, number_of_frames=n_frames)


def _is_whole(indices: Sequence[int], n_frames: int) -> bool:
    return list(indices) == list(range(n_frames))


def decode(path: Path, file: BinaryIO, dataset: Dataset, indices: Sequence[int]) -> UInt8[np.ndarray, "t h w"]:
    """Decode frames to grey levels, one at a time and no other.

    ``file`` stands at the first byte of the pixel data's value. Overlays are not drawn, and bits above Bits Stored,
    where old machines kept them, are dropped. Frames that are damaged, missing or of another size are refused
    (`DicomError`).
    """
    _check_codestreams(path, file, dataset, indices)
    rows, columns, bits = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsStored)
    table = grey_table(path, dataset)
    unchanged = bits == 8 and np.array_equal(table, np.arange(256))
    visible = shutter(path, dataset)
    frames = np.empty((len(indices), rows, columns), dtype=np.uint8)
    done = 0
    for stored in _stored_frames(path, file, dataset, indices):
        if stored.shape != (rows, columns):
            problem = f"decodes to {'x'.join(map(str, stored.shape))} instead of {rows}x{columns}"
            raise unusable(path, "Pixel Data", problem)
        if unchanged:
            frames[done] = stored
        else:
            patterns = stored.astype(np.uint8 if stored.dtype.itemsize == 1 else np.uint16, copy=False)
            frames[done] = table[patterns & (2**bits - 1)]
        if visible is not None:
            frames[done][~visible] = 0
        done += 1
    if done < len(indices):
        problem = f"{done} frames found where {len(indices)} were expected; the file is truncated"
        raise unusable(path, "Pixel Data", problem)
    return frames


def _stored_frames(path: Path, file: BinaryIO, dataset: Dataset, indices: Sequence[int]) -> Iterator[np.ndarray]:
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax in _PLAIN:
        return _plain_frames(file, dataset, indices)
    if not indices:
        return iter(())  # the library takes an empty list for all frames
    options: dict[str, Any] = {"decoding_plugin": DECODERS[syntax]} if DECODERS[syntax] else {}
    chosen = None if _is_whole(indices, frame_count(dataset)) else list(indices)
    return iter_pixels(path, indices=chosen, raw=True, **options)


def _plain_frames(file: BinaryIO, dataset: Dataset, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """Uncompressed frames, each in the buffer of the one before it: the library takes two to four times as long."""
    kind = np.dtype("<u2" if int(dataset.BitsAllocated) == 16 else "u1")
    frame = np.empty((int(dataset.Rows), int(dataset.Columns)), kind)
    start = file.tell()
    for index in indices:
        file.seek(start + index * frame.nbytes)
        if file.readinto(frame.data) < frame.nbytes:  # type: ignore[attr-defined]  # BinaryIO does not declare it
            return
        yield frame
