"""Image statistics by which simulated frames are compared with real ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

#: Border left out of every statistic but ``border_mean``, px: collimator blades are not anatomy.
BORDER = 40
#: Frequency bands of the power spectrum's slopes, cycles a pixel.
BANDS = {"slope_lo": (0.01, 0.1), "slope_mid": (0.05, 0.25), "slope_hi": (0.25, 0.5)}
#: Side and step of the tiles in which noise is measured, and how many of the flattest count.
TILE, TILE_STEP, FLATTEST = 64, 32, 10
#: Scales of the ridge filter, px, and the share of pixels below its threshold (percent).
RIDGE_SCALES, RIDGE_PERCENTILE = (1.5, 2.5, 4.0, 6.0), 97
#: Cross-profiles: half-length and spacing, px; most profiles of an image; least depth in gray levels.
PROFILE_HALF, PROFILE_STEP, PROFILES, LEAST_DEPTH = 20.0, 0.25, 400, 4.0

Image = Float[np.ndarray, "h w"]


def gray_statistics(image: Image) -> dict[str, float]:
    """Mean, spread and percentiles of the inner gray levels, and the mean of the outermost four pixels."""
    inner = image[BORDER:-BORDER, BORDER:-BORDER]
    p1, p50, p99 = np.percentile(inner, [1, 50, 99])
    edge = np.concatenate([image[:4].ravel(), image[-4:].ravel(), image[:, :4].ravel(), image[:, -4:].ravel()])
    return {
        "gray_mean": float(inner.mean()), "gray_sd": float(inner.std()),
        "p1": float(p1), "p50": float(p50), "p99": float(p99), "border_mean": float(edge.mean()),
    }  # fmt: skip


def radial_spectrum(image: Image) -> Float[np.ndarray, " k"]:
    """Mean power by radial frequency (index / side, cycles a pixel) under a Hann window."""
    rows, columns = image.shape
    window = np.outer(np.hanning(rows), np.hanning(columns))
    power = np.abs(np.fft.fftshift(np.fft.fft2((image - image.mean()) * window))) ** 2
    y, x = np.indices(image.shape)
    radius = np.hypot(y - rows // 2, x - columns // 2).astype(int).ravel()
    return np.bincount(radius, power.ravel()) / np.maximum(np.bincount(radius), 1)


def spectrum_slopes(image: Image) -> dict[str, float]:
    """Slopes of log power against log frequency in three bands."""
    spectrum = radial_spectrum(image)
    frequency = np.arange(len(spectrum)) / image.shape[0]
    slopes = {}
    for name, (low, high) in BANDS.items():
        band = (frequency >= low) & (frequency <= high)
        slopes[name] = float(np.polyfit(np.log(frequency[band]), np.log(spectrum[band] + 1e-12), 1)[0])
    return slopes


def immerkaer(image: Image) -> float:
    """Noise estimate of Immerkaer 1996 (Comput Vis Image Underst 64:300), gray levels."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=float)
    residual = ndimage.convolve(image, kernel)[8:-8, 8:-8]
    return float(np.sqrt(np.pi / 2) * np.abs(residual).mean() / 6)


def _flattest_tiles(image: Image) -> Float[np.ndarray, "k t t"]:
    """The tiles whose smoothed gray levels vary least."""
    starts = [range(0, side - TILE, TILE_STEP) for side in image.shape]
    tiles = np.stack([image[i : i + TILE, j : j + TILE] for i in starts[0] for j in starts[1]])
    smooth = ndimage.gaussian_filter(tiles, (0, 3, 3)).std(axis=(1, 2))
    return tiles[np.argsort(smooth, kind="stable")[:FLATTEST]]


def tile_noise(image: Image) -> dict[str, float]:
    """Residual spread (gray levels) and autocorrelation at 1-3 px in flat tiles, a quadratic surface removed."""
    tiles = _flattest_tiles(image)
    y, x = np.indices((TILE, TILE)).reshape(2, -1)
    surface = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1).astype(float)
    flat = tiles.reshape(len(tiles), -1).T
    residual = (flat - surface @ np.linalg.lstsq(surface, flat, rcond=None)[0]).T.reshape(tiles.shape)
    residual = residual - ndimage.gaussian_filter(residual, (0, 4, 4))
    variance = residual.var(axis=(1, 2)) + 1e-12
    out = {"residual_sd": float(np.median(np.sqrt(variance)))}
    for lag in (1, 2, 3):
        product = (residual[:, :, lag:] * residual[:, :, :-lag]).mean(axis=(1, 2))
        out[f"ac{lag}"] = float(np.median(product / variance))
    return out


def ridges(image: Image) -> tuple[Image, Image, Image]:
    """Strength of dark ridges, direction across them (radians) and scale (px) of the best of several scales."""
    best = (np.full(image.shape, -1.0), np.zeros(image.shape), np.zeros(image.shape))
    for scale in RIDGE_SCALES:
        xx, yy, xy = (ndimage.gaussian_filter(image, scale, order=o) * scale**2 for o in ((0, 2), (2, 0), (1, 1)))
        root, half = np.sqrt(((xx - yy) / 2) ** 2 + xy**2), (xx + yy) / 2
        across, along = half + root, half - root
        strength = np.where(across > 0, np.maximum(across - np.abs(along), 0), 0)
        candidate = (strength, 0.5 * np.arctan2(2 * xy, xx - yy), np.full(image.shape, scale))
        better = strength > best[0]
        best = tuple(np.where(better, new, old) for new, old in zip(candidate, best, strict=True))  # type: ignore[assignment]
    return best


def _crest(
    strength: Image, angle: Image, generator: np.random.Generator
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Rows and columns of points on the crests of strong ridges."""
    y, x = np.indices(strength.shape)
    dx, dy = np.cos(angle), np.sin(angle)
    ahead = ndimage.map_coordinates(strength, [y + dy, x + dx], order=1)
    behind = ndimage.map_coordinates(strength, [y - dy, x - dx], order=1)
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
    parts = [
        ndimage.map_coordinates(
            image, [rows[:, None] + across * s + k * c, columns[:, None] + across * c - k * s], order=1, mode="nearest"
        )
        for k in (-1.5, -0.75, 0.0, 0.75, 1.5)
    ]
    return np.mean(parts, axis=0)


def _crossing(
    side: Float[np.ndarray, "n k"], floor: Float[np.ndarray, " n"], shoulder: Float[np.ndarray, " n"], share: float
) -> Float[np.ndarray, " n"]:
    """Distance (px) from the middle at which a half-profile first rises to a share of its shoulder; NaN if never."""
    level = floor + share * (shoulder - floor)
    above = side >= level[:, None]
    first = above.argmax(axis=1)
    row = np.arange(len(side))
    before = side[row, np.maximum(first - 1, 0)]
    fraction = (level - before) / (side[row, first] - before + 1e-9)
    return np.where(above.any(axis=1) & (first > 0), (first - 1 + fraction) * PROFILE_STEP, np.nan)


def vessel_profiles(image: Image, generator: np.random.Generator) -> dict[str, float]:
    """Median width at half depth (px), depth (gray levels) and 10-90 % edge over width of dark ridges; NaN if none."""
    strength, angle, scale = ridges(image)
    rows, columns = _crest(strength, angle, generator)
    names = ("vessel_fwhm_px", "vessel_depth", "edge_10_90_over_fwhm")
    if len(rows) == 0:
        return dict.fromkeys(names, float("nan"))
    profile = _profiles(image, rows, columns, angle[rows, columns])
    middle = profile.shape[1] // 2
    lowest = middle - 8 + profile[:, middle - 8 : middle + 9].argmin(axis=1)
    reach = np.arange(57)
    row = np.arange(len(rows))[:, None]
    left = profile[row, np.maximum(lowest[:, None] - reach, 0)]
    right = profile[row, np.minimum(lowest[:, None] + reach, profile.shape[1] - 1)]
    floor = profile[row[:, 0], lowest]
    near = reach < (4 * np.minimum(14, 3 * scale[rows, columns] + 2)).astype(int)[:, None]
    shoulders = [np.where(near, side, -np.inf).max(axis=1) for side in (left, right)]
    depth = 0.5 * (shoulders[0] + shoulders[1]) - floor
    sides = list(zip((left, right), shoulders, strict=True))
    width = _crossing(left, floor, shoulders[0], 0.5) + _crossing(right, floor, shoulders[1], 0.5)
    rises = [_crossing(s, floor, h, 0.9) - _crossing(s, floor, h, 0.1) for s, h in sides]
    known = np.isfinite(rises)
    edge = np.where(known, rises, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    good = _usable(depth, shoulders, width) & known.any(axis=0)
    if not good.any():
        return dict.fromkeys(names, float("nan"))
    values = (width[good], depth[good], edge[good] / width[good])
    return {name: float(np.median(value)) for name, value in zip(names, values, strict=True)}


def _usable(
    depth: Float[np.ndarray, " n"], shoulders: list[Float[np.ndarray, " n"]], width: Float[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Profiles deep enough, about symmetric, and with an edge on both sides."""
    return (depth >= LEAST_DEPTH) & (np.abs(shoulders[0] - shoulders[1]) <= 0.6 * depth) & np.isfinite(width)


def image_statistics(frame: UInt8[np.ndarray, "h w"], generator: np.random.Generator) -> dict[str, float]:
    """Every statistic of one frame.

    Parameters
    ----------
    frame : uint8 [h, w]
        At least 200 px on each side.
    generator : numpy.random.Generator
        Chooses the vessel profiles where there are more than ``PROFILES``.

    Returns
    -------
    dict of str to float
        The columns of ``arcade_image_statistics.csv``: gray levels, spectrum, noise, gradients and vessels.
    """
    image = frame.astype(float)
    inner = image[BORDER:-BORDER, BORDER:-BORDER]
    gradient = np.hypot(*np.gradient(ndimage.gaussian_filter(inner, 1.0)))
    return (
        gray_statistics(image)
        | {"noise_immerkaer": immerkaer(inner)}
        | spectrum_slopes(inner)
        | tile_noise(inner)
        | {"grad999": float(np.percentile(gradient, 99.9))}
        | vessel_profiles(image, generator)
    )
