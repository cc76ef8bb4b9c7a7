"""Lesions: which ones an artery of a given category has, where they lie, and what they do to a vessel's radius."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from cag.anatomy import ARTERIES, SEGMENTS, TWO_CATEGORIES, Artery, artery_of_segment
from cag.settings import SettingsError

#: Shortest and longest lesion, mm: the literature gives 4-40, long lesions 28.7 +- 10.6.
LESION_LENGTHS = (2.0, 60.0)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse a parameter that is not a finite number in ``low..high``; raises SettingsError."""
    if not np.isfinite(value) or not low <= value <= high:
        raise SettingsError(f"{value!r} is out of range", field=name, remedy=f"Choose a value from {low:g} to {high:g}")


@dataclass(frozen=True)
class LesionPlan:
    """A narrowing, by its place in the 29-segment model.

    Raises
    ------
    SettingsError
        Naming the field and its range.
    """

    artery: Artery
    segment: int  # 1-29: must belong to the artery; whether this patient has it is known once the tree is built
    position: float  # Where the throat lies along the segment, from its beginning to its end, 0-1
    percent_stenosis: float  # 0-100: percent diameter stenosis at the throat; 100 is a total occlusion
    length_mm: float  # From shoulder to shoulder, 2-60
    eccentricity: float = 0.0  # 0 concentric, 1 the plaque lies on one wall only, 0-1
    direction_deg: float = 0.0  # Angle of the plaque's wall around the vessel's axis, degrees
    skew: float = 0.18  # -0.3 to 0.3: asymmetry of the shoulders; positive has the steeper one upstream
    plateau: float = 0.0  # 0-0.8: share of the length that is as narrow as the throat; large in diffuse disease

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
    """A lesion on the samples of one tree."""

    plan: LesionPlan
    branch: int  # Index into ``Tree.branch_names``
    arc_throat: float  # From the branch's origin, mm
    #: Samples of the tree between the shoulders: ``first .. last - 1``.
    first: int
    last: int
    throat: int  # The sample that carries the exact minimal diameter
    reference_diameter_mm: float  # Diameter there without the lesion
    minimal_diameter_mm: float  # Diameter there with it: ``(1 - percent/100) * reference``


def profile(lesion: LesionPlan, offset: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Depth of a lesion along its vessel: 1 at the throat, 0 beyond its shoulders, smooth between.

    ``offset`` is the arc from the throat, mm, positive downstream.
    """
    shoulder = lesion.length_mm * np.where(offset < 0, 0.5 - lesion.skew, 0.5 + lesion.skew)
    share = np.clip((np.abs(offset) / shoulder - lesion.plateau) / (1 - lesion.plateau), 0, 1)
    return np.maximum(np.cos(0.5 * np.pi * share), 0.0) ** 1.6


def shoulders(lesion: LesionPlan, throat_arc: float, branch_length: float) -> tuple[float, float]:
    """Arcs of both shoulders, mm, clipped to a branch of ``branch_length`` mm."""
    begin = throat_arc - lesion.length_mm * (0.5 - lesion.skew)
    end = throat_arc + lesion.length_mm * (0.5 + lesion.skew)
    return max(begin, 0.0), min(end, branch_length)


#: Weight of each segment. Fitted to the literature's places (LAD 40-45 % of lesions, most of them proximal and mid; RCA
#: 30-38 %, LCx 14-25 %) and to Table 1's shares of frames without stenosis a view.
PLACES: dict[Artery, dict[int, float]] = {
    "LCA": {11: 1.8, 12: 16.5, 13: 15, 14: 1.2, 15: 5, 16: 2, 29: 0.5, 18: 6.5, 19: 5, 20: 3.5, 21: 4, 22: 1.5,
            23: 2.5, 24: 0.5, 25: 0.5, 27: 1, 28: 0.8},
    "RCA": {1: 12, 2: 13, 3: 7, 4: 2, 5: 1, 6: 0.8, 7: 0.4, 10: 0.6},
}  # fmt: skip
#: Segments of one vessel, in which further lesions and irregularities of a diseased artery gather, and how much more
#: often than their share they lie there.
VESSELS = ((12, 13, 14, 15, 16, 17, 29), tuple(range(18, 28)), (1, 2, 3, 10), (4, 5, 6, 7, 8))
GATHERING = 6.0
#: Least reference diameter (mm) at a lesion of 25 % or more and at an occlusion: QCA measures no thinner vessel.
MEASURABLE, MEASURABLE_OCCLUSION = 1.5, 2.0

#: Worst severity of a diseased artery: bands (percent) and their shares.
BANDS, BAND_SHARES = ((25.0, 50.0), (50.0, 70.0), (70.0, 99.0)), (0.30, 0.35, 0.35)
#: Mean number of further lesions of 25 % or more: the LCA is two vessels.
FURTHER: dict[Artery, float] = {"LCA": 1.5, "RCA": 0.55}
IRREGULAR = (10.0, 24.0)
LEFT_MAIN = 11

#: Reference diameters along each segment that an artery has, from its beginning to its end, mm.
Calibers = Mapping[int, Float[np.ndarray, " n"]]


def draw_lesions(artery: Artery, category: int, calibers: Calibers, rng: np.random.Generator) -> tuple[LesionPlan, ...]:
    """Lesions of one artery; the worst lies in the category, negatives carry 10-24 % irregularities.

    Worst first. ``category`` is 0 below 25 %, 1 for 25-99 % and 2 for 100 %.
    """
    severities: list[float] = []
    if category == 1:
        low, high = BANDS[int(rng.choice(3, p=BAND_SHARES))]
        severities.append(_percent(rng, low, high))
    if category == 2:
        severities.append(100.0)
    if category > 0:
        ceiling = min(severities[0], 99.0)
        further = min(rng.poisson(FURTHER[artery]), 4)
        severities += sorted((_percent(rng, 25.0, ceiling) for _ in range(further)), reverse=True)
    severities += [_percent(rng, *IRREGULAR) for _ in range(1 + min(rng.poisson(1.0), 3))]
    return _placed(artery, severities, calibers, rng)


#: Segments that begin at an ostium or the main fork, and how far along them an occlusion lies at least.
ORIGINS = (1, 12, 18)
STUMP = 0.4
#: Share of a segment at either end that has no throat.
EDGE = 0.02


def _percent(rng: np.random.Generator, low: float, high: float) -> float:
    """A severity with one decimal, from ``low`` to ``high`` percent."""
    return float(np.round(rng.uniform(low, high), 1))


def _placed(
    artery: Artery, severities: list[float], calibers: Calibers, rng: np.random.Generator
) -> tuple[LesionPlan, ...]:
    """One lesion a segment, without replacement; one in eight is the second of a tandem."""
    free = {number: weight for number, weight in PLACES[artery].items() if number in calibers}
    lesions: list[LesionPlan] = []
    tandem = rng.random(len(severities)) < 1 / 8
    for severity, paired in zip(severities, tandem, strict=True):
        previous = lesions[-1] if lesions else None
        if paired and previous is not None and previous.length_mm < 15 and previous.segment != LEFT_MAIN:
            place = previous.position + (0.45 if previous.position < 0.5 else -0.45)
            measurable = _measurable(calibers[previous.segment], previous.segment, severity)
            if measurable[round(place * (len(measurable) - 1))]:
                lesions.append(_lesion(artery, previous.segment, place, severity, rng, longest=12.0))
                continue
        places = {number: _measurable(calibers[number], number, severity) for number in free}
        if not lesions and not any(place.any() for place in places.values()):  # of thin vessels, the widest place
            widest = max(free.keys() - {LEFT_MAIN}, key=lambda number: calibers[number].max())
            places[widest] = calibers[widest] >= calibers[widest].max()
        allowed = [number for number, measurable in places.items() if measurable.any()]
        if not allowed:
            break
        near = next((vessel for vessel in VESSELS if lesions and lesions[0].segment in vessel), ())
        weights = np.array([free[number] * (GATHERING if number in near else 1.0) for number in allowed])
        segment = int(rng.choice(allowed, p=weights / weights.sum()))
        del free[segment]
        place = _nearest(_position(segment, rng), places[segment])
        lesions.append(_lesion(artery, segment, place, severity, rng))
    return tuple(lesions)


def _measurable(diameters: Float[np.ndarray, " n"], segment: int, severity: float) -> Bool[np.ndarray, " n"]:
    """Where along a segment a lesion of this severity may have its throat."""
    along = np.linspace(0, 1, len(diameters))
    inside = (along >= EDGE) & (along <= 1 - EDGE)
    if severity < 100:
        return inside & (diameters >= (MEASURABLE if severity >= TWO_CATEGORIES[0] else 0.0))
    # An ostial occlusion would leave nothing to inject into.
    stump = along >= (STUMP if segment in ORIGINS else 0.0)
    return inside & stump & (diameters >= MEASURABLE_OCCLUSION) & (segment != LEFT_MAIN)


def _nearest(position: float, allowed: Bool[np.ndarray, " n"]) -> float:
    """The position 0-1 of the allowed sample nearest to a position."""
    places = np.linspace(0, 1, len(allowed))[allowed]
    return float(places[np.abs(places - position).argmin()])


def _position(segment: int, rng: np.random.Generator) -> float:
    """Throat along the segment: 43 % of lesions lie at a bifurcation, which end most segments."""
    if segment == LEFT_MAIN:
        return float(rng.uniform(0.35, 0.75))
    if rng.random() < 0.43:
        return float(rng.choice([rng.uniform(0.06, 0.2), rng.uniform(0.8, 0.94)]))
    return float(rng.uniform(0.1, 0.9))


def _lesion(
    artery: Artery, segment: int, position: float, severity: float, rng: np.random.Generator, longest: float = 40.0
) -> LesionPlan:
    """Length (lognormal, median 12 mm; one in eight long and diffuse) and shape, whatever the severity."""
    diffuse = rng.random() < 1 / 8 and longest > 20
    length = rng.normal(28.7, 10.6) if diffuse else 12.0 * np.exp(rng.normal(0, 0.45))
    if segment == LEFT_MAIN:
        longest = min(longest, 8.0)
    return LesionPlan(
        artery=artery,
        segment=segment,
        position=position,
        percent_stenosis=severity,
        length_mm=float(np.round(np.clip(length, 4.0, longest), 1)),
        eccentricity=float(rng.uniform(0, 0.8)),
        direction_deg=float(rng.uniform(0, 360)),
        skew=float(np.clip(rng.normal(0.03, 0.1), -0.25, 0.25)),
        plateau=float(rng.uniform(0.3, 0.6) if diffuse else rng.uniform(0, 0.25)),
    )
