"""Grey levels in the range that networks read, and augmentation of whole batches on the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from cag.settings import Settings


def scale(frames: UInt8[Tensor, "n h w"]) -> Float[Tensor, "n 1 h w"]:
    """Grey levels 0..255 as [-1, 1], the range every network of the study reads."""
    return frames[:, None].float() / 127.5 - 1


class AugmentSettings(Settings):
    """Ranges of the random changes; the defaults are the published ones."""

    flips: bool = True  #: Mirror left-right and top-bottom, each with probability .5.
    degrees: float = Field(default=10.0, ge=0, le=180)  #: Rotation up to this angle either way.
    contrast: tuple[float, float] = (0.75, 1.5)  #: Factor about the image's mean.
    gamma: tuple[float, float] = (1.0, 1.0)  #: Exponent of the grey levels in 0..1.
    brightness: float = Field(default=0.0, ge=0)  #: Largest shift, in units of the range [-1, 1].
    zoom: tuple[float, float] = (1.0, 1.0)  #: Magnification.
    shift: float = Field(default=0.0, ge=0, lt=0.5)  #: Largest displacement as a share of the image.
    soften: tuple[float, float] = (0.0, 0.0)  #: Weight of a Gaussian-blurred copy (SD 1.1 px); negative sharpens.
    noise: float = Field(default=0.0, ge=0)  #: Largest SD of added Gaussian noise.
    vignette: float = Field(default=0.0, ge=0)  #: Largest darkening (or brightening) of the corners.


#: The published augmentation, and the stronger one that prepares for frames of other machines.
PUBLISHED_AUGMENTATION = AugmentSettings()
STRONG_AUGMENTATION = AugmentSettings(
    gamma=(0.6, 1.6), brightness=0.3, zoom=(0.85, 1.2), shift=0.06, soften=(-0.7, 0.9), noise=0.05, vignette=0.5
)


def augment(images: Float[Tensor, "b c h w"], generator: torch.Generator) -> Float[Tensor, "b c h w"]:
    """Images in [-1, 1] changed at random as published, each by its own draw."""
    motion = draw_motion(len(images), generator, PUBLISHED_AUGMENTATION)
    return change_grey(move(images, motion), generator, PUBLISHED_AUGMENTATION)


def augment_with_boxes(
    images: Float[Tensor, "b c h w"],
    boxes: Float[Tensor, "b k 4"],
    generator: torch.Generator,
    settings: AugmentSettings = PUBLISHED_AUGMENTATION,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b k 4"]]:
    """``augment`` that takes boxes along (``move_boxes``)."""
    motion = draw_motion(len(images), generator, settings)
    return change_grey(move(images, motion), generator, settings), move_boxes(boxes, motion, images.shape[-2:])


def draw_motion(count: int, generator: torch.Generator, settings: AugmentSettings) -> Float[Tensor, "b 2 3"]:
    """Random affine maps (flips, rotation, zoom, shift) from the old to the new image, which spans [-1, 1]."""
    angle = torch.deg2rad(_uniform(count, (-settings.degrees, settings.degrees), generator))
    zoom = _uniform(count, settings.zoom, generator)
    flip = torch.randint(0, 2, (2, count), generator=generator) * -2.0 + 1 if settings.flips else torch.ones(2, count)
    x, y = (_uniform(count, (-2 * settings.shift, 2 * settings.shift), generator) for _ in range(2))
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    entries = [cos * flip[0], -sin * flip[1], x, sin * flip[0], cos * flip[1], y]
    return torch.stack(entries, dim=1).unflatten(1, (2, 3))


def move(images: Float[Tensor, "b c h w"], motion: Float[Tensor, "b 2 3"], fill: str = "border") -> Tensor:
    """Images under affine maps, bilinear; ``fill`` is ``border`` (repeat the edge) or ``zeros``."""
    linear, offset = motion[:, :, :2], motion[:, :, 2:]
    inverse = torch.linalg.inv(linear)
    backward = torch.cat([inverse, -inverse @ offset], dim=2).to(images.device, non_blocking=True)
    grid = F.affine_grid(backward, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=fill, align_corners=False)


def move_boxes(
    boxes: Float[Tensor, "b k 4"], motion: Float[Tensor, "b 2 3"], size: tuple[int, ...] | torch.Size
) -> Float[Tensor, "b k 4"]:
    """Rectangles around boxes under affine maps, clipped to the image, NaN where the center left it.

    Boxes are x1, y1, x2, y2 in half-open pixels of an image of ``size`` (height, width); rows of NaN stand for no box.
    """
    height, width = size
    extent = torch.tensor([width, height], dtype=boxes.dtype, device=boxes.device)
    motion = motion.to(boxes, non_blocking=True)
    corners = boxes[..., [0, 1, 2, 1, 0, 3, 2, 3]].unflatten(-1, (4, 2)) * 2 / extent - 1
    moved = torch.einsum("bij,bkcj->bkci", motion[:, :, :2], corners) + motion[:, None, None, :, 2]
    pixels = (moved + 1) / 2 * extent
    center = pixels.mean(dim=2)
    inside = ((center >= 0) & (center < extent)).all(dim=-1, keepdim=True)
    clipped = torch.cat([pixels.amin(dim=2), pixels.amax(dim=2)], dim=-1).clamp(min=0)
    return torch.where(inside, torch.minimum(clipped, extent.repeat(2)), torch.nan)


def change_grey(
    images: Float[Tensor, "b c h w"], generator: torch.Generator, settings: AugmentSettings
) -> Float[Tensor, "b c h w"]:
    """Random contrast, gamma, brightness, vignette, blur or sharpening, and noise; stays in [-1, 1]."""
    count, device = len(images), images.device

    def draw(low: float, high: float) -> Tensor:
        return _uniform(count, (low, high), generator)[:, None, None, None].to(device, non_blocking=True)

    if any(settings.soften):
        images = torch.lerp(images, _blurred(images), draw(*settings.soften))
    if settings.gamma != (1.0, 1.0):
        images = ((images.clamp(-1, 1) + 1) / 2) ** draw(*settings.gamma) * 2 - 1
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * draw(*settings.contrast) + mean + draw(-settings.brightness, settings.brightness)
    if settings.vignette:
        y, x = (torch.linspace(-1, 1, n, device=device) for n in images.shape[-2:])
        corners = (y[:, None] ** 2 + x[None, :] ** 2) / 2  # 0 at the center of the image, 1 in its corners
        images = images - draw(-settings.vignette, settings.vignette) * corners
    if settings.noise:  # drawn where the images lie, from a seed of the generator
        amount, seed = draw(0, settings.noise), int(torch.randint(0, 2**31 - 1, (1,), generator=generator))
        own = torch.Generator(device).manual_seed(seed)
        images = images + amount * torch.randn(images.shape, generator=own, device=device)
    return images.clamp(-1, 1)


def _uniform(count: int, bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(count, generator=generator)


def _blurred(images: Tensor) -> Tensor:
    channels = images.shape[1]
    kernel = torch.exp(-0.5 * (torch.arange(-2.0, 3.0, device=images.device) / 1.1) ** 2)
    kernel = (kernel / kernel.sum()).expand(channels, 1, 1, 5)
    across = F.conv2d(F.pad(images, (2, 2, 0, 0), mode="replicate"), kernel, groups=channels)
    return F.conv2d(F.pad(across, (0, 0, 2, 2), mode="replicate"), kernel.transpose(2, 3), groups=channels)
