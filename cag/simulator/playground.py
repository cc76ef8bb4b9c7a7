"""The simulator by hand: one frame of a chosen patient, view, lesion, heart phase and contrast time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field

from cag.anatomy import SEGMENTS, artery_of_segment, view_from_angles
from cag.metrics.vessels import lumen_widths
from cag.settings import Settings, SettingsError
from cag.simulator.phantom.background import Background
from cag.simulator.phantom.cohort import CohortPlan
from cag.simulator.phantom.detector import Detector
from cag.simulator.phantom.lesions import LesionPlan
from cag.simulator.phantom.motion import cardiac_phase
from cag.simulator.phantom.plan import PatientPlan, RunPlan
from cag.simulator.phantom.run import RunRenderer

#: Latest time after the injection's beginning, s.
LATEST_S = 8.0
#: The frame that is shown, of a run just long enough for it.
SHOWN, N_FRAMES = 12, 13
#: The same injection for every patient: duration (s) and share of contrast in the blood.
INJECTION_S, MIXING = 3.2, 0.8
#: Largest detector pixel, mm: pictures so small that they need a larger one show a smaller field.
LARGEST_PIXEL = 2.0


class Choice(Settings):
    """What the playground shows."""

    patient_id: str = "P0001"  # Of the cohort
    #: 1-29: segment that carries the lesion; it also says which artery is injected.
    segment: int = Field(2, ge=min(SEGMENTS), le=max(SEGMENTS))
    position: float = Field(0.5, ge=0, le=1)  # Where the lesion lies along the segment, 0-1
    percent_stenosis: float = Field(65.0, ge=0, le=100)  # 0-100
    length_mm: float = Field(14.0, ge=2, le=60)  # 2-60
    #: LAO+ and CRA+, degrees, within +-90.
    primary_angle: float = Field(40.0, ge=-90, le=90)
    secondary_angle: float = Field(0.0, ge=-90, le=90)
    #: 0-1: of the cardiac cycle: 0 is end-diastole, about a third end-systole.
    heart_phase: float = Field(0.8, ge=0, le=1)
    contrast_s: float = Field(2.0, ge=0, le=LATEST_S)  # Time since contrast began to leave the catheter, 0-8
    own_lesions: bool = False  # Whether the patient's own lesions are there as well
    size: int = Field(256, ge=64, le=2048)  # Rows and columns of the frame, pixels, 64-2048


@dataclass(frozen=True)
class Profile:
    """The lumen along the segment, from its beginning to its end."""

    arc: Float[np.ndarray, " n"]  # mm
    #: True, with and without lesions, mm.
    diameter: Float[np.ndarray, " n"]
    reference: Float[np.ndarray, " n"]
    measured: Float[np.ndarray, " n"]  # mm: measured across the vessel in the frame; NaN where it does not show
    #: The segment's course in the frame, px.
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Picture:
    """What the playground answers to a choice."""

    choice: Choice
    view: str  # The standard view of the angles, if it is one
    frame: UInt8[np.ndarray, "h w"]
    #: Px: half-open box of the moved lesion, none where the rules call it invisible; boxes of the patient's own.
    box: Float[np.ndarray, "k 4"]
    other_boxes: Float[np.ndarray, "m 4"]
    lesion_arc: float  # mm: where along ``profile.arc`` the lesion's throat lies
    profile: Profile


def choose_plans(cohort: CohortPlan, choice: Choice) -> tuple[PatientPlan, RunPlan]:
    """The patient with the chosen lesion, and a run whose frame ``SHOWN`` is the chosen moment.

    Exposure, look and catheter are those of the patient's first run of that artery; breath is held and
    the table rests.

    Raises
    ------
    SettingsError
        Naming an unknown patient, or an artery without a run.
    """
    patient = next((p for p in cohort.patients if p.patient_id == choice.patient_id), None)
    if patient is None:
        ids = [p.patient_id for p in cohort.patients]
        problem, remedy = f"there is no {choice.patient_id!r} in this cohort", f"Choose from {ids[0]} to {ids[-1]}"
        raise SettingsError(problem, field="patient_id", remedy=remedy)
    artery = artery_of_segment(choice.segment)
    own = next((r for r in cohort.runs if r.patient_id == patient.patient_id and r.artery == artery), None)
    if own is None:
        remedy = "Simulate more runs a patient"
        raise SettingsError(f"this patient has no run of the {artery}", field="segment", remedy=remedy)
    lesions = patient.lesions if choice.own_lesions else ()
    # concentric, so that it leaves the vessel's course where it is
    moved = LesionPlan(artery, choice.segment, choice.position, choice.percent_stenosis, choice.length_mm, skew=0.0)
    return replace(patient, lesions=(*lesions, moved)), _timed(_viewed(own, choice), choice)


def _viewed(run: RunPlan, choice: Choice) -> RunPlan:
    """A run as seen from the chosen angles; whatever the moment, it is the same plan."""
    return replace(
        run,
        view=view_from_angles(choice.primary_angle, choice.secondary_angle, run.artery),
        primary_angle=choice.primary_angle,
        secondary_angle=choice.secondary_angle,
        rows=choice.size,
        columns=choice.size,
        pixel_mm=min(run.pixel_mm * run.columns / choice.size, LARGEST_PIXEL),
        n_frames=N_FRAMES,
        fps=1.0,
        heart_phase=0.0,
        breathing_mm=0.0,
        panning_mm=0.0,
        injection_start_s=0.0,
        injection_s=INJECTION_S,
        mixing=MIXING,
    )


def _timed(run: RunPlan, choice: Choice) -> RunPlan:
    """The run with frame ``SHOWN`` in the chosen heart phase and as long after the injection as chosen.

    The frame is taken from the first whole beat after ``LATEST_S``; frame rate and injection are fitted to it.
    """
    times = np.arange(LATEST_S, N_FRAMES, 1 / 240)
    phase = cardiac_phase(run, times)
    begin, end = np.flatnonzero(np.diff(phase) < 0)[:2] + 1
    moment = float(np.interp(choice.heart_phase, phase[begin:end], times[begin:end]))
    return replace(run, fps=SHOWN / moment, injection_start_s=moment - choice.contrast_s)


@lru_cache(maxsize=6)
def _backdrop(patient: PatientPlan, run: RunPlan) -> tuple[Background, Detector]:
    """What a view shows behind the vessels and how it is exposed: the same for every moment and moved lesion."""
    renderer = RunRenderer(patient, run)
    return renderer.background, renderer.detector


def open_renderer(cohort: CohortPlan, choice: Choice) -> RunRenderer:
    """A renderer whose frame ``SHOWN`` is what was chosen; an unchanged view or lesion is not built again.

    Raises
    ------
    SettingsError
        Naming what the cohort or the patient lacks.
    """
    patient, run = choose_plans(cohort, choice)
    renderer = RunRenderer(patient, run)
    _ = renderer.scene  # refuses a segment that this patient lacks, before anything is rendered
    unmoved, any_moment = replace(patient, lesions=patient.lesions[:-1]), replace(run, fps=1.0, injection_start_s=0.0)
    renderer.background, renderer.detector = _backdrop(unmoved, any_moment)
    return renderer


def measure_profile(renderer: RunRenderer, frame: UInt8[np.ndarray, "h w"]) -> tuple[Profile, float]:
    """The lumen along the moved lesion's segment, and where its throat lies on it (mm)."""
    scene, lesion = renderer.scene, renderer.scene.tree.lesions[-1]
    tree = scene.tree
    own = np.flatnonzero((tree.segment == lesion.plan.segment) & (tree.branch == lesion.branch))
    where = scene.vessels(torch.tensor([SHOWN]))
    x, y, scale = (values[0, torch.from_numpy(own)].double().numpy() for values in (where.x, where.y, where.scale))
    arc = tree.arc[own].astype(float)
    reference = 2.0 * tree.reference_radius[own].astype(float)
    measured = lumen_widths(frame.astype(float), x, y, (reference + 1.5) * scale) / scale
    profile = Profile(arc - arc[0], 2.0 * tree.radius[own].astype(float), reference, measured, x, y)
    return profile, float(lesion.arc_throat - arc[0])


def take_picture(cohort: CohortPlan, choice: Choice) -> Picture:
    """Render what was chosen, measure its lumen, and box its lesion.

    Raises
    ------
    SettingsError
        Naming a patient the cohort lacks, or a segment the patient lacks.
    """
    renderer = open_renderer(cohort, choice)
    frame = renderer.render([SHOWN])[0].numpy()
    boxes, lesion = renderer.boxes([SHOWN]), renderer.scene.tree.lesions[-1]
    moved = (boxes["segment"] == choice.segment) & (boxes["minimal_mm"] == lesion.minimal_diameter_mm)
    moved &= boxes["percent_stenosis"] == choice.percent_stenosis
    corners = boxes[["x1", "y1", "x2", "y2"]].to_numpy(float)
    profile, lesion_arc = measure_profile(renderer, frame)
    return Picture(choice, renderer.run.view, frame, corners[moved], corners[~moved], lesion_arc, profile)
