"""Plans a simulated cohort: the paper's margins at 230 patients, the same distribution at any other size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from cag.anatomy import ARTERIES
from cag.settings import Settings, SettingsError
from cag.simulator.phantom.acquisition import draw_run
from cag.simulator.phantom.growth import segment_calibers
from cag.simulator.phantom.lesions import draw_lesions
from cag.simulator.phantom.plan import FrameSet, PatientPlan, RunPlan, stream
from cag.simulator.phantom.shares import Share, cohort_shares

#: Diameters against an average European man's: women -9 % (Dodge 1992), South Asian series.
WOMEN, ASIAN = 0.91, 0.92

_PATIENT, _LESIONS = 41, 42


class CohortSettings(Settings):
    """Size and seed of a simulated cohort."""

    patients: int = Field(24, ge=1, le=100_000)  # 230 reproduces the paper's tables exactly
    seed: int = Field(0, ge=0)
    size: int = Field(512, ge=64, le=2048)  # Rows and columns of every frame, pixels
    #: Seven standard views; a few patients of the frame-selection training set have one more.
    runs_per_patient: int = Field(7, ge=1, le=28)
    #: Length of a run; the paper's are 60-200.
    min_frames: int = Field(44, ge=40, le=1000)
    max_frames: int = Field(72, ge=40, le=1000)
    fps: float = Field(15.0, ge=7.5, le=60)  # frames a second

    @model_validator(mode="after")
    def _ordered(self) -> CohortSettings:
        if self.max_frames < self.min_frames:
            raise ValueError(f"max_frames {self.max_frames} is below min_frames {self.min_frames}")
        return self


@dataclass(frozen=True)
class CohortPlan:
    """Every patient and run of a cohort, sorted by id."""

    patients: tuple[PatientPlan, ...]
    runs: tuple[RunPlan, ...]

    def patient(self, patient_id: str) -> PatientPlan:
        """The patient of an id; raises KeyError."""
        found = next((patient for patient in self.patients if patient.patient_id == patient_id), None)
        if found is None:
            raise KeyError(f"no patient {patient_id!r} in this cohort")
        return found


def _patient(settings: CohortSettings, number: int, share: Share) -> PatientPlan:
    """One patient: the cohort's share, and a body, vessels and lesions of its own."""
    seed = _seed(settings.seed, number)
    rng = stream(seed, _PATIENT)
    vessels = (WOMEN if share.traits["sex"] == "F" else 1.0) * (ASIAN if share.traits["race"] == "asian" else 1.0)
    patient = replace(
        PatientPlan(f"P{number:04d}", seed, frame_set=share.frame_set),
        **share.traits,
        heart_scale=float(np.clip(rng.normal(1, 0.06), 0.84, 1.16)),
        body_scale=float(np.clip(0.96 + 0.006 * (share.traits["bmi"] - 22) + rng.normal(0, 0.03), 0.9, 1.14)),
        vessel_scale=float(vessels * np.exp(np.clip(rng.normal(0, 0.11), -0.25, 0.25))),
        tortuosity=float(np.clip(rng.gamma(2.0, 0.5), 0.15, 2.6)),
        ramus=bool(rng.random() < 0.22),
        sternal_wires=bool(rng.random() < 0.06),
        clips=bool(rng.random() < 0.06),
        pacing_leads=bool(rng.random() < 0.05),
        stents=bool(rng.random() < 0.12),
        calcium=float(rng.uniform(0.1, 1.0)) if rng.random() < 0.35 else 0.0,
    )
    lesions = [
        lesion
        for index, artery in enumerate(ARTERIES)
        for lesion in draw_lesions(
            artery, share.severity[index], segment_calibers(patient, artery), stream(seed, _LESIONS, index)
        )
    ]
    return replace(patient, lesions=tuple(lesions))


def _seed(*keys: int) -> int:
    """A seed of 63 bits from a path of numbers."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _runs(settings: CohortSettings, number: int, patient: PatientPlan, share: Share) -> list[RunPlan]:
    """The runs of one patient, in the order of their ids."""
    shape = ((settings.min_frames, settings.max_frames), settings.size, settings.fps)
    return [
        draw_run(patient, run, _seed(settings.seed, number, run), kind, _flag(patient, share, run), *shape)
        for run, kind in enumerate(share.kinds, start=1)
    ]


def _flag(patient: PatientPlan, share: Share, run: int) -> FrameSet:
    """The patient's part in frame selection, if the run takes part."""
    return patient.frame_set if run in share.flagged else "-"


def plan_cohort(settings: CohortSettings, numbers: Sequence[int] | None = None) -> CohortPlan:
    """Plan a cohort, or some of its patients alone: those are the same as within the whole.

    Parameters
    ----------
    settings : CohortSettings
    numbers : sequence of int, optional
        Patients to plan, from 1; default all.

    Raises
    ------
    SettingsError
        If a number is not in the cohort.
    """
    chosen = range(1, settings.patients + 1) if numbers is None else sorted(set(numbers))
    shares = cohort_shares(settings.patients, settings.runs_per_patient, settings.seed)
    patients: list[PatientPlan] = []
    runs: list[RunPlan] = []
    for number in chosen:
        if not 1 <= number <= settings.patients:
            remedy = f"Choose from 1 to {settings.patients}"
            raise SettingsError(f"there is no patient {number}", field="numbers", remedy=remedy)
        share = shares[number - 1]
        patients.append(_patient(settings, number, share))
        runs += _runs(settings, number, patients[-1], share)
    return CohortPlan(tuple(patients), tuple(runs))


_PATIENT_COLUMNS = (
    "patient_id", "sex", "age", "race", "bmi", "hypertension", "diabetes", "dyslipidemia", "smoker", "family_history",
    "previous_cva", "low_quality", "dominance",
)  # fmt: skip
_LESION_COLUMNS = ("artery", "segment", "percent_stenosis", "length_mm")


def patients_table(plan: CohortPlan) -> pd.DataFrame:
    """One row a patient: the columns of ``patients.csv``; ``set`` is the part in frame selection."""
    rows = [[getattr(patient, name) for name in _PATIENT_COLUMNS] + [patient.frame_set] for patient in plan.patients]
    return pd.DataFrame(rows, columns=[*_PATIENT_COLUMNS, "set"])


def lesions_table(plan: CohortPlan) -> pd.DataFrame:
    """One row a lesion, mild ones too: the columns of ``lesions.csv``."""
    rows = [
        [patient.patient_id] + [getattr(lesion, name) for name in _LESION_COLUMNS]
        for patient in plan.patients
        for lesion in patient.lesions
    ]
    return pd.DataFrame(rows, columns=["patient_id", *_LESION_COLUMNS])
