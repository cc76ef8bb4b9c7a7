"""Background: moves as told, belongs to the patient, a frame does not depend on its batch."""

from __future__ import annotations

import torch

from cag.simulator.phantom.background import Background, shifted
from cag.simulator.phantom.plan import PatientPlan, RunPlan
from cag.simulator.phantom.projection import CArm

PATIENT = PatientPlan("P0001", 5)
RUN = RunPlan("R", "P0001", 3, "LCA", "LCA RAO caudal", -25, -25, rows=96, columns=128, pixel_mm=1.4)


def background(run: RunPlan = RUN, patient: PatientPlan = PATIENT, panned: bool = False) -> Background:
    return Background(patient, CArm.of(run, torch.tensor([4.0, -50.0, 29.0])), (12.0, 9.0), panned)


def test_fractional_shift_of_a_ramp_is_exact() -> None:
    ramp = torch.arange(20.0).expand(1, 5, 20)
    moved = shifted(ramp, torch.tensor([1.25]), 5, 2)
    torch.testing.assert_close(moved[0, 0], torch.arange(10.0) + 5 - 1.25)


def test_patients_chest_is_the_same_in_every_run_and_another_patients_is_not() -> None:
    still = torch.zeros(1), torch.zeros(1), torch.zeros(1, 2)
    one = background().attenuation(*still)
    again = background(RunPlan("R2", "P0001", 99, "LCA", RUN.view, -25, -25, rows=96, columns=128, pixel_mm=1.4))
    assert torch.equal(one, again.attenuation(*still))
    assert not torch.equal(one, background(patient=PatientPlan("P0002", 6)).attenuation(*still))


def test_panning_carries_everything_along() -> None:
    scene = background(panned=True)
    rest = torch.zeros(1)
    still = scene.attenuation(rest, rest, torch.zeros(1, 2))
    moved = scene.attenuation(rest, rest, torch.tensor([[4.0, -2.0]]))
    torch.testing.assert_close(moved[0, 10:80, 20:110], still[0, 12:82, 16:106], atol=2e-3, rtol=0)


def test_heart_beats_and_diaphragm_descends() -> None:
    scene = background()
    rest = torch.zeros(1)
    still = scene.attenuation(rest, rest, torch.zeros(1, 2))
    assert (scene.attenuation(torch.ones(1), rest, torch.zeros(1, 2)) - still).abs().max() > 0.1
    assert (scene.attenuation(rest, torch.full((1,), 8.0), torch.zeros(1, 2)) - still).abs().max() > 0.1
