"""Boxes survive every augmentation that detectors are trained with: a box around a drawn disk still encloses it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cag.networks.transforms import PUBLISHED_AUGMENTATION, STRONG_AUGMENTATION, AugmentSettings, augment_with_boxes

SIZE = 96
#: Each random change alone, then the two presets.
EVERY = {
    "nothing": AugmentSettings(flips=False, degrees=0, contrast=(1, 1)),
    "flips": AugmentSettings(degrees=0, contrast=(1, 1)),
    "rotation": AugmentSettings(flips=False, degrees=180, contrast=(1, 1)),
    "zoom": AugmentSettings(flips=False, degrees=0, zoom=(0.7, 1.4), contrast=(1, 1)),
    "shift": AugmentSettings(flips=False, degrees=0, shift=0.2, contrast=(1, 1)),
    "grey": AugmentSettings(flips=False, degrees=0, gamma=(0.6, 1.6), brightness=0.2, soften=(-0.7, 0.9), vignette=0.5),
    "published": PUBLISHED_AUGMENTATION,
    "strong": STRONG_AUGMENTATION,
}


def drawn(x: float, y: float, radius: float) -> torch.Tensor:
    """A bright disk on a dark ground, in [-1, 1]."""
    column, row = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    disk = ((column - x) ** 2 + (row - y) ** 2 < radius**2).astype(np.float32)
    return torch.from_numpy(disk * 1.6 - 0.8)[None, None]


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    x=st.floats(0.15, 0.85),
    y=st.floats(0.15, 0.85),
    radius=st.floats(3, 10),
)
def test_a_box_around_a_disk_still_encloses_it(name: str, seed: int, x: float, y: float, radius: float) -> None:
    x, y = x * SIZE, y * SIZE
    box = torch.tensor([[[x - radius, y - radius, x + radius, y + radius], [torch.nan] * 4]])
    image, boxes = augment_with_boxes(drawn(x, y, radius), box, torch.Generator().manual_seed(seed), EVERY[name])
    kept = boxes[0, 0]
    assert boxes[0, 1].isnan().all()
    low, high = image.min(), image.max()
    rows, columns = torch.nonzero(image[0, 0] > (low + high) / 2 + 0.15 * (high - low), as_tuple=True)
    if kept.isnan().any():
        # Gone only with its center: less than half of the disk is left in the picture.
        places = torch.cat([rows, columns])
        assert high - low < 0.1 or places.min() == 0 or places.max() == SIZE - 1  # a picture without disk is even
        return
    assert kept.min() >= 0 and kept.max() <= SIZE
    spread = 1.5  # pixels by which resampling and softening blur the edge of a disk
    assert kept[0] - spread <= columns.min() and columns.max() + 1 <= kept[2] + spread
    assert kept[1] - spread <= rows.min() and rows.max() + 1 <= kept[3] + spread


def test_the_box_stays_near_the_disk() -> None:
    # Not merely large: without zoom a box grows at most by the diagonal over the side.
    boxes = torch.tensor([[[40.0, 40, 60, 60]]])
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        _, moved = augment_with_boxes(drawn(50, 50, 10), boxes, generator, EVERY["rotation"])
        side = moved[0, 0, 2:] - moved[0, 0, :2]
        assert (side <= 20 * 2**0.5 + 1e-3).all() and (side >= 20 - 1e-3).all()
