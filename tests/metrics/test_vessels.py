"""Image statistics with known answers; drawn grooves and tubes whose width is known."""

import numpy as np
import pytest
from scipy import ndimage

from cag.metrics.vessels import lumen_widths, ridges, vessel_profiles
from cag.simulator.realism import gray_statistics, image_statistics, immerkaer, spectrum_slopes, tile_noise


def test_a_power_law_has_its_slopes_and_immerkaer_is_the_standard_deviation_of_white_noise(rng):
    frequency = np.hypot(np.fft.fftfreq(432)[:, None], np.fft.fftfreq(432)[None])
    frequency[0, 0] = 1
    image = np.fft.ifft2(np.fft.fft2(rng.normal(0, 1, (432, 432))) * frequency**-1.25).real
    for name, slope in spectrum_slopes(image).items():
        assert slope == pytest.approx(-2.5, abs=0.2), name
    assert immerkaer(128 + rng.normal(0, 5, (300, 300))) == pytest.approx(5, rel=0.02)
    y, x = np.indices((300, 300))
    assert immerkaer(2.0 * x + 3.0 * y) == pytest.approx(0, abs=1e-9)


def test_tile_noise_sees_the_filter_of_the_noise(rng):
    noise = ndimage.gaussian_filter(rng.normal(0, 1, (432, 432)), 0.8)
    statistics = tile_noise(128 + 4 * noise / noise.std())
    assert statistics["residual_sd"] == pytest.approx(4, rel=0.08)
    assert statistics["ac1"] == pytest.approx(np.exp(-1 / (4 * 0.64)), abs=0.07)
    assert statistics["ac1"] > statistics["ac2"] > statistics["ac3"]


def test_gray_statistics_leave_the_border_out_and_an_empty_picture_has_no_vessels(rng):
    image = np.full((200, 200), 7.0)
    image[40:-40, 40:-40] = 100
    statistics = gray_statistics(image)
    assert (statistics["gray_mean"], statistics["gray_sd"], statistics["p99"]) == (100, 0, 100)
    assert statistics["border_mean"] == 7
    statistics = image_statistics(np.full((512, 512), 90, dtype=np.uint8), rng)
    assert statistics["gray_mean"] == 90 and np.isnan(statistics["vessel_depth"])


def test_real_frames_reproduce_the_table(cag_data):
    from PIL import Image

    files = sorted((cag_data / "arcade/stenosis/train/images").glob("*.png"))[:12]
    rows = [image_statistics(np.asarray(Image.open(f).convert("L")), np.random.default_rng(0)) for f in files]
    assert -5.2 < np.median([row["slope_hi"] for row in rows]) < -3.8
    assert 5 < np.median([row["vessel_fwhm_px"] for row in rows]) < 11.5


SIDE = 128


def groove(width: float, depth: float) -> np.ndarray:
    """A dark Gaussian groove along the diagonal; ``width`` at half depth, px."""
    y, x = np.indices((300, 300))
    across = (x - y) / np.sqrt(2)
    return 150 - depth * np.exp(-4 * np.log(2) * (across / width) ** 2)


@pytest.mark.parametrize("width", [5.0, 8.0, 11.0])
def test_profile_of_a_gaussian_groove(width, rng):
    statistics = vessel_profiles(groove(width, 40.0), rng)
    assert statistics["vessel_fwhm_px"] == pytest.approx(width, rel=0.06)
    assert statistics["vessel_depth"] == pytest.approx(40, rel=0.03)
    assert statistics["edge_10_90_over_fwhm"] == pytest.approx(0.716, abs=0.05)


def test_ridges_point_across_the_groove():
    strength, angle, _ = ridges(groove(8.0, 40.0))
    assert strength[150, 150] > 10 * strength[150, 200]
    assert np.tan(angle[150, 150]) == pytest.approx(-1, abs=1e-6)


def tube(angle: float, radius: float, narrow: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tube through the middle of a picture, ``narrow`` tighter there, and its centerline."""
    along = np.array([np.cos(angle), np.sin(angle)])
    place = np.linspace(-45, 45, 181)
    x, y = (SIDE / 2 + place * part for part in along)
    row, column = np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2
    downstream, away = column * along[0] + row * along[1], column * along[1] - row * along[0]
    wide = radius * (1 - narrow * np.exp(-((downstream / 10) ** 2)))
    return 150 - 8 * 2 * np.sqrt(np.maximum(wide**2 - away**2, 0)), x, y


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2, np.pi / 2, 2.5])
@pytest.mark.parametrize("radius", [4.0, 8.0])
def test_the_width_of_a_tube_is_its_diameter_at_any_angle(angle, radius):
    image, x, y = tube(angle, radius)
    widths = lumen_widths(image, x, y, np.full(len(x), 2.2 * radius))
    np.testing.assert_allclose(widths, 2 * radius, rtol=0, atol=0.5)  # half a pixel of the raster


def test_a_narrowing_is_found_where_and_as_tight_as_it_is_whatever_brightness_and_contrast():
    image, x, y = tube(0.3, 8.0, narrow=0.5)
    widths = lumen_widths(image, x, y, np.full(len(x), 18.0))
    assert abs(int(widths.argmin()) - 90) <= 2
    assert 1 - widths.min() / widths[:20].mean() == pytest.approx(0.5, abs=0.03)
    image, x, y = tube(0.7, 6.0)
    reach = np.full(len(x), 13.0)
    np.testing.assert_allclose(lumen_widths(0.6 * image + 20, x, y, reach), lumen_widths(image, x, y, reach))


def test_where_there_is_no_vessel_there_is_no_width():
    flat, x, y = np.full((SIDE, SIDE), 90.0), *tube(0.0, 5.0)[1:]
    reach = np.full(len(x), 10.0)
    assert np.isnan(lumen_widths(flat, x, y, reach)).all()
    still = np.full(len(x), 64.0)
    assert np.isnan(lumen_widths(tube(0.0, 5.0)[0], still, still, reach)).all()
