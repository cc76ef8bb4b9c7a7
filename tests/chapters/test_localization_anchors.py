"""Anchors against boxes: by hand, and on real box statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cag.chapters.localization.anchors import anchor_table, anchors_on, best_overlaps, scaled_preset
from cag.chapters.localization.settings import LocalizationSettings, fpn_cells
from cag.data.public import read_public
from cag.metrics.boxes import CORNERS


def test_best_overlap_by_hand() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    anchors = np.array([[0.0, 0, 10, 5], [0, 0, 10, 10], [25, 20, 35, 30]])
    assert best_overlaps(boxes, anchors).tolist() == pytest.approx([1, 1 / 3])


def test_presets_keep_their_share_of_the_frame() -> None:
    assert scaled_preset("published", 256).anchor_sizes == (16, 32, 64, 128, 256)
    assert scaled_preset("fitted", 512).anchor_sizes == (36, 64, 112, 192, 320)


CELL = fpn_cells(LocalizationSettings(backbone="resnet18", weights="random"), None)[0]


def test_a_box_that_is_an_anchor_fits_wholly_and_a_tiny_one_not_at_all() -> None:
    anchors = anchors_on(CELL, scaled_preset("fitted", 256))
    inside = anchors[(anchors.min(dim=1).values >= 0) & (anchors.max(dim=1).values <= 256)]
    side = (inside[:, 2:] - inside[:, :2]).min(dim=1).values
    chosen = inside[side >= CELL.box_minimum][:40]
    table = anchor_table(pd.DataFrame(chosen.numpy(), columns=CORNERS), CELL).set_index("Preset")
    assert table.loc["fitted"].to_list() == [40, pytest.approx(1), 1]
    assert (best_overlaps(np.array([[50.0, 50, 52, 52]]), anchors.double().numpy()) < 0.1).all()


def test_fitted_anchors_meet_the_real_boxes_at_least_as_often(cag_data: Path) -> None:
    boxes = read_public(cag_data / "arcade").tables.boxes[CORNERS] / 2
    table = anchor_table(boxes.iloc[::5], CELL).set_index("Preset")
    share = table["Share with a positive anchor"]
    assert share["fitted"] >= max(0.97, share["published"])
    assert table["Median IoU"]["fitted"] >= table["Median IoU"]["published"]
