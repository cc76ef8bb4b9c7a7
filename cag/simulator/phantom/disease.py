"""Which lesions an artery of a given category has: where, how tight, how long."""

from __future__ import annotations

import numpy as np

from cag.anatomy import Artery
from cag.simulator.phantom.lesions import LesionPlan

#: Share of lesions by segment (SIMULATOR section 2: LAD 40-45 % with 55/41/3 proximal/mid/distal,
#: RCA 30-38 %, LCx 14-25 % over both arteries; smaller branches by general knowledge).
PLACES: dict[Artery, dict[int, float]] = {
    "LCA": {11: 2.5, 12: 20, 13: 15, 14: 1.2, 15: 4, 16: 2, 29: 0.5, 18: 8, 19: 6, 20: 4, 21: 1.5, 22: 0.5, 23: 1,
            24: 0.5, 25: 0.5, 27: 1, 28: 1},
    "RCA": {1: 12, 2: 13, 3: 7, 4: 2, 5: 1, 6: 0.8, 7: 0.4, 10: 0.6},
}  # fmt: skip

#: Worst severity of a diseased artery: bands (percent) and their shares.
BANDS, BAND_SHARES = ((25.0, 50.0), (50.0, 70.0), (70.0, 99.0)), (0.30, 0.35, 0.35)
#: Mean number of further lesions of 25 % or more: the LCA is two vessels.
FURTHER: dict[Artery, float] = {"LCA": 1.0, "RCA": 0.3}
IRREGULAR = (10.0, 24.0)
LEFT_MAIN = 11


def draw_lesions(
    artery: Artery, category: int, segments: tuple[int, ...], rng: np.random.Generator
) -> tuple[LesionPlan, ...]:
    """Lesions of one artery; the worst lies in the category, negatives carry 10-24 % irregularities.

    Parameters
    ----------
    artery : {'LCA', 'RCA'}
    category : int
        0: below 25 %, 1: 25-99 %, 2: 100 %.
    segments : tuple of int
        Those this patient's artery has.
    rng : numpy.random.Generator

    Returns
    -------
    tuple of LesionPlan, worst first
    """
    severities: list[float] = []
    if category == 1:
        low, high = BANDS[int(rng.choice(3, p=BAND_SHARES))]
        severities.append(_percent(rng, low, high))
    if category == 2:
        severities.append(100.0)
    if category > 0:
        ceiling = min(severities[0], 99.0)
        severities += sorted(
            (_percent(rng, 25.0, ceiling) for _ in range(min(rng.poisson(FURTHER[artery]), 3))), reverse=True
        )
    severities += [_percent(rng, *IRREGULAR) for _ in range(1 + min(rng.poisson(1.0), 3))]
    return _placed(artery, severities, segments, rng)


#: Segments that begin at an ostium or the main fork, and how far along them an occlusion lies at least.
ORIGINS = (1, 12, 18)
STUMP = 0.4


def _percent(rng: np.random.Generator, low: float, high: float) -> float:
    """A severity with one decimal, from ``low`` to ``high`` percent."""
    return float(np.round(rng.uniform(low, high), 1))


def _placed(
    artery: Artery, severities: list[float], segments: tuple[int, ...], rng: np.random.Generator
) -> tuple[LesionPlan, ...]:
    """One lesion a segment, without replacement; one in eight is the second of a tandem."""
    free = {number: weight for number, weight in PLACES[artery].items() if number in segments}
    lesions: list[LesionPlan] = []
    tandem = rng.random(len(severities)) < 1 / 8
    for severity, paired in zip(severities, tandem, strict=True):
        previous = lesions[-1] if lesions else None
        if paired and previous is not None and previous.length_mm < 15 and previous.segment != LEFT_MAIN:
            place = previous.position + (0.45 if previous.position < 0.5 else -0.45)
            lesions.append(_lesion(artery, previous.segment, place, severity, rng, longest=12.0))
            continue
        allowed = {n: w for n, w in free.items() if not (severity >= 100 and n == LEFT_MAIN)}
        if not allowed:
            break
        weights = np.array(list(allowed.values()))
        segment = int(rng.choice(list(allowed), p=weights / weights.sum()))
        del free[segment]
        place = _position(segment, rng)
        if severity >= 100 and segment in ORIGINS:
            place = max(place, STUMP)  # an ostial occlusion would leave nothing to inject into
        lesions.append(_lesion(artery, segment, place, severity, rng))
    return tuple(lesions)


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
        position=float(np.clip(position, 0.02, 0.98)),
        percent_stenosis=severity,
        length_mm=float(np.round(np.clip(length, 4.0, longest), 1)),
        eccentricity=float(rng.uniform(0, 0.8)),
        direction_deg=float(rng.uniform(0, 360)),
        skew=float(np.clip(rng.normal(0.03, 0.1), -0.25, 0.25)),
        plateau=float(rng.uniform(0.3, 0.6) if diffuse else rng.uniform(0, 0.25)),
    )
