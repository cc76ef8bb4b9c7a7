"""What is true of a run: contrast interval, visible segments, and boxes of visible lesions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cag.simulator.phantom.contrast import contrast_interval, opacification
from cag.simulator.phantom.lesions import PlacedLesion
from cag.simulator.phantom.scene import Projected, Scene

#: Visibility of a lesion (book/study/methods): least contrast as a share of the plateau, greatest
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
    """What holds for a whole run."""

    #: First and last frame of full contrast, inclusive; None where contrast never fills the vessel.
    contrast_begin: int | None
    contrast_end: int | None
    end_censored: bool  # The run stops before contrast has left
    segments: tuple[int, ...]  # Segments that are filled and lie in the field at the middle of that interval

    @classmethod
    def of(cls, scene: Scene) -> RunTruth:
        """The truth of a run; nothing is rendered for it."""
        begin, end, censored = contrast_interval(opacification(scene.run, scene.tree, scene.clock))
        if begin is None or end is None:
            return cls(None, None, censored, ())
        middle = torch.tensor([(begin + end) // 2], device=scene.device)
        return cls(begin, end, censored, _visible_segments(scene, middle))


def _in_field(scene: Scene, x: Float[Tensor, "f n"], y: Float[Tensor, "f n"]) -> Bool[Tensor, "f n"]:
    """Whether points of the picture lie in the collimated field."""
    column, row = x.floor().long(), y.floor().long()
    inside = (column >= 0) & (row >= 0) & (column < scene.run.columns) & (row < scene.run.rows)
    return inside & scene.lit[row.clamp(0, scene.run.rows - 1), column.clamp(0, scene.run.columns - 1)]


def _visible_segments(scene: Scene, frame: Int[Tensor, " 1"]) -> tuple[int, ...]:
    """Numbers of the segments mostly filled and in the field in one frame."""
    filled = scene.contrast[frame[0]] > LEAST_CONTRAST * scene.run.mixing
    where = scene.vessels(frame)
    seen = (_in_field(scene, where.x, where.y)[0] & filled).cpu().numpy()
    length = np.bincount(scene.tree.segment, weights=scene.tree.step)
    share = np.bincount(scene.tree.segment, weights=scene.tree.step * seen) / np.maximum(length, 1e-6)
    return tuple(int(n) for n in np.flatnonzero(share > IN_FIELD) if n > 0)


class _Lesion:
    """A lesion of a scene with what does not change from frame to frame.

    Attributes
    ----------
    plan : LesionPlan
    span, shown, upstream : slice
        Its samples; those that its box surrounds, at an occlusion the stump; those whose contrast counts.
    others : int [m]
        Samples of other vessels that may hide it.
    apart : bool [k, m]
        Whether every third sample of ``shown`` is far enough from each of them not to be its own surroundings.
    """

    def __init__(self, scene: Scene, placed: PlacedLesion) -> None:
        self.scene, self.placed, self.plan = scene, placed, placed.plan
        end = placed.throat + 1 if self.plan.occluded else placed.last
        self.span = slice(placed.first, placed.last)
        self.shown = slice(placed.first, max(end, placed.first + 2))
        self.upstream = slice(placed.first, placed.throat + 1) if self.plan.occluded else self.shown
        self.own = slice(self.shown.start, self.shown.stop, 3)
        reference = torch.as_tensor(scene.tree.reference_radius, device=scene.device)
        others = torch.nonzero((reference > HIDING_RADIUS) & (scene.step > 0)).squeeze(1)[::2]
        near = torch.cdist(scene.position[self.own], scene.position[others])
        apart = near > (reference[self.own][:, None] + reference[others] + 1.5)
        apart &= reference[others] > HIDING_SHARE * placed.reference_diameter_mm / 2
        self.others, self.apart = others[apart.any(0)], apart[:, apart.any(0)]

    def boxes(self, where: Projected, frames: Int[Tensor, " f"]) -> Float[np.ndarray, "k c"]:
        """A row of ``COLUMNS`` for each frame that shows the lesion."""
        run = self.scene.run
        contrast = self.scene.contrast[frames][:, self.upstream].double().mean(1)
        length, lost = self._foreshortening(where)
        x, y = where.x[:, self.shown], where.y[:, self.shown]
        visible = (contrast > LEAST_CONTRAST * run.mixing) & (lost < MOST_FORESHORTENING) & (length >= LEAST_LENGTH)
        visible &= _in_field(self.scene, x, y).float().mean(1) > IN_FIELD
        visible[visible.clone()] = self._covered(where, frames, visible) < MOST_COVERED
        around = where.scale[:, self.shown].double().mean(1)
        room = 0.5 * self.placed.reference_diameter_mm * around + BOX_ROOM * run.columns / 512
        corners = [
            (x.amin(1) - room).floor().clamp(0, run.columns),
            (y.amin(1) - room).floor().clamp(0, run.rows),
            (x.amax(1) + room).ceil().clamp(0, run.columns),
            (y.amax(1) + room).ceil().clamp(0, run.rows),
        ]
        widths = self.placed.reference_diameter_mm, self.placed.minimal_diameter_mm
        told = [torch.full_like(lost, value) for value in (self.plan.segment, self.plan.percent_stenosis, *widths)]
        return torch.stack([frames.double(), *corners, *told, lost], dim=1)[visible].cpu().numpy()

    def _foreshortening(self, where: Projected) -> tuple[Float[Tensor, " f"], Float[Tensor, " f"]]:
        """Projected length of the lesion, px, and the share of its length that the projection loses.

        In double precision, so that sums do not depend on the batch.
        """
        x, y = where.x[:, self.span].double(), where.y[:, self.span].double()
        projected = torch.hypot(x.diff(dim=1), y.diff(dim=1)).sum(1)
        true = self.scene.position[self.span].double().diff(dim=0).norm(dim=-1).sum()
        seen = (true * where.scale[:, self.span].double().mean(1)).clamp_min(1e-6)
        return projected, (1 - projected / seen).clamp_min(0)

    def _covered(self, where: Projected, frames: Int[Tensor, " f"], chosen: Bool[Tensor, " f"]) -> Float[Tensor, " g"]:
        """Share of the lesion's centerline inside the picture of other filled vessels, in the chosen frames."""
        x, y, scale = where.x[chosen], where.y[chosen], where.scale[chosen][:, self.others]
        filled = self.scene.contrast[frames[chosen]][:, self.others] > LEAST_CONTRAST * self.scene.run.mixing
        reach = self.scene.radius[self.others] * scale
        dx = x[:, self.own, None] - x[:, None, self.others]
        dy = y[:, self.own, None] - y[:, None, self.others]
        hidden = (dx * dx + dy * dy < (reach * reach)[:, None]) & self.apart & filled[:, None]
        return hidden.any(-1).float().mean(-1)


def lesion_boxes(scene: Scene, frames: Int[Tensor, " f"], batch: int) -> pd.DataFrame:
    """Boxes of the visible lesions of 1 % and more in some frames, by frame.

    Returns
    -------
    pandas.DataFrame
        ``COLUMNS``: half-open pixels of the stored frame, the segment's number, percent diameter stenosis,
        reference and minimal diameter in mm, and foreshortening 0-1.
    """
    lesions = [_Lesion(scene, placed) for placed in scene.tree.lesions if placed.plan.percent_stenosis >= 1]
    rows = [np.empty((0, len(COLUMNS)))]
    for part in frames.split(batch) if lesions else ():
        if bool((scene.contrast[part] > LEAST_CONTRAST * scene.run.mixing).any()):
            where = scene.vessels(part)
            rows += [lesion.boxes(where, part) for lesion in lesions]
    boxes = pd.DataFrame(np.concatenate(rows), columns=COLUMNS).astype(dict.fromkeys(COLUMNS[:6], "int64"))
    boxes["foreshortening"] = boxes["foreshortening"].round(6)
    return boxes.sort_values(["frame", "segment"], kind="stable", ignore_index=True)
