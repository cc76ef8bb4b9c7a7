"""Lesions: where they are planned, and what they do to a vessel's radius."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from cag.anatomy import ARTERIES, SEGMENTS, Artery, artery_of_segment
from cag.settings import SettingsError
from cag.simulator.phantom.checks import check_range

#: Shortest and longest lesion, mm: SIMULATOR section 2 gives 4-40, long lesions 28.7 +- 10.6.
LESION_LENGTHS = (2.0, 60.0)


@dataclass(frozen=True)
class LesionPlan:
    """A narrowing, by its place in the 29-segment model.

    Attributes
    ----------
    artery : {'LCA', 'RCA'}
    segment : int, 1-29
        Must belong to the artery; whether this patient has it is known once the tree is built.
    position : float, 0-1
        Where the throat lies along the segment, from its beginning to its end.
    percent_stenosis : float, 0-100
        Percent diameter stenosis at the throat; 100 is a total occlusion.
    length_mm : float, 2-60
        From shoulder to shoulder.
    eccentricity : float, 0-1
        0 concentric, 1 the plaque lies on one wall only.
    direction_deg : float, degrees
        Angle of the plaque's wall around the vessel's axis.
    skew : float, -0.3 to 0.3
        Asymmetry of the shoulders; positive has the steeper one upstream.
    plateau : float, 0-0.8
        Share of the length that is as narrow as the throat; large in diffuse disease.

    Raises
    ------
    SettingsError
        Naming the field and its range.
    """

    artery: Artery
    segment: int
    position: float
    percent_stenosis: float
    length_mm: float
    eccentricity: float = 0.0
    direction_deg: float = 0.0
    skew: float = 0.18
    plateau: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check_range("percent_stenosis", self.percent_stenosis, 0, 100)
        check_range("position", self.position, 0, 1)
        check_range("length_mm", self.length_mm, *LESION_LENGTHS)
        check_range("eccentricity", self.eccentricity, 0, 1)
        check_range("skew", self.skew, -0.3, 0.3)
        check_range("plateau", self.plateau, 0, 0.8)
        if self.segment not in SEGMENTS or artery_of_segment(self.segment) != self.artery:
            own = [number for number in SEGMENTS if artery_of_segment(number) == self.artery]
            remedy = f"Segments of the {self.artery} are {own[0]} to {own[-1]}" if own else f"Choose one of {ARTERIES}"
            problem = f"{self.segment!r} is not a segment of the {self.artery}"
            raise SettingsError(problem, field="segment", remedy=remedy)

    @property
    def occluded(self) -> bool:
        """Whether nothing passes."""
        return self.percent_stenosis >= 100


@dataclass(frozen=True)
class PlacedLesion:
    """A lesion on the samples of one tree.

    Attributes
    ----------
    plan : LesionPlan
    branch : int
        Index into ``Tree.branch_names``.
    arc_begin, arc_throat, arc_end : float, mm
        Shoulders and throat, from the branch's origin; clipped to the branch.
    first, last : int
        Samples of the tree between the shoulders: ``first .. last - 1``.
    throat : int
        The sample that carries the exact minimal diameter.
    reference_diameter_mm : float
        Diameter there without the lesion.
    minimal_diameter_mm : float
        Diameter there with it: ``(1 - percent/100) * reference``.
    """

    plan: LesionPlan
    branch: int
    arc_begin: float
    arc_throat: float
    arc_end: float
    first: int
    last: int
    throat: int
    reference_diameter_mm: float
    minimal_diameter_mm: float


def profile(lesion: LesionPlan, offset: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Depth of a lesion along its vessel: 1 at the throat, 0 beyond its shoulders, smooth between.

    Parameters
    ----------
    lesion : LesionPlan
        Its length, skew and plateau.
    offset : float64 [n], mm
        Arc from the throat, positive downstream.
    """
    shoulder = lesion.length_mm * np.where(offset < 0, 0.5 - lesion.skew, 0.5 + lesion.skew)
    share = np.clip((np.abs(offset) / shoulder - lesion.plateau) / (1 - lesion.plateau), 0, 1)
    return np.maximum(np.cos(0.5 * np.pi * share), 0.0) ** 1.6


def shoulders(lesion: LesionPlan, throat_arc: float, branch_length: float) -> tuple[float, float]:
    """Arcs of both shoulders, mm, clipped to a branch of ``branch_length`` mm."""
    begin = throat_arc - lesion.length_mm * (0.5 - lesion.skew)
    end = throat_arc + lesion.length_mm * (0.5 + lesion.skew)
    return max(begin, 0.0), min(end, branch_length)
