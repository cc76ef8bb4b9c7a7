"""From millimeters in the patient to pixels on the detector: C-arm geometry and disk splatting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from cag.simulator.phantom.plan import RunPlan

#: Radius classes of the splat, px: samples of a class share one square stencil.
RADIUS_CLASSES = (1.5, 2.5, 3.5, 5.5, 8.5, 14.5, 22.5, 40.5)
#: Fixed-point unit of accumulated thickness: integer sums do not depend on the order of addition,
#: so neither threads, batches nor CUDA atomics change a bit. Sums up to 2,048 fit.
FIXED_POINT = 2.0**20
#: Disks thinner than this (px) are drawn this wide with the same area.
THINNEST = 0.75
#: Contributions handled at once: bounds memory.
_CHUNK = 2_000_000


@dataclass(frozen=True)
class CArm:
    """A point source and a flat detector around the isocenter."""

    #: Unit vectors of the detector's columns (rightward) and rows (upward), and from source to detector. Angles follow
    #: DICOM PS3.3 C.8.7.5: LAO and CRA positive. At 0/0 the detector is in front of the chest, so that the patient's
    #: left is on the right of the image.
    right: Float[Tensor, " 3"]
    up: Float[Tensor, " 3"]
    beam: Float[Tensor, " 3"]
    isocenter: Float[Tensor, " 3"]  # mm
    #: Source to detector and source to isocenter, mm.
    sid: float
    sod: float
    pixel_mm: float
    rows: int
    columns: int

    @classmethod
    def of(cls, run: RunPlan, isocenter: Float[Tensor, " 3"]) -> Self:
        """The geometry of a run."""
        a, b = math.radians(run.primary_angle), math.radians(run.secondary_angle)
        right = [math.cos(a), 0.0, -math.sin(a)]
        up = [-math.sin(a) * math.sin(b), math.cos(b), -math.cos(a) * math.sin(b)]
        beam = [math.sin(a) * math.cos(b), math.sin(b), math.cos(a) * math.cos(b)]
        axes = isocenter.new_tensor([right, up, beam])
        return cls(axes[0], axes[1], axes[2], isocenter, run.sid, run.sod, run.pixel_mm, run.rows, run.columns)

    @property
    def magnification(self) -> float:
        """Pixels a millimeter at the isocenter."""
        return self.sid / self.sod / self.pixel_mm

    def project(
        self, points: Float[Tensor, "*batch 3"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        """Columns x and rows y (px, from the upper left corner) and magnification (px/mm) of points in mm."""
        px, py, pz = (points - self.isocenter).unbind(-1)

        def along(axis: Float[Tensor, " 3"]) -> Float[Tensor, "*batch"]:
            return px * axis[0] + py * axis[1] + pz * axis[2]

        scale = (self.sid / self.pixel_mm) / (along(self.beam) + self.sod)
        return along(self.right) * scale + self.columns / 2, self.rows / 2 - along(self.up) * scale, scale

    def rays(
        self, rows: int, columns: int, margin: tuple[int, int] = (0, 0)
    ) -> tuple[Float[Tensor, " 3"], Float[Tensor, "h w 3"]]:
        """Source position (mm) and unit directions through a coarse grid of the detector.

        ``rows x columns`` cells cover the detector; ``margin`` adds that many cells on each side
        of the rows and of the columns.
        """
        device = self.beam.device
        y = torch.arange(-margin[0], rows + margin[0], device=device) + 0.5
        x = torch.arange(-margin[1], columns + margin[1], device=device) + 0.5
        y = (self.rows / 2 - y * (self.rows / rows)) * self.pixel_mm
        x = (x * (self.columns / columns) - self.columns / 2) * self.pixel_mm
        ray = x[None, :, None] * self.right + y[:, None, None] * self.up + self.sid * self.beam
        return self.isocenter - self.sod * self.beam, ray / ray.norm(dim=-1, keepdim=True)


def splat(
    x: Float[Tensor, "f n"],
    y: Float[Tensor, "f n"],
    radius: Float[Tensor, "f n"],
    weight: Float[Tensor, "f n"],
    shape: tuple[int, int],
    softness: float = 1.35,
) -> Float[Tensor, "f h w"]:
    """Line integrals through tubes: every sample deposits a uniform disk of its weight.

    Samples ``ds`` mm apart along a tube of radius r that meets the ray at the angle phi add up to
    ``2 sqrt(r^2 - d^2) / sin(phi)`` at the distance d from the axis: the chord of the tube, right for
    foreshortening, for crossings and for ends.

    Parameters
    ----------
    x, y : float32 [f, n], px
        Centers; samples outside the image reach into it.
    radius : float32 [f, n], px
        Up to 40; larger disks are cut to that.
    weight : float32 [f, n]
        Thickness that a ray through the middle of the disk gains; samples of no weight cost nothing.
    shape : (rows, columns)
    softness : float, px
        Width of the disk's edge.

    Returns
    -------
    float32 [f, rows, columns]
        Sums, exact to 2**-20 for each sample and the same in any batch.
    """
    reach = (radius + 0.5 * softness).clamp_max(RADIUS_CLASSES[-1])
    sheet = _Sheet.around(x, y, reach, weight.abs() > 1e-6, shape)
    for half, part, base in sheet.parts:
        disks = (x.flatten()[part], y.flatten()[part], radius.flatten()[part], weight.flatten()[part])
        _deposit(sheet, base, disks, half, softness)
    return sheet.image().float().mul_(1 / FIXED_POINT)


@dataclass(frozen=True)
class Disks:
    """Everything that ``splat`` draws into some frames, of equal or of different runs."""

    #: px
    x: Float[Tensor, "f n"]
    y: Float[Tensor, "f n"]
    radius: Float[Tensor, "f n"]
    weight: Float[Tensor, "f n"]

    @classmethod
    def stacked(cls, parts: Sequence[Self]) -> Self:
        """Frames of several runs one after another; runs with fewer disks are filled up with weightless ones."""
        most = max(part.x.shape[1] for part in parts)
        names = ("x", "y", "radius", "weight")
        padded = [[pad(getattr(part, name), (0, most - part.x.shape[1])) for part in parts] for name in names]
        return cls(*(torch.cat(values) for values in padded))

    def drawn(self, shape: tuple[int, int]) -> Float[Tensor, "f h w"]:
        """Their sums (``splat``); integer sums do not depend on what else is drawn in the same call."""
        return splat(self.x, self.y, self.radius, self.weight, shape)


@dataclass(frozen=True)
class _Sheet:
    """A flat integer canvas with a margin for disks that reach over the edge, and the disks sorted by size."""

    canvas: Int[Tensor, " p"]
    frames: int
    pad: int
    stride: int
    shape: tuple[int, int]  # (rows, columns)
    #: Half-width of the stencil, indices of the samples, and where each one's frame begins on the canvas, list of (int,
    #: int [k], int [k]).
    parts: list[tuple[int, Int[Tensor, " k"], Int[Tensor, " k"]]]

    @classmethod
    def around(cls, x: Tensor, y: Tensor, reach: Tensor, wanted: Tensor, shape: tuple[int, int]) -> Self:
        """A canvas for the wanted samples that touch the image, in chunks of one radius class."""
        frames, (rows, columns) = x.shape[0], shape
        touches = (x > -reach) & (y > -reach) & (x < columns + reach) & (y < rows + reach)
        chosen = (touches & wanted & (reach > 0)).flatten().nonzero().squeeze(1)
        sizes = torch.bucketize(reach.flatten()[chosen], reach.new_tensor(RADIUS_CLASSES))
        present = sizes.bincount(minlength=1).nonzero().flatten().tolist()
        widest = math.floor(RADIUS_CLASSES[present[-1]] + 0.5) if present else 0
        pad = 2 * widest + 2
        stride = columns + 2 * pad
        area = (rows + 2 * pad) * stride
        parts = []
        for size in present:
            half = math.floor(RADIUS_CLASSES[size] + 0.5)
            for part in chosen[sizes == size].split(max(1, _CHUNK // (2 * half + 1) ** 2)):
                frame = torch.div(part, x.shape[1], rounding_mode="floor")
                parts.append((half, part, frame * area + pad * (stride + 1)))
        canvas = torch.zeros(frames * area, dtype=torch.int32, device=x.device)
        return cls(canvas, frames, pad, stride, shape, parts)

    def image(self) -> Int[Tensor, "f h w"]:
        """The canvas without its margin."""
        rows, columns = self.shape
        whole = self.canvas.view(self.frames, rows + 2 * self.pad, self.stride)
        return whole[:, self.pad : self.pad + rows, self.pad : self.pad + columns]


def _deposit(
    sheet: _Sheet,
    base: Int[Tensor, " k"],
    disks: tuple[Tensor, Tensor, Tensor, Tensor],
    half: int,
    softness: float,
) -> None:
    """Add disks of one radius class to a flat canvas, each through a square stencil of ``2 half + 1`` pixels."""
    x, y, radius, weight = disks
    column, row = x.floor(), y.floor()
    wide = radius.clamp_min(THINNEST)
    offset = torch.arange(-half, half + 1, device=x.device)
    # coverage = clamp((r^2 - d^2) / (2 r softness) + 1/2, 0, 1): a soft edge without a square root
    slope = 0.5 / (softness * wide)
    across = (offset + (column + 0.5 - x)[:, None]).square_().mul_(slope[:, None])
    down = (offset + (row + 0.5 - y)[:, None]).square_().mul_(slope[:, None])
    level = wide * wide * slope + 0.5
    coverage = ((level[:, None] - down)[:, :, None] - across[:, None, :]).clamp_(0, 1)
    coverage.mul_((weight * (radius / wide) ** 2 * FIXED_POINT)[:, None, None])
    first = (base + (row * sheet.stride + column).long()).int()
    stencil = (offset[:, None] * sheet.stride + offset).int()
    sheet.canvas.index_add_(0, (first[:, None, None] + stencil).flatten(), coverage.flatten().round_().int())


def splat_mask(
    x: Float[Tensor, "f n"],
    y: Float[Tensor, "f n"],
    radius: Float[Tensor, "f n"],
    wanted: Bool[Tensor, "f n"],
    shape: tuple[int, int],
) -> Bool[Tensor, "f h w"]:
    """Whether a wanted disk lies over each pixel's middle; all in px, disks of half a pixel and less count as that."""
    reach = radius.clamp(0.5, RADIUS_CLASSES[-1])
    sheet = _Sheet.around(x, y, reach, wanted & (radius > 0), shape)
    for half, part, base in sheet.parts:
        px, py, r = x.flatten()[part], y.flatten()[part], reach.flatten()[part]
        column, row = px.floor(), py.floor()
        offset = torch.arange(-half, half + 1, device=x.device)
        across = (offset + (column + 0.5 - px)[:, None]).square_()
        down = (offset + (row + 0.5 - py)[:, None]).square_()
        covered = down[:, :, None] + across[:, None, :] <= (r * r)[:, None, None]
        first = base + (row * sheet.stride + column).long()
        index = first[:, None, None] + (offset[:, None] * sheet.stride + offset)
        sheet.canvas[index[covered]] = 1
    return sheet.image() > 0
