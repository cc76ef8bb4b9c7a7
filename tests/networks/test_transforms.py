"""Augmentation: range, determinism, boxes that follow."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cag.networks.transforms import (
    PUBLISHED_AUGMENTATION,
    STRONG_AUGMENTATION,
    AugmentSettings,
    augment_with_boxes,
    move,
    move_boxes,
    scale,
)

SIZE = 96
STILL = {"flips": False, "degrees": 0, "contrast": (1, 1)}
#: Each random change alone, then the two presets.
EVERY = {
    "flips": AugmentSettings(**STILL | {"flips": True}),
    "rotation": AugmentSettings(**STILL | {"degrees": 180}),
    "zoom": AugmentSettings(**STILL, zoom=(0.7, 1.4)),
    "shift": AugmentSettings(**STILL, shift=0.2),
    "grey": AugmentSettings(**STILL, gamma=(0.6, 1.6), brightness=0.2, soften=(-0.7, 0.9), vignette=0.5),
    "published": PUBLISHED_AUGMENTATION,
    "strong": STRONG_AUGMENTATION,
}


def drawn(x: float, y: float, radius: float) -> torch.Tensor:
    """A bright disk on a dark ground, in [-1, 1]."""
    column, row = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    disk = ((column - x) ** 2 + (row - y) ** 2 < radius**2).astype(np.float32)
    return torch.from_numpy(disk * 1.6 - 0.8)[None, None]


def test_scale_spans_minus_one_to_one():
    assert scale(torch.tensor([[[0, 255]]], dtype=torch.uint8)).tolist() == [[[[-1.0, 1.0]]]]


@pytest.mark.parametrize("name", EVERY)
def test_same_seed_same_images_and_range_is_kept(name):
    images, boxes = torch.rand(3, 1, 24, 24) * 2 - 1, torch.zeros(3, 1, 4)
    how = [(images, boxes, torch.Generator().manual_seed(seed), EVERY[name]) for seed in (1, 1, 2)]
    first, again, other = (augment_with_boxes(*each)[0] for each in how)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == images.shape and first.abs().max() <= 1


def test_no_change_leaves_images_and_boxes_alone():
    images, boxes = torch.rand(2, 1, 20, 20), torch.tensor([[[3.0, 4.0, 9.0, 12.0], [torch.nan] * 4]] * 2)
    same, kept = augment_with_boxes(images, boxes, torch.Generator(), AugmentSettings(**STILL))
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)
    torch.testing.assert_close(kept, boxes, atol=1e-4, rtol=0, equal_nan=True)


def test_a_flip_moves_a_box_to_its_mirror_image_and_one_whose_center_leaves_is_gone():
    motion = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]])
    boxes = move_boxes(torch.tensor([[[2.0, 5.0, 6.0, 8.0]]]), motion, (20, 20))
    torch.testing.assert_close(boxes, torch.tensor([[[14.0, 5.0, 18.0, 8.0]]]))
    image = torch.arange(20.0).expand(1, 1, 20, 20)
    torch.testing.assert_close(move(image, motion), image.flip(3), atol=1e-4, rtol=0)
    away = torch.tensor([[[1.0, 0, 1.5], [0, 1, 0]]])
    assert move_boxes(torch.tensor([[[10.0, 5.0, 14.0, 8.0]]]), away, (20, 20)).isnan().all()


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 100_000), x=st.floats(15, 81), y=st.floats(15, 81), radius=st.floats(3, 10))
def test_a_box_around_a_disk_still_encloses_it(name, seed, x, y, radius):
    box = torch.tensor([[[x - radius, y - radius, x + radius, y + radius], [torch.nan] * 4]])
    image, boxes = augment_with_boxes(drawn(x, y, radius), box, torch.Generator().manual_seed(seed), EVERY[name])
    kept = boxes[0, 0]
    assert boxes[0, 1].isnan().all()
    low, high = image.min(), image.max()
    rows, columns = torch.nonzero(image[0, 0] > (low + high) / 2 + 0.15 * (high - low), as_tuple=True)
    if kept.isnan().any():  # gone only with its center: less than half of the disk is left in the picture
        places = torch.cat([rows, columns])
        assert high - low < 0.1 or places.min() == 0 or places.max() == SIZE - 1  # a picture without disk is even
        return
    assert kept.min() >= 0 and kept.max() <= SIZE
    spread = 1.5  # pixels by which resampling and softening blur the edge of a disk
    assert kept[0] - spread <= columns.min() and columns.max() + 1 <= kept[2] + spread
    assert kept[1] - spread <= rows.min() and rows.max() + 1 <= kept[3] + spread


def test_without_zoom_a_box_grows_at_most_by_the_diagonal_over_the_side():
    boxes = torch.tensor([[[40.0, 40, 60, 60]]])
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        _, moved = augment_with_boxes(drawn(50, 50, 10), boxes, generator, EVERY["rotation"])
        side = moved[0, 0, 2:] - moved[0, 0, :2]
        assert (side <= 20 * 2**0.5 + 1e-3).all() and (side >= 20 - 1e-3).all()
