"""Lays a patient's vessels out: the named branches first, then the twigs that leave them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cag.anatomy import ARTERIES, Artery
from cag.simulator.phantom.branches import BranchSpec, branch_specs
from cag.simulator.phantom.plan import PatientPlan, stream
from cag.simulator.phantom.skeleton import APEX, BASE, PatientFrame, landmarks, outward, spline
from cag.simulator.phantom.vessel import Vessel, attach, caliber, tangents, wind

#: Distance between samples along a centerline before it is wound, mm.
SAMPLE_STEP = 0.25
#: Diameter at a twig's end, and of a fork as a share of its twig, mm.
_TWIG_END, _FORK_SHARE = 0.38, 0.75
_COURSE, _TWIGS, _ECTASIA = 4, 5, 6


#: Growth: step (mm), pull toward the target, wander of the direction, share of the radial part removed.
GROWTH_STEP, PULL, WANDER, FLATTEN = 2.0, 0.05, 0.15, 0.95


@dataclass(frozen=True)
class TwigBed:
    """How many twigs leave a branch, and where they go."""

    parent: str
    count: float  # Mean number
    #: Typical; both vary by about 40 and 20 %.
    length_mm: float
    diameter_mm: float
    target: str
    #: Range of origins as shares of the parent's length.
    low: float
    high: float
    speed: float = 70.0  # mm/s
    segment: int = 0  # 0 unless the 29-segment model names these twigs


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

    All in mm; ``tangent`` holds unit vectors along the parents, ``heart`` is base and apex. ``steps`` points are
    grown, ``GROWTH_STEP`` apart.
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


def nearest(curve: Float[np.ndarray, "n 3"], point: Float[np.ndarray, " 3"]) -> int:
    """Index of the sample nearest to a point."""
    return int(((curve - point) ** 2).sum(1).argmin())


def _segments(spec: BranchSpec, arc: Float[np.ndarray, " n"], knots: Float[np.ndarray, " k"]) -> np.ndarray:
    """Segment number of every sample from a branch's borders."""
    ends = [np.interp(index, np.arange(len(knots)), knots) for index, _ in spec.borders[:-1]]
    numbers = np.array([number for _, number in spec.borders], dtype=np.int32)
    return numbers[np.searchsorted(np.array(ends), arc, side="right")]


def lay_branches(patient: PatientPlan, artery: Artery, frame: PatientFrame) -> list[Vessel]:
    """The named branches, each attached to its parent, without lesions."""
    rng = stream(patient.seed, _COURSE, ARTERIES.index(artery))
    specs = branch_specs(patient, artery)
    index = {spec.name: number for number, spec in enumerate(specs)}
    roots = {spec.name: frame.point(spec.points[0]) for spec in specs}
    vessels: list[Vessel] = []
    for spec in specs:
        plain, knots = spline(frame.place(spec.points), SAMPLE_STEP)
        curve = wind(plain, (frame.base, frame.apex), patient.tortuosity, rng)
        arc = np.linspace(0.0, knots[-1], len(plain))
        children = [child.name for child in specs if child.parent == spec.name and not child.at_end]
        forks = np.array([arc[nearest(plain, roots[child])] for child in children], dtype=float)
        parent, joint, cap = -1, 0, np.inf
        if spec.parent is not None:
            parent = index[spec.parent]
            trunk = vessels[parent]
            joint = len(trunk.arc) - 1 if spec.at_end else nearest(trunk.plain, plain[0])
            curve, cap = attach(curve, trunk.curve[joint]), float(trunk.radius[joint])
        radius = caliber(arc, spec.diameters, forks, cap, rng)
        segment = _segments(spec, arc, knots)
        vessels.append(Vessel(spec.name, plain, curve, radius, segment, spec.speed, parent, joint))
    _widen(vessels[0 if artery == "RCA" else 1], stream(patient.seed, _ECTASIA, ARTERIES.index(artery)))
    return vessels


def segment_calibers(patient: PatientPlan, artery: Artery) -> dict[int, Float[np.ndarray, " n"]]:
    """Healthy diameters along each segment of an artery, from its beginning to its end, mm."""
    vessels = lay_branches(patient, artery, PatientFrame.of(patient))
    parts = [
        (int(n), 2 * vessel.reference[vessel.segment == n]) for vessel in vessels for n in np.unique(vessel.segment)
    ]
    return dict(sorted(parts, key=lambda part: len(part[1])))  # of a segment in two vessels, the longer


def _widen(vessel: Vessel, rng: np.random.Generator) -> None:
    """Ectasia in one artery of twelve: a stretch up to 1.5 times as wide, whatever its lesions."""
    present, share, factor, width = rng.uniform([0, 0.1, 0.2, 6], [1, 0.5, 0.5, 14])
    if present < 1 / 12:
        bump = np.exp(-(((vessel.arc - share * vessel.arc[-1]) / width) ** 2))
        vessel.radius = vessel.reference = vessel.radius * (1 + factor * bump)


def _targets(artery: Artery, frame: PatientFrame) -> dict[str, Float[np.ndarray, " 3"]]:
    """Where the twigs of each kind are drawn to, mm."""
    atrium = np.array([-40.0, 10.0, -10.0]) if artery == "RCA" else landmarks()["C3 mid"] + np.array([0.0, 30.0, -20.0])
    septum = 0.55 * BASE + 0.45 * APEX
    places = {"apex": APEX, "septum": septum, "conus": np.array([-10.0, -10.0, 75.0]), "atrium": atrium}
    return {name: frame.point(place) for name, place in places.items()}


def _sprouts(vessels: list[Vessel], artery: Artery, rng: np.random.Generator) -> list[tuple[TwigBed, int, int]]:
    """Bed, parent and joint of every first-order twig."""
    index = {vessel.name: number for number, vessel in enumerate(vessels)}
    sprouts = []
    for bed in BEDS[artery]:
        if bed.parent in index:
            trunk = vessels[index[bed.parent]]
            joints = np.searchsorted(trunk.arc, origins(bed, trunk.arc[-1], rng))
            sprouts += [(bed, index[bed.parent], int(joint)) for joint in joints]
    return sprouts


def grow_twigs(vessels: list[Vessel], patient: PatientPlan, artery: Artery, frame: PatientFrame) -> list[Vessel]:
    """Twigs of the named branches and, of four in ten of them, a fork."""
    rng = stream(patient.seed, _TWIGS, ARTERIES.index(artery))
    sprouts = _sprouts(vessels, artery, rng)
    lengths = np.array([bed.length_mm for bed, _, _ in sprouts], dtype=float)
    wide = patient.vessel_scale * np.array([bed.diameter_mm for bed, _, _ in sprouts])
    twigs = _batch(vessels, sprouts, lengths, wide, artery, frame, rng)
    first = len(vessels)
    forked = [number for number in range(len(twigs)) if rng.random() < FORK]
    places = [
        int(share * len(twigs[n].arc)) for n, share in zip(forked, rng.uniform(0.3, 0.65, len(forked)), strict=True)
    ]
    again = [(sprouts[n][0], first + n, place) for n, place in zip(forked, places, strict=True)]
    shorter = np.array([0.5 * twigs[n].arc[-1] for n in forked])
    narrower = np.array([2 * _FORK_SHARE * twigs[n].radius[place] for n, place in zip(forked, places, strict=True)])
    return twigs + _batch([*vessels, *twigs], again, shorter, narrower, artery, frame, rng)


def _batch(
    vessels: list[Vessel],
    sprouts: list[tuple[TwigBed, int, int]],
    lengths: Float[np.ndarray, " k"],
    diameters: Float[np.ndarray, " k"],
    artery: Artery,
    frame: PatientFrame,
    rng: np.random.Generator,
) -> list[Vessel]:
    """Grow the twigs of many joints at once."""
    if not sprouts:
        return []
    places = _targets(artery, frame)
    start = np.stack([vessels[parent].curve[joint] for _, parent, joint in sprouts])
    along = {parent: tangents(vessels[parent].curve) for parent in {parent for _, parent, _ in sprouts}}
    tangent = np.stack([along[parent][joint] for _, parent, joint in sprouts])
    target = np.stack([places[bed.target] for bed, _, _ in sprouts])
    steps = path_lengths(lengths, rng)
    paths = grow(start, tangent, target, (frame.base, frame.apex), int(steps.max()), rng)
    wide = diameters * np.exp(rng.normal(0, 0.2, len(sprouts)))
    twigs = []
    for number, (bed, parent, joint) in enumerate(sprouts):
        path = paths[number, : steps[number] + 1]
        keep = np.unique([*range(0, len(path), 3), len(path) - 1])
        curve, _ = spline(path[keep], SAMPLE_STEP)
        cap = 0.75 * float(vessels[parent].radius[joint])
        radius = np.linspace(min(0.5 * wide[number], cap), min(0.5 * _TWIG_END, cap), len(curve))
        segment = np.full(len(curve), bed.segment, dtype=np.int32)
        name = f"{bed.parent} twig {len(vessels) + number}"
        twigs.append(Vessel(name, curve, curve, radius, segment, bed.speed, parent, joint))
    return twigs
