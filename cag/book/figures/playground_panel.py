"""The playground in JupyterLab: sliders, and the picture or the sentence that answers them."""

from __future__ import annotations

import html
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import ipywidgets as widgets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from pydantic import Field

from cag.anatomy import SEGMENTS
from cag.book.figures.playground import draw_picture
from cag.settings import InputError, notebook_parameters
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, plan_cohort
from cag.simulator.playground import LATEST_S, Choice, take_picture

#: Dots an inch of the picture.
DPI = 90
#: Control -> label, lowest and highest value, step.
_SLIDERS: dict[str, tuple[str, float, float, float]] = {
    "primary_angle": ("RAO - / LAO +", -90, 90, 1),
    "secondary_angle": ("CAU - / CRA +", -90, 90, 1),
    "position": ("lesion's place", 0, 1, 0.02),
    "percent_stenosis": ("stenosis, %", 0, 100, 1),
    "length_mm": ("its length, mm", 2, 60, 1),
    "heart_phase": ("heart phase", 0, 1, 0.02),
    "contrast_s": ("contrast, s", 0, LATEST_S, 0.1),
}


class PlaygroundSettings(Choice):
    """What notebook 00 is told: the cohort, and the choice it opens with."""

    patients: int = Field(24, ge=1, le=100_000)
    seed: int = Field(0, ge=0)


def picture_png(cohort: CohortPlan, choice: Choice) -> bytes:
    """The picture of a choice as PNG; raises SettingsError for what the cohort or the patient lacks."""
    figure = draw_picture(take_picture(cohort, choice))
    figure.set_dpi(DPI)
    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def sentence(error: InputError) -> widgets.HTML:
    """A refusal in the place of what was asked for."""
    return widgets.HTML(f"<p><b>Not possible:</b> {html.escape(str(error))}</p>")


class PlaygroundPanel:
    """Controls beside the picture they choose.

    Parameters
    ----------
    cohort : CohortPlan
    choice : Choice
        What is shown first.

    Attributes
    ----------
    controls : dict of str to widget
        By the name of the choice's field.
    answer : ipywidgets.Box
        Holds the picture, or the sentence that refuses the choice.
    widget : ipywidgets.Box
        The whole.
    """

    def __init__(self, cohort: CohortPlan, choice: Choice) -> None:
        self.cohort, self._size = cohort, choice.size
        self._image = widgets.Image(format="png")
        self.answer = widgets.VBox([self._image])
        self.controls = _controls(cohort, choice)
        for control in self.controls.values():
            control.observe(self._changed, names="value")
        columns = widgets.VBox(list(self.controls.values()), layout=widgets.Layout(min_width="330px"))
        self.widget = widgets.HBox([columns, self.answer], layout=widgets.Layout(flex_flow="row wrap"))
        self.update()

    def update(self) -> None:
        """Show what the controls say, or say why it cannot be."""
        values = {name: control.value for name, control in self.controls.items()}
        try:
            self._image.value = picture_png(self.cohort, Choice.checked({**values, "size": self._size}))
            self.answer.children = (self._image,)
        except InputError as error:
            self.answer.children = (sentence(error),)

    def _changed(self, _: object) -> None:
        self.update()


def _controls(cohort: CohortPlan, choice: Choice) -> dict[str, Any]:
    """One control for every field of a choice but its size; sliders report when they are let go."""
    ids = [patient.patient_id for patient in cohort.patients]
    # segments that a patient lacks stay in the list: the answer names those there are
    segments = [(f"{number} {name}", number) for number, name in SEGMENTS.items()]
    found: dict[str, Any] = {
        "patient_id": widgets.Dropdown(options=ids, value=choice.patient_id, description="patient"),
        "segment": widgets.Dropdown(options=segments, value=choice.segment, description="segment"),
    }
    for name, (label, low, high, step) in _SLIDERS.items():
        shown = {"description": label, "continuous_update": False, "style": {"description_width": "100px"}}
        found[name] = widgets.FloatSlider(
            value=getattr(choice, name), min=low, max=high, step=step, readout_format=".4g", **shown
        )
    found["own_lesions"] = widgets.Checkbox(value=choice.own_lesions, description="the patient's own lesions too")
    return found


def open_playground(namespace: Mapping[str, Any]) -> widgets.Widget:
    """The panel for a notebook's parameters, or the sentence that refuses them.

    Parameters
    ----------
    namespace : mapping
        The notebook's ``globals()``, which hold the fields of ``PlaygroundSettings``.
    """
    try:
        settings = notebook_parameters(namespace, "playground", PlaygroundSettings)
        cohort = plan_cohort(CohortSettings(patients=settings.patients, seed=settings.seed))
        choice = Choice.checked(settings.model_dump(include=set(Choice.model_fields)))
        take_picture(cohort, choice)
    except InputError as error:
        return sentence(error)
    return PlaygroundPanel(cohort, choice).widget
