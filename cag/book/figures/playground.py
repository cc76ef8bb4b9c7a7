"""The playground: a frame with its lesion's box beside the lumen along the segment, as a still and behind sliders."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from io import BytesIO
from typing import Any

import ipywidgets as widgets
from IPython.display import HTML, Image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pydantic import Field

from cag.anatomy import NO_STANDARD_VIEW, SEGMENTS
from cag.book.figures.style import PALETTE, TRUTH, draw_boxes, show_frame
from cag.settings import InputError, notebook_parameters
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, plan_cohort
from cag.simulator.playground import LATEST_S, Choice, Picture, take_picture

#: Margins of the picture; fixed ones are far quicker than a layout that is fitted each time.
_MARGINS = {"left": 0.01, "right": 0.985, "bottom": 0.12, "top": 0.9, "wspace": 0.16}
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


def draw_picture(picture: Picture) -> Figure:
    """Frame and box on the left; on the right the true, reference and measured diameter, the lesion shaded."""
    figure = Figure(figsize=(9.0, 4.3), dpi=90, layout="none")  # type: ignore[arg-type]  # the stubs lack this value
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15), gridspec_kw=_MARGINS)
    choice = picture.choice
    sides = ("LAO" if choice.primary_angle >= 0 else "RAO", "CRA" if choice.secondary_angle >= 0 else "CAU")
    title = f"{sides[0]} {abs(choice.primary_angle):g} {sides[1]} {abs(choice.secondary_angle):g}"
    show_frame(left, picture.frame, title + ("" if picture.view == NO_STANDARD_VIEW else f" ({picture.view})"))
    draw_boxes(left, picture.other_boxes, PALETTE["sky"], style="--")
    draw_boxes(left, picture.box, TRUTH)
    if not len(picture.box):
        note = "no box: too foreshortened, hidden, unfilled or outside the field"
        left.text(0.5, -0.02, note, transform=left.transAxes, ha="center", va="top", fontsize=8)
    profile, half = picture.profile, choice.length_mm / 2
    right.axvspan(picture.lesion_arc - half, picture.lesion_arc + half, color=PALETTE["grey"], alpha=0.15, lw=0)
    right.plot(profile.arc, profile.reference, color=PALETTE["grey"], ls="--", lw=1, label="without lesion")
    right.plot(profile.arc, profile.diameter, color=TRUTH, lw=1.6, label="true")
    right.plot(profile.arc, profile.measured, color=PALETTE["blue"], lw=1, label="measured in the frame")
    right.set(xlim=(0, max(float(profile.arc[-1]), 1.0)), ylim=(0, 1.6 * float(profile.reference.max())))
    right.set(xlabel="from the segment's beginning (mm)", ylabel="lumen diameter (mm)")
    right.set_title(f"{SEGMENTS[choice.segment]}, {choice.percent_stenosis:g} % stenosis")
    right.legend(loc="upper right", ncols=3, fontsize=8)
    return figure


def playground_still(choice: Choice | None = None) -> Figure:
    """The picture the playground opens with, of the default cohort's first patient."""
    return draw_picture(take_picture(plan_cohort(CohortSettings(), [1]), choice or Choice()))


def open_playground(namespace: Mapping[str, Any]) -> widgets.Widget | HTML:
    """Controls and the picture that they choose; instead of what is impossible stands the sentence that refuses it.

    ``namespace`` is the notebook's ``globals()``, which hold the fields of ``PlaygroundSettings``.
    """
    try:
        settings = notebook_parameters(namespace, "playground", PlaygroundSettings)
        cohort = plan_cohort(CohortSettings(patients=settings.patients, seed=settings.seed))
        take_picture(cohort, Choice.checked(settings.model_dump(include=set(Choice.model_fields))))
    except InputError as error:
        return _refusal(error)

    def answer(**chosen: Any) -> Image | HTML:
        try:
            picture, buffer = take_picture(cohort, Choice.checked({**chosen, "size": settings.size})), BytesIO()
            FigureCanvasAgg(draw_picture(picture)).print_png(buffer)
            return Image(buffer.getvalue())
        except InputError as error:
            return _refusal(error)

    return widgets.interactive(answer, {"auto_display": True}, **_controls(cohort, settings))


def _refusal(error: InputError) -> HTML:
    return HTML(f"<p><b>Not possible:</b> {escape(str(error))}</p>")


def _controls(cohort: CohortPlan, choice: Choice) -> dict[str, widgets.Widget]:
    """One control for every field of a choice but its size; sliders report when they are let go."""
    ids = [patient.patient_id for patient in cohort.patients]
    # segments that a patient lacks stay in the list: the answer names those there are
    segments = [(f"{number} {name}", number) for number, name in SEGMENTS.items()]
    controls = {
        "patient_id": widgets.Dropdown(options=ids, value=choice.patient_id, description="patient"),
        "segment": widgets.Dropdown(options=segments, value=choice.segment, description="segment"),
        "own_lesions": widgets.Checkbox(value=choice.own_lesions, description="the patient's own lesions too"),
    }
    for name, (label, low, high, step) in _SLIDERS.items():
        shown = {"description": label, "style": {"description_width": "100px"}, "readout_format": ".4g"}
        limits = {"value": getattr(choice, name), "min": low, "max": high, "step": step}
        controls[name] = widgets.FloatSlider(**limits, **shown, continuous_update=False)
    return controls
