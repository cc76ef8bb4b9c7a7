"""The five to ten frames of a run that go on to classification."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

#: A candidate must lie this share of the interval away from its borders, where filling is partial.
MARGIN = 0.1


def image_quality(vesselness: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """How clearly vessels stand out in each frame, 0-1 within the run.

    The ridge response rises with filling and falls with motion blur: it is high in quiet phases of the heart.
    """
    low, high = float(vesselness.min()), float(vesselness.max())
    return (vesselness - low) / (high - low) if high > low else np.ones_like(vesselness)


def choose_candidates(
    probability: Float[np.ndarray, " t"],
    quality: Float[np.ndarray, " t"],
    interval: tuple[int, int] | None,
    count: int,
) -> Int[np.ndarray, " k"]:
    """Up to ``count`` increasing frames of full contrast and good quality (0-1) inside the found interval.

    The best frame by probability times quality is taken first; its neighbours are then set aside, so that the frames
    show different moments; and so on. When the interval is too short for the spacing, the neighbours come back.
    Without an interval there are none.
    """
    if interval is None:
        return np.zeros(0, dtype=np.int64)
    begin, end = interval
    length = end - begin + 1
    margin = min(round(MARGIN * length), max((length - count) // 2, 0))  # less where ``count`` frames would not remain
    frames = np.arange(begin + margin, end - margin + 1)
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
