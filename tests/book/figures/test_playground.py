"""The playground's drawing and its panel."""

import pytest
from IPython.display import HTML, Image
from matplotlib.patches import Rectangle

from cag.anatomy import SEGMENTS
from cag.book.figures.playground import draw_picture, open_playground, playground_still
from cag.simulator.phantom.cohort import CohortSettings, plan_cohort
from cag.simulator.phantom.growth import segment_calibers
from cag.simulator.playground import Choice, take_picture

SMALL = Choice(size=96)


@pytest.fixture(scope="module")
def cohort():
    return plan_cohort(CohortSettings(), [1])


def test_the_still_shows_frame_box_and_profile():
    frame, profile = playground_still(SMALL).axes
    assert frame.get_images()[0].get_array().shape == (96, 96)
    assert any(isinstance(patch, Rectangle) for patch in frame.patches)
    assert frame.get_title() == "LAO 40 CRA 0 (RCA LAO)"
    labels = [line.get_label() for line in profile.get_lines()]
    assert labels == ["without lesion", "true", "measured in the frame"]


def test_a_missing_box_is_explained_and_angles_are_spoken(cohort):
    empty = {"contrast_s": 0.0, "primary_angle": -20.0, "secondary_angle": -33.0}
    figure = draw_picture(take_picture(cohort, SMALL.model_copy(update=empty)))
    assert "no box" in figure.axes[0].texts[0].get_text()
    assert figure.axes[0].get_title().startswith("RAO 20 CAU 33")


def test_the_panel_answers_each_control_and_refuses_in_the_pictures_place(cohort):
    panel = open_playground({"size": 96, "patients": 1})
    controls = {control._kwarg: control for control in panel.children[:-1]}
    assert set(controls) == set(Choice.model_fields) - {"size"}
    seen = [panel.result.data]
    for name, value in (("primary_angle", 10.0), ("percent_stenosis", 90.0), ("contrast_s", 1.0)):
        controls[name].value = value
        seen.append(panel.result.data)
    assert len(set(seen)) == 4 and all(picture.startswith(b"\x89PNG") for picture in seen)
    has = {n for artery in ("LCA", "RCA") for n in segment_calibers(cohort.patients[0], artery)}
    controls["segment"].value = max(set(SEGMENTS) - has - {9, 17})
    assert isinstance(panel.result, HTML) and "this patient has no segment" in panel.result.data
    controls["segment"].value = 1
    assert isinstance(panel.result, Image)


@pytest.mark.parametrize(
    "parameters",
    [{"percent_stenosis": 150.0}, {"primary_angle": -91.0}, {"size": 63}, {"patient_id": "P9999"}, {"patients": 0}],
)
def test_impossible_parameters_are_answered_by_a_sentence(parameters):
    answer = open_playground(parameters)
    assert isinstance(answer, HTML) and next(iter(parameters)) in answer.data
