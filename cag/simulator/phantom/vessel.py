"""One vessel of a tree: its course with tortuosity, its caliber, its lesions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from cag.simulator.phantom.lesions import LesionPlan, profile
from cag.simulator.phantom.skeleton import arc_length, outward

#: Tortuosity bands: wavelength and amplitude (mm) for a patient of tortuosity 1.
BANDS = ((34.0, 1.5), (19.0, 0.9), (10.0, 0.35))
#: The corkscrew of distal vessels: wavelength, amplitude, and share of the length where it sets in.
CORKSCREW = (6.5, 0.55, 0.55)
#: A joint's displacement dies out along the child over this arc, mm.
JOINT_LENGTH = 9.0
#: Irregularity of healthy walls: wavelengths (mm) and share of the radius.
IRREGULARITY, IRREGULARITY_SD = (25.0, 9.0, 4.0), 0.015

Heart = tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]


@dataclass
class Vessel:
    """A branch while its tree is being built; arrays run from its origin to its end.

    ``slow`` is the factor on flow speed that tight lesions upstream leave.
    """

    name: str
    plain: Float[np.ndarray, "n 3"]
    curve: Float[np.ndarray, "n 3"]
    radius: Float[np.ndarray, " n"]
    segment: Int[np.ndarray, " n"]
    speed: float
    parent: int
    joint: int
    arc: Float[np.ndarray, " n"] = field(init=False)
    reference: Float[np.ndarray, " n"] = field(init=False)
    blocked: Bool[np.ndarray, " n"] = field(init=False)
    slow: Float[np.ndarray, " n"] = field(init=False)

    def __post_init__(self) -> None:
        """Start without disease."""
        self.arc = arc_length(self.curve)
        self.reference = self.radius
        self.blocked = np.zeros(len(self.arc), dtype=bool)
        self.slow = np.ones(len(self.arc))

    def tangent(self) -> Float[np.ndarray, "n 3"]:
        """Unit vectors along the course."""
        return tangents(self.curve)

    def narrow(self, lesion: LesionPlan, throat: int) -> None:
        """Put a lesion's throat at a sample: narrow the radius, move the lumen off the plaque, slow the flow."""
        depth = lesion.percent_stenosis / 100 * profile(lesion, self.arc - self.arc[throat])
        self.radius = np.minimum(self.radius, self.reference * (1 - depth))
        tangent = self.tangent()
        wall = np.cross(tangent, [0.3, 0.9, 0.3])
        wall /= np.linalg.norm(wall, axis=1, keepdims=True) + 1e-9
        angle = np.radians(lesion.direction_deg)
        wall = np.cos(angle) * wall + np.sin(angle) * np.cross(tangent, wall)
        self.curve = self.curve + (lesion.eccentricity * self.reference * depth)[:, None] * wall
        beyond = self.arc >= self.arc[throat]
        tight = np.clip((lesion.percent_stenosis - 70) / 30, 0, 1)
        self.slow = np.where(beyond, np.minimum(self.slow, 1 - 0.5 * tight), self.slow)
        self.blocked = self.blocked | (beyond & lesion.occluded)


def tangents(curve: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Unit tangents of a polyline."""
    along = np.gradient(curve, axis=0)
    return along / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)


def wind(
    curve: Float[np.ndarray, "n 3"], heart: Heart, tortuosity: float, rng: np.random.Generator
) -> Float[np.ndarray, "n 3"]:
    """Add three bands of tortuosity and a distal corkscrew, mostly within the heart's surface."""
    arc = arc_length(curve)
    length = arc[-1]
    tangent = tangents(curve)
    normal = outward(curve, *heart)
    normal -= (normal * tangent).sum(1, keepdims=True) * tangent
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    across = np.cross(tangent, normal)
    envelope = np.clip(arc / 12, 0, 1) * (0.35 + 0.65 * arc / length)
    wavelength, amplitude, onset = CORKSCREW
    distal = np.clip((arc / length - onset) / (1 - onset), 0, 1) * np.clip(arc / 30, 0, 1)
    bands = [(w, a, envelope) for w, a in BANDS] + [(wavelength, amplitude, distal * rng.uniform(0, 1))]
    sideways, out = np.zeros_like(arc), np.zeros_like(arc)
    for wave, size, where in bands:
        wave = wave * rng.uniform(0.7, 1.3)
        size = size * tortuosity * where
        sideways += size * rng.uniform(0.4, 1.3) * np.sin(2 * np.pi * (arc / wave + rng.random()))
        out += 0.45 * size * rng.uniform(0.3, 1.2) * np.sin(2 * np.pi * (arc / (1.13 * wave) + rng.random()))
    return curve + sideways[:, None] * across + out[:, None] * normal


def attach(curve: Float[np.ndarray, "n 3"], joint: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "n 3"]:
    """Move a course so that it begins at ``joint``; the shift dies out along it."""
    return curve + (joint - curve[0]) * np.exp(-arc_length(curve) / JOINT_LENGTH)[:, None]


def caliber(
    arc: Float[np.ndarray, " n"],
    diameters: tuple[float, float],
    forks: Float[np.ndarray, " k"],
    cap: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, " n"]:
    """Healthy radius along a branch, mm: taper, a step down at each fork, irregular walls.

    All in mm: ``diameters`` at the origin and the end, ``forks`` the arcs at which large side branches leave, ``cap``
    the radius of the parent at the joint; a child is no wider.
    """
    share = (arc / arc[-1]) ** 0.85
    if len(forks):
        steps = 1 / (1 + np.exp(-np.clip((arc[:, None] - forks) / 1.2, -50, 50)))
        share = 0.6 * share + 0.4 * steps.mean(1)
    radius = 0.5 * (diameters[0] + (diameters[1] - diameters[0]) * share)
    waves = sum(
        rng.normal(0, IRREGULARITY_SD) * np.sin(2 * np.pi * (arc / wave + rng.random())) for wave in IRREGULARITY
    )
    return np.minimum(radius, 0.97 * cap) * (1 + waves)
