"""The chest as ellipsoids, and how much lung a ray crosses: closed-form chords, exact unions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from cag.simulator.phantom.plan import PatientPlan, stream
from cag.simulator.phantom.skeleton import APEX, BASE, PatientFrame

#: Attenuation of soft tissue at about 70 kVp behind 20 cm (1/mm), the share of it that lung lacks,
#: and what spongy bone adds in the vertebral bodies and behind them (1/mm).
TISSUE, LUNG_DEFICIT = 0.0215, 0.74
SPINE_EXTRA = (0.013, 0.009)

_BODY = 41

Interval = tuple[Float[Tensor, "*k h w"], Float[Tensor, "*k h w"]]


@dataclass(frozen=True)
class Ellipsoid:
    """A center (mm) and the rows of a matrix that maps offsets to the unit sphere."""

    center: Float[Tensor, " 3"]
    axes: Float[Tensor, "3 3"]

    @classmethod
    def of(cls, center: ArrayLike, semi: ArrayLike, long_axis: np.ndarray | None = None) -> Self:
        """Semi-axes in mm along x, y, z, or the third along ``long_axis``."""
        frame = np.eye(3)
        if long_axis is not None:
            third = long_axis / np.linalg.norm(long_axis)
            first = np.cross([0.0, 1.0, 0.0], third)
            first /= np.linalg.norm(first)
            frame = np.stack([first, np.cross(third, first), third])
        return cls(
            torch.as_tensor(np.asarray(center), dtype=torch.float32),
            torch.as_tensor(frame / np.asarray(semi)[:, None], dtype=torch.float32),
        )

    def moved(self, shift: tuple[float, float, float], scale: float) -> Self:
        """The ellipsoid elsewhere, larger or smaller."""
        return type(self)(self.center + self.center.new_tensor(shift), self.axes / scale)

    def chord(self, source: Float[Tensor, "*grid 3"], rays: Float[Tensor, "h w 3"]) -> Interval:
        """Where each ray enters and leaves, mm from the source; an empty interval where it misses.

        Parameters
        ----------
        source : float32 [3] or [h, w, 3], mm
            A source for each ray ripples the outline.
        rays : float32 [h, w, 3]
            Unit directions.
        """
        axes, center = self.axes.to(rays.device), self.center.to(rays.device)
        offset, direction = (source - center) @ axes.T, rays @ axes.T
        a, b = (direction * direction).sum(-1), (direction * offset).sum(-1)
        root = (b * b - a * ((offset * offset).sum(-1) - 1)).clamp_min(0).sqrt()
        return (-b - root) / a, (-b + root) / a


@dataclass(frozen=True)
class Thorax:
    """The organs of one patient that make an angiogram's background."""

    body: Ellipsoid
    lungs: tuple[Ellipsoid, ...]  # Right and left
    #: What displaces lung whatever the heart does: both domes of the diaphragm, mediastinum, aorta, pulmonary trunk.
    covers: tuple[Ellipsoid, ...]
    #: At end-diastole.
    heart: Ellipsoid
    atrium: Ellipsoid
    spine: tuple[Ellipsoid, ...]  # Vertebral bodies, and the arches behind them
    scale: float  # Size of the chest

    @classmethod
    def of(cls, patient: PatientPlan) -> Self:
        """The chest of a patient, drawn from the patient's seed, around the patient's own heart."""
        rng = stream(patient.seed, _BODY)
        k = patient.body_scale
        frame = PatientFrame.of(patient)
        shift = 0.5 * (frame.base + frame.apex - BASE - APEX)
        axis = frame.apex - frame.base
        size = patient.heart_scale * rng.uniform(0.94, 1.14)
        rise_right, rise_left = rng.uniform(-10, 26, 2)
        dome_right = Ellipsoid.of([-72 * k, -188 + rise_right, 4], [98 * k, 96, 104 * k])
        dome_left = Ellipsoid.of([58 * k, -196 + rise_left, 0], [90 * k, 84, 98 * k])
        mediastinum = Ellipsoid.of([-9, 30, -14], [33 * rng.uniform(0.9, 1.15), 92, 60])
        aorta = Ellipsoid.of([9 + rng.uniform(-3, 5), -40, -58], [13, 260, 13])
        trunk = Ellipsoid.of(np.array([24, 12, 18]) + shift, [24, 30, 26])
        return cls(
            body=Ellipsoid.of([-10, -60, -10 + rng.uniform(-5, 5)], [178 * k, 900, 118 * k]),
            lungs=(
                Ellipsoid.of([-72 * k, -14 + rng.uniform(-8, 8), -6], [82 * k, 138, 90 * k]),
                Ellipsoid.of([56 * k, -10 + rng.uniform(-8, 8), -18], [80 * k, 134, 88 * k]),
            ),
            covers=(dome_right, dome_left, mediastinum, aorta, trunk),
            heart=Ellipsoid.of(np.array([0, -52, 26]) + shift, size * np.array([54, 56, 76]), axis),
            atrium=Ellipsoid.of(np.array([-36, -48, 16]) + shift, size * np.array([30, 44, 36])),
            spine=(
                Ellipsoid.of([-10, -60, -84], [18, 1400, 16]),
                Ellipsoid.of([-10, -60, -103], [27, 1400, 9]),
            ),
            scale=k,
        )


def length(interval: Interval) -> Float[Tensor, "*k h w"]:
    """Lengths of intervals, 0 where they are empty."""
    return (interval[1] - interval[0]).clamp_min(0)


def overlap(one: Interval, other: Interval) -> Interval:
    """The interval common to two."""
    return torch.maximum(one[0], other[0]), torch.minimum(one[1], other[1])


def disjoint(intervals: Interval) -> Interval:
    """The same union ([k, h, w] along the first axis) as intervals that do not overlap."""
    begin, order = intervals[0].sort(dim=0)
    end = torch.maximum(intervals[1].gather(0, order), begin)
    reached = end.cummax(dim=0).values
    begin = torch.cat([begin[:1], torch.maximum(begin[1:], reached[:-1])])
    return begin, torch.maximum(begin, end)


def air_path(
    thorax: Thorax,
    source: Float[Tensor, " 3"],
    rays: Float[Tensor, "h w 3"],
    ripples: Float[Tensor, "m h w 3"],
    contraction: Float[Tensor, " p"],
) -> Float[Tensor, "p h w"]:
    """Length of aerated lung along each ray at some phases of contraction, mm.

    The union of what displaces lung is measured exactly, so that organs that overlap draw no edges
    inside one another.

    Parameters
    ----------
    thorax : Thorax
    source : float32 [3], mm
    rays : float32 [h, w, 3]
    ripples : float32 [m, h, w, 3], mm
        Displacements that make each outline irregular; taken in turn.
    contraction : float32 [p], 0-1
    """

    def chord(number: int, organ: Ellipsoid) -> Interval:
        return organ.chord(source + ripples[number % len(ripples)], rays)

    fixed = [chord(number, organ) for number, organ in enumerate(thorax.covers)]
    begin, end = (torch.stack(part) for part in zip(*fixed, strict=True))
    moving = [_heart(thorax, chord, float(share)) for share in contraction]
    total = rays.new_zeros(len(contraction), *rays.shape[:2])
    for number, organ in enumerate(thorax.lungs):
        lung = chord(number + 2, organ)
        kept = disjoint((begin.maximum(lung[0]).minimum(lung[1]), end.minimum(lung[1])))
        # what the first lung holds is not counted again in the second
        begin, end = torch.cat([begin, lung[0][None]]), torch.cat([end, lung[1][None]])
        still = length(lung) - length(kept).sum(0)
        for phase, parts in enumerate(moving):
            total[phase] += still
            for part, sign in zip(parts, (-1.0, -1.0, 1.0), strict=True):
                inside = overlap(part, lung)
                total[phase] += sign * (length(inside) - length(overlap(inside, kept)).sum(0))
    return total.clamp_min(0)


def _heart(
    thorax: Thorax, chord: Callable[[int, Ellipsoid], Interval], share: float
) -> tuple[Interval, Interval, Interval]:
    """Chords of the heart, of the right atrium and of what both share, at a contraction of 0-1."""
    heart = chord(0, thorax.heart.moved((4 * share, -3 * share, 3 * share), 1 - 0.10 * share))
    atrium = chord(1, thorax.atrium.moved((2 * share, -3 * share, 0.0), 1.0))
    return heart, atrium, overlap(heart, atrium)
