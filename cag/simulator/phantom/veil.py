"""Soft, faint contrast around the vessels: blush of the muscle, coronary sinus, reflux into the aortic root."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cag.simulator.phantom.bones import Samples
from cag.simulator.phantom.contrast import FlowClock, concentration, injection
from cag.simulator.phantom.motion import frame_times
from cag.simulator.phantom.plan import RunPlan, stream
from cag.simulator.phantom.tree import Tree

#: Vessels thinner than this (mm radius) feed the blush; contrast reaches the muscle so much later (s).
BED_RADIUS, BLUSH_DELAY = 0.8, (0.5, 1.6)
#: When contrast leaves the muscle through the coronary sinus, s after the ostium.
SINUS_DELAY = (4.2, 6.0)
#: Samples of each.
BLUSH, SINUS, REFLUX = 220, 60, 24
#: Mean thickness (mm of contrast) that a blush sample and a reflux sample add, and the most of a sinus sample.
BLUSH_MM, REFLUX_MM, SINUS_MM = 0.11, 0.12, 0.30

_VEIL = 82


@dataclass(frozen=True)
class Veil(Samples):
    """Soft samples."""

    position: Float[Tensor, "n 3"]  # mm
    radius: Float[Tensor, " n"]  # mm
    weight: Float[Tensor, "f n"]  # By frame of the run, mm of contrast


def _places(tree: Tree, bed: np.ndarray, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    """Where muscle, sinus and aortic root lie, mm."""
    inward = 0.5 * (tree.base + tree.apex) - tree.position[bed]
    muscle = tree.position[bed] + rng.uniform(0, 0.3, (BLUSH, 1)) * inward + rng.normal(0, 4, (BLUSH, 3))
    share = np.linspace(0, 1, SINUS)[:, None]
    left, right = tree.base + np.array([26.0, -8.0, -22.0]), tree.crux + np.array([-6.0, 6.0, -2.0])
    sinus = left + share * (right - left) + np.sin(np.pi * share) * np.array([0.0, -8.0, -10.0])
    root = 0.5 * (tree.ostium + tree.base + np.array([-2.0, 34.0, 4.0]))
    reflux = root + rng.normal(0, 1, (REFLUX, 3)) * [7.0, 9.0, 7.0]
    return np.concatenate([muscle, sinus, reflux])


def draw_veil(run: RunPlan, tree: Tree, clock: FlowClock) -> Veil:
    """The faint contrast of a run; how strong it is has nothing to do with disease."""
    rng = stream(run.seed, _VEIL)
    beds = np.flatnonzero((tree.reference_radius < BED_RADIUS) & ~tree.blocked)
    bed = rng.choice(beds, BLUSH) if len(beds) else np.zeros(BLUSH, dtype=int)
    position = _places(tree, bed, rng)
    times = frame_times(run)
    arrival = np.concatenate([tree.delay[bed] + rng.uniform(*BLUSH_DELAY, BLUSH), np.linspace(*SINUS_DELAY, SINUS)])
    delay = torch.as_tensor(arrival, dtype=torch.float32)
    flow = concentration(run, delay, torch.zeros_like(delay, dtype=torch.bool), times, clock).numpy()
    strength = np.concatenate([np.full(BLUSH, BLUSH_MM * rng.gamma(2.0, 0.5)), np.full(SINUS, SINUS_MM * rng.random())])
    spill = REFLUX_MM * rng.gamma(1.2, 1 / 1.2) * rng.uniform(0.2, 1.8, REFLUX)
    weight = np.concatenate([flow * strength, injection(run, times)[:, None] * spill], axis=1)
    radius = np.concatenate([rng.uniform(5, 11, BLUSH), np.full(SINUS, 4.0), rng.uniform(3, 8, REFLUX)])
    return Veil(*(torch.as_tensor(values, dtype=torch.float32) for values in (position, radius, weight)))
