"""What is decided about a simulated patient and run before anything is built or rendered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from cag.anatomy import ARTERIES, VIEWS, Artery
from cag.settings import SettingsError
from cag.simulator.phantom.lesions import LesionPlan, check_range

Dominance = Literal["right", "left", "co"]
DOMINANCES: tuple[Dominance, ...] = get_args(Dominance)
FrameSet = Literal["frame_train", "frame_test", "-"]

#: Display characters of the vendors' image processing.
Look = Literal["neutral", "soft", "crisp", "contrasty"]
LOOKS: tuple[Look, ...] = get_args(Look)

#: Diagnostic catheters, by the artery they engage.
CATHETERS: dict[Artery, tuple[str, ...]] = {"LCA": ("JL4", "AL2", "EBU"), "RCA": ("JR4", "AR1", "3DRC")}


def stream(seed: int, *keys: int) -> np.random.Generator:
    """The random generator of one purpose: independent of every other ``keys`` and of the order of use."""
    return np.random.default_rng([seed, *keys])


@dataclass(frozen=True)
class PatientPlan:
    """A simulated patient: who, how the heart lies, what is diseased, what else is in the picture.

    Raises
    ------
    SettingsError
        Naming the field and its range.
    """

    patient_id: str  # Such as ``P0007``
    seed: int  # Everything anatomical is drawn from it, each purpose by its own stream, >= 0
    sex: Literal["M", "F"] = "M"
    age: int = 62  # years
    race: Literal["white", "black", "asian", "other"] = "white"
    bmi: float = 26.0  # kg/m2
    hypertension: bool = False
    diabetes: bool = False
    dyslipidemia: bool = False
    smoker: bool = False
    family_history: bool = False
    previous_cva: bool = False
    dominance: Dominance = "right"
    heart_scale: float = 1.0  # Size of the heart and its vessels' course, about 1 +- 0.06
    body_scale: float = 1.0  # Size of the chest, about 0.95-1.12
    vessel_scale: float = 1.0  # Factor on every diameter: sex (women -9 %, Dodge 1992), population, individual spread
    tortuosity: float = 0.9  # about 0.2-2.5
    ramus: bool = False  # Whether a ramus intermedius leaves the left main
    lesions: tuple[LesionPlan, ...] = field(default=())  # Of both arteries, mild irregularities included
    sternal_wires: bool = False
    clips: bool = False
    pacing_leads: bool = False
    stents: bool = False
    calcium: float = 0.0  # Amount of radiopaque calcium in the vessel walls, 0-1
    low_quality: bool = False  # Out of training, in evaluation
    frame_set: FrameSet = "-"  # Part in frame selection

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name, limits in _PATIENT_RANGES.items():
            check_range(name, getattr(self, name), *limits)
        if self.dominance not in DOMINANCES:
            raise SettingsError(
                f"{self.dominance!r} is no dominance", field="dominance", remedy=f"Choose one of {DOMINANCES}"
            )

    def artery_lesions(self, artery: Artery) -> tuple[LesionPlan, ...]:
        """This patient's lesions of one artery."""
        return tuple(lesion for lesion in self.lesions if lesion.artery == artery)

    def severity(self, artery: Artery | None = None) -> float:
        """Worst percent diameter stenosis of one artery, or of both; 0 without lesions."""
        return max((x.percent_stenosis for x in self.lesions if artery in (None, x.artery)), default=0.0)

    def view_severity(self, view: str) -> float:
        """Worst percent stenosis of the segments that label a view; 0 without lesions."""
        own = VIEWS[view].segments
        return max((lesion.percent_stenosis for lesion in self.lesions if lesion.segment in own), default=0.0)


_PATIENT_RANGES = {
    "seed": (0, 2**63 - 1), "heart_scale": (0.7, 1.4), "body_scale": (0.7, 1.4), "vessel_scale": (0.4, 2.0),
    "tortuosity": (0, 4), "calcium": (0, 1),
}  # fmt: skip


@dataclass(frozen=True)
class RunPlan:
    """One cine run: geometry, timing, injection, exposure and look.

    Raises
    ------
    SettingsError
        Naming the field and its range.
    """

    #: Such as ``P0007_R03`` and ``P0007``.
    run_id: str
    patient_id: str
    seed: int  # >= 0
    artery: Artery
    view: str  # A key of ``cag.anatomy.VIEWS`` or ``NO_STANDARD_VIEW``
    #: Degrees, within +-90: LAO+ and CRA+ (DICOM PS3.3 C.8.7.5).
    primary_angle: float
    secondary_angle: float
    n_frames: int = 60  # >= 1
    fps: float = 15.0  # frames a second
    heart_rate: float = 65.0  # beats a minute, 30-200
    heart_phase: float = 0.0  # Phase of the cardiac cycle at the first frame, 0-1
    contractility: float = 0.9  # How far the heart contracts, as a share of the strongest, 0-1
    injection_start_s: float | None = 1.0  # When contrast begins to leave the catheter; None is a run without injection
    injection_s: float = 3.0  # Duration of the injection
    mixing: float = 0.8  # 0-1: share of contrast in the blood while injecting; small in a weak injection
    breathing_mm: float = 0.0  # Caudal excursion; 0 in breath-hold
    breathing_s: float = 4.3  # Period of a breath
    panning_mm: float = 0.0  # How far the table travels in the run; 0 is a still table
    panning_deg: float = 0.0  # Direction of that travel in the detector's plane
    #: Source to detector and source to isocenter, mm.
    sid: float = 1050.0
    sod: float = 760.0
    pixel_mm: float = 0.33  # Detector pixel pitch
    #: Detected quanta a pixel where the image is of median brightness; the noise variance there is 1/photons.
    photons: float = 210.0
    look: Look = "neutral"
    catheter: str = "JL4"  # One of ``CATHETERS[artery]``
    #: >= 64.
    rows: int = 512
    columns: int = 512
    frame_set: FrameSet = "-"  # Part in frame selection

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name, limits in _RUN_RANGES.items():
            check_range(name, getattr(self, name), *limits)
        if self.artery not in ARTERIES:
            raise SettingsError(f"{self.artery!r} is no artery", field="artery", remedy=f"Choose one of {ARTERIES}")
        if self.catheter not in CATHETERS[self.artery]:
            remedy = f"Those of the {self.artery} are {', '.join(CATHETERS[self.artery])}"
            raise SettingsError(f"{self.catheter!r} is no catheter of this artery", field="catheter", remedy=remedy)
        if self.injection_start_s is not None:
            check_range("injection_start_s", self.injection_start_s, 0, 60)


_RUN_RANGES = {
    "seed": (0, 2**63 - 1), "primary_angle": (-90, 90), "secondary_angle": (-90, 90), "n_frames": (1, 2000),
    "fps": (1, 60), "heart_rate": (30, 200), "heart_phase": (0, 1), "contractility": (0, 1), "injection_s": (0.05, 20),
    "mixing": (0, 1), "breathing_mm": (0, 40), "breathing_s": (1, 15), "panning_mm": (0, 100), "sid": (600, 1500),
    "sod": (500, 1000), "pixel_mm": (0.05, 4), "photons": (1, 10_000), "rows": (64, 2048), "columns": (64, 2048),
}  # fmt: skip
