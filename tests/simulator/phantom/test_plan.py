"""Plans refuse what cannot be, by name."""

from dataclasses import replace

import numpy as np
import pytest

from cag.settings import InputError
from cag.simulator.phantom.plan import LesionPlan, PatientPlan, RunPlan, stream

LESION = LesionPlan("RCA", 2, 0.5, 60.0, 12.0)
RUN = RunPlan("P0001_R01", "P0001", 1, "RCA", "RCA LAO", 40.0, 0.0, catheter="JR4")


@pytest.mark.parametrize(
    ("good", "field", "value"),
    [
        (LESION, "percent_stenosis", 100.5), (LESION, "percent_stenosis", float("nan")), (LESION, "position", 1.2),
        (LESION, "length_mm", 90.0), (LESION, "segment", 12),
        (RUN, "primary_angle", 91.0), (RUN, "secondary_angle", -91.0), (RUN, "rows", 63), (RUN, "catheter", "JL4"),
        (RUN, "injection_start_s", -1.0),
        (PatientPlan("P0001", 1), "dominance", "middle"), (PatientPlan("P0001", 1), "seed", -1),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_field(good, field, value):
    with pytest.raises(InputError, match=field):
        replace(good, **{field: value})


def test_streams_are_independent_of_order():
    first = stream(5, 1).random(3)
    stream(5, 2).random(7)
    np.testing.assert_array_equal(first, stream(5, 1).random(3))
    assert not np.array_equal(first, stream(5, 2).random(3))
