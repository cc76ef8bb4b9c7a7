"""Image statistics by which simulated frames are compared with real ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from cag.metrics.vessels import BORDER, Image, vessel_profiles

#: Frequency bands of the power spectrum's slopes, cycles a pixel.
BANDS = {"slope_lo": (0.01, 0.1), "slope_mid": (0.05, 0.25), "slope_hi": (0.25, 0.5)}
#: Side and step of the tiles in which noise is measured, and how many of the flattest count.
TILE, TILE_STEP, FLATTEST = 64, 32, 10


def image_statistics(frame: UInt8[np.ndarray, "h w"], generator: np.random.Generator) -> dict[str, float]:
    """Gray levels, spectrum, noise, gradients and vessels of one frame: the columns of ``arcade_image_statistics.csv``.

    The frame has at least 200 px on each side; the generator chooses among its ``vessel_profiles``.
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


def gray_statistics(image: Image) -> dict[str, float]:
    """Mean, spread and percentiles of the inner gray levels, and the mean of the outermost four pixels."""
    inner = image[BORDER:-BORDER, BORDER:-BORDER]
    p1, p50, p99 = np.percentile(inner, [1, 50, 99]).tolist()
    edge = np.concatenate([image[:4].ravel(), image[-4:].ravel(), image[:, :4].ravel(), image[:, -4:].ravel()])
    of_inner = {"gray_mean": float(inner.mean()), "gray_sd": float(inner.std()), "p1": p1, "p50": p50, "p99": p99}
    return of_inner | {"border_mean": float(edge.mean())}


def spectrum_slopes(image: Image) -> dict[str, float]:
    """Slopes of log power against log radial frequency in three bands, under a Hann window."""
    rows, columns = image.shape
    window = np.outer(np.hanning(rows), np.hanning(columns))
    power = np.abs(np.fft.fftshift(np.fft.fft2((image - image.mean()) * window))) ** 2
    y, x = np.indices(image.shape)
    radius = np.hypot(y - rows // 2, x - columns // 2).astype(int).ravel()
    spectrum = np.bincount(radius, power.ravel()) / np.maximum(np.bincount(radius), 1)
    frequency = np.arange(len(spectrum)) / rows
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


def _flattest_tiles(image: Image) -> Float[np.ndarray, "k t t"]:
    """The tiles whose smoothed gray levels vary least."""
    starts = [range(0, side - TILE, TILE_STEP) for side in image.shape]
    tiles = np.stack([image[i : i + TILE, j : j + TILE] for i in starts[0] for j in starts[1]])
    smooth = ndimage.gaussian_filter(tiles, (0, 3, 3)).std(axis=(1, 2))
    return tiles[np.argsort(smooth, kind="stable")[:FLATTEST]]
