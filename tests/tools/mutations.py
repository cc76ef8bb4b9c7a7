"""Ways to damage a DICOM file that its reader must survive; the same seed damages alike."""

from __future__ import annotations

from collections.abc import Callable
from struct import pack

import numpy as np

#: Tags whose numbers decide how much is read or allocated (group, element), little endian as stored.
STEERING = [
    *((0x0028, 0x0002), (0x0028, 0x0008), (0x0028, 0x0010), (0x0028, 0x0011), (0x0028, 0x0100), (0x0028, 0x0101)),
    *((0x0028, 0x0102), (0x0028, 0x0103), (0x0028, 0x1050), (0x0028, 0x1051), (0x0018, 0x1063), (0x0018, 0x1510)),
    *((0x0028, 0x3010), (0x0028, 0x3002), (0x5200, 0x9229), (0x7FE0, 0x0010), (0x0002, 0x0000), (0x0018, 0x1600)),
]
SYNTAXES = [
    *(b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0", b"1.2.840.10008.1.2.5\0"),
    *(f"1.2.840.10008.1.2.4.{number}".encode() for number in (50, 51, 57, 70, 80, 81, 90, 91)),
]
EXTREMES = [b"\0", b"\xff", b"\x7f", b"\x80", b"\x01"]
_MARKERS = [b"\xff\xc0", b"\xff\xc3", b"\xff\xf7", b"\xff\x51", b"\xff\x52", b"\xff\x90", b"\xff\xc4", b"\xff\xda"]

Generator = np.random.Generator


def header_bytes(data: bytearray, rng: Generator) -> None:
    """Some bytes before the pixels become others."""
    end = max(min(data.find(b"\xe0\x7f\x10\x00"), len(data)), 200)
    for place in rng.integers(128, end, rng.integers(1, 12)):
        data[place] = rng.integers(256)


def pixel_bytes(data: bytearray, rng: Generator) -> None:
    """Some bytes of the pixels become others."""
    start = min(max(data.find(b"\xe0\x7f\x10\x00"), 128), len(data) - 1)
    for place in rng.integers(start, len(data), rng.integers(1, 40)):
        data[place] = rng.integers(256)


def cut(data: bytearray, rng: Generator) -> None:
    """The end is missing."""
    del data[int(rng.integers(0, len(data))) :]


def hole(data: bytearray, rng: Generator) -> None:
    """A piece from within is missing, or there twice."""
    start, length = int(rng.integers(128, len(data))), int(rng.integers(1, 400))
    piece = data[start : start + length]
    if rng.integers(2):
        data[start:start] = piece
    else:
        del data[start : start + length]


def steering_value(data: bytearray, rng: Generator) -> None:
    """A tag that steers sizes, or its length, becomes an extreme."""
    group, element = STEERING[rng.integers(len(STEERING))]
    place = data.find(pack("<HH", group, element))
    if place < 0:
        return header_bytes(data, rng)
    offset = place + int(rng.choice([4, 6, 8, 10, 12]))
    size = int(rng.choice([1, 2, 4]))
    data[offset : offset + size] = EXTREMES[rng.integers(len(EXTREMES))] * size


def other_syntax(data: bytearray, rng: Generator) -> None:
    """The file claims another compression than it has."""
    place = data.find(b"\x02\x00\x10\x00UI")
    length = int.from_bytes(data[place + 6 : place + 8], "little")
    new = SYNTAXES[rng.integers(len(SYNTAXES))]
    data[place + 6 : place + 8 + length] = pack("<H", len(new)) + new


def marker(data: bytearray, rng: Generator) -> None:
    """A compressed stream's own header lies about sizes, depth or tables."""
    start = max(data.find(b"\xe0\x7f\x10\x00"), 128)
    place = data.find(_MARKERS[rng.integers(len(_MARKERS))], start)
    if place < 0:
        return pixel_bytes(data, rng)
    for _ in range(rng.integers(1, 4)):
        offset = place + 2 + int(rng.integers(0, 40))
        data[offset : offset + 1] = EXTREMES[rng.integers(len(EXTREMES))]


MUTATIONS: tuple[Callable[[bytearray, Generator], None], ...] = (
    header_bytes,
    pixel_bytes,
    cut,
    hole,
    steering_value,
    steering_value,
    other_syntax,
    marker,
)


def mutated(whole: bytes, seed: int) -> bytes:
    """A damaged copy: one to three mutations."""
    rng, data = np.random.default_rng(seed), bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        if len(data) > 256:
            MUTATIONS[rng.integers(len(MUTATIONS))](data, rng)
    return bytes(data)
