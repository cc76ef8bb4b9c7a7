"""What is true of a run: contrast interval, visible segments, and boxes of visible lesions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cag.simulator.phantom.contrast import contrast_interval, opacification
from cag.simulator.phantom.display import shutter
from cag.simulator.phantom.lesions import PlacedLesion
from cag.simulator.phantom.scene import Projected, Scene

#: Visibility of a lesion (SIMULATOR section 5): least contrast as a share of the plateau, greatest
#: foreshortening, greatest share hidden by other vessels, least projected length (px).
LEAST_CONTRAST, MOST_FORESHORTENING, MOST_COVERED, LEAST_LENGTH = 0.5, 0.6, 0.5, 6.0
#: Share of a lesion, or of a segment, that must lie in the field.
IN_FIELD = 0.5
#: Room around the vessel in a box, px of a 512-pixel frame.
BOX_ROOM = 3.0
#: Vessels thinner than this (mm radius), or than this share of the lesion's, hide nothing.
HIDING_RADIUS, HIDING_SHARE = 0.4, 0.5

COLUMNS = [
    "frame", "x1", "y1", "x2", "y2", "segment", "percent_stenosis", "reference_mm", "minimal_mm", "foreshortening",
]  # fmt: skip


@dataclass(frozen=True)
class RunTruth:
    """What holds for a whole run.

    Attributes
    ----------
    contrast_begin, contrast_end : int or None
        First and last frame of full contrast, inclusive; None where contrast never fills the vessel.
    end_censored : bool
        The run stops before contrast has left.
    segments : tuple of int
        Segments that are filled and lie in the field at the middle of that interval.
    """

    contrast_begin: int | None
    contrast_end: int | None
    end_censored: bool
    segments: tuple[int, ...]

    @classmethod
    def of(cls, scene: Scene) -> RunTruth:
        """The truth of a run; nothing is rendered for it."""
        interval = contrast_interval(opacification(scene.run, scene.tree))
        if interval.begin is None or interval.end is None:
            return cls(None, None, interval.end_censored, ())
        middle = torch.tensor([(interval.begin + interval.end) // 2], device=scene.device)
        return cls(interval.begin, interval.end, interval.end_censored, _visible_segments(scene, middle))


def _in_field(scene: Scene, where: Projected) -> Bool[Tensor, "f n"]:
    """Whether samples lie in the collimated field."""
    field, _ = shutter(scene.run)
    x, y = where.x.floor().long(), where.y.floor().long()
    inside = (x >= 0) & (y >= 0) & (x < scene.run.columns) & (y < scene.run.rows)
    lit = torch.as_tensor(field > 0.5, device=x.device)
    return inside & lit[y.clamp(0, scene.run.rows - 1), x.clamp(0, scene.run.columns - 1)]


def _visible_segments(scene: Scene, frame: Int[Tensor, " 1"]) -> tuple[int, ...]:
    """Numbers of the segments mostly filled and in the field in one frame."""
    filled = scene.contrast[frame[0]] > LEAST_CONTRAST * scene.run.mixing
    seen = (_in_field(scene, scene.vessels(frame))[0] & filled).cpu().numpy()
    length = np.bincount(scene.tree.segment, weights=scene.tree.step)
    share = np.bincount(scene.tree.segment, weights=scene.tree.step * seen) / np.maximum(length, 1e-6)
    return tuple(int(n) for n in np.flatnonzero(share > IN_FIELD) if n > 0)


def _covered(
    scene: Scene, lesion: PlacedLesion, own: slice, where: Projected, filled: Bool[Tensor, "f n"]
) -> Float[Tensor, " f"]:
    """Share of a lesion's centerline that runs inside the picture of other filled vessels."""
    reference = torch.as_tensor(scene.tree.reference_radius, device=scene.device)
    others = torch.nonzero((reference > HIDING_RADIUS) & (scene.step > 0)).squeeze(1)[::2]
    near = torch.cdist(scene.position[own], scene.position[others])
    apart = near > (reference[own][:, None] + reference[others] + 1.5)
    hiding = apart & (reference[others] > HIDING_SHARE * lesion.reference_diameter_mm / 2)
    dx = where.x[:, own, None] - where.x[:, None, others]
    dy = where.y[:, own, None] - where.y[:, None, others]
    reach = scene.radius[others] * where.scale[:, others]
    hidden = (dx * dx + dy * dy < (reach * reach)[:, None]) & hiding & filled[:, None, others]
    return hidden.any(-1).float().mean(-1)


def _foreshortening(scene: Scene, lesion: PlacedLesion, where: Projected) -> tuple[Tensor, Tensor]:
    """Projected length of a lesion (px, [f]), and the share of its length that the projection loses ([f]).

    In double precision, so that sums do not depend on the batch.
    """
    span = slice(lesion.first, lesion.last)
    x, y = where.x[:, span].double(), where.y[:, span].double()
    projected = torch.hypot(x.diff(dim=1), y.diff(dim=1)).sum(1)
    true = (
        scene.position[span].double().diff(dim=0).norm(dim=-1).sum() * where.scale[:, span].double().mean(1)
    ).clamp_min(1e-6)
    return projected, (1 - projected / true).clamp_min(0)


def _lesion_boxes(scene: Scene, lesion: PlacedLesion, where: Projected, frames: Int[Tensor, " f"]) -> pd.DataFrame:
    """Boxes of one lesion in the frames that show it."""
    run, plan = scene.run, lesion.plan
    end = lesion.throat + 1 if plan.occluded else lesion.last
    shown = slice(lesion.first, max(end, lesion.first + 2))
    filled = scene.contrast[frames] > LEAST_CONTRAST * run.mixing
    upstream = slice(lesion.first, lesion.throat + 1) if plan.occluded else shown
    contrast = scene.contrast[frames][:, upstream].double().mean(1)
    length, lost = _foreshortening(scene, lesion, where)
    visible = (contrast > LEAST_CONTRAST * run.mixing) & (lost < MOST_FORESHORTENING) & (length >= LEAST_LENGTH)
    visible &= _in_field(scene, where)[:, shown].float().mean(1) > IN_FIELD
    visible &= _covered(scene, lesion, slice(shown.start, shown.stop, 3), where, filled) < MOST_COVERED
    x, y = where.x[:, shown], where.y[:, shown]
    room = 0.5 * lesion.reference_diameter_mm * where.scale[:, shown].double().mean(1) + BOX_ROOM * run.columns / 512
    table = pd.DataFrame(
        {
            "frame": frames.cpu().numpy(),
            "x1": (x.amin(1) - room).floor().clamp(0, run.columns).cpu().numpy(),
            "y1": (y.amin(1) - room).floor().clamp(0, run.rows).cpu().numpy(),
            "x2": (x.amax(1) + room).ceil().clamp(0, run.columns).cpu().numpy(),
            "y2": (y.amax(1) + room).ceil().clamp(0, run.rows).cpu().numpy(),
            "segment": plan.segment,
            "percent_stenosis": float(plan.percent_stenosis),
            "reference_mm": lesion.reference_diameter_mm,
            "minimal_mm": lesion.minimal_diameter_mm,
            "foreshortening": lost.cpu().numpy().round(6),
        }
    )
    return table[visible.cpu().numpy()]


def lesion_boxes(scene: Scene, frames: Int[Tensor, " f"]) -> pd.DataFrame:
    """Boxes of the visible lesions of 1 % and more in some frames, by frame.

    Returns
    -------
    pandas.DataFrame
        ``COLUMNS``: half-open pixels of the stored frame, the segment's number, percent diameter stenosis,
        reference and minimal diameter in mm, and foreshortening 0-1.
    """
    where = scene.vessels(frames)
    lesions = [lesion for lesion in scene.tree.lesions if lesion.plan.percent_stenosis >= 1]
    tables = [_lesion_boxes(scene, lesion, where, frames) for lesion in lesions]
    empty = pd.DataFrame({name: pd.Series(dtype="float64") for name in COLUMNS})
    filled = [table for table in tables if len(table)]
    boxes = pd.concat(filled, ignore_index=True) if filled else empty
    boxes = boxes.astype(dict.fromkeys(COLUMNS[:6], "int64"))
    return boxes.sort_values(["frame", "segment"], kind="stable", ignore_index=True)
