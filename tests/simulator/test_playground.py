"""The simulator by hand: what is chosen is what is shown, and what cannot be is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cag.anatomy import SEGMENTS, artery_of_segment
from cag.settings import SettingsError
from cag.simulator.phantom.branches import available_segments
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, plan_cohort
from cag.simulator.phantom.run import RunRenderer
from cag.simulator.playground import SHOWN, Choice, choose_plans, measure_profile, open_renderer, take_picture

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


@pytest.mark.parametrize("phase", [0.02, 0.35, 0.6, 0.97])
@pytest.mark.parametrize("seconds", [0.0, 2.5, 8.0])
def test_the_frame_is_of_the_chosen_moment(cohort: CohortPlan, phase: float, seconds: float) -> None:
    patient, run = choose_plans(cohort, SMALL.model_copy(update={"heart_phase": phase, "contrast_s": seconds}))
    renderer = RunRenderer(patient, run)
    assert float(renderer.scene.motion.phase[SHOWN]) == pytest.approx(phase, abs=0.005)
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
    (box,) = picture.box
    assert box[0] < profile.x[throat] < box[2] and box[1] < profile.y[throat] < box[3]


def test_a_tight_lesion_is_measured_in_the_frame(cohort: CohortPlan) -> None:
    choice = Choice(percent_stenosis=75, size=512)
    renderer = open_renderer(cohort, choice)
    profile, lesion_arc = measure_profile(renderer, renderer.render([SHOWN])[0].numpy())
    near = np.abs(profile.arc - lesion_arc) < 2
    away = np.abs(profile.arc - lesion_arc) > choice.length_mm
    share = np.nanmedian(profile.measured[away] / profile.reference[away])
    assert 0.75 < share < 1.25
    assert np.nanmin(profile.measured[near]) < 0.65 * np.nanmedian(profile.measured[away])


def test_without_contrast_there_is_no_box(cohort: CohortPlan) -> None:
    assert len(take_picture(cohort, SMALL.model_copy(update={"contrast_s": 0.0})).box) == 0


def test_own_lesions_get_boxes_of_their_own(cohort: CohortPlan) -> None:
    alone, all_of_them = (take_picture(cohort, SMALL.model_copy(update={"own_lesions": own})) for own in (False, True))
    assert len(alone.other_boxes) == 0
    patient = cohort.patients[0]
    assert len(all_of_them.other_boxes) <= len(patient.artery_lesions("RCA"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("percent_stenosis", -1.0), ("percent_stenosis", 100.5), ("segment", 0), ("segment", 30), ("position", 1.1),
        ("length_mm", 1.0), ("primary_angle", 91.0), ("secondary_angle", -90.5), ("heart_phase", 1.2),
        ("contrast_s", 9.0), ("size", 63), ("percent_stenosis", float("nan")),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(SettingsError, match=field):
        Choice.checked({field: value})


def test_what_the_cohort_or_the_patient_lacks_is_refused_by_name(cohort: CohortPlan) -> None:
    with pytest.raises(SettingsError, match=r"patient_id: there is no 'P0999'.*P0001 to P0002"):
        take_picture(cohort, SMALL.model_copy(update={"patient_id": "P0999"}))
    has = {n for artery in ("LCA", "RCA") for n in available_segments(cohort.patients[0], artery)}  # type: ignore[arg-type]
    lacking = max(set(SEGMENTS) - has - {9, 17})
    with pytest.raises(SettingsError, match=f"no segment {lacking}.*{artery_of_segment(lacking)} are"):
        take_picture(cohort, SMALL.model_copy(update={"segment": lacking}))


def test_the_smallest_size_is_possible(cohort: CohortPlan) -> None:
    assert take_picture(cohort, SMALL.model_copy(update={"size": 64})).frame.shape == (64, 64)
