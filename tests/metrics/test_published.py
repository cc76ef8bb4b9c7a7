"""The published localization numbers, worked by hand where they differ from the clean ones."""

import numpy as np
import pandas as pd
import pytest

from cag.metrics.localization import metrics as clean_metrics
from cag.metrics.matching import match_detections
from cag.metrics.published import image_counts, metrics

IMAGES = pd.DataFrame({"image_id": list("abc"), "patient_id": ["P1", "P2", "P3"], "width": 512, "height": 512})


def table(rows, *more):
    return pd.DataFrame(rows, columns=["image_id", "x1", "y1", "x2", "y2", *more])


TRUTH = table([("a", 0.0, 0.0, 10.0, 10.0), ("a", 100.0, 0.0, 110.0, 10.0), ("b", 0.0, 0.0, 10.0, 10.0)])
DETECTIONS = table(
    [
        ("a", 0.0, 0.0, 10.0, 10.0, 0.9),  # on the first lesion, 0 px off
        ("a", 0.0, 2.0, 10.0, 12.0, 0.8),  # again: IoU 80/120, 2 px off, forgiven
        ("a", 60.0, 0.0, 70.0, 10.0, 0.7),  # nothing there: 40 px from the second lesion
        ("b", 5.0, 0.0, 15.0, 10.0, 0.6),  # IoU 50/150: not above .5, 5 px off
        ("c", 0.0, 0.0, 10.0, 10.0, 0.5),  # an image without a lesion
    ],
    "score",
)


def numbers(detections=DETECTIONS, truth=TRUTH, iou_threshold=0.5, box_minimum=0.0, rule="as_published"):
    counts = image_counts(IMAGES, detections, truth, iou_threshold=iou_threshold, box_minimum=box_minimum, rule=rule)
    return {name: value[0] for name, value in metrics(counts).items()}


def test_by_hand_where_an_overlap_of_exactly_the_threshold_does_not_count():
    result = numbers()
    assert result["global_sensitivity"] == 1 / 2  # of the images with a lesion
    assert result["sens_s"] == pytest.approx(1 / 3)
    assert result["spec_s"] == 2 / 5  # both detections of one lesion are right
    assert result["mse"] == pytest.approx((0 + 2 + 40 + 5) / 4)  # image c has no center to be near
    half = table([("b", 0.0, 0.0, 10.0, 5.0, 0.9)], "score")  # IoU 50/100
    assert numbers(half)["sens_s"] == 0
    assert numbers(half, iou_threshold=0.49)["sens_s"] == pytest.approx(1 / 3)


def test_misses_cost_nothing_here_duplicates_are_forgiven_and_one_detection_may_find_two_lesions():
    one = numbers(DETECTIONS.iloc[:1])
    assert one["mse"] == 0 and one["sens_s"] == pytest.approx(1 / 3)
    wide = table([("a", 0.0, 0.0, 110.0, 10.0, 0.9)], "score")
    assert numbers(wide, iou_threshold=0.05)["sens_s"] == pytest.approx(2 / 3)
    twice = pd.concat([DETECTIONS.iloc[:1]] * 4)
    assert numbers(twice)["spec_s"] == 1
    assert clean_metrics(match_detections(IMAGES, twice, TRUTH))["precision"][0] == 1 / 4


def test_the_off_center_rule():
    # A 10 x 10 lesion at the origin and a detection of 50 x 50 at the origin: enlarged from its corner the
    # lesion becomes the detection (IoU 1, distance 0); symmetrically it is [-20, 30]: IoU 900/4100, 20 sqrt 2 px off.
    corner, lesion = table([("b", 0.0, 0.0, 50.0, 50.0, 0.9)], "score"), TRUTH.iloc[2:]
    published = numbers(corner, lesion, box_minimum=50.0)
    assert published["sens_s"] == 1 and published["mse"] == 0
    clean = numbers(corner, lesion, box_minimum=50.0, rule="clean")
    assert clean["sens_s"] == 0 and clean["mse"] == pytest.approx(20 * np.sqrt(2))


def test_order_of_rows_is_immaterial_weights_repeat_images_and_where_nothing_is_found_or_to_find():
    assert numbers(DETECTIONS.iloc[::-1], TRUTH.iloc[::-1]) == pytest.approx(numbers())
    counts = image_counts(IMAGES, DETECTIONS, TRUTH, iou_threshold=0.5)
    twice = metrics(pd.concat([counts, counts.iloc[:1]]))
    for name, value in metrics(counts, np.array([[2.0, 1, 1]])).items():
        assert value[0] == pytest.approx(twice[name][0])
    silent = numbers(DETECTIONS.iloc[:0])
    assert silent["global_sensitivity"] == 0 and np.isnan(silent["spec_s"]) and np.isnan(silent["mse"])
    healthy = numbers(truth=TRUTH.iloc[:0])
    assert np.isnan(healthy["global_sensitivity"]) and healthy["spec_s"] == 0 and np.isnan(healthy["mse"])
