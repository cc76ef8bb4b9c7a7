"""Augmentation: range, determinism, boxes that follow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cag.networks.transforms import (
    STRONG_AUGMENTATION,
    AugmentSettings,
    augment,
    augment_with_boxes,
    draw_motion,
    move,
    move_boxes,
    scale,
)


def test_scale_spans_minus_one_to_one():
    levels = scale(torch.tensor([[[0, 255]]], dtype=torch.uint8))
    assert levels.shape == (1, 1, 1, 2)
    assert levels.flatten().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("config", [AugmentSettings(), STRONG_AUGMENTATION])
def test_same_seed_same_images_and_range_is_kept(config):
    images = torch.rand(3, 1, 24, 24) * 2 - 1
    first, again, other = (augment(images, torch.Generator().manual_seed(seed), config) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert first.min() >= -1
    assert first.max() <= 1


def test_no_change_leaves_images_and_boxes_alone():
    still = AugmentSettings(flips=False, degrees=0, contrast=(1, 1))
    images, boxes = torch.rand(2, 1, 20, 20), torch.tensor([[[3.0, 4.0, 9.0, 12.0], [torch.nan] * 4]] * 2)
    same, kept = augment_with_boxes(images, boxes, torch.Generator(), still)
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)
    torch.testing.assert_close(kept, boxes, atol=1e-4, rtol=0, equal_nan=True)


def test_a_flip_moves_a_box_to_its_mirror_image():
    motion = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]])
    boxes = move_boxes(torch.tensor([[[2.0, 5.0, 6.0, 8.0]]]), motion, (20, 20))
    torch.testing.assert_close(boxes, torch.tensor([[[14.0, 5.0, 18.0, 8.0]]]))
    image = torch.arange(20.0).expand(1, 1, 20, 20)
    torch.testing.assert_close(move(image, motion), image.flip(3), atol=1e-4, rtol=0)


def test_a_box_whose_center_leaves_the_image_is_gone():
    motion = torch.tensor([[[1.0, 0, 1.5], [0, 1, 0]]])
    assert move_boxes(torch.tensor([[[10.0, 5.0, 14.0, 8.0]]]), motion, (20, 20)).isnan().all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), x=st.floats(16, 48), y=st.floats(16, 48), radius=st.floats(3, 8))
def test_a_box_around_a_drawn_disk_still_encloses_it(seed, x, y, radius):
    column, row = np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5)
    disk = torch.from_numpy(((column - x) ** 2 + (row - y) ** 2 < radius**2).astype(np.float32))[None, None]
    boxes = torch.tensor([[[x - radius, y - radius, x + radius, y + radius]]])
    motion = draw_motion(1, torch.Generator().manual_seed(seed), STRONG_AUGMENTATION)
    moved, box = move(disk, motion, fill="zeros")[0, 0], move_boxes(boxes, motion, (64, 64))[0, 0]
    rows, columns = torch.nonzero(moved > 0.5, as_tuple=True)
    if box.isnan().any():
        return
    assert box[0] - 1 <= columns.min()
    assert columns.max() + 1 <= box[2] + 1
    assert box[1] - 1 <= rows.min()
    assert rows.max() + 1 <= box[3] + 1
