"""Motion by cycle and artery, contrast that comes and goes; thorax, background and devices move along as told."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cag.simulator.phantom import devices as d
from cag.simulator.phantom.background import Background, shifted
from cag.simulator.phantom.contrast import concentration, contrast_interval, opacification
from cag.simulator.phantom.motion import cardiac_phase, contraction_field, deform, frame_times, run_motion
from cag.simulator.phantom.plan import CATHETERS, LesionPlan, PatientPlan, RunPlan
from cag.simulator.phantom.projection import CArm
from cag.simulator.phantom.thorax import Ellipsoid, Thorax, air_path, length
from cag.simulator.phantom.tree import Tree

RUN = RunPlan("P0001_R01", "P0001", 7, "LCA", "LCA RAO caudal", -25.0, -25.0, breathing_mm=5.0, panning_mm=20.0)


def field_of(tree: Tree) -> torch.Tensor:
    """End-systolic displacement of every sample, mm."""
    return contraction_field(*(torch.tensor(x) for x in (tree.position, tree.base, tree.apex)))


def test_phase_advances_at_the_heart_rate_and_panning_travels_its_length_once():
    run = replace(RUN, n_frames=600, heart_rate=75.0)
    phase = cardiac_phase(run, frame_times(run))
    assert (np.diff(phase) < 0).sum() == pytest.approx(600 / 15 * 75 / 60, abs=2), "beats"
    assert phase[0] == pytest.approx(run.heart_phase, abs=1e-9)
    run = replace(RUN, n_frames=200, panning_deg=90.0)
    panning = run_motion(run, frame_times(run)).panning
    assert float(panning[-1, 1] - panning[0, 1]) == pytest.approx(20, abs=2.5)
    assert float(panning[:, 0].abs().max()) < 1e-4


@pytest.mark.parametrize(("name", "low", "high"), [("RCA", 15, 25), ("LCx", 10, 20), ("LAD", 5, 12)])
def test_arteries_move_as_far_as_in_life(name, low, high, grown):
    """At the average contractility (book/study/methods), mm."""
    furthest = []
    for seed in range(8):
        tree = grown(PatientPlan("P0001", seed), "RCA" if name == "RCA" else "LCA")
        own = tree.branch == tree.branch_names.index(name)
        furthest.append(float(RUN.contractility * field_of(tree)[own].norm(dim=1).max()))
    assert low < np.mean(furthest) < high


def test_deform_adds_contraction_and_breathing(grown):
    tree = grown(PatientPlan("P0001", 1), "LCA")
    points, center = torch.tensor(tree.position), 0.5 * torch.tensor(tree.base + tree.apex)
    field = field_of(tree)
    still = replace(RUN, breathing_mm=0.0)
    motion = run_motion(still, frame_times(still))
    contracted = points + motion.contraction[:, None, None] * field
    torch.testing.assert_close(deform(points, field, motion, center), contracted, atol=1e-4, rtol=0)
    motion = run_motion(RUN, frame_times(RUN))
    breathed = deform(center[None], torch.zeros(1, 3), motion, center)[:, 0]
    torch.testing.assert_close(center[1] - breathed[:, 1], motion.breathing)
    assert 4.5 < float(motion.breathing.max()) <= 5.0


MIXED = {"n_frames": 90, "injection_s": 2.5, "mixing": 0.8, "catheter": "JR4"}
SHORT_RUN = RunPlan("P0001_R01", "P0001", 7, "RCA", "RCA LAO", 40.0, 0.0, **MIXED)
PATIENT = PatientPlan("P0001", 3)


def test_interval_of_a_hand_made_curve_and_contrast_arrives_first_where_the_delay_is_shortest():
    curve = np.array([0, 0.2, 0.6, 0.75, 1, 1, 0.8, 0.6, 0.51, 0.5, 0.2])
    assert contrast_interval(curve) == (3, 8, False) and contrast_interval(curve[:8]) == (3, 7, True)
    assert contrast_interval(0.69 * curve) == (None, None, False)
    assert contrast_interval(np.zeros(0)) == (None, None, False)
    delay = torch.tensor([0.0, 0.4, 0.8, 1.2])
    level = concentration(SHORT_RUN, delay, torch.zeros(4, dtype=torch.bool))
    half = (level > 0.4).float().argmax(0)
    torch.testing.assert_close(half / SHORT_RUN.fps - SHORT_RUN.injection_start_s, delay, atol=0.25, rtol=0)
    assert (half.diff() > 3).all() and float(level.max()) <= SHORT_RUN.mixing + 1e-6
    assert float(level[0].max()) < 0.01 and float(level[-1].max()) < 0.25


def test_the_interval_follows_the_injection_and_not_its_strength(grown):
    changes = [{}, {"mixing": 0.3}, {"n_frames": 40, "injection_s": 4.0}, {"injection_s": 0.22}]
    changes.append({"injection_start_s": None})
    curves = [opacification(replace(SHORT_RUN, **change), grown(PATIENT, "RCA")) for change in changes]
    (begin, end, censored), weak, stopped, short, without = map(contrast_interval, curves)
    assert begin == pytest.approx(SHORT_RUN.injection_start_s * SHORT_RUN.fps, abs=9) and not censored
    assert end - begin == pytest.approx(SHORT_RUN.injection_s * SHORT_RUN.fps, abs=12)
    assert weak == (begin, end, censored) and stopped[2]
    assert short[0] is None or short[1] - short[0] < 5
    assert without == (None, None, False) and not curves[-1].any()


def test_beyond_an_occlusion_contrast_is_faint_late_or_absent(grown):
    tree = grown(replace(PATIENT, lesions=(LesionPlan("RCA", 2, 0.5, 100.0, 12.0),)), "RCA")
    blocked = torch.tensor(tree.blocked)
    for seed in range(6):
        beyond = concentration(replace(SHORT_RUN, seed=seed), torch.tensor(tree.delay), blocked)[:, blocked]
        assert float(beyond.max()) <= 0.35 * SHORT_RUN.mixing + 1e-6 and float(beyond[:40].max()) < 0.02
    assert contrast_interval(opacification(SHORT_RUN, tree))[0] is not None


def test_chord_through_the_middle_is_the_axis_and_a_fractional_shift_of_a_ramp_is_exact():
    ball = Ellipsoid.of([0, 0, 100], [10, 20, 30])
    rays = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]])
    begin, end = ball.chord(torch.zeros(3), rays)
    assert (float(begin[0, 0]), float(end[0, 0])) == pytest.approx((70.0, 130.0))
    assert float(length((begin, end))[0, 1]) == 0.0
    ramp = torch.arange(20.0).expand(1, 5, 20)
    moved = shifted(ramp, torch.tensor([1.25]), 5, 2)
    torch.testing.assert_close(moved[0, 0], torch.arange(10.0) + 5 - 1.25)


def test_air_is_lung_outside_the_organs():
    thorax = Thorax.of(PatientPlan("P0001", 3))
    source = torch.tensor([-300.0, -50.0, 10.0])
    along = torch.ones(1), torch.linspace(-0.3, 0.3, 5), torch.linspace(-0.2, 0.2, 4)
    aim = torch.cartesian_prod(*along).view(5, 4, 3)
    rays = aim / aim.norm(dim=-1, keepdim=True)
    share = torch.tensor([0.0, 1.0])
    air = air_path(thorax, source, rays, torch.zeros(5, 5, 4, 3), share)
    place = (torch.arange(6000) + 0.5) / 6000 * 700
    points = source + rays[..., None, :] * place[:, None]

    def inside(organ):
        return (((points - organ.center) @ organ.axes.T) ** 2).sum(-1) < 1

    lungs = inside(thorax.lungs[0]) | inside(thorax.lungs[1])
    covers = torch.stack([inside(organ) for organ in thorax.covers]).any(0)
    for phase, s in enumerate(share.tolist()):
        heart = inside(thorax.heart.moved((4 * s, -3 * s, 3 * s), 1 - 0.1 * s))
        atrium = inside(thorax.atrium.moved((2 * s, -3 * s, 0.0), 1.0))
        counted = (lungs & ~covers & ~heart & ~atrium).float().mean(-1) * 700
        torch.testing.assert_close(air[phase], counted, atol=1.5, rtol=0)


ANOTHER = PatientPlan("P0001", 5)
SMALL_RUN = RunPlan("R", "P0001", 3, "LCA", "LCA RAO caudal", -25, -25, rows=96, columns=128, pixel_mm=1.4)


def seen(run=SMALL_RUN, patient=ANOTHER, beat=0, descent=0, panning=(0, 0)) -> torch.Tensor:
    """Attenuation of one moment."""
    scene = Background(patient, CArm.of(run, torch.tensor([4.0, -50.0, 29.0])), (12.0, 9.0), True)
    moment = torch.tensor([beat]), torch.tensor([descent]), torch.tensor([panning])
    return scene.attenuation(*(part.float() for part in moment))[0]


def test_a_patients_own_chest_is_the_same_in_every_run_and_moves_with_heart_diaphragm_and_panning():
    assert torch.equal(seen(), seen(replace(SMALL_RUN, run_id="R2", seed=99)))
    assert not torch.equal(seen(), seen(patient=PatientPlan("P0002", 6)))
    still = seen()
    for moved in (seen(beat=1), seen(descent=8)):
        assert (moved - still).abs().max() > 0.1
    torch.testing.assert_close(seen(panning=(4, -2))[10:80, 20:110], still[12:82, 16:106], atol=2e-3, rtol=0)


PLAIN = PatientPlan("P0001", 8)
DEVICE_RUN = RunPlan("R", "P0001", 2, "LCA", "LCA RAO caudal", -25, -25)


@pytest.mark.parametrize(("artery", "name"), [(a, name) for a, names in CATHETERS.items() for name in names])
def test_catheter_ends_at_the_ostium_and_follows_it(artery, name, grown):
    tree = grown(PLAIN, artery)
    part = d.catheter(replace(DEVICE_RUN, artery=artery, catheter=name), tree)
    assert float((part.position[-1] - torch.as_tensor(tree.ostium)).norm()) < 4
    assert float(part.follow[-1]) == 1 and float(part.follow[0]) < 0.01
    assert float(part.position[:, 1].max()) > 140


@pytest.mark.parametrize("flag", ["sternal_wires", "clips", "pacing_leads", "stents"])
def test_a_device_is_there_only_where_planned(flag, grown):
    without, having = (
        d.devices(replace(PLAIN, **{flag: there}), DEVICE_RUN, grown(PLAIN, "LCA")) for there in (False, True)
    )
    assert len(having.radius) > len(without.radius)


def test_calcium_lies_in_the_walls_stents_surround_a_vessel_and_disease_leaves_devices_where_they_are(grown):
    tree = grown(PLAIN, "LCA")
    assert d.calcium(PLAIN, tree) == []
    specks = d.calcium(replace(PLAIN, calcium=1.0), tree)[0]
    rings = d.stents(replace(PLAIN, stents=True), tree)[0]
    reference = torch.as_tensor(tree.reference_radius)
    gaps = [torch.cdist(part.position, torch.as_tensor(tree.position)).min(1) for part in (specks, rings)]
    assert float(gaps[0].values.max()) < 1.4 * float(reference.max())
    assert float((gaps[1].values / reference[gaps[1].indices]).median()) == pytest.approx(1.0, abs=0.1)
    lesion = LesionPlan("LCA", 13, 0.5, 80.0, 12.0)
    ill = replace(PLAIN, lesions=(lesion,), calcium=0.7, stents=True, clips=True)
    one, other = (d.devices(p, DEVICE_RUN, grown(p, "LCA")) for p in (ill, replace(ill, lesions=())))
    assert torch.equal(one.position, other.position) and torch.equal(one.weight, other.weight)
