"""From attenuation to gray levels: scatter, blur, display, quantum noise, collimator, as each vendor does it."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from cag.simulator.phantom.display import Display, shutter, wedge
from cag.simulator.phantom.plan import PatientPlan, RunPlan, stream

#: Attenuation of iodine contrast at 75 kVp, 1/mm.
IODINE = 0.36
#: Pixel pitch (mm) for which blur and noise are given in pixels.
NOMINAL_PIXEL = 0.33
#: Up to where noise power rises (cycles a pixel), and how fast it falls beyond its cutoff.
NOISE_RISE, NOISE_FALL = 0.12, 4.08
#: Noise fields kept ready, and how far windows into them may be moved (px).
NOISE_FIELDS, NOISE_ROOM = 6, 96

_NOISE = 63


@lru_cache(maxsize=16)
def noise_bank(rows: int, columns: int, cutoff: float) -> Float[Tensor, "k h w"]:
    """Fields of unit-variance noise, larger than the frame, with the spectrum of processed angiograms.

    Power rises up to ``NOISE_RISE`` (edge enhancement), is flat up to ``cutoff`` (cycles a pixel), and falls as
    frequency to the -4 beyond. Rows and columns are smoothed one after the other, as pixels, interpolation and
    block coding do: diagonal detail is the first to go. A round spectrum of the same steepness has more of it
    than real frames (Immerkaer's estimate sees diagonals alone).
    """
    shape = (rows + NOISE_ROOM, columns + NOISE_ROOM)
    generator = torch.Generator().manual_seed(20210305)
    down, across = torch.fft.fftfreq(shape[0]).abs()[:, None], torch.fft.rfftfreq(shape[1])[None]
    smoothing = (1 + (down / cutoff) ** NOISE_FALL) * (1 + (across / cutoff) ** NOISE_FALL)
    frequency = torch.hypot(down, across)
    response = frequency * ((frequency**2 + NOISE_RISE**2) * smoothing).rsqrt()
    fields = [torch.fft.rfft2(torch.randn(shape, generator=generator)) * response for _ in range(NOISE_FIELDS)]
    bank = torch.fft.irfft2(torch.stack(fields), s=shape)
    return bank / bank.std()


def blurred(image: Float[Tensor, "f h w"], taps: tuple[tuple[int, float], ...]) -> Float[Tensor, "f h w"]:
    """Symmetric separable filter.

    Parameters
    ----------
    image : float32 [f, h, w]
        Taken as 0 beyond its edges.
    taps : tuple of (int, float)
        Offset (px) and weight; offset 0 counts once, others on both sides.
    """
    for axis in (1, 2):
        size = image.shape[axis]
        out = image * dict(taps).get(0, 0.0)
        for offset, weight in taps:
            if offset:
                scaled = image * weight
                out.narrow(axis, offset, size - offset).add_(scaled.narrow(axis, 0, size - offset))
                out.narrow(axis, 0, size - offset).add_(scaled.narrow(axis, offset, size - offset))
        image = out
    return image


def filter_taps(blur: float, halo: float) -> tuple[tuple[int, float], ...]:
    """Blur of a standard deviation (px) with a dark-light halo of edge enhancement; weights sum to one."""
    near = math.exp(-0.5 / blur**2) if blur > 0.25 else 0.0
    next_ = math.exp(-2.0 / blur**2) if blur > 0.6 else 0.0
    total = 1 + 2 * near + 2 * next_
    taps = [(0, (1 + 2 * halo) / total), (1, (1 + 2 * halo) * near / total)]
    if next_:
        taps.append((2, (1 + 2 * halo) * next_ / total))
    if halo:
        taps.append((5, -halo))
    return tuple(taps)


class Detector:
    """Turns attenuation and contrast into the frames of one run.

    Parameters
    ----------
    patient, run : PatientPlan, RunPlan
    reference : float32 [h, w]
        Log attenuation of a frame at end-diastole: what the exposure control sees.
    """

    def __init__(self, patient: PatientPlan, run: RunPlan, reference: Float[Tensor, "h w"]) -> None:
        device = reference.device
        self.display = Display.of(patient, run)
        style, pitch = self.display.style, NOMINAL_PIXEL / run.pixel_mm
        field, ground = shutter(run)
        self.field = torch.as_tensor(field, device=device)
        self.ground = ground * (1 - self.field)
        #: The wedge filter lies in the beam: what exposure control and display see includes it.
        filtered = torch.as_tensor(wedge(run), device=device)
        reference = reference + filtered
        slow = self._slow(reference)
        flat = reference - style.compression * slow
        seen = flat[self.field > 0.5]
        self.gain = self.display.spread / max(float(seen.std()), 0.05)
        #: Gray level where nothing attenuates; minus ``gain`` times attenuation is the background.
        self.level = self.display.brightness + self.gain * (style.compression * slow + seen.mean() - filtered)
        haze = ((flat - seen.mean()) / max(float(seen.std()), 0.05)).clamp(-2, 2)
        #: Dense regions scatter more and show vessels with less contrast.
        self.contrast = style.vessel_gain * (1 - 0.09 * haze)
        self.taps = filter_taps(max(style.blur * pitch, 0.3), style.halo)
        self.bank = noise_bank(run.rows, run.columns, self.display.noise_cutoff).to(device)
        rng = stream(run.seed, _NOISE)
        self.windows: Int[np.ndarray, "f 3"] = rng.integers(
            0, [NOISE_FIELDS, NOISE_ROOM, NOISE_ROOM], (run.n_frames, 3)
        )
        self.signs: Int[np.ndarray, " f"] = rng.choice([-1, 1], run.n_frames)

    @staticmethod
    def _slow(image: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        """Slow brightness changes: a wide average."""
        side = max(min(image.shape) // 5, 1)
        wide = functional.pad(image[None, None], (side,) * 4, mode="replicate")
        wide = functional.avg_pool2d(wide, 2 * side + 1, stride=max(side // 6, 1))
        return functional.interpolate(wide, size=image.shape, mode="bilinear")[0, 0]

    def vessels(self, thickness: Float[Tensor, "f h w"]) -> Float[Tensor, "f h w"]:
        """Log signal of iodine (mm, overwritten) diluted by scatter, blurred; at most 0."""
        primary = 1 / (1 + self.display.scatter)
        signal = thickness.mul_(-IODINE).exp_().mul_(primary).add_(1 - primary).log_()
        return blurred(signal, self.taps)

    def noise(self, frames: Int[np.ndarray, " f"]) -> Float[Tensor, "f h w"]:
        """Unit-variance noise of each frame: its own window into the bank, whichever frames are asked for."""
        rows, columns = self.field.shape
        views = self.bank.unfold(1, rows, 1).unfold(2, columns, 1)
        which, y, x = (torch.as_tensor(column, device=self.bank.device) for column in self.windows[frames].T)
        signs = torch.as_tensor(self.signs[frames], dtype=torch.float32, device=self.bank.device)
        return views[which, y, x].mul_(signs[:, None, None])

    def expose(
        self,
        attenuation: Float[Tensor, "f h w"],
        thickness: Float[Tensor, "f h w"],
        frames: Int[np.ndarray, " f"],
    ) -> UInt8[Tensor, "f h w"]:
        """Gray levels of frames.

        Parameters
        ----------
        attenuation : float32 [f, h, w]
            Log attenuation of the background; overwritten.
        thickness : float32 [f, h, w], mm
            Contrast along each ray, as undiluted contrast medium; overwritten.
        frames : int [f]
            Their indices in the run.
        """
        gray = attenuation.mul_(-self.gain).add_(self.level)
        gray += self.vessels(thickness).mul_(self.contrast)
        gray = self._toned(gray)
        # quanta are fewer where the image is dark: in a log display the noise is larger there
        size = (gray - self.display.brightness).mul_(-0.0045).add_(1).clamp_(0.5, 1.6).mul_(self.display.noise)
        gray += self.noise(frames).mul_(size)
        return gray.mul_(self.field).add_(self.ground).clamp_(0, 255).round_().to(torch.uint8)

    def _toned(self, gray: Float[Tensor, "f h w"]) -> Float[Tensor, "f h w"]:
        """Compress the ends of the gray scale."""
        centered = gray.sub_(128).mul_(1 / 128).clamp_(-1.6, 1.6)
        return (centered * centered).mul_(-self.display.style.shoulder).add_(1).mul_(centered).mul_(128).add_(128)
