"""What tells one file, or one run's grey levels, from another."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

#: Cells along each side of a fingerprint's grid.
GRID = 4
#: Largest difference of a cell's mean grey level that still counts as the same picture: last-bit
#: differences between processors move a mean by far less than one grey level, which rounding can double.
TOLERANCE = 1


def fingerprint_frames(n_frames: int) -> list[int]:
    """First, middle and last frame of a run."""
    return [0, n_frames // 2, n_frames - 1]


def fingerprint(frames: UInt8[np.ndarray, "t h w"]) -> str:
    """Mean grey level of 4 x 4 cells of each frame, rounded, two hexadecimal digits a cell.

    Parameters
    ----------
    frames : array of uint8, shape (t, h, w)
        The frames of `fingerprint_frames`, at least 4 x 4 pixels.
    """
    rows = np.array_split(np.arange(frames.shape[1]), GRID)
    columns = np.array_split(np.arange(frames.shape[2]), GRID)
    row_starts, column_starts = [part[0] for part in rows], [part[0] for part in columns]
    sums = np.add.reduceat(np.add.reduceat(frames.astype(np.int64), row_starts, axis=1), column_starts, axis=2)
    areas = np.outer([len(part) for part in rows], [len(part) for part in columns])
    return np.rint(sums / areas).astype(np.uint8).tobytes().hex()


def same_picture(one: str, other: str) -> bool:
    """Whether two fingerprints differ by no more than the last bits of a rendering can explain."""
    if len(one) != len(other):
        return False
    levels = [np.frombuffer(bytes.fromhex(text), np.uint8).astype(int) for text in (one, other)]
    return bool((np.abs(levels[0] - levels[1]) <= TOLERANCE).all())


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_digest(path: Path, images: Sequence[Path] = ()) -> str:
    """SHA-256 of a file, or of a folder's images (names and contents, in the order given)."""
    if path.is_file():
        return file_digest(path)
    whole = hashlib.sha256()
    for image in images:
        whole.update(f"{image.name}\0{file_digest(image)}\n".encode())
    return whole.hexdigest()
