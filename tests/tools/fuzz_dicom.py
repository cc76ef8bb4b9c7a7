"""Damaged copies of a DICOM file: one to three random mutations, the same for the same seed."""

from struct import pack

import numpy as np

#: Tags whose numbers decide how much is read or allocated (group, element), little endian as stored.
STEERING = [
    *((0x0028, 0x0002), (0x0028, 0x0008), (0x0028, 0x0010), (0x0028, 0x0011), (0x0028, 0x0100), (0x0028, 0x0101)),
    *((0x0028, 0x0102), (0x0028, 0x0103), (0x0028, 0x1050), (0x0028, 0x1051), (0x0018, 0x1063), (0x0018, 0x1510)),
    *((0x0028, 0x3010), (0x0028, 0x3002), (0x5200, 0x9229), (0x7FE0, 0x0010), (0x0002, 0x0000), (0x0018, 0x1600)),
]
SYNTAXES = [f"1.2.840.10008.1.2{end}".encode() for end in ("\0", ".1\0", ".2\0", ".5\0")]
SYNTAXES += [f"1.2.840.10008.1.2.4.{number}".encode() for number in (50, 51, 57, 70, 80, 81, 90, 91)]
MARKERS = [b"\xff" + kind for kind in (b"\xc0", b"\xc3", b"\xf7", b"\x51", b"\x52", b"\x90", b"\xc4", b"\xda")]
EXTREMES = [b"\0", b"\xff", b"\x7f", b"\x80", b"\x01"]


def mutated(whole: bytes, seed: int) -> bytes:
    """A damaged copy: one to three of the mutations below; the same seed damages alike."""
    rng, data = np.random.default_rng(seed), bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        if len(data) > 256:
            pixels = min(max(data.find(b"\xe0\x7f\x10\x00"), 200), len(data) - 1)
            MUTATIONS[rng.integers(len(MUTATIONS))](data, rng, pixels)
    return bytes(data)


def some_bytes(data: bytearray, rng: np.random.Generator, pixels: int) -> None:
    """Some bytes before the pixels, or of them, become others."""
    start, end, most = ((128, pixels, 12), (pixels, len(data), 40))[rng.integers(2)]
    for place in rng.integers(start, end, rng.integers(1, most)):
        data[place] = rng.integers(256)


def cut(data: bytearray, rng: np.random.Generator, pixels: int) -> None:
    """The end is missing."""
    del data[int(rng.integers(0, len(data))) :]


def hole(data: bytearray, rng: np.random.Generator, pixels: int) -> None:
    """A piece from within is missing, or there twice."""
    start, length = int(rng.integers(128, len(data))), int(rng.integers(1, 400))
    data[start : start + length] = data[start : start + length] * int(2 * rng.integers(2))


def steering_value(data: bytearray, rng: np.random.Generator, pixels: int) -> None:
    """A tag that steers sizes, or its length, becomes an extreme."""
    place = data.find(pack("<HH", *STEERING[rng.integers(len(STEERING))]))
    offset, size = place + int(rng.choice([4, 6, 8, 10, 12])), int(rng.choice([1, 2, 4]))
    if place >= 0:
        data[offset : offset + size] = EXTREMES[rng.integers(len(EXTREMES))] * size


def other_syntax(data: bytearray, rng: np.random.Generator, pixels: int) -> None:
    """The file claims another compression than it has."""
    place, new = data.find(b"\x02\x00\x10\x00UI"), SYNTAXES[rng.integers(len(SYNTAXES))]
    length = int.from_bytes(data[place + 6 : place + 8], "little")
    data[place + 6 : place + 8 + length] = pack("<H", len(new)) + new


def marker(data: bytearray, rng: np.random.Generator, pixels: int) -> None:
    """A compressed stream's own header lies about sizes, depth or tables."""
    place = data.find(MARKERS[rng.integers(len(MARKERS))], pixels)
    for offset in rng.integers(2, 42, rng.integers(1, 4)) if place >= 0 else []:
        data[place + offset : place + offset + 1] = EXTREMES[rng.integers(len(EXTREMES))]


MUTATIONS = (some_bytes, some_bytes, cut, hole, steering_value, steering_value, other_syntax, marker)
