"""The acceptance list on tiny cohorts: known answers, planted shortcuts, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from cag.anatomy import VIEWS
from cag.networks.training import FitSettings
from cag.settings import InputError
from cag.simulator import acceptance
from cag.simulator.acceptance import Bench, real_angiograms
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, plan_cohort
from cag.simulator.probes import (
    PATCH,
    Pictures,
    auc_within_views,
    global_features,
    linear_probe,
    network_probe,
    run_covariates,
    run_labels,
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


def planted(count: int) -> pd.DataFrame:
    """Runs of two views; every second is diseased."""
    rows = np.arange(count)
    return pd.DataFrame(
        {"run_id": rows, "patient_id": rows // 4, "view": np.where(rows % 4 < 2, "a", "b"), "diseased": rows % 2 == 1}
    )


def test_the_probes_find_a_planted_shortcut_and_none_in_noise() -> None:
    rng = np.random.default_rng(1)
    frames, runs = rng.integers(100, 140, (80, 128, 128), dtype=np.uint8), planted(80)
    label = runs["diseased"].to_numpy(copy=True)
    brighter = frames + (label * 30).astype(np.uint8)[:, None, None]
    assert linear_probe(global_features(brighter), runs) == 1.0 and linear_probe(global_features(frames), runs) < 0.75
    small = torch.from_numpy(frames[:, :48, :48].copy())
    marked = small.clone()
    marked[torch.from_numpy(label), 20:28, 20:28] = 0
    found, blind = (network_probe(images, label, list(range(80)), settings=QUICK) for images in (marked, small))
    assert found[label].min() > found[~label].max()
    assert abs(np.corrcoef(blind, label)[0, 1]) < 0.4


def test_the_name_of_the_view_is_no_shortcut_within_a_view() -> None:
    runs = planted(40).assign(diseased=lambda table: (table["view"] == "a") ^ (table["run_id"] % 8 == 0))
    by_view = (runs["view"] == "a").to_numpy(dtype=float)
    assert auc_within_views(runs, by_view) == 0.5


def test_occlusions_count_and_labels_are_those_of_the_view(plan: CohortPlan) -> None:
    labels = run_labels(plan, plan.runs).set_index("run_id")
    run = next(run for run in plan.runs if plan.patient(run.patient_id).severity(run.artery) >= 100)
    patient = plan.patient(run.patient_id)
    own = [x.percent_stenosis for x in patient.lesions if x.segment in VIEWS[run.view].segments]
    assert labels.loc[run.run_id, "diseased"] == (max(own, default=0) >= 25)


def test_covariates_do_not_tell_disease_but_a_planted_one_does() -> None:
    plan = plan_cohort(CohortSettings(patients=80, seed=902))
    runs = run_labels(plan, plan.runs)
    covariates = run_covariates(plan, runs)
    assert {"branches", "brightness", "catheter", "frames", "injection"} <= set(covariates)
    assert linear_probe(covariates, runs) < 0.65
    told = covariates.assign(brightness=covariates["brightness"] + 100 * runs["diseased"])
    assert linear_probe(told, runs) > 0.99


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
