"""C-arm geometry by hand-worked angles, sums of the disk splat; detector and display."""

import math

import numpy as np
import pytest
import torch

from cag.simulator.phantom.detector import NOISE_FALL, NOISE_RISE, Detector, blurred, filter_taps, noise_bank
from cag.simulator.phantom.display import STYLES, Display, shutter, wedge
from cag.simulator.phantom.plan import PatientPlan, RunPlan
from cag.simulator.phantom.projection import CArm, splat, splat_mask

CENTER = torch.tensor([4.0, -50.0, 29.0])


def carm(primary: float = 0.0, secondary: float = 0.0, **changes: object) -> CArm:
    plan = RunPlan("R", "P", 0, "RCA", "RCA LAO", primary, secondary, catheter="JR4", **changes)
    return CArm.of(plan, CENTER)


def test_isocenter_is_the_middle_magnified_by_the_distances_and_a_point_on_a_ray_lies_on_its_pixel():
    arm = carm(33.0, -21.0, sid=1000.0, sod=750.0, pixel_mm=0.4)
    assert arm.project(CENTER) == pytest.approx((256.0, 256.0, 1000 / 750 / 0.4))
    assert arm.magnification == pytest.approx(1000 / 750 / 0.4)
    arm = carm(38.0, 27.0)
    source, rays = arm.rays(512, 512)
    x, y, _ = arm.project(source + 700.0 * rays[100, 37])
    assert (float(x), float(y)) == pytest.approx((37.5, 100.5), abs=0.01)


@pytest.mark.parametrize(
    ("angles", "offset", "x_sign", "y_sign"),
    [
        ((0, 0), (10, 0, 0), 1, 0),  # in a frontal view the patient's left is on the right,
        ((0, 0), (0, 10, 0), 0, -1),  # and the head is up
        ((0, 0), (0, 0, 10), 0, 0),
        ((40, 0), (0, 0, 20), -1, 0),  # LAO moves the front to the left,
        ((0, 30), (0, 0, 20), 0, 1),  # and cranial moves it down
    ],
)
def test_directions_of_the_picture_are_those_of_the_patient(angles, offset, x_sign, y_sign):
    x, y, _ = carm(*angles).project(CENTER + torch.tensor(offset))
    found = torch.stack([x, y]) - 256
    assert torch.where(found.abs() > 1e-3, found.sign(), 0).tolist() == [x_sign, y_sign]


def tube(radius_mm: float, slope_deg: float, direction_deg: float = 27.0, scale: float = 4.1) -> torch.Tensor:
    """Thickness of a straight tube whose axis meets the rays at ``slope_deg``."""
    length, count = 60.0, 240
    along = torch.linspace(-length / 2, length / 2, count) * math.sin(math.radians(slope_deg)) * scale
    turn = math.radians(direction_deg)
    x, y = 256 + along * math.cos(turn), 256 + along * math.sin(turn)
    radius, weight = torch.full((count,), radius_mm * scale), torch.full((count,), length / count)
    return splat(x[None], y[None], radius[None], weight[None], (512, 512))[0]


@pytest.mark.parametrize(("radius", "slope"), [(2.0, 90), (1.0, 90), (0.6, 90), (2.0, 45), (1.5, 30)])
def test_chord_of_a_tube_is_exact(radius, slope):
    image = tube(radius, slope)
    chord = 2 * radius / math.sin(math.radians(slope))
    assert float(image[250:263, 250:263].max()) == pytest.approx(chord, rel=0.02)
    # the area under a profile across the tube is that of its elliptic section
    turned = tube(radius, slope, direction_deg=0.0)
    area = math.pi * radius**2 / math.sin(math.radians(slope))
    assert float(turned[:, 256].sum() / 4.1) == pytest.approx(area, rel=0.02)


def random_samples(frames: int = 5, count: int = 300) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    u = torch.rand(4, frames, count, generator=generator)
    return [u[0] * 140 - 10, u[1] * 110 - 10, u[2] ** 2 * 30 + 0.2, u[3]]


def test_vessels_add_up_in_any_batch_and_order():
    samples = random_samples()
    together = splat(*samples, (96, 128))
    alone = torch.cat([splat(*(s[k : k + 1] for s in samples), (96, 128)) for k in range(5)])
    assert torch.equal(together, alone)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(2))
    assert torch.equal(together, splat(*(s[:, order] for s in samples), (96, 128)))
    one, other = (splat(*(s[:, part] for s in samples), (96, 128)) for part in (slice(100), slice(100, 300)))
    torch.testing.assert_close(together, one + other, atol=1e-3, rtol=1e-4)


def test_nothing_to_draw_gives_an_empty_picture_and_a_disk_masks_the_pixels_whose_middles_it_covers():
    x, y, radius, weight = random_samples(2, 4)
    assert splat(x, y, radius, torch.zeros_like(weight), (64, 64)).sum() == 0
    assert splat(x + 1000, y, radius, weight, (64, 64)).sum() == 0
    assert splat_mask(x, y, radius, torch.zeros(2, 4, dtype=torch.bool), (64, 64)).sum() == 0
    x, y, radius = torch.tensor([[32.5, 10.5]]), torch.tensor([[32.5, 10.5]]), torch.tensor([[4.0, 0.1]])
    mask = splat_mask(x, y, radius, torch.ones(1, 2, dtype=torch.bool), (64, 64))[0]
    assert mask[10, 10] and mask[32, 36] and not mask[32, 37]
    assert int(mask.sum()) == 49 + 1  # middles within 4 px of the center, and the one pixel of a thin vessel


PATIENT = PatientPlan("P0001", 5)


def plan(seed: int = 1, **changes: object) -> RunPlan:
    values = {"rows": 96, "columns": 128, "n_frames": 9, **changes}
    return RunPlan("R", "P0001", seed, "LCA", "LCA RAO caudal", -25, -25, **values)


def detector(run: RunPlan) -> Detector:
    y, x = torch.meshgrid(torch.linspace(0, 1, run.rows), torch.linspace(0, 1, run.columns), indexing="ij")
    return Detector(PATIENT, run, 4 + torch.sin(5 * x) * 0.5 + y)


@pytest.mark.parametrize("look", list(STYLES))
def test_filters_keep_the_mean_and_a_constant(look):
    style = STYLES[look]
    taps = filter_taps(style.blur, style.halo)
    assert sum(w if offset == 0 else 2 * w for offset, w in taps) == pytest.approx(1.0)
    flat = blurred(torch.ones(1, 40, 40), taps)
    torch.testing.assert_close(flat[0, 12:28, 12:28], torch.ones(16, 16), atol=1e-5, rtol=0)


def test_noise_has_unit_variance_the_asked_spectrum_and_is_a_frame_s_own():
    bank = noise_bank(128, 128, 0.2)
    assert float(bank.std()) == pytest.approx(1.0, abs=1e-4)
    power = torch.fft.rfft2(bank).abs().square().mean(0)
    # along rows, where the columns' filter lets everything pass; and on the diagonal, where both filters act
    frequency = torch.tensor([0.05, 0.1, 0.2, 0.4])
    low = 1 + (frequency / 0.2) ** NOISE_FALL
    rise = frequency**2 / (frequency**2 + NOISE_RISE**2)
    along = torch.stack([power[:4, (f - 5) : (f + 6)].mean() for f in (frequency * 224).round().int().tolist()])
    assert (along / along[1]).numpy() == pytest.approx((rise / low / (rise / low)[1]).numpy(), rel=0.2)
    diagonal = 2**-0.5 * frequency
    both = rise / (1 + (diagonal / 0.2) ** NOISE_FALL) ** 2
    places = (diagonal * 224).round().int().tolist()
    seen = torch.stack([power[(f - 3) : (f + 4), (f - 3) : (f + 4)].mean() for f in places])
    assert (seen / seen[1]).numpy() == pytest.approx((both / both[1]).numpy(), rel=0.3)
    device = detector(plan())
    every = device.noise(np.arange(9))
    assert torch.equal(every[[7, 2]], device.noise(np.array([7, 2])))
    assert not torch.equal(every[0], every[1])


def test_blades_shade_some_borders_and_wedges_some_corners_never_the_middle_whatever_the_injection():
    fields = np.stack([np.asarray(shutter(plan(seed))[0]) for seed in range(60)])
    wedges = np.stack([wedge(plan(seed)) for seed in range(200)])
    assert fields[:, 40:56, 52:76].min() > 0.99 and wedges[:, 48, 64].max() < 0.1
    assert 0 < (fields.min(axis=(1, 2)) < 0.5).mean() < 1
    present = wedges.max(axis=(1, 2)) > 0
    assert 0.08 < present.mean() < 0.25
    assert (wedges[present][:, [0, 0, -1, -1], [0, -1, 0, -1]].max(axis=1) > 0.1).all()
    assert Display.of(PATIENT, plan(4)) == Display.of(PATIENT, plan(4, injection_start_s=None))
