"""The playground's picture: a frame with its lesion's box beside the lumen along the segment."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cag.anatomy import NO_STANDARD_VIEW, SEGMENTS
from cag.book.figures.style import PALETTE, TRUTH, draw_boxes, show_frame
from cag.simulator.phantom.cohort import CohortSettings, plan_cohort
from cag.simulator.playground import Choice, Picture, take_picture

#: Inches of the picture; fixed margins are far quicker than a layout that is fitted each time.
SIZE = (9.0, 4.3)
_MARGINS = {"left": 0.01, "right": 0.985, "bottom": 0.12, "top": 0.9, "wspace": 0.16}


def angle_text(primary: float, secondary: float) -> str:
    """C-arm angles as they are spoken: ``RAO 20 CRA 33``."""
    first, second = "LAO" if primary >= 0 else "RAO", "CRA" if secondary >= 0 else "CAU"
    return f"{first} {abs(primary):g} {second} {abs(secondary):g}"


def lumen_profile(ax: Axes, picture: Picture) -> Axes:
    """True, reference and measured diameter along the segment; the lesion is shaded."""
    profile, choice = picture.profile, picture.choice
    half = choice.length_mm / 2
    ax.axvspan(picture.lesion_arc - half, picture.lesion_arc + half, color=PALETTE["grey"], alpha=0.15, lw=0)
    ax.plot(profile.arc, profile.reference, color=PALETTE["grey"], ls="--", lw=1, label="without lesion")
    ax.plot(profile.arc, profile.diameter, color=TRUTH, lw=1.6, label="true")
    ax.plot(profile.arc, profile.measured, color=PALETTE["blue"], lw=1, label="measured in the frame")
    ax.set(xlim=(0, max(float(profile.arc[-1]), 1.0)), ylim=(0, 1.6 * float(profile.reference.max())))
    ax.set(xlabel="from the segment's beginning (mm)", ylabel="lumen diameter (mm)")
    ax.set_title(f"{SEGMENTS[choice.segment]}, {choice.percent_stenosis:g} % stenosis")
    ax.legend(loc="upper right", ncols=3, fontsize=8)
    return ax


def draw_picture(picture: Picture) -> Figure:
    """Frame and box on the left, lumen profile on the right."""
    figure = Figure(figsize=SIZE, layout="none")  # type: ignore[arg-type]  # the stubs lack this value
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15), gridspec_kw=_MARGINS)
    choice = picture.choice
    named = "" if picture.view == NO_STANDARD_VIEW else f" ({picture.view})"
    show_frame(left, picture.frame, f"{angle_text(choice.primary_angle, choice.secondary_angle)}{named}")
    draw_boxes(left, picture.other_boxes, PALETTE["sky"], style="--")
    draw_boxes(left, picture.box, TRUTH)
    if not len(picture.box):
        note = "no box: too foreshortened, hidden, unfilled or outside the field"
        left.text(0.5, -0.02, note, transform=left.transAxes, ha="center", va="top", fontsize=8)
    lumen_profile(right, picture)
    return figure


def playground_still(choice: Choice | None = None) -> Figure:
    """The picture the playground opens with, of the default cohort's first patient."""
    return draw_picture(take_picture(plan_cohort(CohortSettings(), [1]), choice or Choice()))
