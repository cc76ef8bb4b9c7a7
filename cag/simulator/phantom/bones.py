"""Ribs, vertebrae and lung vessels as clouds of small disks: the fine structure behind the heart."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cag.simulator.phantom.plan import PatientPlan, stream
from cag.simulator.phantom.projection import CArm, splat

#: Height of a thoracic vertebra with its disc, mm; half-width, half-depth and middle of its body.
PITCH_MM, BODY_HALF = 28.0, (17.0, 14.0)
SPINE_X, SPINE_Z = -10.0, -84.0

_VERTEBRAE, _RIBS, _LUNG = 42, 43, 44

Points = Float[np.ndarray, "n 3"]


class Samples:
    """What classes of one tensor a field have in common, samples along the first axis."""

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """All samples of several."""
        return cls(*(torch.cat([getattr(part, item.name) for part in parts]) for item in fields(cls)))  # type: ignore[arg-type]

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return type(self)(*(getattr(self, item.name).to(device) for item in fields(self)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Cloud(Samples):
    """Small disks in space."""

    position: Float[Tensor, "n 3"]  # mm
    radius: Float[Tensor, " n"]  # mm
    #: What a ray through the middle of the disk gains (``cag.simulator.phantom.projection.splat``).
    weight: Float[Tensor, " n"]

    @classmethod
    def of(cls, position: Points, radius: np.ndarray | float, weight: np.ndarray | float) -> Self:
        """From arrays; radius and weight may be one number for all."""
        count = len(position)
        radii, weights = np.broadcast_to(radius, count), np.broadcast_to(weight, count)
        return cls(*(torch.as_tensor(np.array(a), dtype=torch.float32) for a in (position, radii, weights)))

    def image(self, carm: CArm, margin: tuple[int, int], shrink: int = 1) -> Float[Tensor, "h w"]:
        """Projection on the detector widened by ``margin`` (rows, columns; px), at ``1/shrink`` of its resolution."""
        x, y, scale = carm.project(self.position.to(carm.beam.device))
        shape = tuple(-(-(n + 2 * m) // shrink) for n, m in zip((carm.rows, carm.columns), margin, strict=True))
        x, y = (x + margin[1]) / shrink, (y + margin[0]) / shrink
        radius, weight = self.radius.to(x.device) * scale / shrink, self.weight.to(x.device)
        return splat(x[None], y[None], radius[None], weight[None], (shape[0], shape[1]))[0]


def _sunflower(count: int) -> Float[np.ndarray, "n 2"]:
    """Evenly spread points of the unit disk."""
    number = np.arange(count)
    radius, angle = np.sqrt((number + 0.5) / count), number * 2.399963
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _line(begin: list[float], end: list[float], count: int) -> Points:
    """Points from one end to the other."""
    return np.asarray(begin) + np.linspace(0, 1, count)[:, None] * (np.asarray(end) - np.asarray(begin))


def _vertebra(height: float) -> list[tuple[Points, float, float]]:
    """One vertebra about the origin of the body: points, radius (mm) and weight of each part."""
    across, deep = BODY_HALF
    disk = _sunflower(150)
    plates = [np.column_stack([across * disk[:, 0], np.full(150, s * height / 2), deep * disk[:, 1]]) for s in (-1, 1)]
    turn, level = np.meshgrid(np.linspace(0, 2 * np.pi, 44, endpoint=False), np.linspace(-0.5, 0.5, 9))
    waist = 1 - 0.10 * np.cos(np.pi * level)
    shell = [across * waist * np.cos(turn), height * level, deep * waist * np.sin(turn)]
    ring = np.linspace(0, 2 * np.pi, 26, endpoint=False)
    parts = [(plate, 1.4, 0.009) for plate in plates] + [(np.column_stack([a.ravel() for a in shell]), 1.2, 0.0085)]
    for side in (-1, 1):
        for depth in (-18.0, -20.0, -22.0):
            x, y = side * (13 + 3.6 * np.cos(ring)), 3 + 5.4 * np.sin(ring)
            parts.append((np.column_stack([x, y, np.full(26, depth)]), 1.1, 0.012))
        parts.append((_line([side * 12, 2, -24], [side * 34, 6, -34], 22), 3.6, 0.008))
        parts.append((_line([side * 4, -4, -30], [side * 11, -12, -26], 14), 2.6, 0.009))
    parts.append((_line([0, -2, -32], [0, -24, -52], 26), 2.4, 0.011))
    return parts


def vertebrae(patient: PatientPlan) -> Cloud:
    """End plates, walls, pedicles and processes of the thoracic spine, slightly curved."""
    rng = stream(patient.seed, _VERTEBRAE)
    pitch, bend = PITCH_MM * rng.uniform(0.92, 1.06), rng.normal(0, 5)
    first, strength = rng.uniform(0, pitch), rng.uniform(1.4, 3.2)
    clouds = []
    for number in range(-9, 6):
        center = np.array([SPINE_X + bend * np.sin(number / 3.0), -60.0 + first + number * pitch, SPINE_Z])
        tilt, lean = rng.normal(0, 0.03), rng.normal(0, 0.08)
        for points, radius, weight in _vertebra(0.76 * pitch):
            turned = points + np.column_stack(
                [-tilt * points[:, 1], tilt * points[:, 0] + lean * points[:, 2], np.zeros(len(points))]
            )
            clouds.append(Cloud.of(turned + center, radius, weight * strength))
    return Cloud.joined(clouds)


def ribs(patient: PatientPlan) -> Cloud:
    """Nine pairs of ribs: a dense shell around a softer core."""
    rng = stream(patient.seed, _RIBS)
    k = patient.body_scale
    angle = np.linspace(0.12, 2.75, 330)
    fall, strength = 29 * rng.uniform(0.8, 1.2), rng.uniform(0.6, 1.8)
    clouds = []
    for side in (-1, 1):
        for number in range(10):
            height = 108 - 27 * k * number + rng.normal(0, 2) - fall * (1 - np.cos(angle)) + 5 * np.sin(2 * angle)
            x, z = SPINE_X + side * 140 * k * np.sin(angle), -10 - 104 * k * np.cos(angle)
            curve = np.column_stack([x, height, z])
            step = np.linalg.norm(np.diff(curve, axis=0), axis=1)
            clouds += [
                Cloud.of(curve[1:], 5.2, step * 0.013 * strength),
                Cloud.of(curve[1:], 3.9, -step * 0.0085 * strength),
            ]
    return Cloud.joined(clouds)


def lung_vessels(patient: PatientPlan) -> Cloud:
    """Tapering branches that fan out from both hila; the weight is thickness in mm."""
    rng = stream(patient.seed, _LUNG)
    clouds = []
    for side, hilum in ((-1, -45.0), (1, 32.0)):
        count = 190
        direction = rng.normal(0, 1, (count, 3)) * [0.55, 1.0, 0.75] + [0.95 * side, 0, 0]
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        reach, width = rng.uniform(25, 100, count), rng.uniform(0.7, 2.8, count)
        share = np.linspace(0, 1, 60)[None, :, None]
        start = np.array([hilum, -5.0, -22.0]) + rng.normal(0, 1, (count, 3)) * [10, 24, 16]
        bend = rng.normal(0, 14, (count, 1, 3))
        path = start[:, None] + direction[:, None] * reach[:, None, None] * share + bend * share**2
        radius = width[:, None] * (1 - 0.8 * share[..., 0])
        step = np.broadcast_to(reach[:, None] / 60, radius.shape)
        clouds.append(Cloud.of(path.reshape(-1, 3), radius.ravel(), step.ravel()))
    return Cloud.joined(clouds)
