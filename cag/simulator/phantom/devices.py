"""Catheters, wires, clips, leads, stents and calcium: what is in the picture besides vessels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cag.simulator.phantom.bones import Cloud, Samples
from cag.simulator.phantom.plan import PatientPlan, RunPlan, stream
from cag.simulator.phantom.skeleton import arc_length, spline
from cag.simulator.phantom.tree import Tree

#: Outer radius of a 5-6 French catheter, mm; opacity of its wall and of contrast in its lumen, against iodine.
CATHETER_RADIUS, CATHETER_WALL, CATHETER_LUMEN = 0.95, 0.34, 0.40
#: Opacity of metal and of calcium against undiluted contrast.
METAL, CALCIUM = 6.0, 0.22
#: Distance over which a catheter follows its tip, mm.
FOLLOW_MM = 45.0

_CATHETER, _PATIENT_DEVICES, _RUN_DEVICES = 71, 72, 73

Points = Float[np.ndarray, "n 3"]

#: Middle of each catheter's course below the arch, mm, from high to low; the ostium follows.
_COURSES: dict[str, list[list[float]]] = {
    "JL4": [[-40, 95, 8], [-44, 45, 22], [-40, 12, 28], [-22, -4, 22]],
    "AL2": [[-38, 95, 6], [-38, 45, 18], [-36, 4, 30], [-22, -24, 26], [-6, -14, 12]],
    "EBU": [[-40, 95, 8], [-46, 45, 20], [-45, 16, 26], [-26, -14, 22], [-8, -6, 10]],
    "JR4": [[-32, 95, 0], [-24, 45, 10], [-12, 8, 22]],
    "AR1": [[-32, 95, 0], [-22, 45, 8], [-4, 2, 16], [2, -10, 24]],
    "3DRC": [[-32, 95, 0], [-20, 45, 8], [2, 10, 18], [4, -2, 26]],
}


#: A sternal wire around the breastbone and its twisted ends, mm.
_LOOP = np.array([[-11, -1, 92], [0, 4, 97], [11, 1, 92], [8, -4, 88], [-6, -4, 88], [-11, -1, 92]], dtype=float)
_TWIST = np.array([[-11, -1, 92], [-9, -5, 97], [-12, -9, 98], [-8, -12, 98]], dtype=float)


@dataclass(frozen=True)
class Devices(Samples):
    """Opaque samples besides the vessels."""

    position: Float[Tensor, "n 3"]  # At end-diastole, mm
    anchor: Float[Tensor, "n 3"]  # The point of the heart whose motion a sample follows, mm
    follow: Float[Tensor, " n"]  # How much of that motion, 0-1
    radius: Float[Tensor, " n"]  # mm
    weight: Float[Tensor, " n"]  # Always there, mm of contrast
    lumen: Float[Tensor, " n"]  # There while contrast is injected, mm of contrast

    @classmethod
    def of(
        cls,
        cloud: Cloud,
        follow: np.ndarray | float = 1.0,
        anchor: np.ndarray | None = None,
        lumen: np.ndarray | float = 0.0,
    ) -> Self:
        """Devices from a cloud; without an anchor each sample follows the heart at its own place."""
        count = len(cloud.radius)
        place = cloud.position if anchor is None else torch.as_tensor(anchor, dtype=torch.float32).expand(count, 3)
        shares, filled = (torch.as_tensor(np.broadcast_to(v, count).copy()).float() for v in (follow, lumen))
        return cls(cloud.position, place, shares, cloud.radius, cloud.weight, filled)


def _thread(points: Points, radius: float, opacity: float, step: float = 0.4) -> Cloud:
    """A wire through control points."""
    curve, _ = spline(np.asarray(points, dtype=float), step)
    arc = arc_length(curve)
    return Cloud.of(curve, radius, opacity * arc[-1] / len(curve))


def catheter(run: RunPlan, tree: Tree) -> Devices:
    """The injecting catheter: down the ascending aorta, in some runs up the descending one first."""
    rng = stream(run.seed, _CATHETER)
    ostium = tree.ostium.astype(float)
    middle = np.array(_COURSES[run.catheter]) + rng.normal(0, 3.0, (len(_COURSES[run.catheter]), 3))
    shift = ostium - (np.zeros(3) if run.artery == "LCA" else np.array([-14.0, -14.0, 31.0]))
    middle[1:] += shift * np.linspace(0, 1, len(middle))[1:, None]
    high = np.array([[-34.0, 150.0, -7.0]]) + rng.normal(0, 4, (1, 3))
    femoral = rng.random() < 0.4
    if femoral:
        arch = np.array(
            [[7, -260, -58], [9, -160, -62], [10, -70, -61], [9, 20, -60], [7, 120, -54], [-10, 168, -36]], dtype=float
        )
        high = np.concatenate([arch + rng.normal(0, 4, arch.shape), high])
    else:
        high = np.concatenate([np.array([[-60.0, 230.0, -10.0], [-46.0, 190.0, -10.0]]), high])
    direction = tree.position[8] - tree.position[0]
    direction = direction / (np.linalg.norm(direction) + 1e-6)
    end = np.stack([ostium - 5 * direction, ostium + rng.uniform(0, 3) * direction])
    curve, _ = spline(np.concatenate([high, middle, end]), 0.4)
    step = arc_length(curve)[-1] / len(curve)
    cloud = Cloud.of(curve, CATHETER_RADIUS * rng.uniform(0.85, 1.15), CATHETER_WALL * step * rng.uniform(0.7, 1.3))
    follow = np.exp(-((np.linalg.norm(curve - curve[-1], axis=1) / FOLLOW_MM) ** 2))
    return Devices.of(cloud, follow, ostium, CATHETER_LUMEN * step)


def _main_points(tree: Tree, rng: np.random.Generator, count: int) -> np.ndarray:
    """Samples at random on the larger vessels, whatever their disease."""
    large = np.flatnonzero((tree.reference_radius > 0.8) & (tree.segment > 0))
    return rng.choice(large, count) if len(large) else np.zeros(0, dtype=int)


def _sideways(tree: Tree) -> tuple[Points, Points, Points]:
    """Unit vectors along the vessels and two across them."""
    along = np.gradient(tree.position.astype(float), axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    first = np.cross(along, [0.3, 0.9, 0.3])
    first /= np.linalg.norm(first, axis=1, keepdims=True) + 1e-9
    return along, first, np.cross(along, first)


def calcium(patient: PatientPlan, tree: Tree) -> list[Devices]:
    """Specks of calcium in the walls of large vessels."""
    rng = stream(patient.seed, _PATIENT_DEVICES, tree.artery == "RCA", 0)
    groups = _main_points(tree, rng, rng.poisson(7 * patient.calcium))
    if len(groups) == 0:
        return []
    _, first, second = _sideways(tree)
    at = np.clip(np.repeat(groups, 9) + rng.integers(-20, 21, 9 * len(groups)), 0, len(tree.radius) - 1)
    at = at[tree.branch[at] == np.repeat(tree.branch[groups], 9)]
    angle, out = rng.uniform(0, 2 * np.pi, len(at)), tree.reference_radius[at] * rng.uniform(0.95, 1.25, len(at))
    wall = np.cos(angle)[:, None] * first[at] + np.sin(angle)[:, None] * second[at]
    radius = rng.uniform(0.25, 0.8, len(at))
    return [Devices.of(Cloud.of(tree.position[at] + out[:, None] * wall, radius, 2 * CALCIUM * radius))]


def stents(patient: PatientPlan, tree: Tree) -> list[Devices]:
    """One or two stents at random on large vessels: rings of thin struts."""
    rng = stream(patient.seed, _PATIENT_DEVICES, tree.artery == "RCA", 1)
    if not patient.stents:
        return []
    _, first, second = _sideways(tree)
    parts = []
    for middle in _main_points(tree, rng, int(rng.integers(1, 3))):
        half = rng.uniform(6, 14)
        own = np.flatnonzero((tree.branch == tree.branch[middle]) & (np.abs(tree.arc - tree.arc[middle]) < half))
        turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        at, angle = np.repeat(own[::4], 20), np.tile(turn, len(own[::4]))
        zigzag = np.clip(at + np.tile(np.round(1.6 * np.sin(6 * turn)).astype(int), len(own[::4])), own[0], own[-1])
        wall = np.cos(angle)[:, None] * first[zigzag] + np.sin(angle)[:, None] * second[zigzag]
        place = tree.position[zigzag] + 1.03 * tree.reference_radius[zigzag, None] * wall
        parts.append(Devices.of(Cloud.of(place, 0.12, 0.30)))
    return parts


def guide_wire(run: RunPlan, tree: Tree) -> list[Devices]:
    """In a few runs, a thin wire down the largest branches."""
    rng = stream(run.seed, _RUN_DEVICES, 0)
    if rng.random() > 0.07:
        return []
    lengths = np.bincount(tree.branch, weights=tree.step)
    branch = int(rng.choice(np.argsort(lengths)[-3:]))
    own = np.flatnonzero(tree.branch == branch)
    own = own[: int(len(own) * rng.uniform(0.5, 0.95))]
    return [Devices.of(Cloud.of(tree.position[own], 0.17, METAL * tree.step[own]))]


def leads(patient: PatientPlan, tree: Tree) -> list[Devices]:
    """Pacing leads from the upper vena cava to the right ventricle and atrium; their ends beat with the heart."""
    rng = stream(patient.seed, _PATIENT_DEVICES, 2)
    if not patient.pacing_leads:
        return []
    tip = 0.3 * tree.base + 0.7 * tree.apex + np.array([-16.0, -8.0, 4.0])
    high = [[-8.0, 170.0, 20.0], [-30.0, 110.0, 0.0], [-36.0, 50.0, 2.0]]
    ventricle = np.array([*high, [-38.0, -20.0, 10.0], [-28.0, -62.0, 26.0], tip])
    atrium = np.array([*high, [-40.0, -16.0, 8.0], [-34.0, -24.0, 30.0]])
    parts = []
    for points in (ventricle, atrium)[: int(rng.integers(1, 3))]:
        points[:-1] += rng.normal(0, 3, points[:-1].shape)
        cloud = _thread(points, 0.75, 0.8)
        end = cloud.position[-1].numpy()
        away = np.linalg.norm(cloud.position.numpy() - end, axis=1)
        opacity = torch.as_tensor(np.where((away < 4) | ((away > 14) & (away < 18)), 3.5, 1.0), dtype=torch.float32)
        shown = Cloud(cloud.position, cloud.radius, cloud.weight * opacity)
        parts.append(Devices.of(shown, np.exp(-((away / 60) ** 2)), end))
    return parts


def wires_and_clips(patient: PatientPlan, run: RunPlan) -> list[Devices]:
    """What does not move with the heart: sternal wires, clips, electrode cables."""
    rng = stream(patient.seed, _PATIENT_DEVICES, 3)
    clouds: list[Cloud] = []
    heights = np.arange(60, -110, -28.0) + rng.normal(0, 4, 7)
    bends = rng.normal(0, 1, (7, 6, 3))
    if patient.sternal_wires:
        for height, bend in zip(heights, bends, strict=True):
            middle, tilt = np.array([-6.0, height, 0.0]), 0.35 * bend[0, 0]
            turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
            size = np.array([1 + 0.15 * bend[0, 1], 1 + 0.25 * bend[0, 2], 1])
            twist = _TWIST + 0.9 * bend[1:5] + (_LOOP + bend)[0] - _TWIST[0]
            for shape, radius in ((_LOOP + bend, 0.42), (twist, 0.55)):
                clouds.append(_thread(shape * size @ turn.T + middle, radius, METAL))
    places = rng.uniform([-25, -70, 30], [50, 20, 85], (9, 3))
    ends = places + rng.normal(0, 1, (9, 3)) * 3.2
    if patient.clips:
        threads = zip(places, ends, strict=True)
        clouds += [_thread(np.stack([a, 0.5 * (a + b) + 0.2, b]), 0.55, METAL, 0.3) for a, b in threads]
    own = stream(run.seed, _RUN_DEVICES, 1)
    if own.random() < 0.12:
        clouds += _cables(own)
    return [Devices.of(cloud, follow=0.0) for cloud in clouds]


def _cables(rng: np.random.Generator) -> list[Cloud]:
    """Electrocardiogram cables on the skin."""
    start = rng.uniform([-90, -120, 95], [90, 60, 112], (int(rng.integers(1, 3)), 3))
    return [
        _thread(np.stack([s, s + rng.normal(0, 40, 3) * [1, 1, 0.1], s + rng.normal(0, 90, 3) * [1, 1, 0.1]]), 0.6, 0.9)
        for s in start
    ]


def devices(patient: PatientPlan, run: RunPlan, tree: Tree) -> Devices:
    """Everything opaque besides the vessels: catheter, calcium, stents, guide wire, leads, wires, clips, cables."""
    parts = [catheter(run, tree), *calcium(patient, tree), *stents(patient, tree), *guide_wire(run, tree)]
    return Devices.joined([*parts, *leads(patient, tree), *wires_and_clips(patient, run)])
