"""The acceptance list on tiny cohorts: known answers, planted shortcuts, refusals."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.simulator import determinism
from cag.anatomy import VIEWS
from cag.networks.training import FitSettings
from cag.settings import InputError
from cag.simulator import acceptance, probes
from cag.simulator.acceptance import Bench, real_angiograms
from cag.simulator.phantom.cohort import CohortSettings, plan_cohort

QUICK = FitSettings(epochs=6, batch_size=16, learning_rate=5e-3, schedule="one_cycle")


@pytest.fixture(scope="module")
def plan():
    return plan_cohort(CohortSettings(patients=12, seed=901, size=256))


def test_a_seed_gives_the_same_bytes_frames_stand_alone_and_labels_are_those_of_the_view(plan):
    assert determinism(plan)["met"].eq("yes").all()
    labels = probes.run_labels(plan, plan.runs).set_index("run_id")
    run = next(run for run in plan.runs if plan.patient(run.patient_id).severity(run.artery) >= 100)
    patient = plan.patient(run.patient_id)
    own = [x.percent_stenosis for x in patient.lesions if x.segment in VIEWS[run.view].segments]
    assert labels.loc[run.run_id, "diseased"] == (max(own, default=0) >= 25)


def test_erasing_the_vessels_changes_nothing_else_and_patches_lie_on_dark_ridges(plan):
    pictures = probes.Pictures.of(replace(plan, runs=plan.runs[:9:2]))
    darker = pictures.erased.astype(int) - pictures.frames
    share = (np.abs(darker) > 1).mean(axis=(1, 2))
    assert (share > 0.001).all() and (share < 0.5).all() and np.median(darker) == 0
    assert darker.max(axis=(1, 2)).min() > 8, "vessels are dark: without them their place is brighter"
    frame = np.where(np.isin(np.arange(200), range(98, 103)), 60, 150).astype(np.uint8) * np.ones((1, 200, 1), np.uint8)
    patches, owners = probes.vessel_patches(frame)
    assert patches.shape[1:] == (probes.PATCH, probes.PATCH) and set(owners) == {0}
    assert (patches.min(axis=(1, 2)) == 60).all()


def test_realism_compares_every_real_statistic_twice_and_tells_real_from_simulated_frames_and_patches():
    noise = np.random.default_rng(0).integers(0, 255, (3, 256, 256), dtype=np.uint8)
    found = acceptance.realism(noise)
    assert len(found) == 2 * len(pd.read_csv(acceptance.REAL))
    sharp = found[found["measure"] == "noise_immerkaer, median"].iloc[0]
    assert sharp["met"] == "no" and sharp["value"] > 10, "white noise is no angiogram"
    real = np.random.default_rng(2).integers(100, 140, (8, 160, 160), dtype=np.uint8)
    found = acceptance.real_or_simulated(real, real.copy(), QUICK.model_copy(update={"epochs": 1}))
    assert len(found) == 2 and found["met"].eq("reported").all() and found["value"].between(0, 1).all()


def test_a_network_finds_a_mark_and_nothing_in_noise_and_planted_shortcuts_are_found(plan, monkeypatch):
    images = torch.from_numpy(np.random.default_rng(1).integers(100, 140, (80, 32, 32), dtype=np.uint8))
    label, marked = np.arange(80) % 2 == 1, images.clone()
    marked[torch.from_numpy(label), 12:20, 12:20] = 0
    found, blind = (probes.network_probe(shown, label, range(80), settings=QUICK) for shown in (marked, images))
    assert found[label].min() > found[~label].max() and abs(np.corrcoef(blind, label)[0, 1]) < 0.4
    monkeypatch.setattr(acceptance, "network_probe", lambda images, label, groups: label.astype(float))
    runs = probes.run_labels(plan, [run for run in plan.runs if run.artery == "RCA" and run.view in VIEWS])
    noise = np.random.default_rng(1).integers(100, 140, (len(runs), 128, 128), dtype=np.uint8)
    brighter = noise + (runs["diseased"].to_numpy() * 30).astype(np.uint8)[:, None, None]
    crowded = pd.DataFrame({"x": [0.4] * 9, "y": [0.4] * 9})
    found = acceptance.shortcuts(plan, probes.Pictures(brighter, noise, runs, crowded)).set_index("measure")
    for planted in ("linear probe on global features, AUC", "network on vessel-erased frames, AUC"):
        assert found.loc[planted, "value"] > 0.99 and found.loc[planted, "met"] == "no"
    assert found.loc["lesions in one of 16 parts of the field, most", "met"] == "no"
    assert probes.linear_probe(probes.global_features(noise), runs) < 0.75


def test_covariates_do_not_tell_disease_but_a_planted_one_does(paper):
    runs = probes.run_labels(paper, [run for run in paper.runs if run.artery == "RCA" and run.view in VIEWS])
    covariates = probes.run_covariates(paper, runs)
    assert {"branches", "brightness", "catheter", "frames", "injection"} <= set(covariates)
    assert probes.linear_probe(covariates, runs) < 0.6
    told = covariates.assign(brightness=covariates["brightness"] + 100 * runs["diseased"])
    assert probes.linear_probe(told, runs) > 0.99
    views = pd.DataFrame({"view": list("aaabbb"), "diseased": [True, True, False, False, False, True]})
    by_name = probes.auc_within_views(views, (views["view"] == "a").to_numpy(dtype=float))
    assert by_name == 0.5, "the name of the view is no shortcut within a view"


def test_difficulty_must_lie_in_its_range_and_rise_with_severity_and_parts_are_chosen_by_name(monkeypatch):
    quality = {"patient_auc": 0.86, "artery_auc": 0.7, "artery_auc_50": 0.8, "artery_auc_70": 0.75, "lumen_dice": 0.8}
    recall = {"all": 0.5, "25-50": 0.3, "50-70": 0.5, "70-99": 0.7, "100": 0.8}
    bench = Bench(patients=3)
    bench.__dict__["_reference"] = SimpleNamespace(record={"quality": quality, "recall_by_severity": recall})
    met = bench.measure(["difficulty"])["met"].tolist()
    assert met[:4] == ["no", "yes", "yes", "no"] and set(met[4:]) == {"reported"}
    monkeypatch.delenv("CAG_DATA", raising=False)
    bench = Bench(patients=3, real=real_angiograms())
    assert bench.real is None and bench.measure(["real or simulated"]).empty
    with pytest.raises(InputError, match="'beauty' is not measured here"):
        bench.measure(["beauty"])
