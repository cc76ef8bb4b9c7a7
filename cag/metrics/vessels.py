"""Dark vessels in a picture: ridges, the profiles across them, and the width of a lumen across its centerline."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter, map_coordinates, uniform_filter1d

#: Border in which no vessel is looked for, px: collimator blades are not anatomy.
BORDER = 40
#: Scales of the ridge filter, px, and the share of pixels below its threshold (percent).
RIDGE_SCALES, RIDGE_PERCENTILE = (1.5, 2.5, 4.0, 6.0), 97
#: Cross-profiles: half-length and spacing, px; most profiles of an image; least depth in gray levels.
PROFILE_HALF, PROFILE_STEP, PROFILES, LEAST_DEPTH = 20.0, 0.25, 400, 4.0
#: Samples of a section across a centerline, those at each end that show the ground beside the vessel, and those to
#: either side of the middle among which the deepest is looked for.
SECTION, GROUND, CORE = 97, 15, 16
#: A tube's chord falls to half its height at this share of the radius.
HALF_CHORD = math.sqrt(3) / 2

Image = Float[np.ndarray, "h w"]


def ridges(image: Image) -> tuple[Image, Image, Image]:
    """Strength of dark ridges, direction across them (radians) and scale (px) of the best of several scales."""
    best = (np.full(image.shape, -1.0), np.zeros(image.shape), np.zeros(image.shape))
    for scale in RIDGE_SCALES:
        xx, yy, xy = (gaussian_filter(image, scale, order=o) * scale**2 for o in ((0, 2), (2, 0), (1, 1)))
        root, half = np.sqrt(((xx - yy) / 2) ** 2 + xy**2), (xx + yy) / 2
        across, along = half + root, half - root
        strength = np.where(across > 0, np.maximum(across - np.abs(along), 0), 0)
        candidate = (strength, 0.5 * np.arctan2(2 * xy, xx - yy), np.full(image.shape, scale))
        better = strength > best[0]
        best = tuple(np.where(better, new, old) for new, old in zip(candidate, best, strict=True))  # type: ignore[assignment]
    return best


def vessel_profiles(image: Image, generator: np.random.Generator) -> dict[str, float]:
    """Median width at half depth (px), depth (gray levels) and 10-90 % edge over width of dark ridges; NaN if none.

    ``generator`` chooses the profiles where there are more than ``PROFILES``.
    """
    strength, angle, scale = ridges(image)
    rows, columns = _crest(strength, angle, generator)
    profile = _profiles(image, rows, columns, angle[rows, columns])
    middle = profile.shape[1] // 2
    lowest = middle - 8 + profile[:, middle - 8 : middle + 9].argmin(axis=1)
    sides = _sides(profile, lowest, 57)
    floor = profile[np.arange(len(rows)), lowest]
    near = np.arange(57) < (4 * np.minimum(14, 3 * scale[rows, columns] + 2)).astype(int)[:, None]
    shoulders = [np.where(near, side, -np.inf).max(axis=1) for side in sides]

    def rise(share: float) -> Float[np.ndarray, "2 n"]:
        pairs = zip(sides, shoulders, strict=True)
        return PROFILE_STEP * np.stack([_rise(side, floor + share * (top - floor)) for side, top in pairs])

    depth, width, edge = 0.5 * (shoulders[0] + shoulders[1]) - floor, rise(0.5).sum(axis=0), rise(0.9) - rise(0.1)
    good = (depth >= LEAST_DEPTH) & (np.abs(shoulders[0] - shoulders[1]) <= 0.6 * depth) & np.isfinite(width)
    good &= np.isfinite(edge).any(axis=0)
    values = np.stack([width[good], depth[good], np.nanmean(edge[:, good], axis=0) / width[good]])
    medians = np.median(values, axis=1) if good.any() else np.full(3, np.nan)
    return dict(zip(("vessel_fwhm_px", "vessel_depth", "edge_10_90_over_fwhm"), medians.tolist(), strict=True))


def lumen_widths(
    image: Image, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], reach: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Width of a dark vessel at every sample of its centerline, from the gray levels alone.

    A section is laid across the course, the ground beside the vessel is taken away, and the width at
    half depth is read to a fraction of a pixel. A circular lumen is ``sqrt(3)/2`` of its diameter wide there.

    All in pixels: ``x, y`` is the centerline, from the upper left corner of the image, ``reach`` half the length of
    each section (twice the expected radius is plenty). NaN where the section is shallower than 12 gray levels (no
    vessel), where the vessel does not end within it, or the course has no direction.
    """
    around = np.clip(np.arange(len(x))[:, None] + np.array([-4, 4]), 0, len(x) - 1)
    dx, dy = np.diff(x[around]), np.diff(y[around])
    length = np.hypot(dx, dy)
    share = np.linspace(-1, 1, SECTION)
    offset = share * reach[:, None] / np.maximum(length, 1e-9)
    # the middle of the first pixel lies half a pixel from the corner
    places = [y[:, None] + offset * dx - 0.5, x[:, None] - offset * dy - 0.5]
    gray = uniform_filter1d(map_coordinates(image, places, order=1, mode="nearest"), 3, axis=0, mode="nearest")
    first, last = gray[:, :GROUND].mean(1, keepdims=True), gray[:, -GROUND:].mean(1, keepdims=True)
    raised = gray - first * (1 - share) / 2 - last * (1 + share) / 2
    start = SECTION // 2 - CORE
    lowest = raised[:, start : start + 2 * CORE + 1].argmin(axis=1) + start
    floor = raised[np.arange(len(x)), lowest]
    left, right = (_rise(side, floor / 2) for side in _sides(raised, lowest, SECTION))
    width = (left + right) * 2 * reach / (SECTION - 1) / HALF_CHORD
    return np.where((-floor >= 12) & (length[:, 0] > 1e-3), width, np.nan)


def _crest(
    strength: Image, angle: Image, generator: np.random.Generator
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Rows and columns of points on the crests of strong ridges."""
    y, x = np.indices(strength.shape)
    dx, dy = np.cos(angle), np.sin(angle)
    ahead = map_coordinates(strength, [y + dy, x + dx], order=1)
    behind = map_coordinates(strength, [y - dy, x - dx], order=1)
    inner = np.zeros(strength.shape, dtype=bool)
    inner[BORDER:-BORDER, BORDER:-BORDER] = True
    strong = strength > np.percentile(strength[inner], RIDGE_PERCENTILE)
    rows, columns = np.nonzero((strength >= ahead) & (strength >= behind) & inner & strong)
    if len(rows) > PROFILES:
        chosen = generator.choice(len(rows), PROFILES, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    return rows, columns


def _profiles(
    image: Image, rows: Int[np.ndarray, " n"], columns: Int[np.ndarray, " n"], angle: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n u"]:
    """Gray levels across ridges, averaged over 3 px along them."""
    across = np.arange(-PROFILE_HALF, PROFILE_HALF + 0.01, PROFILE_STEP)
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    y, x = rows[:, None] + across * s, columns[:, None] + across * c
    along = (-1.5, -0.75, 0.0, 0.75, 1.5)
    return np.mean([map_coordinates(image, [y + k * c, x - k * s], order=1, mode="nearest") for k in along], axis=0)


def _sides(
    profile: Float[np.ndarray, "n u"], middle: Int[np.ndarray, " n"], reach: int
) -> tuple[Float[np.ndarray, "n r"], Float[np.ndarray, "n r"]]:
    """Both halves of profiles from their middle outward; the last sample is repeated."""
    row, steps = np.arange(len(profile))[:, None], np.arange(reach)
    left, right = middle[:, None] - steps, middle[:, None] + steps
    return profile[row, np.maximum(left, 0)], profile[row, np.minimum(right, profile.shape[1] - 1)]


def _rise(side: Float[np.ndarray, "n r"], level: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """How many samples from the middle a half-profile first rises to a level; NaN if it never does."""
    above, row = side >= level[:, None], np.arange(len(side))
    first = above.argmax(axis=1)
    before = side[row, np.maximum(first - 1, 0)]
    fraction = (level - before) / (side[row, first] - before + 1e-9)
    return np.where(above.any(axis=1) & (first > 0), first - 1 + fraction, np.nan)
