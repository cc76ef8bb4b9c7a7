"""The five to ten frames of a run that go on to classification."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

#: A candidate must lie this share of the interval away from its borders, where filling is partial.
MARGIN = 0.1


def image_quality(vesselness: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """How clearly vessels stand out in each frame, 0-1 within the run.

    The ridge response rises with filling and falls with motion blur, so within the interval its
    peaks are well filled frames of a quiet phase of the heart.
    """
    low, high = float(vesselness.min()), float(vesselness.max())
    return (vesselness - low) / (high - low) if high > low else np.ones_like(vesselness)


def choose_candidates(
    probability: Float[np.ndarray, " t"],
    quality: Float[np.ndarray, " t"],
    interval: tuple[int, int] | None,
    count: int,
) -> Int[np.ndarray, " k"]:
    """Choose frames of full contrast and good quality inside the found interval.

    The best frame by probability times quality is taken first; its neighbours are then set
    aside, so that the frames show different moments; and so on. When the interval is too short
    for the spacing, the neighbours come back.

    Parameters
    ----------
    probability, quality : arrays of float 0-1, shape (t,)
    interval : (begin, end), inclusive, or None where the run was found to have no contrast
    count : int
        Wanted frames; all of a shorter interval are returned.

    Returns
    -------
    array of int, increasing frame indices, at most ``count``; empty without an interval
    """
    if interval is None:
        return np.zeros(0, dtype=np.int64)
    begin, end = _core(interval, count)
    frames = np.arange(begin, end + 1)
    spacing = max(frames.size // (2 * count), 0)
    score = probability[frames] * (0.05 + quality[frames])
    order = frames[np.argsort(-score, kind="stable")]
    chosen: list[int] = []
    for nearest in (spacing, 0):
        for frame in order:
            if len(chosen) < count and all(abs(int(frame) - other) > nearest for other in chosen):
                chosen.append(int(frame))
    return np.array(sorted(chosen), dtype=np.int64)


def middle_frames(interval: tuple[int, int] | None, count: int) -> Int[np.ndarray, " k"]:
    """The plain choice: the frames in the middle of the interval."""
    if interval is None:
        return np.zeros(0, dtype=np.int64)
    begin, end = interval
    first = max(begin, (begin + end + 1 - count) // 2)
    return np.arange(first, min(end, first + count - 1) + 1)


def _core(interval: tuple[int, int], count: int) -> tuple[int, int]:
    """The interval without its margins, as long as ``count`` frames remain."""
    begin, end = interval
    length = end - begin + 1
    margin = min(round(MARGIN * length), max((length - count) // 2, 0))
    return begin + margin, end - margin
