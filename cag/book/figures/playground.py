"""The playground: a frame with its lesion's box beside the lumen along the segment."""

from __future__ import annotations

from matplotlib.figure import Figure

from cag.anatomy import NO_STANDARD_VIEW, SEGMENTS
from cag.book.figures.style import PALETTE, TRUTH, draw_boxes, show_frame
from cag.simulator.phantom.cohort import CohortSettings, plan_cohort
from cag.simulator.playground import Choice, Picture, take_picture

#: Margins of the picture; fixed ones are far quicker than a layout that is fitted each time.
_MARGINS = {"left": 0.01, "right": 0.985, "bottom": 0.12, "top": 0.9, "wspace": 0.16}


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
