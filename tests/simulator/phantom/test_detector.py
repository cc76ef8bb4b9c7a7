"""Detector and display: dark vessels, noise of its own for each frame, blades, filters."""

import numpy as np
import pytest
import torch

from cag.simulator.phantom.detector import NOISE_FALL, NOISE_RISE, Detector, blurred, filter_taps, noise_bank
from cag.simulator.phantom.display import STYLES, Display, shutter, wedge
from cag.simulator.phantom.plan import PatientPlan, RunPlan

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


def test_noise_bank_has_unit_variance_and_the_asked_spectrum():
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


def test_a_frame_has_its_own_noise_whichever_frames_are_asked_for():
    device = detector(plan())
    every = device.noise(np.arange(9))
    assert torch.equal(every[[7, 2]], device.noise(np.array([7, 2])))
    assert not torch.equal(every[0], every[1])


def test_blades_shade_some_borders_and_wedges_some_corners_never_the_middle():
    fields = np.stack([np.asarray(shutter(plan(seed))[0]) for seed in range(60)])
    wedges = np.stack([wedge(plan(seed)) for seed in range(200)])
    assert fields[:, 40:56, 52:76].min() > 0.99 and wedges[:, 48, 64].max() < 0.1
    assert 0 < (fields.min(axis=(1, 2)) < 0.5).mean() < 1
    present = wedges.max(axis=(1, 2)) > 0
    assert 0.08 < present.mean() < 0.25
    assert (wedges[present][:, [0, 0, -1, -1], [0, -1, 0, -1]].max(axis=1) > 0.1).all()


def test_display_does_not_depend_on_injection():
    assert Display.of(PATIENT, plan(4)) == Display.of(PATIENT, plan(4, injection_start_s=None))
