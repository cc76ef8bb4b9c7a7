"""Background: moves as told, belongs to the patient."""

from dataclasses import replace

import torch

from cag.simulator.phantom.background import Background, shifted
from cag.simulator.phantom.plan import PatientPlan, RunPlan
from cag.simulator.phantom.projection import CArm

PATIENT = PatientPlan("P0001", 5)
RUN = RunPlan("R", "P0001", 3, "LCA", "LCA RAO caudal", -25, -25, rows=96, columns=128, pixel_mm=1.4)


def seen(
    run: RunPlan = RUN, patient: PatientPlan = PATIENT, beat: float = 0, descent: float = 0, panning: tuple = (0, 0)
) -> torch.Tensor:
    """Attenuation of one moment."""
    scene = Background(patient, CArm.of(run, torch.tensor([4.0, -50.0, 29.0])), (12.0, 9.0), True)
    moment = torch.tensor([beat]), torch.tensor([descent]), torch.tensor([panning])
    return scene.attenuation(*(part.float() for part in moment))[0]


def test_fractional_shift_of_a_ramp_is_exact():
    ramp = torch.arange(20.0).expand(1, 5, 20)
    moved = shifted(ramp, torch.tensor([1.25]), 5, 2)
    torch.testing.assert_close(moved[0, 0], torch.arange(10.0) + 5 - 1.25)


def test_patients_chest_is_the_same_in_every_run_and_another_patients_is_not():
    assert torch.equal(seen(), seen(replace(RUN, run_id="R2", seed=99)))
    assert not torch.equal(seen(), seen(patient=PatientPlan("P0002", 6)))


def test_the_heart_beats_the_diaphragm_descends_and_panning_carries_everything_along():
    still = seen()
    for moved in (seen(beat=1), seen(descent=8)):
        assert (moved - still).abs().max() > 0.1
    torch.testing.assert_close(seen(panning=(4, -2))[10:80, 20:110], still[12:82, 16:106], atol=2e-3, rtol=0)
