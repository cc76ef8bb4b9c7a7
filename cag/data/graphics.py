"""Text and lines burned into the pixels of a run: found because they stand still and are as bright as can be."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8
from scipy.ndimage import binary_dilation, distance_transform_edt, grey_opening

#: Frames from which standing still means something; shorter runs are not looked at.
MIN_FRAMES = 8
#: So many frames, spread over the run, are compared: what stands still in all of them stands still.
_LOOKED_AT = 24
#: A graphic's grey level is at least this in every frame, and moves by no more than lossy compression would move it.
_BRIGHT, _STILL = 235, 12
#: Strokes are thinner than this share of the image's side, and stand out on both sides by so many grey levels: the
#: border of an over-exposed lung against a shutter or a wire does so on one side only.
_STROKE, _CONTRAST = 1 / 64, 50
_LEAST_PIXELS = 30


def burned_in(frames: UInt8[np.ndarray, "t h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels that look like burned-in text or graphics; all false in runs of fewer than `MIN_FRAMES` frames.

    X-ray pixels are noisy: a thin stroke that stays white over all frames is drawn. Dark text is not found, nor
    is white text on an over-exposed ground.
    """
    if len(frames) < MIN_FRAMES:
        return np.zeros(frames.shape[1:], dtype=bool)
    frames = frames[np.unique(np.linspace(0, len(frames) - 1, _LOOKED_AT).round().astype(int))]
    lowest, highest = frames.min(axis=0), frames.max(axis=0)
    still = (lowest >= _BRIGHT) & (highest - lowest <= _STILL)
    width = max(round(_STROKE * min(still.shape)), 5)
    mean = frames.mean(axis=0, dtype=np.float32)
    thin = still & (mean - grey_opening(mean, size=width + 1) >= _CONTRAST)
    return thin if thin.sum() >= _LEAST_PIXELS else np.zeros_like(thin)


def without_graphics(
    frames: UInt8[np.ndarray, "t h w"], graphics: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "t h w"]:
    """Frames in which graphics, and a pixel around them, are filled with the nearest pixels beside them."""
    if not graphics.any():
        return frames
    hidden = binary_dilation(graphics, structure=np.ones((3, 3), dtype=bool))
    if hidden.all():
        return np.zeros_like(frames)
    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    filled: UInt8[np.ndarray, "t h w"] = frames[:, rows, columns]
    return filled
