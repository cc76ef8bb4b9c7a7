"""How a run is shown: each vendor's look, the exposure control's aim, and the collimator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float

from cag.simulator.phantom.plan import Look, PatientPlan, RunPlan, stream

#: Gray levels of noise at mean brightness for one detected quantum a pixel.
NOISE_GRAY = 38.0

#: Factors on a look's noise cutoff: smoothing differs between acquisition programs of one machine.
SMOOTHING = (0.87, 1.0, 1.15)

#: Share of runs with a wedge filter, and its greatest attenuation (log).
WEDGE_SHARE, WEDGE_DEPTH = 0.15, (0.25, 0.7)

_DISPLAY, _SHUTTER, _WEDGE = 61, 62, 64


@dataclass(frozen=True)
class LookStyle:
    """A vendor's image processing."""

    blur: float  # px: standard deviation of the vessels' blur: focal spot, scintillator, smoothing filter
    noise_cutoff: float  # Frequency beyond which smoothing takes the noise away, cycles a pixel
    halo: float  # Strength of edge enhancement
    compression: float  # Share of slow brightness changes that is taken out, 0-1
    spread: float  # Factor on the standard deviation of the background's gray levels
    vessel_gain: float  # Gray levels for one unit of the vessels' log signal
    shoulder: float  # Compression of the brightest and darkest grays


STYLES: dict[Look, LookStyle] = {
    "neutral": LookStyle(0.98, 0.206, 0.05, 0.35, 1.0, 114.0, 0.08),
    "soft": LookStyle(1.24, 0.182, 0.0, 0.15, 0.95, 111.0, 0.06),
    "crisp": LookStyle(0.90, 0.229, 0.13, 0.42, 0.95, 110.0, 0.07),
    "contrasty": LookStyle(1.02, 0.202, 0.06, 0.25, 1.2, 128.0, 0.10),
}


@dataclass(frozen=True)
class Display:
    """How one run is shown; drawn from the run's seed, whatever the disease."""

    style: LookStyle
    #: Mean gray level and standard deviation of the background that the exposure control aims at.
    brightness: float
    spread: float
    scatter: float  # Scatter-to-primary ratio in the middle
    noise: float  # Standard deviation of the noise in gray levels at mean brightness
    noise_cutoff: float  # The look's, changed by how strongly this run is smoothed, cycles a pixel

    @classmethod
    def of(cls, patient: PatientPlan, run: RunPlan) -> Self:
        """Display of a run."""
        rng = stream(run.seed, _DISPLAY)
        style = STYLES[run.look]
        brightness = float(np.clip(rng.normal(136, 18), 90, 170))
        spread = style.spread * float(np.clip(30 * np.exp(rng.normal(0, 0.28)), 14, 50))
        scatter = float(rng.uniform(0.4, 1.0)) + (0.2 if patient.low_quality else 0.0)
        cutoff = style.noise_cutoff * float(rng.choice(SMOOTHING))
        return cls(style, brightness, spread, scatter, NOISE_GRAY / math.sqrt(run.photons), cutoff)


def shutter(run: RunPlan) -> tuple[Float[np.ndarray, "h w"], float]:
    """Collimator of a run: share of the beam that passes at each pixel, and the gray level beyond.

    Many fields show no blade, most of the others up to four straight ones, a few are round.
    """
    rng = stream(run.seed, _SHUTTER)
    size = min(run.rows, run.columns)
    kind = rng.choice(3, p=[0.34, 0.60, 0.06])
    margins = np.where(rng.random(4) < 0.75, np.abs(rng.normal(0, 0.022, 4)), -0.05) * size
    if rng.random() < 0.12:
        margins = margins + np.abs(rng.normal(0, 0.03)) * size + 0.02 * size
    soft, ground = rng.uniform(0.0025, 0.008) * size, float(rng.choice([0.0, 8.0, 28.0], p=[0.5, 0.35, 0.15]))
    radius = rng.uniform(0.50, 0.56) * size
    y, x = np.arange(run.rows) + 0.5, np.arange(run.columns) + 0.5

    def blade(distance: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.clip(distance / soft, -40, 40)))

    if kind == 0:
        return np.ones((run.rows, run.columns), dtype=np.float32), ground
    field = (blade(y - margins[0]) * blade(run.rows - margins[1] - y))[:, None]
    field = field * (blade(x - margins[2]) * blade(run.columns - margins[3] - x))[None]
    if kind == 2:
        field = field * blade(radius - np.hypot(y[:, None] - run.rows / 2, x[None] - run.columns / 2))
    return field.astype(np.float32), ground


def wedge(run: RunPlan) -> Float[np.ndarray, "h w"]:
    """Log attenuation of the wedge filter that dims a bright side of the field, 0 in runs without one.

    A straight copper edge that thickens outward: its shadow begins softly, since it lies near the source.
    """
    rng = stream(run.seed, _WEDGE)
    present, angle, reach = rng.random() < WEDGE_SHARE, rng.uniform(0, 2 * np.pi), rng.uniform(0.12, 0.38)
    depth, softness = rng.uniform(*WEDGE_DEPTH), rng.uniform(0.02, 0.06)
    if not present:
        return np.zeros((run.rows, run.columns), dtype=np.float32)
    y, x = (np.arange(run.rows) + 0.5) / run.rows - 0.5, (np.arange(run.columns) + 0.5) / run.columns - 0.5
    outward = x[None] * np.cos(angle) + y[:, None] * np.sin(angle) - reach
    thickness = softness * np.logaddexp(0, np.clip(outward / softness, -40, 40))
    return (depth * np.minimum(thickness / 0.25, 1.0)).astype(np.float32)
