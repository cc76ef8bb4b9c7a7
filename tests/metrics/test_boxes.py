"""Boxes: enlarged by two rules, refused where unusable."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cag.metrics.boxes import centers, check_boxes, enlarge
from cag.settings import InputError

IMAGES = pd.DataFrame({"image_id": ["a", "b"], "patient_id": ["P1", "P2"], "width": 512, "height": 512})
BOX = {"image_id": ["a"], "x1": [10.0], "y1": [10.0], "x2": [20.0], "y2": [30.0]}
TRUTH, DETECTIONS = pd.DataFrame(BOX), pd.DataFrame(BOX | {"score": [0.5]})


def test_both_rules_by_hand():
    # 10 x 60 pixels, minimum 50: the width grows by 40, the height is kept.
    box = np.array([[100.0, 200, 110, 260]])
    np.testing.assert_array_equal(enlarge(box, 50.0, "clean"), [[80, 200, 130, 260]])
    np.testing.assert_array_equal(enlarge(box, 50.0, "as_published"), [[100, 200, 150, 260]])


@settings(max_examples=40, deadline=None)
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


@pytest.mark.parametrize("column", ["image_id", "y1", "x2", "score"])
@pytest.mark.parametrize("name", ["detections", "truth"])
def test_unusable_boxes_are_refused(name, column):
    boxes = {"detections": DETECTIONS, "truth": TRUTH}
    wrong = {"image_id": "c", "y1": np.nan, "x2": 9.0, "score": np.nan}[column]
    boxes[name] = boxes[name].assign(**{column: wrong})
    with pytest.raises(InputError, match=f"1 boxes of {name} cannot be scored, first in image '[ac]'"):
        check_boxes(IMAGES, **boxes)
