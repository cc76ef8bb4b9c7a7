"""The named branches of a patient's coronary arteries, as control points, calibers and segments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from cag.anatomy import ARTERIES, Artery
from cag.simulator.phantom.plan import PatientPlan, stream
from cag.simulator.phantom.skeleton import APEX, landmarks

Points = Float[np.ndarray, "k 3"]

_PRESENCE, _SHAPE = 2, 3

#: Diameters at the origin, mm: Dodge 1992 and general knowledge.
DIAMETERS = {
    "LM": 4.5, "LAD": 3.7, "LCx": 3.4, "RCA": 3.9, "RI": 2.0, "D1": 2.2, "D2": 1.8, "D3": 1.4, "OM1": 2.3, "OM2": 1.9,
    "OM3": 1.5, "S1": 1.2, "S2": 0.9, "S3": 0.9, "LPL1": 1.6, "LPL2": 1.6, "LPL3": 1.3, "PDA": 2.0, "PLS": 2.2,
    "PL2": 1.5, "PL3": 1.3, "AM1": 1.6, "AM2": 1.2,
}  # fmt: skip
#: Of the LCx that feeds the inferior wall, and of the RCA that does not.
LARGE_LCX, SMALL_RCA = 4.2, 2.8

#: Mean flow speed, mm/s: tuned to the TIMI frame counts of Gibson 1996.
SPEEDS = {
    "LM": 150.0, "LAD": 115.0, "LCx": 150.0, "RCA": 238.0, "RI": 100.0, "S1": 60.0, "S2": 60.0, "S3": 60.0,
    "PDA": 130.0, "PLS": 135.0, "PL2": 110.0, "PL3": 110.0,
}  # fmt: skip
_BRANCH_SPEED = 100.0
#: Spread of flow between patients (log scale), by artery.
_FLOW_SPREAD = {"LAD": 0.04, "LCx": 0.18, "RCA": 0.13}


@dataclass(frozen=True)
class BranchSpec:
    """One named branch before it is laid out."""

    name: str
    points: Points  # Control points on the mean skeleton, from origin to end, mm
    diameters: tuple[float, float]  # At the origin and at the end, mm
    #: Control-point index at which each segment ends, and the segment's number; inf is the end.
    borders: tuple[tuple[float, int], ...]
    parent: str | None
    at_end: bool  # Continues the parent from its last sample instead of leaving its side
    speed: float  # mm/s


def present_branches(patient: PatientPlan, artery: Artery) -> tuple[str, ...]:
    """Names of the branches this patient's artery has."""
    generator = stream(patient.seed, _PRESENCE, ARTERIES.index(artery))
    third, second = generator.random(2).tolist()
    if artery == "LCA":
        names = ["LM", "LAD", "LCx", "D1", "D2", "OM1", "OM2", "S1", "S2", "S3"]
        names += ["D3"] * (third < 0.5) + ["RI"] * patient.ramus
        names += ["OM3"] * (second < 0.5 or patient.dominance == "left")
        names += ["LPL1", "LPL2"] * (patient.dominance != "right") + ["LPL3"] * (patient.dominance == "left")
        return tuple(names)
    names = ["RCA", "AM1"] + ["AM2"] * (third < 0.6)
    names += ["PDA"] * (patient.dominance != "left")
    if patient.dominance == "right":
        names += ["PLS", "PL2"] + ["PL3"] * (second < 0.5)
    return tuple(names)


def _beyond(origin: Float[np.ndarray, " 3"], middle: Float[np.ndarray, " 3"], share: float) -> Points:
    """Origin, middle, and an end as far beyond the middle, bent down the wall."""
    end = middle + share * (middle - origin) * np.array([0.72, 0.9, 0.72]) + np.array([0.0, -6.0 * share, 0.0])
    return np.stack([origin, middle, end])


def _main_left(
    p: dict[str, Float[np.ndarray, " 3"]], patient: PatientPlan, rng: np.random.Generator
) -> dict[str, tuple]:
    """LM, LAD and LCx: points and borders. The left main is 10.5 +- 5.3 mm long (book/study/methods)."""
    fork = p["MR origin"] * np.clip(rng.normal(10.5, 5.3), 4.0, 20.0) / np.linalg.norm(p["MR origin"])
    shift = fork - p["MR origin"]

    def near(*names: str) -> list[Float[np.ndarray, " 3"]]:
        return [p[n] + shift * np.exp(-np.linalg.norm(p[n] - p["MR origin"]) / 20) for n in names]

    end = p["L4 mid"] + np.array([-4.0, -2.0, -10.0]) + rng.normal(0, 3, 3)
    lad = ["L1 proximal", "L1 mid", "D1 origin", "D2 origin", "L2 mid", "D3 origin", "L3 mid", "L4 proximal (apex)"]
    groove = near("C1 proximal", "C1 mid", "M1 origin", "C2 mid", "M2 origin", "C3 mid")
    borders: tuple[tuple[float, int], ...] = ((3, 18), (6, 19), (np.inf, 23))
    if patient.dominance == "right":
        wall = 0.6 * p["C4 mid"] + 0.4 * p["RP mid"]
        tail = [0.4 * p["C3 mid"] + 0.6 * p["C4 mid"], p["C4 mid"] + rng.uniform(0.0, 0.9) * (wall - p["C4 mid"])]
    elif patient.dominance == "co":
        tail = [p["C4 mid"], 0.5 * (p["C4 mid"] + p["crux"])]
    else:
        wall = p["R4 mid"] + np.array([0.0, 4.0, -6.0])
        tip = 0.45 * p["RD mid"] + 0.55 * APEX + np.array([-4.0, -2.0, -8.0])
        tail = [0.5 * (p["C4 mid"] + wall), p["crux"], p["RD mid"] + np.array([4.0, 3.0, -2.0]), tip]
        borders = ((3, 18), (6, 19), (8, 23), (np.inf, 27))
    return {
        "LM": ([np.zeros(3), 0.5 * fork + 0.4 * (p["LM mid"] - 0.5 * p["MR origin"]), fork], ((np.inf, 11),), None),
        "LAD": ([fork, *near(*lad), end], ((3.1, 12), (6.3, 13), (np.inf, 14)), "LM"),
        "LCx": ([fork, *groove, *tail], borders, "LM"),
    }


def _left(p: dict[str, Float[np.ndarray, " 3"]], patient: PatientPlan, rng: np.random.Generator) -> dict[str, tuple]:
    """Points, borders and parent of every branch a left coronary artery can have."""
    table = _main_left(p, patient, rng)
    fork = table["LM"][0][-1]
    for name, landmark, segment, parent, share in (
        ("D1", "D1", 15, "LAD", 1.0), ("D2", "D2", 16, "LAD", 0.8), ("D3", "D3", 29, "LAD", 0.6),
        ("OM1", "M1", 20, "LCx", 0.9), ("OM2", "M2", 21, "LCx", 0.8), ("OM3", "M3", 22, "LCx", 0.7),
        ("S1", "S1", 17, "LAD", 0.7), ("S2", "S2", 17, "LAD", 0.6), ("S3", "S3", 17, "LAD", 0.6),
    ):  # fmt: skip
        points = _beyond(p[f"{landmark} origin"], p[f"{landmark} mid"], share)
        table[name] = (points, ((np.inf, segment),), parent)
    table["RI"] = (_beyond(fork, p["MR mid"], 0.4), ((np.inf, 28),), "LM")
    groove = 0.5 * (p["C3 mid"] + p["C4 mid"])
    table["LPL1"] = (_beyond(groove, 0.5 * (p["M3 mid"] + p["RP mid"]), 0.5), ((np.inf, 24),), "LCx")
    table["LPL2"] = (_beyond(p["C4 mid"], p["RP mid"], 0.6), ((np.inf, 25),), "LCx")
    table["LPL3"] = (_beyond(p["crux"], p["RI mid"], 0.8), ((np.inf, 26),), "LCx")
    return table


def _right(p: dict[str, Float[np.ndarray, " 3"]], patient: PatientPlan, rng: np.random.Generator) -> dict[str, tuple]:
    """Points, borders and parent of every branch a right coronary artery can have."""
    upper = 0.5 * (p["R1 mid"] + p["R2 mid"]) + np.array([-6.0, 3.0, 3.0])
    margin = 0.5 * (p["R2 mid"] + p["R3 mid"]) + np.array([-6.0, -4.0, 2.0])
    course = [p["RCA ostium"], p["R1 proximal"], p["R1 mid"], upper, p["R2 mid"]]
    rca: tuple
    if patient.dominance == "left":
        rca = ([*course, 0.6 * p["R2 mid"] + 0.4 * p["R3 mid"]], ((3, 1), (np.inf, 2)), None)
    else:
        rca = ([*course, margin, p["R3 mid"], p["crux"]], ((3, 1), (5, 2), (np.inf, 3)), None)
    tip = 0.5 * (p["RD mid"] + APEX) + np.array([-6.0, -4.0, -4.0])
    posterior = 1.9 * p["RP mid"] - 0.9 * p["R4 mid"] + np.array([4.0, -4.0, 4.0])
    inferior = 1.8 * p["RI mid"] - 0.8 * p["R4 mid"] + np.array([2.0, 0.0, 8.0])
    wall = 0.45 * p["R2 mid"] + 0.55 * APEX + np.array([-14.0, -14.0, 2.0]) + rng.normal(0, 3, 3)
    free = 0.62 * upper + 0.38 * APEX + np.array([-4.0, -6.0, 12.0]) + rng.normal(0, 3, 3)
    last = course[-1] if patient.dominance == "left" else margin
    edge = 0.5 * (last + wall) + np.array([-6.0, -10.0, 2.0])
    between = 0.5 * (p["R4 mid"] + p["RP mid"])
    return {
        "RCA": rca,
        "AM1": ([last, edge, wall], ((np.inf, 10),), "RCA"),
        "AM2": ([upper, 0.5 * (upper + free) + np.array([-4.0, -2.0, 8.0]), free], ((np.inf, 10),), "RCA"),
        "PDA": ([p["crux"], p["RD mid"], tip], ((np.inf, 4),), "RCA"),
        "PLS": ([p["crux"], p["R4 mid"], p["RP mid"], posterior], ((1, 5), (np.inf, 6)), "RCA"),
        "PL2": ([p["R4 mid"], p["RI mid"], inferior], ((np.inf, 7),), "PLS"),
        "PL3": (_beyond(between, 0.6 * p["M3 mid"] + 0.4 * p["RP mid"], 0.4), ((np.inf, 8),), "PLS"),
    }


def branch_specs(patient: PatientPlan, artery: Artery) -> list[BranchSpec]:
    """The named branches of one artery, parents before children, on the mean skeleton."""
    rng = stream(patient.seed, _SHAPE, ARTERIES.index(artery))
    table = (_left if artery == "LCA" else _right)(landmarks(), patient, rng)
    spread = {name: float(np.exp(rng.normal(0, sd))) for name, sd in _FLOW_SPREAD.items()}
    specs = []
    for name in present_branches(patient, artery):
        points, borders, parent = table[name]
        origin, end = _diameters(name, patient) * patient.vessel_scale * np.exp(rng.normal(0, 0.1, 2))
        system = "RCA" if artery == "RCA" else "LCx" if parent == "LCx" or name == "LCx" else "LAD"
        speed = SPEEDS.get(name, _BRANCH_SPEED) * spread[system] * patient.heart_scale
        at_end = parent == "LM" or name in ("PDA", "PLS")
        specs.append(BranchSpec(name, np.stack(points), (origin, end), borders, parent, at_end, speed))
    return specs


def _diameters(name: str, patient: PatientPlan) -> Float[np.ndarray, " 2"]:
    """Diameter at the origin and at the end of a branch, mm, in an average man."""
    right = patient.dominance == "right"
    origin = DIAMETERS[name]
    if name == "LCx" and not right:
        origin = LARGE_LCX
    if name == "RCA" and patient.dominance == "left":
        origin = SMALL_RCA
    ends = {"LM": 4.3, "LAD": 1.1, "LCx": 1.3, "RCA": 2.8 if patient.dominance != "left" else 1.3}
    return np.array([origin, ends.get(name, 0.45 if name[0] == "S" else 0.85)])
