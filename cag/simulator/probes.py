"""What gives a simulated frame away: pictures, and probes for shortcuts to the label and for simulated against real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, UInt8
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from cag.anatomy import VIEWS
from cag.metrics.vessels import ridges
from cag.networks.training import Batches, FitSettings, fit, predict
from cag.networks.transforms import augment, scale
from cag.simulator.phantom.branches import present_branches
from cag.simulator.phantom.cohort import CohortPlan
from cag.simulator.phantom.display import Display
from cag.simulator.phantom.plan import RunPlan
from cag.simulator.phantom.run import RunRenderer

FOLDS = 5
#: Side of the frames a probe sees, and of the patches around vessels, px; patches of one frame.
FRAME_SIZE, PATCH, PATCHES = 112, 64, 4
PROBE_FIT = FitSettings(epochs=12, batch_size=32, learning_rate=3e-3, weight_decay=0.01, schedule="one_cycle")


@dataclass(frozen=True)
class Pictures:
    """One frame in full contrast of every run."""

    #: As they are, and with the vessels left out.
    frames: UInt8[np.ndarray, "n h w"]
    erased: UInt8[np.ndarray, "n h w"]
    runs: pd.DataFrame  # ``run_id, patient_id, view, diseased``: what the classifiers learn, occlusions included
    centers: pd.DataFrame  # ``x, y`` of each visible lesion of 25 % and more, as shares of the field

    @classmethod
    def of(cls, plan: CohortPlan) -> Pictures:
        """Render them."""
        frames, erased, runs, centers = [], [], [], []
        for run in tqdm(plan.runs, desc="Frames", unit="run"):
            renderer = RunRenderer(plan.patient(run.patient_id), run)
            begin, end = renderer.truth.contrast_begin, renderer.truth.contrast_end
            if begin is None or end is None or run.view not in VIEWS:
                continue
            middle = [(begin + end) // 2]
            frames.append(renderer.render(middle)[0].cpu().numpy())
            erased.append(renderer.render(middle, vessels=False)[0].cpu().numpy())
            runs.append(run)
            boxes = renderer.boxes(middle)
            seen = boxes[boxes["percent_stenosis"] >= 25]
            x, y = (seen["x1"] + seen["x2"]) / (2 * run.columns), (seen["y1"] + seen["y2"]) / (2 * run.rows)
            centers.append(pd.DataFrame({"x": x, "y": y}))
        return cls(np.stack(frames), np.stack(erased), run_labels(plan, runs), pd.concat(centers, ignore_index=True))


def run_labels(plan: CohortPlan, runs: Sequence[RunPlan]) -> pd.DataFrame:
    """``run_id, patient_id, view, diseased`` of runs of standard views, by the segments that label the view."""
    worst = [plan.patient(run.patient_id).view_severity(run.view) for run in runs]
    rows = [(run.run_id, run.patient_id, run.view, percent >= 25) for run, percent in zip(runs, worst, strict=True)]
    return pd.DataFrame(rows, columns=["run_id", "patient_id", "view", "diseased"])


def auc_within_views(runs: pd.DataFrame, scores: np.ndarray) -> float:
    """Mean over the views of the AUC of scores against ``diseased``; a view with one class alone is left out."""
    parts = [(own["diseased"], scores[own.index]) for _, own in runs.reset_index(drop=True).groupby("view")]
    return float(np.mean([roc_auc_score(labels, own) for labels, own in parts if labels.nunique() == 2]))


def linear_probe(features: np.ndarray | pd.DataFrame, runs: pd.DataFrame, seed: int = 0) -> float:
    """AUC within views of a linear probe on each run's features, out of fold by patients."""
    names = list(features.select_dtypes(exclude="number")) if isinstance(features, pd.DataFrame) else []
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), names), remainder=StandardScaler())
    probe = make_pipeline(encoder, LogisticRegression(C=0.1, max_iter=2000))
    split = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    scores = np.zeros(len(runs))
    for rows in runs.reset_index(drop=True).groupby("view").groups.values():
        labels, groups = runs["diseased"].to_numpy()[rows], runs["patient_id"].to_numpy()[rows]
        own = features.iloc[rows] if isinstance(features, pd.DataFrame) else features[rows]
        scores[rows] = cross_val_predict(probe, own, labels, groups=groups, cv=split, method="predict_proba")[:, 1]
    return auc_within_views(runs, scores)


def global_features(frames: UInt8[np.ndarray, "n h w"]) -> Float[np.ndarray, "n f"]:
    """Mean, SD, percentiles and a coarse grid of means of each frame."""
    return np.array([_global_features(frame) for frame in frames])


def _global_features(frame: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, " f"]:
    inner = frame[40:-40, 40:-40].astype(float)
    coarse = inner[: inner.shape[0] // 4 * 4, : inner.shape[1] // 4 * 4].reshape(4, inner.shape[0] // 4, 4, -1)
    return np.concatenate(
        [[inner.mean(), inner.std()], np.percentile(inner, [1, 2, 50, 98]), coarse.mean((1, 3)).ravel()]
    )


def network_probe(
    images: UInt8[Tensor, "n s s"],
    labels: Bool[np.ndarray, " n"],
    groups: Sequence[object],
    *,
    seed: int = 0,
    settings: FitSettings = PROBE_FIT,
) -> Float[np.ndarray, " n"]:
    """Out-of-fold probability of the label by a small network; members of a group are never on both sides.

    ``groups`` are patients, or files.
    """
    scores = np.zeros(len(images))
    splits = GroupKFold(FOLDS, shuffle=True, random_state=seed).split(scores, groups=np.asarray(groups))
    targets = torch.as_tensor(labels, dtype=torch.float32)
    for number, (train, test) in enumerate(splits):
        generator = torch.Generator().manual_seed(1000 * seed + number)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 * seed + number)
            network = ProbeNetwork()
        rows = torch.as_tensor(train)
        batches = Batches((images[rows], targets[rows]), settings.batch_size, prepare=_prepared)
        fit(network, batches, _loss, settings, generator=generator, progress=False)
        logits = predict(network, images[torch.as_tensor(test)], prepare=scale, batch_size=128)
        scores[test] = logits.sigmoid().numpy()
    return scores


def _prepared(images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return augment(scale(images), generator), targets


def _loss(network: torch.nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    return binary_cross_entropy_with_logits(network(batch[0]).float(), batch[1])


def vessel_patches(
    frames: UInt8[np.ndarray, "n h w"], seed: int = 0
) -> tuple[UInt8[np.ndarray, "m p p"], Int[np.ndarray, " m"]]:
    """Patches around the strongest dark ridges of each frame, and the frame that each is from."""
    rng = np.random.default_rng(seed)
    half, patches, owners = PATCH // 2, [], []
    for number, frame in enumerate(frames):
        strength = ridges(frame.astype(float))[0]
        strength[:half], strength[-half:], strength[:, :half], strength[:, -half:] = 0, 0, 0, 0
        strong = np.argwhere(strength > np.percentile(strength, 99))
        for row, column in strong[rng.choice(len(strong), PATCHES)] if len(strong) else []:
            patches.append(frame[row - half : row + half, column - half : column + half])
            owners.append(number)
    return np.stack(patches), np.array(owners)


def run_covariates(plan: CohortPlan, runs: pd.DataFrame) -> pd.DataFrame:
    """What is decided about each run besides disease, a row each of ``runs`` (``run_labels``); nothing is rendered."""
    known = {run.run_id: run for run in plan.runs}
    rows = []
    for run in (known[run_id] for run_id in runs["run_id"]):
        patient = plan.patient(run.patient_id)
        display = Display.of(patient, run)
        rows.append(
            {
                "brightness": display.brightness, "spread": display.spread, "noise": display.noise,
                "frames": run.n_frames, "mixing": run.mixing, "injection": run.injection_s,
                "start": -1.0 if run.injection_start_s is None else run.injection_start_s,
                "heart rate": run.heart_rate, "panning": run.panning_mm, "breathing": run.breathing_mm,
                "branches": len(present_branches(patient, run.artery)), "vessel scale": patient.vessel_scale,
                "tortuosity": patient.tortuosity, "calcium": patient.calcium, "stents": float(patient.stents),
                "catheter": run.catheter, "look": run.look, "dominance": patient.dominance,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


class ProbeNetwork(nn.Module):
    """Four strided convolutions, pooled to one logit: enough to find a shortcut, quick to train on two cores.

    Pooling is by mean and by maximum, so that both an overall look and one small mark can tell.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for into, out in pairwise((1, width, 2 * width, 4 * width, 4 * width)):
            layers += [nn.Conv2d(into, out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.answer = nn.Linear(8 * width, 1)

    def forward(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
        """One logit an image."""
        maps = self.features(images)
        return self.answer(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1))[:, 0]
