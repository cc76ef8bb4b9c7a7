"""Boxes enlarged by two rules, refused where unusable; center hits by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cag.metrics.boxes import centers, check_boxes, enlarge
from cag.settings import InputError
from cag.simulator.center_hits import center_hits

IMAGES = pd.DataFrame({"image_id": ["a", "b"], "patient_id": ["P1", "P2"], "width": 512, "height": 512})
BOX = {"image_id": ["a"], "x1": [10.0], "y1": [10.0], "x2": [20.0], "y2": [30.0]}
TRUTH, DETECTIONS = pd.DataFrame(BOX), pd.DataFrame(BOX | {"score": [0.5]})


def test_both_rules_by_hand():
    # 10 x 60 pixels, minimum 50: the width grows by 40, the height is kept.
    box = np.array([[100.0, 200, 110, 260]])
    np.testing.assert_array_equal(enlarge(box, 50.0, "clean"), [[80, 200, 130, 260]])
    np.testing.assert_array_equal(enlarge(box, 50.0, "as_published"), [[100, 200, 150, 260]])


@given(st.integers(0, 100_000), st.floats(0, 100))
def test_enlarged_boxes_enclose_and_reach_the_minimum(seed, minimum):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 400, (9, 2))
    boxes = np.hstack([low, low + rng.uniform(0, 100, (9, 2))])
    for rule in ("clean", "as_published"):
        large = enlarge(boxes, minimum, rule)
        assert (large[:, :2] <= boxes[:, :2] + 1e-9).all() and (large[:, 2:] >= boxes[:, 2:] - 1e-9).all()
        assert (large[:, 2:] - large[:, :2] >= minimum - 1e-9).all()
        np.testing.assert_allclose(enlarge(large, minimum, rule), large)
    np.testing.assert_allclose(centers(enlarge(boxes, minimum)), centers(boxes))
    np.testing.assert_allclose(enlarge(boxes, minimum, "as_published")[:, :2], boxes[:, :2])


def test_usable_boxes_pass_also_outside_the_image_and_without_area():
    check_boxes(IMAGES, DETECTIONS.assign(x1=-5.0), TRUTH)
    check_boxes(IMAGES, DETECTIONS.assign(x2=10.0), TRUTH)
    check_boxes(IMAGES, DETECTIONS.iloc[:0], TRUTH.iloc[:0])


@pytest.mark.parametrize("wrong", [{"image_id": "c"}, {"y1": np.nan}, {"x2": 9.0}, {"score": np.nan}])
@pytest.mark.parametrize("name", ["detections", "truth"])
def test_unusable_boxes_are_refused(name, wrong):
    boxes = {"detections": DETECTIONS, "truth": TRUTH}
    boxes[name] = boxes[name].assign(**wrong)
    with pytest.raises(InputError, match=f"1 boxes of {name} cannot be scored, first in image '[ac]'"):
        check_boxes(IMAGES, **boxes)


NONE = [math.nan] * 4


def test_center_hits_by_hand_where_nothing_is_found_or_to_find_and_where_a_box_has_a_second_peak():
    heat = np.zeros((3, 16, 16))
    heat[0, 4, 4] = 0.9  # in the first box of image 0
    heat[0, 4, 9] = 0.5  # in its second box
    heat[0, 14, 14] = 0.7  # nowhere
    heat[1, 2, 2] = 0.6  # image 1 has no lesion
    boxes = np.array([[[30, 30, 40, 40], [74, 30, 80, 40]], [NONE, NONE], [[10, 10, 20, 20], NONE]], dtype=float)
    found = center_hits(heat, boxes, 128, reach=2.0)
    assert (found.n_lesions, found.n_images) == (3, 3)
    assert found.peaks["hit"].tolist() == [True, False, False, True]
    assert found.recall_at(0.0) == pytest.approx(1 / 3) and found.recall_at(1.0) == pytest.approx(2 / 3)
    silent = center_hits(np.zeros((2, 8, 8)), np.array([[[1.0, 1.0, 9.0, 9.0]]] * 2), 64)
    assert silent.recall_at(1.0) == 0.0
    assert math.isnan(center_hits(np.zeros((1, 8, 8)), np.full((1, 1, 4), np.nan), 64).recall_at(1.0))
    heat = np.zeros((1, 32, 32))
    heat[0, 8, 8], heat[0, 8, 14] = 0.9, 0.8
    box = [20.0, 20.0, 80.0, 60.0]
    found, both = (center_hits(heat, np.array([boxes]), 128) for boxes in ([box], [box, [20.0, 20.0, 81.0, 60.0]]))
    assert (len(found.peaks), found.recall_at(0.0)) == (1, 1.0)
    assert both.recall_at(0.0) == 1.0, "each of two boxes has a peak"
