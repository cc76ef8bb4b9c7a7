"""Measurements of the simulator: speed, determinism, realism, shortcuts, and how it differs from real frames."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from dask.system import cpu_count as cores
from jaxtyping import Float, UInt8
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from cag.data.frames import shrink
from cag.metrics.realism import image_statistics
from cag.networks.training import FitSettings
from cag.simulator.phantom.cohort import CohortPlan
from cag.simulator.phantom.plan import RunPlan
from cag.simulator.phantom.run import RunRenderer
from cag.simulator.probes import (
    FRAME_SIZE,
    PROBE_FIT,
    covariate_auc,
    network_probe,
    run_covariates,
    vessel_patches,
)

#: Percentiles of 195 real frames of ARCADE (Popov et al. 2024), measured by the same functions.
REAL = Path(__file__).with_name("arcade_image_statistics.csv")

#: Runs whose rendering is timed.
SPEED_RUNS = 8
LEAST_FRAMES_PER_SECOND, MOST_SHORTCUT_AUC = 50.0, 0.55
#: Largest share of lesions in one of sixteen equal parts of the field.
MOST_IN_ONE_PART = 0.25


@dataclass(frozen=True)
class Pictures:
    """One frame in full contrast of one run of each patient, views in turn.

    Attributes
    ----------
    frames, erased : uint8 [n, h, w]
        As they are, and with the vessels left out.
    runs : list of RunPlan
    diseased : int [n]
        1 for an artery with 25-99 %, 0 below, -1 for an occlusion.
    centers : DataFrame
        ``x, y`` of each visible lesion of 25 % and more, as shares of the field.
    """

    frames: UInt8[np.ndarray, "n h w"]
    erased: UInt8[np.ndarray, "n h w"]
    runs: list[RunPlan]
    diseased: np.ndarray
    centers: pd.DataFrame

    @classmethod
    def of(cls, plan: CohortPlan) -> Pictures:
        """Render them."""
        frames, erased, runs, centers = [], [], [], []
        for number, patient in enumerate(tqdm(plan.patients, desc="Frames", unit="patient")):
            own = [run for run in plan.runs if run.patient_id == patient.patient_id]
            run = own[number % len(own)]
            renderer = RunRenderer(patient, run)
            begin, end = renderer.truth.contrast_begin, renderer.truth.contrast_end
            if begin is None or end is None:
                continue
            middle = [(begin + end) // 2]
            frames.append(renderer.render(middle)[0].cpu().numpy())
            erased.append(renderer.render(middle, vessels=False)[0].cpu().numpy())
            runs.append(run)
            boxes = renderer.boxes(middle)
            seen = boxes[boxes["percent_stenosis"] >= 25]
            x, y = (seen["x1"] + seen["x2"]) / (2 * run.columns), (seen["y1"] + seen["y2"]) / (2 * run.rows)
            centers.append(pd.DataFrame({"x": x, "y": y}))
        severity = np.array([plan.patient(run.patient_id).severity(run.artery) for run in runs])
        diseased = np.where(severity >= 100, -1, (severity >= 25).astype(int))
        return cls(np.stack(frames), np.stack(erased), runs, diseased, pd.concat(centers, ignore_index=True))


def speed(plan: CohortPlan) -> pd.DataFrame:
    """Frames a second over several runs, one a core at a time, set-up included; and how time grows with frames."""
    runs = plan.runs[:SPEED_RUNS]

    def seconds(run: RunPlan, frames: list[int] | None = None) -> float:
        start = time.perf_counter()
        RunRenderer(plan.patient(run.patient_id), run).render(frames)
        return time.perf_counter() - start

    seconds(runs[0])  # fields of noise are made once a process, and the first pass warms the allocator
    start = time.perf_counter()
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(seconds, runs))
    rate = sum(run.n_frames for run in runs) / (time.perf_counter() - start)
    ratio = seconds(runs[0]) / seconds(runs[0], list(range(runs[0].n_frames // 2)))
    wanted = f"at least {LEAST_FRAMES_PER_SECOND:g}"
    return table(
        [
            row("speed", "frames a second", rate, wanted, rate >= LEAST_FRAMES_PER_SECOND),
            row("speed", "time of a run over time of its half", ratio, "at most 2.2", ratio <= 2.2),
        ]
    )


def determinism(plan: CohortPlan) -> pd.DataFrame:
    """Whether a seed gives the same bytes, and a frame alone that frame of the run."""
    run = plan.runs[0]
    patient = plan.patient(run.patient_id)
    first, second = (RunRenderer(patient, run).render([3, 20, 30]) for _ in range(2))
    alone = RunRenderer(patient, run).render([20])
    same, single = torch.equal(first, second), torch.equal(first[1:2], alone)
    return table(
        [
            row("determinism", "same seed, same bytes", float(same), "1", same),
            row("determinism", "a frame alone equals that of the run", float(single), "1", single),
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
        rows.append(row("realism", f"{name}, median", median, band, real["p25"] <= median <= real["p75"]))
        low, high = simulated[name].quantile([0.05, 0.95])
        overlap = max(0.0, min(high, real["p95"]) - max(low, real["p05"])) / (real["p95"] - real["p05"])
        rows.append(
            row("realism", f"{name}, share of the real spread covered", overlap, "at least 0.5", overlap >= 0.5)
        )
    return table(rows)


def shortcuts(plan: CohortPlan, pictures: Pictures) -> pd.DataFrame:
    """Whether anything but the lumen tells disease, occlusions left out."""
    known = pictures.diseased >= 0
    labels = pictures.diseased[known]
    patients = [run.patient_id for run, kept in zip(pictures.runs, known, strict=True) if kept]
    erased = shrink(torch.from_numpy(pictures.erased[known]), FRAME_SIZE)
    aucs = {
        "linear probe on global features, AUC": linear_probe(pictures.frames[known], labels),
        "network on vessel-erased frames, AUC": float(
            roc_auc_score(labels, network_probe(erased, labels > 0, patients))
        ),
        "everything decided about a run but disease, AUC": covariate_auc(run_covariates(plan)),
    }
    rows = [
        row("shortcuts", name, auc, f"at most {MOST_SHORTCUT_AUC}", auc <= MOST_SHORTCUT_AUC)
        for name, auc in aucs.items()
    ]
    part = (pictures.centers.clip(0, 0.999) * 4).astype(int)
    most = float(part.value_counts(normalize=True).max()) if len(part) else float("nan")
    wanted = f"at most {MOST_IN_ONE_PART}"
    return table([*rows, row("shortcuts", "lesions in one of 16 parts of the field, most", most, wanted, most <= 0.25)])


def linear_probe(frames: UInt8[np.ndarray, "n h w"], labels: np.ndarray) -> float:
    """Out-of-fold AUC of a linear probe on global features of the frames."""
    features = np.array([_global_features(frame) for frame in frames])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    folds = StratifiedKFold(min(5, int(np.bincount(labels).min())), shuffle=True, random_state=0)
    scores = cross_val_predict(probe, features, labels, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(labels, scores))


def _global_features(frame: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, " f"]:
    inner = frame[40:-40, 40:-40].astype(float)
    coarse = inner[: inner.shape[0] // 4 * 4, : inner.shape[1] // 4 * 4].reshape(4, inner.shape[0] // 4, 4, -1)
    return np.concatenate(
        [[inner.mean(), inner.std()], np.percentile(inner, [1, 2, 50, 98]), coarse.mean((1, 3)).ravel()]
    )


def real_or_simulated(
    real: UInt8[np.ndarray, "m h w"], simulated: UInt8[np.ndarray, "n h w"], settings: FitSettings = PROBE_FIT
) -> pd.DataFrame:
    """AUC with which a small network tells simulated frames, and patches around vessels, from real ones."""
    both = np.concatenate([real, simulated])
    label = np.arange(len(both)) >= len(real)
    whole = network_probe(shrink(torch.from_numpy(both), FRAME_SIZE), label, list(range(len(both))), settings=settings)
    patches, owners = vessel_patches(both)
    parts = network_probe(torch.from_numpy(patches), label[owners], owners.tolist(), settings=settings)
    aucs = {"whole frames": roc_auc_score(label, whole), "patches around vessels": roc_auc_score(label[owners], parts)}
    return table([row("real or simulated", f"small network, {name}, AUC", float(auc)) for name, auc in aucs.items()])


def row(part: str, measure: str, value: float, wanted: str = "", met: bool | None = None) -> dict[str, object]:
    """One measurement; without ``met`` nothing is asked of it."""
    verdict = "reported" if met is None else "yes" if met else "no"
    return {"part": part, "measure": measure, "value": value, "wanted": wanted, "met": verdict}


def table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Measurements: ``part, measure, value, wanted, met`` ('yes', 'no', or 'reported')."""
    return pd.DataFrame(rows, columns=["part", "measure", "value", "wanted", "met"])
