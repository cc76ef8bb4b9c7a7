"""Stored pixel values into grey levels 0..255, one frame at a time; what a display shutter hides is black."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from struct import unpack
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import UID
from skimage.draw import polygon2mask

from cag.data.dicom_header import SYNTAXES, Opened, guarded, joined, number, unusable, video_frames, words
from cag.data.images import fitting_bits

_START, _END = b"\xff\x4f\xff\x51", b"\xff\xd9"
#: A scan of one component, as in every grey image, that says to hold coefficients 0 to 0; it holds all 64.
_SCAN = re.compile(rb"(\xff\xda\0\x08\x01..)\0\0", re.DOTALL)
#: Start-of-frame markers of JPEG (ITU-T T.81, table B.1) and of JPEG-LS (T.87).
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_BEYOND = "Bits above Bits Stored are set, as by old overlays; they do not count."
#: A picture of fewer grey levels, or with a larger share of black and white, is said to be one.
_FEW_LEVELS, _SATURATED, POOR = 32, 0.95, "grey levels"


def _grey_table(path: Path, opened: Opened, bits: int, least: int) -> tuple[UInt8[np.ndarray, " n"], int]:
    """Grey level of every value of ``bits`` bits, by its bit pattern, and the bits of a range that only values tell.

    VOI LUT, else the first window (PS3.3 C.11.2), maybe in units of a modality transform, else the range of the values.
    """
    dataset, stored, used = opened.dataset, np.arange(2**bits), 0
    if signed := dataset.PixelRepresentation == 1:
        stored = np.where(stored >= 2 ** (bits - 1), stored - 2**bits, stored)
    try:
        grey = _looked_up(dataset, stored)
    except (AttributeError, TypeError, ValueError):
        grey = None
        opened.notes.append("VOI LUT Sequence: what stands there counts as not given.")
    if grey is None:
        grey = _windowed(dataset, stored)
    if grey is None:
        used = _used_bits(path, opened, bits, least) if bits > 8 else int(dataset.BitsStored)
        grey = np.clip((stored + (2 ** (used - 1) if signed else 0)) / (2**used - 1), 0, 1)
    inverted = "MONOCHROME1" in words(dataset, "PhotometricInterpretation")
    return np.rint(255 * (1 - grey if inverted else grey)).astype(np.uint8), used


def _used_bits(path: Path, opened: Opened, bits: int, least: int) -> int:
    """Bits, no fewer than ``least``, that the run's values use; a lossy decoder's overshoot does not count."""
    stored, signed, peak = int(opened.dataset.BitsStored), opened.dataset.PixelRepresentation == 1, 0
    reach = 2 ** (stored - signed)
    for values in _stored_frames(path, opened, range(opened.dataset.NumberOfFrames), bits):
        peak = max(peak, int(values.max()), int(~values.min()))
        if peak >= reach // 4 and bits == stored:
            return max(stored, least)  # the usual case is known from the first frame
    used = fitting_bits((min(peak, reach - 1) if peak < 1.25 * reach else peak).bit_length() + signed, stored)
    used = max(used, least)
    if used != stored:
        opened.notes.append(f"Values use {used} bits, Bits Stored says {stored}, and no window is given: {used} count.")
    return used


def _looked_up(dataset: Dataset, stored: np.ndarray) -> Float[np.ndarray, " n"] | None:
    """A VOI LUT (PS3.3 C.11.2.1.1), as 0..1; entries beyond the bits that it declares count by their own range."""
    if not (items := dataset.get("VOILUTSequence")):
        return None
    count, first, depth = (int(value) for value in items[0].LUTDescriptor)
    count, data = count or 2**16, items[0].LUTData
    first -= 2**16 if dataset.PixelRepresentation == 1 and first >= 2**15 else 0
    if isinstance(data, bytes):
        order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
        data = np.frombuffer(data, np.uint8 if len(data) in (count, count + count % 2) else f"{order}u2")
    entries = np.atleast_1d(np.asarray(data, dtype=float))[:count]
    if len(entries) != count or not 8 <= depth <= 16:
        raise ValueError("a table of another length or depth")
    depth = fitting_bits(int(entries.max()).bit_length(), depth)
    return np.clip(entries[np.clip(stored - first, 0, count - 1)] / (2**depth - 1), 0, 1)


def _windowed(dataset: Dataset, stored: np.ndarray) -> Float[np.ndarray, " n"] | None:
    """A window by its function (PS3.3 C.11.2.1.2 and C.11.2.1.3), as 0..1."""
    center, width = number(dataset, "WindowCenter"), number(dataset, "WindowWidth")
    sigmoid, exact = (name in words(dataset, "VOILUTFunction") for name in ("SIGMOID", "LINEAR_EXACT"))
    if center is None or width is None or (width < 1 and not (sigmoid or exact)):
        return None
    slope, shift = number(dataset, "RescaleSlope") or 1, number(dataset, "RescaleIntercept") or 0
    windows = ((center, width), ((center - shift) / slope, width / slope))
    low, high = stored.min(), stored.min() + 2 ** int(dataset.BitsStored)
    center, width = min(windows, key=lambda own: abs(own[0] - own[1] / 2 - low) + abs(own[0] + own[1] / 2 - high))
    if sigmoid:
        return 1 / (1 + np.exp(np.clip(-4 * (stored - center) / width, -50, 50)))
    if not exact:
        center, width = center - 0.5, width - 1
    return np.clip((stored - center) / width + 0.5, 0, 1) if width > 0 else (stored > center).astype(float)


def shutter(dataset: Dataset) -> Bool[np.ndarray, "h w"]:
    """Which pixels the display shutter leaves open (PS3.3 C.7.6.11): all, without its numbers or any left open."""
    names, size = dataset.get("ShutterShape") or [], (int(dataset.Rows), int(dataset.Columns))
    visible, (y, x) = np.ones(size, dtype=bool), np.ogrid[1 : size[0] + 1, 1 : size[1] + 1]
    try:
        for name in [names] if isinstance(names, str) else names:
            if name == "RECTANGULAR":
                visible &= (y >= int(dataset.ShutterUpperHorizontalEdge)) & (x >= int(dataset.ShutterLeftVerticalEdge))
                visible &= (y <= int(dataset.ShutterLowerHorizontalEdge)) & (x <= int(dataset.ShutterRightVerticalEdge))
            elif name == "CIRCULAR":
                row, column = (int(value) for value in dataset.CenterOfCircularShutter)
                visible &= (y - row) ** 2 + (x - column) ** 2 <= int(dataset.RadiusOfCircularShutter) ** 2
            elif name == "POLYGONAL":
                corners = np.array([int(value) for value in dataset.VerticesOfThePolygonalShutter], dtype=float)
                visible &= polygon2mask(size, corners.reshape(-1, 2) - 1)
    except (AttributeError, TypeError, ValueError):
        visible[:] = True
    return visible if visible.any() else ~visible


def declared(codestream: bytes) -> tuple[int, int, int, int, str] | None:
    """Rows, columns, components, bits and kind that a compressed frame declares in its own header; None without."""
    if codestream.startswith(_START) and len(codestream) >= 43:
        width, height, left, top = unpack(">4L", codestream[8:24])
        components, depth = unpack(">HB", codestream[40:43])
        return height - top, width - left, components, (depth & 0x7F) + 1, "JPEG 2000"
    position = 2
    while position + 10 <= len(codestream) and codestream[position] == 0xFF:
        marker = codestream[position + 1]
        if marker in _START_OF_FRAME:
            bits, rows, columns, components = unpack(">BHHB", codestream[position + 4 : position + 10])
            return rows, columns, components, bits, "JPEG-LS" if marker == 0xF7 else "JPEG"
        filling = marker == 0xFF
        position += 1 if filling else 2 + unpack(">H", codestream[position + 2 : position + 4])[0]
    return None


def _codestream(path: Path, opened: Opened, index: int) -> bytes:
    """A compressed frame as decoders want it: whole, without box and padding, and of the form that the header says."""
    dataset, data = opened.dataset, joined(opened.file, opened.pieces[index])
    _, kind = SYNTAXES[str(dataset.file_meta.TransferSyntaxUID)]
    stored, size = int(dataset.BitsStored), (int(dataset.Rows), int(dataset.Columns))

    def refuse_unless(fits: bool, held: str, expected: str) -> None:
        if not fits:
            problem = f"frame {index} holds {held} where the header declares {expected}"
            raise unusable(path, "PixelData", problem)

    if kind == "RLE":
        held, *places = unpack("<16L", data[:64].ljust(64, b"\0"))
        refuse_unless(8 * held == dataset.BitsAllocated, f"{8 * held} bits a pixel", f"{dataset.BitsAllocated}")
        for start, end in pairwise([*places[:held], len(data)]):
            count, least = (unpacked(own) for own in (data[start:end], data[start:end].rstrip(b"\0")))
            fits = least <= size[0] * size[1] + 1 and size[0] * size[1] <= count
            refuse_unless(fits, f"{count} pixels", f"{size[0]} x {size[1]} = {size[0] * size[1]}")
        return data
    data = data[max(data.find(_START), 0) if kind == "JPEG 2000" else 0 :]
    end = data.rfind(_END)
    if end < 0 or data[end + 2 :].strip(b"\0\xff"):
        opened.notes.append("Compressed frames do not end with an end marker: look whether they are whole.")
        end = len(data)
    data = data[:end] + _END
    found = declared(data)
    forms = ["{4}, {0} x {1} x {2} of {3} bits".format(*own) for own in (found, (*size, 1, stored, kind)) if own]
    rows, columns, components, bits, held = found or (0, 0, 0, 0, "")
    fits = (rows, columns, components, held) == (*size, 1, kind) and bits <= dataset.BitsAllocated
    refuse_unless(fits and not bits <= 8 < stored, forms[0] if found else "no size", forms[-1])
    if kind == "JPEG" and data.count(b"\xff\xda") == 1:
        return _SCAN.sub(lambda scan: scan[1] + b"\0\x3f", data, count=1)
    return data


def unpacked(segment: bytes) -> int:
    """Bytes that a segment of RLE unpacks to (PS3.5 G.3.1)."""
    place = count = 0
    while place < len(segment):
        run = segment[place]
        count += min(run + 1, len(segment) - place - 1) if run < 128 else (257 - run) % 129
        place += run + 2 if run < 128 else 1 + (run > 128)
    return count


def _stored_frames(path: Path, opened: Opened, indices: Iterable[int], bits: int) -> Iterator[Int[np.ndarray, "h w"]]:
    """Values of frames: native words are masked, for overlays above ``bits``; what lossy decoders add is clipped."""
    dataset, syntax = opened.dataset, str(opened.dataset.file_meta.TransferSyntaxUID)
    plugin, kind = SYNTAXES[syntax]
    if kind == "video":
        stream, wanted = joined(opened.file, opened.pieces[0]), list(indices)
        frames = {i: own for i, own in enumerate(video_frames(path, stream, dataset)) if i in wanted}
        yield from (frames[index].astype(np.int32) for index in wanted)
        return
    decoder, native, signed = get_decoder(syntax), kind in ("RLE", ""), dataset.PixelRepresentation == 1
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    options: dict[str, Any] = {
        **{"rows": int(dataset.Rows), "columns": int(dataset.Columns), "samples_per_pixel": 1, "raw": True},
        **{"photometric_interpretation": "MONOCHROME2", "pixel_representation": int(signed), "bits_stored": bits},
        **{"bits_allocated": int(dataset.BitsAllocated) if native or bits > 8 else 8, "correct_unused_bits": False},
        **{"number_of_frames": 1 if opened.pieces else int(dataset.NumberOfFrames)},
        **{"pixel_keyword": "PixelData", "pixel_vr": opened.pixel_vr, "decoding_plugin": plugin},
    }
    for index in indices:
        if opened.pieces:
            codestream = _codestream(path, opened, index)
            with guarded(path, f"frame {index} in {UID(syntax).name!r}"):
                values = _decompressed(codestream, decoder, options)
        else:
            opened.file.seek(opened.start)
            values = decoder.as_array(opened.file, index=index, **options)[0]
        values = values.astype(np.int32)
        if native or (signed and kind == "JPEG"):
            opened.notes.extend([_BEYOND] * bool(native and not signed and values.max() > high))
            values = ((values - low) & (2**bits - 1)) + low
        yield np.clip(values, low, high)


def _decompressed(codestream: bytes, decoder: Decoder, options: dict[str, Any]) -> np.ndarray:
    """Decode one frame; JPEG-LS also with a zero byte before its end marker, as some encoders leave."""
    try:
        return decoder.as_array(encapsulate([codestream]), index=0, **options)[0]
    except RuntimeError:
        if not codestream.endswith(b"\0" + _END):
            raise
    return _decompressed(codestream[:-2].rstrip(b"\0") + _END, decoder, options)


def decode(path: Path, opened: Opened, indices: Sequence[int], least: int) -> tuple[Any, Any, int]:
    """Frames without overlays, pixels of each grey level, bits of a range that only values tell, ``least`` or more."""
    dataset, syntax = opened.dataset, str(opened.dataset.file_meta.TransferSyntaxUID)
    frames = np.empty((len(indices), int(dataset.Rows), int(dataset.Columns)), dtype=np.uint8)
    bits, visible, counts = int(dataset.BitsStored), shutter(dataset), np.zeros(256, dtype=int)
    if not indices:
        return frames, counts, 0
    if SYNTAXES[syntax][1].startswith("JPEG"):
        bits = max(bits, (declared(_codestream(path, opened, 0)) or [0] * 4)[3])
    table, used = _grey_table(path, opened, bits, least)
    for place, values in enumerate(_stored_frames(path, opened, indices, bits)):
        frames[place] = np.where(visible, table[values & (2**bits - 1)], 0)
        counts += np.bincount(frames[place][visible], minlength=256)
    opened.notes.extend(poor(counts))
    return frames, counts, used


def poor(counts: Int[np.ndarray, " 256"]) -> list[str]:
    """What is to be said of a picture of few grey levels, or of one nearly all black and white."""
    levels, extreme = int((counts > 0).sum()), (counts[0] + counts[255]) / counts.sum()
    said = f"The picture has {levels} {POOR}, and {extreme:.0%} of it is black or white."
    return [said] if levels < _FEW_LEVELS or extreme > _SATURATED else []
