"""Anchors against boxes: by hand, and on real box statistics."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cag.experiments.localization_anchors import anchor_table, best_overlaps, scaled_preset
from cag.experiments.localization_settings import LocalizationSettings, fpn_cells


def test_best_overlap_by_hand() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    anchors = np.array([[0.0, 0, 10, 5], [0, 0, 10, 10], [25, 20, 35, 30]])
    assert best_overlaps(boxes, anchors).tolist() == pytest.approx([1, 1 / 3])


def test_presets_keep_their_share_of_the_frame() -> None:
    assert scaled_preset("published", 256).anchor_sizes == (16, 32, 64, 128, 256)
    assert scaled_preset("fitted", 512).anchor_sizes == (24, 48, 96, 144, 192)


def test_fitted_anchors_meet_more_small_boxes_than_the_published() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(20, 200, (60, 2))
    side = rng.uniform(12, 30, (60, 2))
    truth = pd.DataFrame(np.hstack([low, low + side]), columns=["x1", "y1", "x2", "y2"])
    cell = fpn_cells(LocalizationSettings(backbone="resnet18", weights="random"), None)[0]
    table = anchor_table(truth, cell).set_index("Preset")
    share = table["Share with a positive anchor"]
    assert share["fitted"] > share["published"]
    assert (table["Boxes"] == 60).all()
