from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cag.phantom import acceptance
from cag.phantom.cohort import CohortSettings, plan_cohort


@pytest.fixture(scope="module")
def plan():
    return plan_cohort(CohortSettings(patients=12, seed=901, size=256))


def test_a_seed_gives_the_same_bytes_and_frames_stand_alone(plan):
    table = acceptance.determinism(plan)
    assert table["met"].eq("yes").all()


def test_realism_compares_every_real_statistic_twice():
    noise = np.random.default_rng(0).integers(0, 255, (3, 256, 256), dtype=np.uint8)
    table = acceptance.realism(noise)
    real = pd.read_csv(acceptance.REAL)
    assert len(table) == 2 * len(real)
    sharp = table[table["measure"] == "noise_immerkaer, median"].iloc[0]
    assert sharp["met"] == "no" and sharp["value"] > 10, "white noise is no angiogram"


def test_the_probe_finds_a_planted_shortcut_and_none_in_noise():
    rng = np.random.default_rng(0)
    diseased = np.arange(80) % 2
    frames = rng.integers(100, 140, (80, 128, 128), dtype=np.uint8)
    clean = acceptance.shortcuts(frames, diseased).iloc[0]
    planted = acceptance.shortcuts(frames + (diseased * 30).astype(np.uint8)[:, None, None], diseased).iloc[0]
    assert planted["value"] == 1.0 and planted["met"] == "no"
    assert clean["value"] < 0.75
