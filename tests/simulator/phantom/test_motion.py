"""Motion: the cycle, the amplitudes of the three arteries, frames that stand alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cag.simulator.phantom.motion import cardiac_phase, contraction_field, deform, frame_times, run_motion
from cag.simulator.phantom.plan import PatientPlan, RunPlan
from cag.simulator.phantom.tree import Tree

RUN = RunPlan("P0001_R01", "P0001", 7, "LCA", "LCA RAO caudal", -25.0, -25.0, breathing_mm=5.0, panning_mm=20.0)


def field_of(tree: Tree) -> torch.Tensor:
    """End-systolic displacement of every sample, mm."""
    return contraction_field(*(torch.tensor(x) for x in (tree.position, tree.base, tree.apex)))


def test_phase_advances_at_the_heart_rate():
    run = replace(RUN, n_frames=600, heart_rate=75.0)
    phase = cardiac_phase(run, frame_times(run))
    beats = (np.diff(phase) < 0).sum()
    assert beats == pytest.approx(600 / 15 * 75 / 60, abs=2)
    assert phase[0] == pytest.approx(run.heart_phase, abs=1e-9)


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
    moved = deform(points, field, motion, center)
    torch.testing.assert_close(moved, points + motion.contraction[:, None, None] * field, atol=1e-4, rtol=0)
    motion = run_motion(RUN, frame_times(RUN))
    breathed = deform(center[None], torch.zeros(1, 3), motion, center)[:, 0]
    torch.testing.assert_close(center[1] - breathed[:, 1], motion.breathing)
    assert 4.5 < float(motion.breathing.max()) <= 5.0


def test_panning_travels_its_length_once():
    run = replace(RUN, n_frames=200, panning_deg=90.0)
    panning = run_motion(run, frame_times(run)).panning
    assert float(panning[-1, 1] - panning[0, 1]) == pytest.approx(20, abs=2.5)
    assert float(panning[:, 0].abs().max()) < 1e-4
