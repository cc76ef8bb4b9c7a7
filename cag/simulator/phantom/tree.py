"""A patient's coronary tree as samples along its vessels' centerlines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from cag.anatomy import Artery
from cag.settings import SettingsError
from cag.simulator.phantom.growth import grow_twigs, lay_branches
from cag.simulator.phantom.lesions import LesionPlan, PlacedLesion, shoulders
from cag.simulator.phantom.plan import PatientPlan
from cag.simulator.phantom.skeleton import PatientFrame, landmarks
from cag.simulator.phantom.vessel import Vessel


@dataclass(frozen=True)
class Tree:
    """One artery of one patient at end-diastole, all branches one after another.

    Coordinates are x patient left, y head, z anterior, in mm, from the landmark table's left ostium.
    Samples of a branch are contiguous and run from its origin to its end.
    """

    artery: Artery
    position: Float[np.ndarray, "n 3"]  # float32, mm
    radius: Float[np.ndarray, " n"]  # float32, mm: with disease; 0 at the throat of a total occlusion
    reference_radius: Float[np.ndarray, " n"]  # Without lesions, float32, mm
    step: Float[np.ndarray, " n"]  # Arc length that a sample stands for, float32, mm
    segment: Int[np.ndarray, " n"]  # Number in the 29-segment model; 0 is an unlabeled twig
    delay: Float[np.ndarray, " n"]  # float32, s: transit from the ostium; flow is slow beyond tight lesions
    branch: Int[np.ndarray, " n"]  # Index into ``branch_names``
    arc: Float[np.ndarray, " n"]  # From the branch's origin, float32, mm
    blocked: Bool[np.ndarray, " n"]  # Beyond a total occlusion
    branch_names: tuple[str, ...]
    parent: tuple[int, ...]  # Branch each branch leaves; -1 for the root
    parent_arc: tuple[float, ...]  # Where on the parent, mm
    lesions: tuple[PlacedLesion, ...]
    ostium: Float[np.ndarray, " 3"]  # float32, mm
    #: float32, mm: the heart's crux, center of the mitral ring and the left ventricle's apex.
    crux: Float[np.ndarray, " 3"]
    base: Float[np.ndarray, " 3"]
    apex: Float[np.ndarray, " 3"]


def build_tree(patient: PatientPlan, artery: Artery) -> Tree:
    """Build one artery of a patient, with its lesions.

    The course depends on the patient's seed and body alone: other lesions leave every vessel where
    it is. Both arteries lie in the same heart.

    Raises
    ------
    SettingsError
        If a lesion is planned in a segment this patient lacks, naming those there are.
    """
    frame = PatientFrame.of(patient)
    vessels = lay_branches(patient, artery, frame)
    vessels += grow_twigs(vessels, patient, artery, frame)
    throats = [_place(vessels, lesion) for lesion in patient.artery_lesions(artery)]
    delay = _flow(vessels)
    first = np.concatenate([[0], np.cumsum([len(vessel.arc) for vessel in vessels])])
    radius = np.concatenate([vessel.radius for vessel in vessels])
    reference = np.concatenate([vessel.reference for vessel in vessels])
    placed = []
    for lesion, (branch, throat) in zip(patient.artery_lesions(artery), throats, strict=True):
        arc = vessels[branch].arc
        begin, end = shoulders(lesion, float(arc[throat]), float(arc[-1]))
        low, high = np.searchsorted(arc, [begin, end]) + first[branch]
        sample = int(first[branch]) + throat
        widths = float(2 * reference[sample]), float(2 * radius[sample])
        last = int(max(high, sample + 1))
        placed.append(PlacedLesion(lesion, branch, float(arc[throat]), int(low), last, sample, *widths))
    ostium = vessels[0].curve[0]
    return Tree(
        artery=artery,
        position=_joined([vessel.curve for vessel in vessels]),
        radius=radius.astype(np.float32),
        reference_radius=reference.astype(np.float32),
        step=_joined([_steps(vessel, vessels) for vessel in vessels]),
        segment=np.concatenate([vessel.segment for vessel in vessels]),
        delay=_joined(delay),
        branch=np.repeat(np.arange(len(vessels), dtype=np.int32), np.diff(first)),
        arc=_joined([vessel.arc for vessel in vessels]),
        blocked=np.concatenate([vessel.blocked for vessel in vessels]),
        branch_names=tuple(vessel.name for vessel in vessels),
        parent=tuple(vessel.parent for vessel in vessels),
        parent_arc=tuple(0.0 if v.parent < 0 else float(vessels[v.parent].arc[v.joint]) for v in vessels),
        lesions=tuple(placed),
        ostium=ostium.astype(np.float32),
        crux=frame.point(landmarks()["crux"]).astype(np.float32),
        base=frame.base.astype(np.float32),
        apex=frame.apex.astype(np.float32),
    )


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """One float32 array from the vessels' arrays."""
    return np.concatenate(parts).astype(np.float32)


def _place(vessels: list[Vessel], lesion: LesionPlan) -> tuple[int, int]:
    """Narrow the vessel that carries the lesion's segment; its index and the throat's sample."""
    extents = [int((vessel.segment == lesion.segment).sum()) for vessel in vessels]
    branch = int(np.argmax(extents))
    if extents[branch] == 0:
        present = sorted({int(number) for vessel in vessels for number in vessel.segment} - {0})
        remedy = f"The segments of this {lesion.artery} are {', '.join(map(str, present))}"
        raise SettingsError(f"this patient has no segment {lesion.segment}", field="segment", remedy=remedy)
    own = np.flatnonzero(vessels[branch].segment == lesion.segment)
    throat = int(own[round(lesion.position * (len(own) - 1))])
    vessels[branch].narrow(lesion, throat)
    return branch, throat


def _flow(vessels: list[Vessel]) -> list[Float[np.ndarray, " n"]]:
    """Transit delay of every vessel, s; hands slow flow and blockage down to the children."""
    delays: list[Float[np.ndarray, " n"]] = []
    for vessel in vessels:
        start = 0.0
        if vessel.parent >= 0:
            trunk = vessels[vessel.parent]
            start = float(delays[vessel.parent][vessel.joint])
            vessel.slow = np.minimum(vessel.slow, trunk.slow[vessel.joint])
            vessel.blocked = vessel.blocked | trunk.blocked[vessel.joint]
        passage = np.diff(vessel.arc, prepend=0.0) / (vessel.speed * vessel.slow)
        delays.append(start + np.cumsum(passage))
    return delays


def _steps(vessel: Vessel, vessels: list[Vessel]) -> Float[np.ndarray, " n"]:
    """Arc each sample stands for, mm; 0 where a side branch still runs inside its parent's lumen."""
    gaps = np.diff(vessel.arc)
    steps = 0.5 * (np.append(gaps, 0.0) + np.append(0.0, gaps))
    if vessel.parent >= 0 and vessel.joint < len(vessels[vessel.parent].arc) - 1:
        steps[vessel.arc < 0.8 * vessels[vessel.parent].reference[vessel.joint]] = 0.0
    return steps
