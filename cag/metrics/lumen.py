"""Width of a vessel measured in a picture, across a known centerline."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy.ndimage import map_coordinates, uniform_filter1d

#: Samples across the vessel, from one end of the section to the other.
SECTION = 97
#: Share of a section at each end that shows the ground beside the vessel.
GROUND = 0.15
#: A tube's chord falls to half its height at this share of the radius.
HALF_CHORD = math.sqrt(3) / 2
#: Samples of the centerline over which a section is averaged, and over which its direction is taken (both sides).
AVERAGED, DIRECTED = 3, 4


def lumen_widths(
    image: Float[np.ndarray, "h w"],
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    reach: Float[np.ndarray, " n"],
    least_depth: float = 12.0,
) -> Float[np.ndarray, " n"]:
    """Width of a dark vessel at every sample of its centerline, from the gray levels alone.

    A section is laid across the course, the ground beside the vessel is taken away, and the width at
    half depth is read to a fraction of a pixel. A circular lumen is ``sqrt(3)/2`` of its diameter wide there.

    Parameters
    ----------
    image : float [h, w]
        Gray levels, vessels dark.
    x, y : float [n], px
        Centerline, from the upper left corner of the image.
    reach : float [n], px
        Half the length of each section; twice the expected radius is plenty.
    least_depth : float, gray levels
        Sections that are shallower hold no vessel.

    Returns
    -------
    float [n], px
        NaN where there is no vessel, no end to it within the section, or the course has no direction.
    """
    depth = _sections(image, x, y, reach)
    rows = np.arange(len(x))
    middle = SECTION // 2
    core = slice(middle - SECTION // 6, middle + SECTION // 6 + 1)
    peak = depth[:, core].argmax(1) + core.start
    half = 0.5 * depth[rows, peak]
    right = _crossing(depth, peak, half)
    left = _crossing(depth[:, ::-1], SECTION - 1 - peak, half)
    width = (right + left - (SECTION - 1)) * 2 * reach / (SECTION - 1) / HALF_CHORD
    return np.where(2 * half >= least_depth, width, np.nan)


def _sections(
    image: Float[np.ndarray, "h w"],
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    reach: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "n s"]:
    """Depth below the ground along every section; NaN where the course has no direction."""
    place = np.clip(np.arange(len(x))[:, None] + np.array([-DIRECTED, DIRECTED]), 0, len(x) - 1)
    along = np.stack([np.diff(x[place])[:, 0], np.diff(y[place])[:, 0]], axis=1)
    length = np.linalg.norm(along, axis=1)
    across = np.where(length[:, None] > 1e-3, along / np.maximum(length, 1e-9)[:, None], np.nan)
    offset = np.linspace(-1, 1, SECTION) * reach[:, None]
    # the middle of the first pixel lies half a pixel from the corner
    down, right = y[:, None] + offset * across[:, :1] - 0.5, x[:, None] - offset * across[:, 1:] - 0.5
    gray = map_coordinates(image.astype(float), [np.nan_to_num(down), np.nan_to_num(right)], order=1, mode="nearest")
    gray = uniform_filter1d(gray, AVERAGED, axis=0, mode="nearest")
    side = round(GROUND * SECTION)
    ends = gray[:, :side].mean(1), gray[:, -side:].mean(1)
    share = np.linspace(0, 1, SECTION)
    ground = ends[0][:, None] * (1 - share) + ends[1][:, None] * share
    return np.where(np.isfinite(across[:, :1]), ground - gray, np.nan)


def _crossing(
    depth: Float[np.ndarray, "n s"], peak: np.ndarray, half: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Place after the peak at which the depth falls to ``half``, in samples; NaN if it never does."""
    rows = np.arange(len(depth))
    fallen = (depth < half[:, None]) & (np.arange(depth.shape[1]) > peak[:, None])
    after = fallen.argmax(1)
    above, below = depth[rows, np.maximum(after - 1, 0)], depth[rows, after]
    drop = np.where(above > below, above - below, 1.0)
    return np.where(fallen.any(1), after - 1 + (above - half) / drop, np.nan)
