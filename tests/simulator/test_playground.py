"""The simulator by hand: what is chosen is what is shown, and what cannot be is refused."""

import numpy as np
import pytest
import torch

from cag.anatomy import ARTERIES, SEGMENTS, artery_of_segment
from cag.settings import SettingsError
from cag.simulator.phantom.growth import segment_calibers
from cag.simulator.phantom.motion import cardiac_phase
from cag.simulator.phantom.run import RunRenderer
from cag.simulator.playground import SHOWN, Choice, choose_plans, take_picture

SMALL = Choice(size=128)


def test_keeping_what_did_not_change_changes_no_pixel(demo):
    take_picture(demo, SMALL)
    single = ({"heart_phase": 0.3}, {"contrast_s": 4.0}, {"primary_angle": -30.0}, {"own_lesions": True})
    for move in ({"percent_stenosis": 90.0, "position": 0.8}, *single):
        choice = SMALL.model_copy(update=move)
        anew = RunRenderer(*choose_plans(demo, choice))
        assert torch.equal(torch.as_tensor(take_picture(demo, choice).frame), anew.render([SHOWN])[0]), move


@pytest.mark.parametrize(("phase", "seconds"), [(0.02, 8.0), (0.6, 0.0)])
def test_the_frame_is_of_the_chosen_moment(demo, phase, seconds):
    _, run = choose_plans(demo, SMALL.model_copy(update={"heart_phase": phase, "contrast_s": seconds}))
    assert cardiac_phase(run, np.array([SHOWN / run.fps]))[0] == pytest.approx(phase, abs=0.005)
    assert SHOWN / run.fps - run.injection_start_s == pytest.approx(seconds)


def test_the_profile_is_narrowest_at_the_lesion(demo):
    picture = take_picture(demo, SMALL.model_copy(update={"percent_stenosis": 70.0}))
    profile = picture.profile
    distance = np.abs(profile.arc - picture.lesion_arc)
    throat = int(distance.argmin())
    assert profile.diameter[throat] == pytest.approx(0.3 * profile.reference[throat], rel=1e-3)
    away = distance > SMALL.length_mm
    np.testing.assert_allclose(profile.diameter[away], profile.reference[away])
    assert np.nanmin(profile.measured[distance < 2]) < np.nanmedian(profile.measured[distance > 14])
    assert len(picture.other_boxes) == 0
    (box,) = picture.box
    assert box[0] < profile.x[throat] < box[2] and box[1] < profile.y[throat] < box[3]


@pytest.mark.parametrize(
    ("field", "value"),
    [("percent_stenosis", float("nan")), ("segment", 30), ("primary_angle", 91.0), ("contrast_s", 9.0), ("size", 63)],
)
def test_impossible_settings_are_refused_by_name(field, value):
    with pytest.raises(SettingsError, match=field):
        Choice.checked({field: value})


def test_what_the_cohort_or_the_patient_lacks_is_refused_by_name(demo):
    with pytest.raises(SettingsError, match=r"patient_id: there is no 'P0999'.*P0001 to P0024"):
        take_picture(demo, SMALL.model_copy(update={"patient_id": "P0999"}))
    has = {number for artery in ARTERIES for number in segment_calibers(demo.patients[0], artery)}
    lacking = max(set(SEGMENTS) - has - {9, 17})
    with pytest.raises(SettingsError, match=f"no segment {lacking}.*{artery_of_segment(lacking)} are"):
        take_picture(demo, SMALL.model_copy(update={"segment": lacking}))
