"""The skeleton of the coronary arteries, and how each patient's differs from it.

The landmarks are Dodge, Brown, Bolson and Dodge 1988 (Circulation 78:1167), Tables 3-5: polar
coordinates from an ostium in right-dominant men. What is not in the tables is authored here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.simulator.phantom.plan import PatientPlan, stream

#: Center of the mitral ring and apex of the left ventricle, mm: general knowledge fitted to the table.
BASE = np.array([-2.0, -36.0, 8.0])
APEX = np.array([44.0, -90.0, 68.0])

#: Spread between patients: rotation about each axis (degrees), warp (mm) and its correlation length (mm).
ROTATION_SD, WARP_MM, WARP_LENGTH = 8.0, 4.0, 28.0
_FRAME = 1


def from_polar(r_cm: float, theta_deg: float, phi_deg: float) -> Float[np.ndarray, " 3"]:
    """Dodge's polar coordinates as x patient left, y head, z anterior, in mm."""
    theta, phi = np.radians(theta_deg), np.radians(phi_deg)
    return 10 * r_cm * np.array([np.cos(phi) * np.sin(theta), np.sin(phi), np.cos(phi) * np.cos(theta)])


@cache
def landmarks() -> dict[str, Float[np.ndarray, " 3"]]:
    """Mean positions by the table's names, mm from the left ostium, with the ostia and the crux."""
    with files("cag.simulator.phantom").joinpath("dodge1988.csv").open() as table:
        rows = pd.read_csv(table)
    rows = rows[rows["location"] != "Catheter"]
    names = [str(name) for name in rows["location"]]
    values = rows[["r_cm", "theta_deg", "phi_deg"]].to_numpy(dtype=float)
    polar = {name: from_polar(*value) for name, value in zip(names, values, strict=True)}
    right = set(rows.loc[rows["origin"] == "right_ostium", "location"])
    ostium = polar["RCA ostium"]
    points = {name: point + ostium if name in right else point for name, point in polar.items()}
    points["LCA ostium"] = np.zeros(3)
    points["crux"] = 0.5 * (points["R3 mid"] + points["R4 mid"]) + np.array([6.0, -5.0, -6.0])
    return points


def _rotation(angles: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Rotation about x, then y, then z; angles in radians."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        j, k = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(3)
        turn[j, j] = turn[k, k] = np.cos(angle)
        turn[j, k], turn[k, j] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


@dataclass(frozen=True)
class PatientFrame:
    """How one patient's heart lies: the same for both arteries."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    #: Gaussian bumps of the smooth warp, mm.
    centers: Float[np.ndarray, "k 3"]
    shifts: Float[np.ndarray, "k 3"]

    @classmethod
    def of(cls, patient: PatientPlan) -> PatientFrame:
        """The frame of a patient, drawn from the patient's seed."""
        generator = stream(patient.seed, _FRAME)
        rotation = _rotation(np.radians(generator.normal(0, ROTATION_SD, 3)))
        centers = generator.uniform([-60, -110, -40], [70, 10, 90], (14, 3))
        return cls(patient.heart_scale, rotation, centers, generator.normal(0, WARP_MM, (14, 3)))

    def place(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Skeleton positions in this patient, mm."""
        distance = ((points[:, None] - self.centers) ** 2).sum(-1)
        warped = points + np.exp(-distance / (2 * WARP_LENGTH**2)) @ self.shifts
        return self.scale * warped @ self.rotation.T

    def point(self, position: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
        """One skeleton position in this patient, mm."""
        return self.place(position[None])[0]

    @property
    def base(self) -> Float[np.ndarray, " 3"]:
        """Center of the mitral ring, mm."""
        return self.point(BASE)

    @property
    def apex(self) -> Float[np.ndarray, " 3"]:
        """Apex of the left ventricle, mm."""
        return self.point(APEX)


def outward(
    points: Float[np.ndarray, "n 3"], base: Float[np.ndarray, " 3"], apex: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "n 3"]:
    """Unit vectors from the long axis of the heart through ``points``: normals of the epicardium."""
    axis = apex - base
    length = float(np.linalg.norm(axis))
    axis = axis / length
    height = np.clip((points - base) @ axis, 0, 0.8 * length)
    normal = points - base - height[:, None] * axis
    return normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9)


def arc_length(curve: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Arc from the first point of a polyline, mm."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])


def spline(points: Float[np.ndarray, "k 3"], step: float) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, " k"]]:
    """Centripetal Catmull-Rom curve through ``points``, about uniform in arc, and the control points' arcs.

    Returns
    -------
    float64 [n, 3], float64 [k]
        Samples about ``step`` mm apart, at least 16; arc of every control point, mm.
    """
    p = np.concatenate([[2 * points[0] - points[1]], points, [2 * points[-1] - points[-2]]])
    knots = np.concatenate([[0.0], np.cumsum(np.sqrt(np.linalg.norm(np.diff(p, axis=0), axis=1).clip(1e-3)))])
    t0, t1, t2, t3 = (knots[i : len(points) - 1 + i, None, None] for i in range(4))
    p0, p1, p2, p3 = (p[i : len(points) - 1 + i, None] for i in range(4))
    fine = 24
    u = t1 + (t2 - t1) * np.linspace(0, 1, fine, endpoint=False)[:, None]
    a1 = ((t1 - u) * p0 + (u - t0) * p1) / (t1 - t0)
    a2 = ((t2 - u) * p1 + (u - t1) * p2) / (t2 - t1)
    a3 = ((t3 - u) * p2 + (u - t2) * p3) / (t3 - t2)
    b1 = ((t2 - u) * a1 + (u - t0) * a2) / (t2 - t0)
    b2 = ((t3 - u) * a2 + (u - t1) * a3) / (t3 - t1)
    curve = np.concatenate([(((t2 - u) * b1 + (u - t1) * b2) / (t2 - t1)).reshape(-1, 3), points[-1:]])
    arc = arc_length(curve)
    wanted = np.linspace(0, arc[-1], max(16, round(arc[-1] / step) + 1))
    samples = np.stack([np.interp(wanted, arc, curve[:, k]) for k in range(3)], axis=1)
    return samples, arc[::fine]
