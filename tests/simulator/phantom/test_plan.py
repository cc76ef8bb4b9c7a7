"""Plans refuse what cannot be, by name."""

from __future__ import annotations

import numpy as np
import pytest

from cag.settings import InputError
from cag.simulator.phantom.plan import LesionPlan, PatientPlan, RunPlan, stream


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("percent_stenosis", 100.5),
        ("percent_stenosis", float("nan")),
        ("position", 1.2),
        ("length_mm", 90.0),
        ("segment", 12),
    ],
)
def test_impossible_lesion_is_refused_by_field(field: str, value: float) -> None:
    good = {"artery": "RCA", "segment": 2, "position": 0.5, "percent_stenosis": 60.0, "length_mm": 12.0}
    LesionPlan(**good)
    with pytest.raises(InputError, match=field):
        LesionPlan(**{**good, field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("primary_angle", 91.0),
        ("secondary_angle", -91.0),
        ("rows", 63),
        ("catheter", "JL4"),
        ("injection_start_s", -1.0),
    ],
)
def test_impossible_run_is_refused_by_field(field: str, value: float) -> None:
    good = {"run_id": "P0001_R01", "patient_id": "P0001", "seed": 1, "artery": "RCA", "view": "RCA LAO"}
    good |= {"primary_angle": 40.0, "secondary_angle": 0.0, "catheter": "JR4"}
    RunPlan(**good)
    with pytest.raises(InputError, match=field):
        RunPlan(**{**good, field: value})


def test_impossible_patient_is_refused_by_field() -> None:
    with pytest.raises(InputError, match="dominance"):
        PatientPlan("P0001", 1, dominance="middle")
    with pytest.raises(InputError, match="seed"):
        PatientPlan("P0001", -1)


def test_severity_is_the_worst_lesion() -> None:
    lesions = (LesionPlan("LCA", 13, 0.5, 30.0, 10.0), LesionPlan("RCA", 2, 0.5, 80.0, 10.0))
    patient = PatientPlan("P0001", 1, lesions=lesions)
    assert (patient.severity("LCA"), patient.severity("RCA"), patient.severity()) == (30.0, 80.0, 80.0)
    assert PatientPlan("P0002", 1).severity() == 0.0


def test_streams_are_independent_of_order() -> None:
    first = stream(5, 1).random(3)
    stream(5, 2).random(7)
    np.testing.assert_array_equal(first, stream(5, 1).random(3))
    assert not np.array_equal(first, stream(5, 2).random(3))
