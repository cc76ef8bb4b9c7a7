"""The simulator by hand: what is chosen is what is shown, and what cannot be is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cag.anatomy import SEGMENTS, artery_of_segment
from cag.settings import SettingsError
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, plan_cohort
from cag.simulator.phantom.growth import segment_calibers
from cag.simulator.phantom.motion import cardiac_phase
from cag.simulator.phantom.run import RunRenderer
from cag.simulator.playground import SHOWN, Choice, choose_plans, take_picture

SMALL = Choice(size=128)


@pytest.fixture(scope="module")
def cohort() -> CohortPlan:
    return plan_cohort(CohortSettings(), [1, 2])


def test_keeping_what_did_not_change_changes_no_pixel(cohort: CohortPlan) -> None:
    take_picture(cohort, SMALL)
    moves: list[dict[str, object]] = [
        {"position": 0.8}, {"percent_stenosis": 90.0}, {"heart_phase": 0.3}, {"contrast_s": 4.0},
        {"primary_angle": -30.0}, {"own_lesions": True},
    ]  # fmt: skip
    for move in moves:
        choice = SMALL.model_copy(update=move)
        anew = RunRenderer(*choose_plans(cohort, choice))
        assert torch.equal(torch.as_tensor(take_picture(cohort, choice).frame), anew.render([SHOWN])[0]), move


@pytest.mark.parametrize("phase", [0.02, 0.6])
@pytest.mark.parametrize("seconds", [0.0, 8.0])
def test_the_frame_is_of_the_chosen_moment(cohort: CohortPlan, phase: float, seconds: float) -> None:
    _, run = choose_plans(cohort, SMALL.model_copy(update={"heart_phase": phase, "contrast_s": seconds}))
    assert cardiac_phase(run, np.array([SHOWN / run.fps]))[0] == pytest.approx(phase, abs=0.005)
    assert run.injection_start_s is not None
    assert SHOWN / run.fps - run.injection_start_s == pytest.approx(seconds)


@pytest.mark.parametrize("percent", [30.0, 70.0])
def test_the_profile_is_narrowest_at_the_lesion(cohort: CohortPlan, percent: float) -> None:
    picture = take_picture(cohort, SMALL.model_copy(update={"percent_stenosis": percent}))
    profile = picture.profile
    throat = int(np.abs(profile.arc - picture.lesion_arc).argmin())
    assert profile.diameter[throat] == pytest.approx((1 - percent / 100) * profile.reference[throat], rel=1e-3)
    away = np.abs(profile.arc - picture.lesion_arc) > SMALL.length_mm
    np.testing.assert_allclose(profile.diameter[away], profile.reference[away])
    near, away = np.abs(profile.arc - picture.lesion_arc) < 2, np.abs(profile.arc - picture.lesion_arc) > 14
    assert np.nanmin(profile.measured[near]) < np.nanmedian(profile.measured[away])
    assert len(picture.other_boxes) == 0
    (box,) = picture.box
    assert box[0] < profile.x[throat] < box[2] and box[1] < profile.y[throat] < box[3]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("percent_stenosis", -1.0), ("segment", 30), ("primary_angle", 91.0), ("contrast_s", 9.0), ("size", 63),
        ("percent_stenosis", float("nan")),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(SettingsError, match=field):
        Choice.checked({field: value})


def test_what_the_cohort_or_the_patient_lacks_is_refused_by_name(cohort: CohortPlan) -> None:
    with pytest.raises(SettingsError, match=r"patient_id: there is no 'P0999'.*P0001 to P0002"):
        take_picture(cohort, SMALL.model_copy(update={"patient_id": "P0999"}))
    has = {n for artery in ("LCA", "RCA") for n in segment_calibers(cohort.patients[0], artery)}  # type: ignore[arg-type]
    lacking = max(set(SEGMENTS) - has - {9, 17})
    with pytest.raises(SettingsError, match=f"no segment {lacking}.*{artery_of_segment(lacking)} are"):
        take_picture(cohort, SMALL.model_copy(update={"segment": lacking}))
