"""The simulator measured against its acceptance list: speed, determinism, realism, shortcuts."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from cag.phantom.cohort import CohortPlan, CohortSettings, plan_cohort
from cag.phantom.plan import RunPlan
from cag.phantom.realism import image_statistics
from cag.phantom.run import RunRenderer

#: Percentiles of 195 real frames of ARCADE (Popov et al. 2024), measured by the same functions.
REAL = Path(__file__).with_name("arcade_image_statistics.csv")

LEAST_FRAMES_PER_SECOND = 50.0
MOST_SHORTCUT_AUC = 0.55


def measure(patients: int = 60, seed: int = 900, *, progress: bool = True) -> pd.DataFrame:
    """Every measurement, a row each.

    Parameters
    ----------
    patients : int
        Simulated for realism and shortcut probes, one run of each.
    seed : int
        Of a cohort that no study uses.

    Returns
    -------
    DataFrame
        ``part, measure, value, wanted, met``.
    """
    plan = plan_cohort(CohortSettings(patients=patients, seed=seed))
    frames, runs = _middle_frames(plan, progress=progress)
    tables = [speed(plan), determinism(plan), realism(frames), shortcuts(frames, _diseased(plan, runs))]
    return pd.concat(tables, ignore_index=True)


def speed(plan: CohortPlan) -> pd.DataFrame:
    """Frames a second of a whole run, set-up included, and how time grows with frames."""
    run = plan.runs[0]
    renderer = RunRenderer(plan.patient(run.patient_id), run)
    seconds = {}
    for name, frames in (("whole run", None), ("first half", range(run.n_frames // 2))):
        start = time.perf_counter()
        RunRenderer(renderer.patient, run).render(None if frames is None else list(frames))
        seconds[name] = time.perf_counter() - start
    rate = run.n_frames / seconds["whole run"]
    ratio = seconds["whole run"] / seconds["first half"]
    return pd.DataFrame(
        [
            _row("speed", "frames a second", rate, f">= {LEAST_FRAMES_PER_SECOND:g}", rate >= LEAST_FRAMES_PER_SECOND),
            _row("speed", "time of a run over time of its half", ratio, "<= 2.2", ratio <= 2.2),
        ]
    )


def determinism(plan: CohortPlan) -> pd.DataFrame:
    """Whether a seed gives the same bytes, and a frame alone that frame of the run."""
    run = plan.runs[0]
    patient = plan.patient(run.patient_id)
    first, second = (RunRenderer(patient, run).render([3, 20, 30]) for _ in range(2))
    alone = RunRenderer(patient, run).render([20])
    same, single = torch.equal(first, second), torch.equal(first[1:2], alone)
    return pd.DataFrame(
        [
            _row("determinism", "same seed, same bytes", float(same), "1", same),
            _row("determinism", "a frame alone equals that of the run", float(single), "1", single),
        ]
    )


def realism(frames: UInt8[np.ndarray, "n h w"], seed: int = 0) -> pd.DataFrame:
    """Each statistic's simulated median against the real quartiles; ``wanted`` is that band."""
    rng = np.random.default_rng(seed)
    simulated = pd.DataFrame([image_statistics(frame, rng) for frame in frames])
    rows = []
    for real in pd.read_csv(REAL).to_dict("records"):
        name = str(real["statistic"])
        median = float(simulated[name].median())
        band = f"{real['p25']:g} to {real['p75']:g}"
        rows.append(_row("realism", f"{name}, median", median, band, real["p25"] <= median <= real["p75"]))
        low, high = simulated[name].quantile([0.05, 0.95])
        overlap = max(0.0, min(high, real["p95"]) - max(low, real["p05"])) / (real["p95"] - real["p05"])
        rows.append(_row("realism", f"{name}, share of the real spread covered", overlap, ">= 0.5", overlap >= 0.5))
    return pd.DataFrame(rows)


def shortcuts(frames: UInt8[np.ndarray, "n h w"], diseased: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Whether global features of a frame tell disease: out-of-fold AUC of a linear probe, occlusions left out."""
    features = np.array([_global_features(frame) for frame in frames])
    known = diseased >= 0
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    folds = min(5, int(np.bincount(diseased[known]).min()))
    scores = cross_val_predict(probe, features[known], diseased[known], cv=folds, method="predict_proba")[:, 1]
    auc = float(roc_auc_score(diseased[known], scores))
    row = _row(
        "shortcuts", "linear probe on global features, AUC", auc, f"<= {MOST_SHORTCUT_AUC}", auc <= MOST_SHORTCUT_AUC
    )
    return pd.DataFrame([row])


def _global_features(frame: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, " f"]:
    inner = frame[40:-40, 40:-40].astype(float)
    coarse = inner[: inner.shape[0] // 4 * 4, : inner.shape[1] // 4 * 4].reshape(4, inner.shape[0] // 4, 4, -1)
    return np.concatenate(
        [[inner.mean(), inner.std()], np.percentile(inner, [1, 2, 50, 98]), coarse.mean((1, 3)).ravel()]
    )


def _middle_frames(plan: CohortPlan, *, progress: bool) -> tuple[UInt8[np.ndarray, "n h w"], list[RunPlan]]:
    """One frame in full contrast of one run of each patient, views in turn."""
    frames, runs = [], []
    for number, patient in enumerate(tqdm(plan.patients, desc="Frames", unit="patient", disable=not progress)):
        own = [run for run in plan.runs if run.patient_id == patient.patient_id]
        run = own[number % len(own)]
        renderer = RunRenderer(patient, run)
        begin, end = renderer.truth.contrast_begin, renderer.truth.contrast_end
        if begin is not None and end is not None:
            frames.append(renderer.render([(begin + end) // 2])[0].cpu().numpy())
            runs.append(run)
    return np.stack(frames), runs


def _diseased(plan: CohortPlan, runs: list[RunPlan]) -> np.ndarray:
    """1 for an artery with 25-99 %, 0 below, -1 for an occlusion, which is left out."""
    severity = np.array([plan.patient(run.patient_id).severity(run.artery) for run in runs])
    return np.where(severity >= 100, -1, (severity >= 25).astype(int))


def _row(part: str, measure: str, value: float, wanted: str, met: bool) -> dict[str, object]:
    return {"part": part, "measure": measure, "value": value, "wanted": wanted, "met": "yes" if met else "no"}
