"""Contrast in the blood along a tree, and the interval in which a run shows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cag.anatomy import Artery
from cag.simulator.phantom.motion import cardiac_phase, frame_times
from cag.simulator.phantom.plan import RunPlan, stream
from cag.simulator.phantom.tree import Tree

#: Mean proximal opacification (share of the plateau) at which contrast begins and ends.
BEGIN_LEVEL, END_LEVEL = 0.7, 0.5

#: Segments whose filling a reader watches, within ``PROXIMAL_ARC`` mm of their branch's origin.
PROXIMAL_SEGMENTS: dict[Artery, tuple[int, ...]] = {"LCA": (11, 12, 13, 18, 19), "RCA": (1, 2, 3)}
PROXIMAL_ARC = 60.0

#: Beyond an occlusion: latest share of the plateau that collaterals bring, and how late (s).
COLLATERAL_SHARE, COLLATERAL_DELAY = 0.35, (1.8, 3.2)

_CLOCK_START, _CLOCK_STEP = -12.0, 1 / 240
_COLLATERALS = 21


@dataclass(frozen=True)
class FlowClock:
    """Pulsatile flow of a run: volume that has passed, in seconds of mean flow, and its inverse."""

    passed: Float[np.ndarray, " k"]  # Volume at ``_CLOCK_START + k * _CLOCK_STEP`` seconds, increasing
    inverse: Float[np.ndarray, " m"]  # Time at which each of ``m`` equally spaced volumes had passed, float32
    #: First of those volumes and their spacing.
    first: float
    spacing: float

    @classmethod
    def of(cls, run: RunPlan) -> FlowClock:
        """The clock of one run: flow is highest in diastole."""
        times = np.arange(_CLOCK_START, run.n_frames / run.fps + 1.0, _CLOCK_STEP)
        swing = np.sin(np.pi * np.clip((cardiac_phase(run, times) - 0.38) / 0.55, 0, 1))
        flow = 0.55 + 0.9 * swing
        passed = np.cumsum(flow) * (_CLOCK_STEP / flow.mean())
        volumes = np.linspace(passed[0], passed[-1], len(times))
        return cls(passed, np.interp(volumes, passed, times).astype(np.float32), volumes[0], volumes[1] - volumes[0])

    def departure(self, times: Float[np.ndarray, " f"], delay: Float[Tensor, " n"]) -> Float[Tensor, "f n"]:
        """When the blood that is ``delay`` s downstream at each time left the ostium, s."""
        grid = _CLOCK_START + _CLOCK_STEP * np.arange(len(self.passed))
        now = torch.as_tensor(np.interp(times, grid, self.passed), dtype=torch.float32, device=delay.device)
        place = ((now[:, None] - delay - self.first) / self.spacing).clamp(0, len(self.inverse) - 1.001)
        table = torch.as_tensor(self.inverse, device=delay.device)
        below = place.long()
        return torch.lerp(table[below], table[below + 1], place - below)


def injection(run: RunPlan, times: Float[np.ndarray, " f"]) -> Float[np.ndarray, " f"]:
    """Share 0-1 of full flow out of the catheter's tip at each time; 0 throughout without injection."""
    if run.injection_start_s is None:
        return np.zeros(len(times))
    since = times - run.injection_start_s
    rise, fall = np.clip((since + 0.12) / 0.05, -60, 60), np.clip((since - run.injection_s) / 0.1, -60, 60)
    return 1 / (1 + np.exp(-rise)) / (1 + np.exp(fall))


def _passage(since: Float[Tensor, "f n"], delay: Float[Tensor, " n"], duration: float) -> Float[Tensor, "f n"]:
    """Share of contrast in blood that left the ostium ``since`` s after injection began: dispersed bolus."""
    rise = torch.sigmoid(since / (0.10 + 0.10 * delay))
    fall = torch.exp(-(since - duration).clamp_min(0) / (0.35 + 0.35 * delay))
    return rise * fall


def concentration(
    run: RunPlan,
    delay: Float[Tensor, " n"],
    blocked: Bool[Tensor, " n"],
    times: Float[np.ndarray, " f"] | None = None,
    clock: FlowClock | None = None,
) -> Float[Tensor, "f n"]:
    """Share of contrast in the blood, 0 to ``run.mixing``.

    ``delay`` (s) and ``blocked`` are a tree's: beyond an occlusion collaterals fill late and faintly, if this run
    shows any. ``times`` (s) are those of every frame by default, and each stands alone; ``clock`` is the run's, where
    it is already at hand.
    """
    times = frame_times(run) if times is None else times
    if run.injection_start_s is None:
        return torch.zeros(len(times), len(delay), device=delay.device)
    share, late = collaterals(run)
    delay = delay + late * blocked
    departure = (clock or FlowClock.of(run)).departure(times, delay)
    level = run.mixing * torch.where(blocked, share, 1.0)
    return _passage(departure - run.injection_start_s, delay, run.injection_s) * level


def collaterals(run: RunPlan) -> tuple[float, float]:
    """Share of contrast and lateness (s) beyond an occlusion; share 0 in two runs of three."""
    generator = stream(run.seed, _COLLATERALS)
    present = generator.random() < 1 / 3
    share, late = generator.uniform([0.12, COLLATERAL_DELAY[0]], [COLLATERAL_SHARE, COLLATERAL_DELAY[1]])
    return (float(share) if present else 0.0), float(late)


def proximal_samples(tree: Tree) -> Bool[np.ndarray, " n"]:
    """The samples whose mean opacification defines the interval."""
    return np.isin(tree.segment, PROXIMAL_SEGMENTS[tree.artery]) & ~tree.blocked & (tree.arc < PROXIMAL_ARC)


def opacification(run: RunPlan, tree: Tree, clock: FlowClock | None = None) -> Float[np.ndarray, " f"]:
    """Mean proximal contrast of every frame, as a share of the injection's plateau."""
    chosen = proximal_samples(tree)
    if run.injection_start_s is None or run.mixing == 0 or not chosen.any():
        return np.zeros(run.n_frames)
    delay = torch.as_tensor(tree.delay[chosen])
    mean = concentration(run, delay, torch.zeros(len(delay), dtype=torch.bool), clock=clock).mean(1)
    return mean.double().numpy() / run.mixing


def contrast_interval(opacification: Float[np.ndarray, " f"]) -> tuple[int | None, int | None, bool]:
    """First frame above ``BEGIN_LEVEL``, last above ``END_LEVEL``, and whether the run stops before contrast does.

    Both frames belong to the interval (book/study/methods); they are None where contrast never fills the vessel.
    """
    full = np.flatnonzero(opacification > BEGIN_LEVEL)
    if len(full) == 0:
        return None, None, False
    end = int(np.flatnonzero(opacification > END_LEVEL)[-1])
    return int(full[0]), end, end == len(opacification) - 1
