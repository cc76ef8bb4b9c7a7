"""Center hits by hand: hits, duplicates, misses, false peaks, empty images."""

import math

import numpy as np
import pytest

from cag.metrics.center_hits import center_hits

NONE = [math.nan] * 4


def test_by_hand():
    heat = np.zeros((3, 16, 16))
    heat[0, 4, 4] = 0.9  # in the first box of image 0
    heat[0, 4, 9] = 0.5  # in its second box
    heat[0, 14, 14] = 0.7  # nowhere
    heat[1, 2, 2] = 0.6  # image 1 has no lesion
    boxes = np.array([[[30, 30, 40, 40], [74, 30, 80, 40]], [NONE, NONE], [[10, 10, 20, 20], NONE]], dtype=float)
    found = center_hits(heat, boxes, 128, reach=2.0)
    assert (found.n_lesions, found.n_images) == (3, 3)
    assert found.peaks["hit"].tolist() == [True, False, False, True]
    assert found.recall_at(0.0) == pytest.approx(1 / 3)
    assert found.recall_at(1.0) == pytest.approx(2 / 3)
    assert found.best_f1() == pytest.approx(max(2 * 1 / (1 + 3), 2 * 2 / (4 + 3)))


def test_a_second_peak_in_a_found_box_counts_neither_way():
    heat = np.zeros((1, 32, 32))
    heat[0, 8, 8], heat[0, 8, 14] = 0.9, 0.8
    box = [20.0, 20.0, 80.0, 60.0]
    found, both = (center_hits(heat, np.array([boxes]), 128) for boxes in ([box], [box, [20.0, 20.0, 81.0, 60.0]]))
    assert (len(found.peaks), found.recall_at(0.0)) == (1, 1.0)
    assert both.recall_at(0.0) == 1.0, "each of two boxes has a peak"


def test_nothing_found_and_nothing_to_find():
    silent = center_hits(np.zeros((2, 8, 8)), np.array([[[1.0, 1.0, 9.0, 9.0]]] * 2), 64)
    assert silent.recall_at(1.0) == 0.0 and silent.best_f1() == 0.0
    assert math.isnan(center_hits(np.zeros((1, 8, 8)), np.full((1, 1, 4), np.nan), 64).recall_at(1.0))
