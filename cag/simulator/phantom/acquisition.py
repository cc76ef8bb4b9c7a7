"""How a run is acquired: view, injection, length, exposure and look, whatever the disease."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from cag.anatomy import VIEWS, view_from_angles
from cag.simulator.phantom.plan import CATHETERS, LOOKS, FrameSet, PatientPlan, RunPlan

#: Order in which a study's views are taken; a shorter study takes the first ones, both arteries among them.
VIEW_ORDER = (
    "LCA RAO caudal", "RCA LAO", "LCA LAO cranial", "RCA straight RAO", "LCA LAO caudal", "RCA shallow cranial",
    "LCA RAO cranial",
)  # fmt: skip

RunKind = Literal["full", "censored", "weak", "short", "none"]
#: Runs of each kind in a thousand.
KIND_SHARES: dict[RunKind, float] = {"full": 820, "censored": 70, "weak": 60, "short": 25, "none": 25}

#: Angle jitter between operators, degrees.
PRIMARY_SD, SECONDARY_SD = 5.0, 4.0
#: Fewest frames before the injection, and the injection's mean duration by artery, s.
PRE_CONTRAST_FRAMES = 8
INJECTION_S = {"LCA": 3.6, "RCA": 3.0}
#: A short injection, s: the vessel is full for fewer than five frames, or never quite.
BRIEF_S = {"LCA": 0.29, "RCA": 0.24}


def draw_run(
    patient: PatientPlan,
    number: int,
    seed: int,
    kind: RunKind,
    frame_set: FrameSet,
    frames: tuple[int, int],
    size: int,
    fps: float,
) -> RunPlan:
    """One run of a patient, with a seed of its own.

    ``number`` (from 1) chooses the standard view, ``kind`` what the injection does; ``frames`` are the fewest
    and the most, ``size`` the pixels of a side, ``fps`` the frames a second.
    """
    rng = np.random.default_rng([seed, 0])
    view = VIEWS[VIEW_ORDER[(number - 1) % len(VIEW_ORDER)]]
    primary = float(np.round(view.primary + np.clip(rng.normal(0, PRIMARY_SD), -12, 12), 1))
    secondary = float(np.round(view.secondary + np.clip(rng.normal(0, SECONDARY_SD), -10, 10), 1))
    plan = RunPlan(
        run_id=f"{patient.patient_id}_R{number:02d}",
        patient_id=patient.patient_id,
        seed=seed,
        artery=view.artery,
        view=view_from_angles(primary, secondary, view.artery),
        primary_angle=primary,
        secondary_angle=secondary,
        n_frames=int(rng.integers(frames[0], frames[1] + 1)),
        fps=fps,
        catheter=str(rng.choice(CATHETERS[view.artery], p=[0.8, 0.1, 0.1])),
        rows=size,
        columns=size,
        frame_set=frame_set,
    )
    return _timed(_exposed(plan, patient, rng), kind, rng)


def _exposed(plan: RunPlan, patient: PatientPlan, rng: np.random.Generator) -> RunPlan:
    """Geometry, noise, look, motion: the vendor and the rhythm are the patient's, the rest the run's."""
    own = np.random.default_rng([patient.seed, 51])
    look, pitch = LOOKS[int(own.integers(len(LOOKS)))], float(own.uniform(0.29, 0.37))
    rate, strength = float(np.clip(own.normal(65, 11), 50, 100)), float(own.uniform(0.78, 1.0))
    holds, pans = rng.random() < 0.6, rng.random() < 0.12
    quality = 0.45 if patient.low_quality else 1.0
    field_of_view = 512 / plan.columns
    return replace(
        plan,
        look=look,
        pixel_mm=pitch * field_of_view,
        heart_rate=float(np.clip(rate + rng.normal(0, 2), 45, 110)),
        heart_phase=float(rng.random()),
        contractility=strength,
        breathing_mm=float(rng.uniform(0, 0.8) if holds else np.clip(rng.normal(4.9, 1.9), 1, 10)),
        breathing_s=float(rng.uniform(3.2, 5.5)),
        panning_mm=float(rng.uniform(8, 35)) if pans else 0.0,
        panning_deg=float(rng.uniform(0, 360)),
        sid=float(rng.uniform(950, 1200)),
        sod=float(rng.uniform(750, 800)),
        photons=float(np.round(quality * 210 * np.exp(rng.normal(0, 0.3)), 1)),
    )


def _timed(plan: RunPlan, kind: RunKind, rng: np.random.Generator) -> RunPlan:
    """Fit the injection: a part without contrast first, and a wash-out tail unless the run is censored."""
    # Both ends vary widely: otherwise a constant guess would find the interval and no network be needed.
    before = PRE_CONTRAST_FRAMES + int(rng.integers(0, max(2 * plan.n_frames // 5 - PRE_CONTRAST_FRAMES // 2, 1) + 1))
    tail = int(rng.integers(12, max(plan.n_frames // 3, 18) + 1))
    mixing, usual = float(rng.uniform(0.6, 0.9)), INJECTION_S[plan.artery] * float(rng.uniform(0.75, 1.25))
    weak, brief = float(rng.uniform(0.25, 0.45)), BRIEF_S[plan.artery] * float(rng.uniform(0.87, 1.1))
    if kind == "none":
        return replace(plan, injection_start_s=None, mixing=mixing)
    room = (plan.n_frames - before - tail) / plan.fps
    seconds = min(usual, max(room, 0.6))
    if kind == "censored":
        seconds = (plan.n_frames - before) / plan.fps + 0.5
    if kind == "short":
        seconds = brief
    return replace(
        plan,
        injection_start_s=before / plan.fps,
        injection_s=seconds,
        mixing=weak if kind == "weak" else mixing,
    )
