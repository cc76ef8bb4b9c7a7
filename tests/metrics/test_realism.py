"""Image statistics with known answers."""

import numpy as np
import pytest
from scipy import ndimage

from cag.metrics.realism import gray_statistics, image_statistics, immerkaer, spectrum_slopes, tile_noise


def test_immerkaer_is_the_standard_deviation_of_white_noise(rng):
    assert immerkaer(128 + rng.normal(0, 5, (300, 300))) == pytest.approx(5, rel=0.02)
    y, x = np.indices((300, 300))
    assert immerkaer(2.0 * x + 3.0 * y) == pytest.approx(0, abs=1e-9)


def test_tile_noise_sees_the_filter_of_the_noise(rng):
    noise = ndimage.gaussian_filter(rng.normal(0, 1, (432, 432)), 0.8)
    statistics = tile_noise(128 + 4 * noise / noise.std())
    assert statistics["residual_sd"] == pytest.approx(4, rel=0.08)
    assert statistics["ac1"] == pytest.approx(np.exp(-1 / (4 * 0.64)), abs=0.07)
    assert statistics["ac1"] > statistics["ac2"] > statistics["ac3"]


def test_slopes_of_a_power_law(rng):
    frequency = np.hypot(np.fft.fftfreq(432)[:, None], np.fft.fftfreq(432)[None])
    frequency[0, 0] = 1
    image = np.fft.ifft2(np.fft.fft2(rng.normal(0, 1, (432, 432))) * frequency**-1.25).real
    for name, slope in spectrum_slopes(image).items():
        assert slope == pytest.approx(-2.5, abs=0.2), name


def test_gray_statistics_leave_the_border_out():
    image = np.full((200, 200), 7.0)
    image[40:-40, 40:-40] = 100
    statistics = gray_statistics(image)
    assert (statistics["gray_mean"], statistics["gray_sd"], statistics["p99"]) == (100, 0, 100)
    assert statistics["border_mean"] == 7


def test_an_empty_picture_has_no_vessels(rng):
    statistics = image_statistics(np.full((512, 512), 90, dtype=np.uint8), rng)
    assert statistics["gray_mean"] == 90 and np.isnan(statistics["vessel_depth"])


def test_real_frames_reproduce_the_table(cag_data):
    from PIL import Image

    files = sorted((cag_data / "arcade/stenosis/train/images").glob("*.png"))[:12]
    rows = [image_statistics(np.asarray(Image.open(f).convert("L")), np.random.default_rng(0)) for f in files]
    assert -5.2 < np.median([row["slope_hi"] for row in rows]) < -3.8
    assert 5 < np.median([row["vessel_fwhm_px"] for row in rows]) < 11.5
