"""Epicardial side branches without a name, grown over the heart's surface all at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cag.anatomy import Artery
from cag.simulator.phantom.skeleton import outward

#: Growth: step (mm), pull toward the target, wander of the direction, share of the radial part removed.
GROWTH_STEP, PULL, WANDER, FLATTEN = 2.0, 0.05, 0.15, 0.95


@dataclass(frozen=True)
class TwigBed:
    """How many twigs leave a branch, and where they go.

    Attributes
    ----------
    parent : str
    count : float
        Mean number.
    length_mm, diameter_mm : float
        Typical; both vary by about 40 and 20 %.
    target : {'apex', 'septum', 'conus', 'atrium', 'posterior'}
    low, high : float
        Range of origins as shares of the parent's length.
    speed : float, mm/s
    segment : int
        0 unless the 29-segment model names these twigs.
    """

    parent: str
    count: float
    length_mm: float
    diameter_mm: float
    target: str
    low: float
    high: float
    speed: float = 70.0
    segment: int = 0


BEDS: dict[Artery, tuple[TwigBed, ...]] = {
    "LCA": (
        TwigBed("LAD", 6, 26, 0.8, "apex", 0.15, 0.8),
        TwigBed("LAD", 4, 16, 0.7, "septum", 0.3, 0.9, 60.0, 17),
        TwigBed("D1", 3, 26, 0.9, "apex", 0.2, 0.85),
        TwigBed("D2", 3, 22, 0.8, "apex", 0.2, 0.9),
        TwigBed("RI", 3, 22, 0.8, "apex", 0.25, 0.9),
        TwigBed("OM1", 4, 26, 0.9, "apex", 0.2, 0.85),
        TwigBed("OM2", 3, 22, 0.8, "apex", 0.2, 0.9),
        TwigBed("OM3", 2, 18, 0.7, "apex", 0.2, 0.9),
        TwigBed("LCx", 2, 34, 0.8, "atrium", 0.05, 0.6),
        TwigBed("LPL1", 2, 18, 0.7, "apex", 0.2, 0.9),
        TwigBed("S1", 2, 14, 0.6, "septum", 0.3, 0.9),
    ),
    "RCA": (
        TwigBed("RCA", 1, 34, 1.1, "conus", 0.02, 0.08, 90.0),
        TwigBed("RCA", 1, 30, 1.0, "atrium", 0.05, 0.12, 80.0),
        TwigBed("RCA", 3, 30, 0.9, "apex", 0.2, 0.75),
        TwigBed("AM1", 3, 20, 0.7, "apex", 0.2, 0.9),
        TwigBed("PDA", 6, 18, 0.7, "septum", 0.15, 0.95, 70.0, 9),
        TwigBed("PLS", 4, 24, 0.8, "apex", 0.3, 0.9),
        TwigBed("PL2", 3, 18, 0.7, "apex", 0.2, 0.9),
        TwigBed("PL3", 2, 16, 0.7, "apex", 0.2, 0.9),
    ),
}

#: Chance that a twig forks.
FORK = 0.4


def origins(bed: TwigBed, length: float, rng: np.random.Generator) -> Float[np.ndarray, " k"]:
    """Arcs at which twigs leave a branch of ``length`` mm: at random, but not in one another's place."""
    count = rng.poisson(bed.count) if bed.count > 1 else 1
    arcs = np.sort(rng.uniform(bed.low, bed.high, count)) * length
    return arcs[np.diff(arcs, prepend=-np.inf) > 3.0]


def grow(
    start: Float[np.ndarray, "k 3"],
    tangent: Float[np.ndarray, "k 3"],
    target: Float[np.ndarray, "k 3"],
    heart: tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]],
    steps: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "k s 3"]:
    """Paths that leave ``start`` at 30-75 degrees from ``tangent`` and wander over the surface toward ``target``.

    Parameters
    ----------
    start, target : float64 [k, 3], mm
    tangent : float64 [k, 3]
        Unit vectors along the parents.
    heart : (base, apex), mm
    steps : int
        Points grown, ``GROWTH_STEP`` mm apart.
    rng : numpy.random.Generator

    Returns
    -------
    float64 [k, steps + 1, 3], mm
    """
    count = len(start)
    normal = outward(start, *heart)
    angle = np.radians(rng.uniform(30, 75, (count, 1)))
    side = rng.choice([-1.0, 1.0], (count, 1))
    direction = np.cos(angle) * tangent + np.sin(angle) * side * np.cross(normal, tangent)
    turn = rng.normal(0, 1, (count, 1))
    path = [start]
    for _ in range(steps):
        here = path[-1]
        normal = outward(here, *heart)
        pull = target - here
        pull /= np.linalg.norm(pull, axis=1, keepdims=True) + 1e-9
        turn = 0.75 * turn + 0.55 * rng.normal(0, 1, (count, 1))
        direction = direction + PULL * pull + WANDER * turn * np.cross(normal, direction)
        direction -= FLATTEN * (direction * normal).sum(1, keepdims=True) * normal
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        path.append(here + GROWTH_STEP * direction)
    return np.stack(path, axis=1)


def path_lengths(typical: Float[np.ndarray, " k"], rng: np.random.Generator) -> Int[np.ndarray, " k"]:
    """Growth steps of each twig: lognormal about its bed's typical length, at least three."""
    lengths = typical * np.exp(rng.normal(0, 0.4, len(typical)))
    return np.clip(np.round(lengths / GROWTH_STEP), 3, 40).astype(int)
