"""The acceptance list on tiny cohorts: known answers, planted shortcuts, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from cag.networks.training import FitSettings
from cag.settings import InputError
from cag.simulator import acceptance
from cag.simulator.acceptance import Bench, real_angiograms
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, plan_cohort
from cag.simulator.probes import (
    PATCH,
    Pictures,
    covariate_auc,
    linear_probe,
    network_probe,
    run_covariates,
    vessel_patches,
)

QUICK = FitSettings(epochs=6, batch_size=16, learning_rate=5e-3, schedule="one_cycle")


@pytest.fixture(scope="module")
def plan() -> CohortPlan:
    return plan_cohort(CohortSettings(patients=12, seed=901, size=256))


@pytest.fixture(scope="module")
def pictures(plan: CohortPlan) -> Pictures:
    return Pictures.of(plan)


def test_a_seed_gives_the_same_bytes_and_frames_stand_alone(plan: CohortPlan) -> None:
    assert acceptance.determinism(plan)["met"].eq("yes").all()


def test_erasing_the_vessels_changes_nothing_else(pictures: Pictures) -> None:
    darker = pictures.erased.astype(int) - pictures.frames
    share = (np.abs(darker) > 1).mean(axis=(1, 2))
    assert (share > 0.001).all() and (share < 0.5).all()
    assert np.median(darker) == 0
    assert darker.max(axis=(1, 2)).min() > 8, "vessels are dark: without them their place is brighter"


def test_realism_compares_every_real_statistic_twice() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 256, 256), dtype=np.uint8)
    found = acceptance.realism(noise)
    assert len(found) == 2 * len(pd.read_csv(acceptance.REAL))
    sharp = found[found["measure"] == "noise_immerkaer, median"].iloc[0]
    assert sharp["met"] == "no" and sharp["value"] > 10, "white noise is no angiogram"


def test_the_probes_find_a_planted_shortcut_and_none_in_noise() -> None:
    rng = np.random.default_rng(1)
    frames = rng.integers(100, 140, (80, 128, 128), dtype=np.uint8)
    label = np.arange(80) % 2 == 1
    brighter = frames + (label * 30).astype(np.uint8)[:, None, None]
    assert linear_probe(brighter, label.astype(int)) == 1.0 and linear_probe(frames, label.astype(int)) < 0.75
    small = torch.from_numpy(frames[:, :48, :48].copy())
    marked = small.clone()
    marked[torch.from_numpy(label), 20:28, 20:28] = 0
    found, blind = (network_probe(images, label, list(range(80)), settings=QUICK) for images in (marked, small))
    assert found[label].min() > found[~label].max()
    assert abs(np.corrcoef(blind, label)[0, 1]) < 0.4


def test_covariates_do_not_tell_disease_but_a_planted_one_does() -> None:
    covariates = run_covariates(plan_cohort(CohortSettings(patients=80, seed=902)))
    assert {"branches", "brightness", "catheter", "view", "frames", "injection"} <= set(covariates)
    assert covariate_auc(covariates) < 0.65
    planted = covariates.assign(brightness=covariates["brightness"] + 100 * covariates["diseased"])
    assert covariate_auc(planted) > 0.99


def test_patches_lie_on_dark_ridges() -> None:
    frame = np.full((1, 200, 200), 150, dtype=np.uint8)
    frame[0, :, 98:103] = 60
    patches, owners = vessel_patches(frame)
    assert patches.shape[1:] == (PATCH, PATCH) and set(owners) == {0}
    assert (patches.min(axis=(1, 2)) == 60).all()


def test_real_against_simulated_reports_both_views() -> None:
    rng = np.random.default_rng(2)
    real = rng.integers(100, 140, (12, 160, 160), dtype=np.uint8)
    found = acceptance.real_or_simulated(real, real.copy(), QUICK.model_copy(update={"epochs": 1}))
    assert len(found) == 2 and found["met"].eq("reported").all()
    assert found["value"].between(0, 1).all()


def test_lesions_must_not_stand_in_one_place(plan: CohortPlan, pictures: Pictures) -> None:
    crowded = Pictures(
        pictures.frames,
        pictures.erased,
        pictures.runs,
        pictures.diseased,
        pd.DataFrame({"x": [0.4] * 9, "y": [0.4] * 9}),
    )
    found = acceptance.shortcuts(plan, crowded).set_index("measure")
    assert found.loc["lesions in one of 16 parts of the field, most", "met"] == "no"


def test_parts_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAG_DATA", raising=False)
    bench = Bench(patients=3, real=real_angiograms())
    assert bench.real is None
    assert bench.measure(["real or simulated"]).empty
    with pytest.raises(InputError, match="'beauty' is not measured here"):
        bench.measure(["beauty"])
