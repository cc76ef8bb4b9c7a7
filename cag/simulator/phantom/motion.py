"""Motion of the heart, of breathing and of the table, batched over frames and samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cag.simulator.phantom.plan import RunPlan, stream

#: End of ejection, of fast filling and of diastasis, as shares of the cardiac cycle.
SYSTOLE_END, FILLING_END, DIASTASIS_END = 0.36, 0.60, 0.85

#: Descent of the mitral plane, mm; the tricuspid one moves further (TAPSE 17-30 mm).
LEFT_DESCENT, RIGHT_DESCENT = 13.5, 26.0
#: Rocking of the apex to the right, up and forward, mm.
APEX_SWING = (-2.5, 2.0, 2.5)
#: Radial squeeze (share) and twist (radians).
SQUEEZE, TWIST = 0.17, 0.10
#: Breathing per mm of caudal travel: 1.3 mm anterior and 1.5 degrees in 4.9 mm (book/study/methods).
ANTERIOR_SHARE, PITCH = 1.3 / 4.9, float(np.radians(1.5)) / 4.9

_BEATS, _PANNING, _BREATH = 11, 12, 13


@dataclass(frozen=True)
class Motion:
    """What moves a run's anatomy at some times."""

    contraction: Float[Tensor, " f"]  # 0 at end-diastole, at end-systole the run's ``contractility``, 0-1
    breathing: Float[Tensor, " f"]  # Caudal travel of the heart, mm
    #: mm: travel of the table in the detector's plane: to the right and up, at the isocenter.
    panning: Float[Tensor, "f 2"]


def frame_times(run: RunPlan) -> Float[np.ndarray, " f"]:
    """Start of every frame of the run, s."""
    return np.arange(run.n_frames) / run.fps


def cardiac_phase(run: RunPlan, times: Float[np.ndarray, " f"]) -> Float[np.ndarray, " f"]:
    """Phase of the cardiac cycle, 0-1, with 3 % variation from beat to beat.

    The phase at a time does not depend on which other times are asked for. Times may be negative.
    """
    period = 60.0 / run.heart_rate
    count = int(np.ceil((run.n_frames / run.fps + 24.0) / period)) + 8
    cycles = period * (1 + 0.03 * np.clip(stream(run.seed, _BEATS).standard_normal(count), -3, 3))
    starts = np.concatenate([[0.0], np.cumsum(cycles)])
    first = int(np.searchsorted(starts, 12.0))
    starts -= starts[first] + run.heart_phase * cycles[first]
    beat = np.clip(np.searchsorted(starts, times, side="right") - 1, 0, count - 1)
    return np.clip((times - starts[beat]) / cycles[beat], 0.0, 1.0)


def contraction(phase: Float[np.ndarray, " f"]) -> Float[np.ndarray, " f"]:
    """Contraction 0-1 of a phase 0-1: ejection, fast filling, rest, atrial kick."""
    eject = np.sin(0.5 * np.pi * phase / SYSTOLE_END) ** 2
    fill = 0.18 + 0.82 * np.cos(0.5 * np.pi * (phase - SYSTOLE_END) / (FILLING_END - SYSTOLE_END)) ** 2
    rest = 0.18 - 0.04 * (phase - FILLING_END) / (DIASTASIS_END - FILLING_END)
    kick = 0.14 * np.cos(0.5 * np.pi * (phase - DIASTASIS_END) / (1 - DIASTASIS_END)) ** 2
    stages = [phase < SYSTOLE_END, phase < FILLING_END, phase < DIASTASIS_END]
    return np.select(stages, [eject, fill, rest], kick)


def _panning(run: RunPlan, times: Float[np.ndarray, " f"]) -> Float[np.ndarray, "f 2"]:
    """One smooth travel of the table somewhere in the run, then rest."""
    duration = run.n_frames / run.fps
    middle, width = stream(run.seed, _PANNING).uniform([0.3, 0.1], [0.7, 0.2]) * duration
    travel = run.panning_mm / (1 + np.exp(-(times - middle) / (0.25 * width)))
    angle = np.radians(run.panning_deg)
    return np.stack([travel * np.cos(angle), travel * np.sin(angle)], axis=1)


def run_motion(run: RunPlan, times: Float[np.ndarray, " f"], device: torch.device | str = "cpu") -> Motion:
    """Motion of a run at ``times`` (s from its first frame); each time stands alone."""
    phase = cardiac_phase(run, times)
    offset = stream(run.seed, _BREATH).random()
    breath = run.breathing_mm * (0.5 - 0.5 * np.cos(2 * np.pi * (times / run.breathing_s + offset)))

    def tensor(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=device)

    return Motion(tensor(run.contractility * contraction(phase)), tensor(breath), tensor(_panning(run, times)))


def contraction_field(
    points: Float[Tensor, "n 3"], base: Float[Tensor, " 3"], apex: Float[Tensor, " 3"]
) -> Float[Tensor, "n 3"]:
    """Displacement of points from end-diastole to end-systole, mm.

    Descent of the atrioventricular plane toward the apex (further on the right), radial squeeze,
    twist; the aortic root is held back.

    ``points`` lie as at end-diastole in the frame of ``Tree.position``; ``base`` and ``apex`` are the same tree's, mm.
    """
    axis = apex - base
    length = axis.norm()
    axis = axis / length
    offset = points - base
    height = offset @ axis / length
    radial = offset - (height * length)[:, None] * axis
    right = torch.sigmoid((-radial[:, 0] - 22.0) / 8.0)
    descent = (LEFT_DESCENT + (RIGHT_DESCENT - LEFT_DESCENT) * right) * (1 - height).clamp(0, 1.25)
    squeeze = SQUEEZE * torch.exp(-(((height - 0.45) / 0.7) ** 2))
    twist = torch.linalg.cross(axis.expand_as(radial), radial) * (TWIST * (height - 0.3))[:, None]
    swing = points.new_tensor(APEX_SWING) * height.clamp(0, 1.2)[:, None]
    field = axis * descent[:, None] - radial * squeeze[:, None] + twist + swing
    root = base + points.new_tensor([-2.0, 34.0, 4.0])
    held = 0.55 * torch.exp(-((points - root) ** 2).sum(1) / (2 * 24.0**2))
    return field * (1 - held)[:, None]


def deform(
    points: Float[Tensor, "n 3"],
    field: Float[Tensor, "n 3"],
    motion: Motion,
    center: Float[Tensor, " 3"],
) -> Float[Tensor, "f n 3"]:
    """Points at every time of ``motion``, mm: contracted along ``field``, carried and pitched by breathing.

    ``points`` are end-diastolic positions and ``field`` their ``contraction_field``; breathing pitches the heart
    about ``center``, the middle of base and apex. The table's panning is not in it: it moves the picture.
    """
    moved = points + motion.contraction[:, None, None] * field
    breath = motion.breathing[:, None]
    up, front = moved[..., 1] - center[1], moved[..., 2] - center[2]
    sine, cosine = torch.sin(PITCH * breath), torch.cos(PITCH * breath)
    return torch.stack(
        [
            moved[..., 0],
            center[1] + up * cosine - front * sine - breath,
            center[2] + up * sine + front * cosine + ANTERIOR_SHARE * breath,
        ],
        dim=-1,
    )
