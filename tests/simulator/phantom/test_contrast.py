"""Contrast: it arrives in order, leaves, and its interval has a known answer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from cag.simulator.phantom.contrast import concentration, contrast_interval, opacification
from cag.simulator.phantom.plan import LesionPlan, PatientPlan, RunPlan
from cag.simulator.phantom.tree import Tree, build_tree

RUN = RunPlan(
    "P0001_R01", "P0001", 7, "RCA", "RCA LAO", 40.0, 0.0, n_frames=90, injection_s=2.5, mixing=0.8, catheter="JR4"
)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return build_tree(PatientPlan("P0001", 3), "RCA")


def test_interval_of_a_hand_made_curve() -> None:
    curve = np.array([0, 0.2, 0.6, 0.75, 1, 1, 0.8, 0.6, 0.51, 0.5, 0.2])
    assert contrast_interval(curve) == (3, 8, False)
    assert contrast_interval(curve[:8]) == (3, 7, True)
    assert contrast_interval(0.69 * curve) == (None, None, False)
    assert contrast_interval(np.zeros(0)) == (None, None, False)


def test_contrast_arrives_first_where_the_delay_is_shortest() -> None:
    delay = torch.tensor([0.0, 0.4, 0.8, 1.2])
    level = concentration(RUN, delay, torch.zeros(4, dtype=torch.bool))
    half = (level > 0.4).float().argmax(0)
    assert (half.diff() > 3).all()
    arrival = half / RUN.fps - RUN.injection_start_s
    torch.testing.assert_close(arrival, delay, atol=0.25, rtol=0)
    assert float(level.max()) <= RUN.mixing + 1e-6
    assert float(level[0].max()) < 0.01 and float(level[-1].max()) < 0.25


def test_the_interval_follows_the_injection_and_not_its_strength(tree: Tree) -> None:
    begin, end, censored = contrast_interval(opacification(RUN, tree))
    assert begin == pytest.approx(RUN.injection_start_s * RUN.fps, abs=9) and not censored
    assert end - begin == pytest.approx(RUN.injection_s * RUN.fps, abs=12)
    changed = [{"mixing": 0.3}, {"n_frames": 40, "injection_s": 4.0}, {"injection_s": 0.22}]
    weak, stopped, short = (
        contrast_interval(opacification(dataclasses.replace(RUN, **change), tree)) for change in changed
    )
    assert weak == (begin, end, censored) and stopped[2]
    assert short[0] is None or short[1] - short[0] < 5


def test_run_without_injection_is_empty(tree: Tree) -> None:
    run = dataclasses.replace(RUN, injection_start_s=None)
    assert not opacification(run, tree).any()
    assert float(concentration(run, torch.tensor(tree.delay), torch.tensor(tree.blocked)).max()) == 0


def test_beyond_an_occlusion_contrast_is_faint_late_or_absent() -> None:
    plan = PatientPlan("P0001", 3, lesions=(LesionPlan("RCA", 2, 0.5, 100.0, 12.0),))
    tree = build_tree(plan, "RCA")
    for seed in range(6):
        run = dataclasses.replace(RUN, seed=seed)
        level = concentration(run, torch.tensor(tree.delay), torch.tensor(tree.blocked))
        beyond = level[:, torch.tensor(tree.blocked)]
        assert float(beyond.max()) <= 0.35 * RUN.mixing + 1e-6
        assert float(beyond[:40].max()) < 0.02
    assert contrast_interval(opacification(RUN, tree))[0] is not None
