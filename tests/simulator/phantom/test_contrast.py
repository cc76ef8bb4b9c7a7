"""Contrast: it arrives in order, leaves, and its interval has a known answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cag.simulator.phantom.contrast import concentration, contrast_interval, opacification
from cag.simulator.phantom.plan import LesionPlan, PatientPlan, RunPlan

RUN = RunPlan(
    "P0001_R01", "P0001", 7, "RCA", "RCA LAO", 40.0, 0.0, n_frames=90, injection_s=2.5, mixing=0.8, catheter="JR4"
)
PATIENT = PatientPlan("P0001", 3)


def test_interval_of_a_hand_made_curve():
    curve = np.array([0, 0.2, 0.6, 0.75, 1, 1, 0.8, 0.6, 0.51, 0.5, 0.2])
    assert contrast_interval(curve) == (3, 8, False)
    assert contrast_interval(curve[:8]) == (3, 7, True)
    assert contrast_interval(0.69 * curve) == (None, None, False)
    assert contrast_interval(np.zeros(0)) == (None, None, False)


def test_contrast_arrives_first_where_the_delay_is_shortest():
    delay = torch.tensor([0.0, 0.4, 0.8, 1.2])
    level = concentration(RUN, delay, torch.zeros(4, dtype=torch.bool))
    half = (level > 0.4).float().argmax(0)
    torch.testing.assert_close(half / RUN.fps - RUN.injection_start_s, delay, atol=0.25, rtol=0)
    assert (half.diff() > 3).all() and float(level.max()) <= RUN.mixing + 1e-6
    assert float(level[0].max()) < 0.01 and float(level[-1].max()) < 0.25


def test_the_interval_follows_the_injection_and_not_its_strength(grown):
    changes: list[dict] = [{}, {"mixing": 0.3}, {"n_frames": 40, "injection_s": 4.0}, {"injection_s": 0.22},
                           {"injection_start_s": None}]  # fmt: skip
    curves = [opacification(replace(RUN, **change), grown(PATIENT, "RCA")) for change in changes]
    (begin, end, censored), weak, stopped, short, without = map(contrast_interval, curves)
    assert begin == pytest.approx(RUN.injection_start_s * RUN.fps, abs=9) and not censored
    assert end - begin == pytest.approx(RUN.injection_s * RUN.fps, abs=12)
    assert weak == (begin, end, censored) and stopped[2]
    assert short[0] is None or short[1] - short[0] < 5
    assert without == (None, None, False) and not curves[-1].any()


def test_beyond_an_occlusion_contrast_is_faint_late_or_absent(grown):
    tree = grown(replace(PATIENT, lesions=(LesionPlan("RCA", 2, 0.5, 100.0, 12.0),)), "RCA")
    blocked = torch.tensor(tree.blocked)
    for seed in range(6):
        beyond = concentration(replace(RUN, seed=seed), torch.tensor(tree.delay), blocked)[:, blocked]
        assert float(beyond.max()) <= 0.35 * RUN.mixing + 1e-6
        assert float(beyond[:40].max()) < 0.02
    assert contrast_interval(opacification(RUN, tree))[0] is not None
