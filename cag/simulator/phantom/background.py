"""What lies behind the vessels: body, lungs, beating heart, diaphragm, bones and texture, for one view."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from cag.simulator.phantom import bones
from cag.simulator.phantom.plan import PatientPlan, stream
from cag.simulator.phantom.projection import CArm
from cag.simulator.phantom.thorax import LUNG_DEFICIT, SPINE_EXTRA, TISSUE, Thorax, air_path, length

#: Phases of contraction at which heart and lungs are computed; between them it is interpolated.
PHASES = 7
#: Soft tissue is computed on a grid this many times coarser than the detector.
COARSE = 2
#: Lung a ray must cross to show its vessels in full, mm.
FULL_LUNG = 110.0
#: Standard deviation of the texture everywhere and in lung (log attenuation), and its power laws.
TEXTURE, LUNG_TEXTURE = (0.038, 0.57), (0.072, 0.62)

_RIPPLE, _TEXTURE = 45, 46


@lru_cache(maxsize=4)
def _skeleton(patient: PatientPlan) -> tuple[Thorax, bones.Cloud, bones.Cloud, bones.Cloud]:
    """Everything of a patient's chest that does not depend on the view."""
    return Thorax.of(patient), bones.ribs(patient), bones.vertebrae(patient), bones.lung_vessels(patient)


def ripples(patient: PatientPlan, carm: CArm, grid: tuple[int, int], count: int) -> Float[Tensor, "m h w 3"]:
    """Smooth displacements of rays across the beam, mm: they make ellipsoids' outlines irregular."""
    rng = stream(patient.seed, _RIPPLE, *(round(1000 * (1 + float(part))) for part in carm.beam))
    device = carm.beam.device
    field = carm.rows * carm.pixel_mm * carm.sod / carm.sid
    y = torch.linspace(-0.5, 0.5, grid[0], device=device) * field
    x = torch.linspace(-0.5, 0.5, grid[1], device=device) * field
    waves = 6
    shape = (count, 2, waves)
    number = torch.as_tensor(rng.uniform(-1, 1, (*shape, 2)) * (2 * math.pi / 45), dtype=torch.float32, device=device)
    size = torch.as_tensor(rng.normal(0, 1.5, shape), dtype=torch.float32, device=device)
    start = torch.as_tensor(rng.uniform(0, 2 * math.pi, shape), dtype=torch.float32, device=device)
    shift = torch.zeros(count, 2, *grid, device=device)
    for wave in range(waves):
        k, phase = number[:, :, wave], start[:, :, wave, None, None]
        angle = k[..., 0, None, None] * x + k[..., 1, None, None] * y[:, None] + phase
        shift += size[:, :, wave, None, None] * torch.sin(angle)
    return shift[:, 0, ..., None] * carm.right + shift[:, 1, ..., None] * carm.up


def texture(shape: tuple[int, int], power: float, generator: torch.Generator) -> Float[Tensor, "h w"]:
    """Random field of unit variance whose amplitude falls as frequency to the ``-power``."""
    rows, columns = shape
    frequency = torch.hypot(torch.fft.fftfreq(rows)[:, None], torch.fft.rfftfreq(columns)[None])
    spectrum = torch.fft.rfft2(torch.randn(rows, columns, generator=generator))
    field = torch.fft.irfft2(spectrum * frequency.clamp_min(4 / max(shape)) ** -power, s=shape)
    return (field - field.mean()) / field.std()


def enlarge(images: Float[Tensor, "f h w"], shape: tuple[int, int], mode: str = "bilinear") -> Float[Tensor, "f H W"]:
    """Images interpolated to another size."""
    return functional.interpolate(images[:, None], size=shape, mode=mode, align_corners=False)[:, 0]


def _cubic(fraction: Float[Tensor, " f"]) -> list[Float[Tensor, " f"]]:
    """Catmull-Rom weights of the four neighbors of a place ``fraction`` of the way between the middle two."""
    t = fraction
    return [
        ((2 - t) * t - 1) * t * 0.5,
        ((3 * t - 5) * t * t + 2) * 0.5,
        ((4 - 3 * t) * t + 1) * t * 0.5,
        (t - 1) * t * t * 0.5,
    ]


def shifted(
    images: Float[Tensor, "f h w"], shift: Float[Tensor, " f"], margin: int, axis: int
) -> Float[Tensor, "f H W"]:
    """Images moved by fractions of a pixel along an axis and cut by ``margin`` on both of its sides.

    ``shift`` is in px toward higher indices, smaller than ``margin - 2``; ``axis`` is 1 or 2.
    """
    place = -shift
    whole = place.floor()
    size = images.shape[axis] - 2 * margin
    index = torch.arange(margin, margin + size, device=images.device) + whole.long()[:, None]
    out: Tensor = images.new_zeros(())
    for tap, weight in enumerate(_cubic(place - whole)):
        where = (index + tap - 1)[:, :, None] if axis == 1 else (index + tap - 1)[:, None, :]
        shape = (len(shift), size, images.shape[2]) if axis == 1 else (len(shift), images.shape[1], size)
        out = out + images.gather(axis, where.expand(shape)) * weight[:, None, None]
    return out


class Background:
    """Log attenuation behind the vessels of one patient in one view, by heart phase and shift.

    Parameters
    ----------
    patient : PatientPlan
        Shared by all runs: the same chest, whatever the view.
    carm : CArm
    reach : (float, float), px
        How far the picture may move along rows and columns.
    panned : bool
        Whether the table moves, so that bones move as well.
    """

    def __init__(self, patient: PatientPlan, carm: CArm, reach: tuple[float, float], panned: bool) -> None:
        self.carm = carm
        self.margin = (math.ceil(reach[0] / COARSE) + 3, math.ceil(reach[1] / COARSE) + 3)
        self.room = (COARSE * self.margin[0], COARSE * self.margin[1]) if panned else (0, 0)
        self.coarse = (carm.rows // COARSE, carm.columns // COARSE)
        thorax, rib_cloud, spine_cloud, vessel_cloud = _skeleton(patient)
        source, rays = carm.rays(*self.coarse, self.margin)
        share = torch.linspace(0, 1, PHASES)
        air = air_path(thorax, source, rays, ripples(patient, carm, (rays.shape[0], rays.shape[1]), 5), share)
        air = functional.avg_pool2d(air, 3, stride=1, padding=1, count_include_pad=False)
        still = TISSUE * length(thorax.body.chord(source, rays))
        for organ, extra in zip(thorax.spine, SPINE_EXTRA, strict=True):
            still = still + extra * length(organ.chord(source, rays))
        self.phases: Float[Tensor, "p h w"] = still - TISSUE * LUNG_DEFICIT * air
        lung = self._detail_size(air[:1]).div_(FULL_LUNG).clamp_(0, 1)
        fine = spine_cloud.image(carm, self.room)
        soft = rib_cloud.image(carm, self.room, COARSE)
        vessels = vessel_cloud.image(carm, self.room, COARSE) * (0.9 * TISSUE * LUNG_DEFICIT)
        detail = fine + self._upright(soft) + self._upright(vessels) * lung + self._texture(patient, lung)
        self.detail: Float[Tensor, "h w"] = detail.contiguous()

    def _upright(self, image: Float[Tensor, "h w"]) -> Float[Tensor, "H W"]:
        """A coarse picture of the widened detector at full resolution."""
        shape = (self.carm.rows + 2 * self.room[0], self.carm.columns + 2 * self.room[1])
        return enlarge(image[None], shape, "bicubic")[0]

    def _detail_size(self, coarse: Float[Tensor, "1 h w"]) -> Float[Tensor, "H W"]:
        """A coarse map with its margins, on the widened detector."""
        cut = [m - r // COARSE for m, r in zip(self.margin, self.room, strict=True)]
        rows, columns = coarse.shape[1:]
        return self._upright(coarse[0, cut[0] : rows - cut[0], cut[1] : columns - cut[1]])

    def _texture(self, patient: PatientPlan, lung: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        """Trabeculae, fat and small lung vessels as colored noise, the patient's own."""
        generator = torch.Generator().manual_seed(int(stream(patient.seed, _TEXTURE).integers(2**62)))
        shape = (-(-lung.shape[0] // COARSE), -(-lung.shape[1] // COARSE))
        fields = [texture(shape, power, generator) * size for size, power in (TEXTURE, LUNG_TEXTURE)]
        everywhere, aerated = (self._upright(field.to(lung.device)) for field in fields)
        return everywhere + aerated * lung

    def attenuation(
        self,
        contraction: Float[Tensor, " f"],
        down: Float[Tensor, " f"],
        panning: Float[Tensor, "f 2"],
        veil: Float[Tensor, "f v w"] | None = None,
    ) -> Float[Tensor, "f h w"]:
        """Log attenuation of frames.

        Parameters
        ----------
        contraction : float32 [f], 0-1
        down : float32 [f], px
            Descent of heart and diaphragm by breathing.
        panning : float32 [f, 2], px
            Travel of the whole picture along columns and rows.
        veil : float32 [f, v, w], optional
            Faint attenuation to add, on any coarse grid over the detector.
        """
        place = (contraction * (PHASES - 1)).clamp(0, PHASES - 1 - 1e-3)
        below = place.long()
        share = (place - below)[:, None, None]
        soft = self.phases[below] * (1 - share) + self.phases[below + 1] * share
        coarse = shifted(soft, (down + panning[:, 1]) / COARSE, self.margin[0], 1)
        if self.room == (0, 0):
            coarse = coarse[:, :, self.margin[1] : coarse.shape[2] - self.margin[1]]
        else:
            coarse = shifted(coarse, panning[:, 0] / COARSE, self.margin[1], 2)
        if veil is not None:
            coarse = coarse + enlarge(veil, self.coarse)
        return enlarge(coarse, (self.carm.rows, self.carm.columns)).add_(self._moved_detail(panning))

    def _moved_detail(self, panning: Float[Tensor, "f 2"]) -> Float[Tensor, "f h w"]:
        """Bones and texture, moved by whole pixels with the table."""
        if self.room == (0, 0):
            return self.detail[None]
        windows = self.detail.unfold(0, self.carm.rows, 1).unfold(1, self.carm.columns, 1)
        step = panning.round().long()
        return windows[self.room[0] - step[:, 1], self.room[1] - step[:, 0]]
