"""The playground's drawing and its panel."""

from __future__ import annotations

import ipywidgets as widgets
import pytest
from matplotlib.patches import Rectangle

from cag.anatomy import SEGMENTS
from cag.book.figures.playground import angle_text, draw_picture, playground_still
from cag.book.figures.playground_panel import PlaygroundPanel, open_playground
from cag.simulator.phantom.branches import available_segments
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, plan_cohort
from cag.simulator.playground import Choice, take_picture

SMALL = Choice(size=96)


@pytest.fixture(scope="module")
def cohort() -> CohortPlan:
    return plan_cohort(CohortSettings(), [1])


@pytest.mark.parametrize(
    ("angles", "text"),
    [((-20, 33), "RAO 20 CRA 33"), ((40, 0), "LAO 40 CRA 0"), ((5, -28), "LAO 5 CAU 28")],
)
def test_angles_are_spoken(angles: tuple[float, float], text: str) -> None:
    assert angle_text(*angles) == text


def test_the_still_shows_frame_box_and_profile() -> None:
    frame, profile = playground_still(SMALL).axes
    assert frame.get_images()[0].get_array().shape == (96, 96)
    assert any(isinstance(patch, Rectangle) for patch in frame.patches)
    labels = [line.get_label() for line in profile.get_lines()]
    assert labels == ["without lesion", "true", "measured in the frame"]


def test_a_missing_box_is_explained(cohort: CohortPlan) -> None:
    figure = draw_picture(take_picture(cohort, SMALL.model_copy(update={"contrast_s": 0.0})))
    assert "no box" in figure.axes[0].texts[0].get_text()


def test_the_panel_answers_each_control(cohort: CohortPlan) -> None:
    panel = PlaygroundPanel(cohort, SMALL)
    (image,) = panel.answer.children
    assert isinstance(image, widgets.Image) and bytes(image.value).startswith(b"\x89PNG")
    for name, value in (("primary_angle", 10.0), ("percent_stenosis", 90.0), ("contrast_s", 1.0)):
        before = image.value
        panel.controls[name].value = value
        assert image.value != before, name


def test_a_lacking_segment_is_refused_in_the_pictures_place(cohort: CohortPlan) -> None:
    panel = PlaygroundPanel(cohort, SMALL)
    (image,) = panel.answer.children
    has = {n for artery in ("LCA", "RCA") for n in available_segments(cohort.patients[0], artery)}  # type: ignore[arg-type]
    panel.controls["segment"].value = max(set(SEGMENTS) - has - {9, 17})
    (refusal,) = panel.answer.children
    assert isinstance(refusal, widgets.HTML) and "this patient has no segment" in refusal.value
    panel.controls["segment"].value = 1
    assert panel.answer.children == (image,)


@pytest.mark.parametrize(
    "parameters",
    [{"percent_stenosis": 150.0}, {"primary_angle": -91.0}, {"size": 63}, {"patient_id": "P9999"}, {"patients": 0}],
)
def test_impossible_parameters_are_answered_by_a_sentence(parameters: dict[str, object]) -> None:
    answer = open_playground(parameters)
    assert isinstance(answer, widgets.HTML)
    assert next(iter(parameters)) in answer.value and "Traceback" not in answer.value
