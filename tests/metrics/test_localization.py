"""Matching and clean localization metrics, by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cag.metrics.localization import metrics, recall_by
from cag.metrics.matching import match_detections, match_image

# Images a and b have lesions, c and d none; d has no detection either. Diagonals are 5 (3 x 4 pixels scaled by 100).
IMAGES = pd.DataFrame({"image_id": list("abcd"), "patient_id": ["P1", "P1", "P2", "P3"], "width": 300, "height": 400})


def table(rows, *more):
    return pd.DataFrame(rows, columns=["image_id", "x1", "y1", "x2", "y2", *more])


TRUTH = table(
    [
        ("a", 0.0, 0.0, 10.0, 10.0, 30.0, 1),
        ("a", 50.0, 50.0, 60.0, 60.0, 90.0, 2),
        ("b", 0.0, 0.0, 10.0, 10.0, 90.0, 2),
    ],
    "percent_stenosis",
    "segment",
)
DETECTIONS = table(
    [
        ("a", 0.0, 0.0, 10.0, 12.0, 0.9),  # IoU 100/120 with the first lesion, center 1 px off: found
        ("a", 0.0, 0.0, 10.0, 10.0, 0.8),  # perfect, but the lesion is taken: a duplicate is false
        ("a", 100.0, 0.0, 110.0, 10.0, 0.7),  # nothing there
        ("a", 50.0, 50.0, 60.0, 60.0, 0.3),  # the second lesion, with a low score
        ("b", 0.0, 6.0, 10.0, 16.0, 0.6),  # IoU 40/160 = .25: missed
        ("c", 0.0, 0.0, 10.0, 10.0, 0.5),  # false in an image without lesion
    ],
    "score",
)
NO_DETECTIONS, NO_TRUTH = DETECTIONS.iloc[:0], TRUTH.iloc[:0]


def value(result):
    return {name: array[0] for name, array in result.items()}


def test_matches_by_hand():
    matches = match_detections(IMAGES, DETECTIONS, TRUTH)
    assert matches.detections["hit"].tolist() == [True, False, False, False, False, True]
    assert matches.truth["found"].tolist() == [True, True, False]
    assert matches.truth["distance"].tolist() == pytest.approx([1, 0, np.nan], nan_ok=True)
    assert (matches.truth["diagonal"] == 500).all()


def test_metrics_by_hand():
    result = value(metrics(match_detections(IMAGES, DETECTIONS, TRUTH)))
    assert result == pytest.approx(
        {
            "recall": 2 / 3,
            "precision": 2 / 6,
            "f1": 2 * 2 / (3 + 6),
            "image_sensitivity": 1 / 2,
            "false_positives": 4 / 4,
            "distance_found": (1 + 0) / 2,
            "distance_with_misses": (1 + 0 + 500) / 3,
        }
    )


def test_a_looser_threshold_finds_the_third():
    assert value(metrics(match_detections(IMAGES, DETECTIONS, TRUTH, iou_threshold=0.25)))["recall"] == 1


def test_enlarged_boxes_overlap_more():
    # At 30 px both boxes of image b are 30 x 30, 6 px apart: 24/36.
    found = [
        match_detections(IMAGES, DETECTIONS, TRUTH, box_minimum=30.0, iou_threshold=t).truth["found"][2]
        for t in (24 / 36 - 1e-9, 24 / 36 + 1e-9)
    ]
    assert found == [True, False]


def test_no_detections_and_no_lesions():
    nothing = value(metrics(match_detections(IMAGES, NO_DETECTIONS, TRUTH)))
    assert nothing["recall"] == 0 and nothing["distance_with_misses"] == 500
    assert np.isnan(nothing["precision"]) and np.isnan(nothing["distance_found"])
    healthy = value(metrics(match_detections(IMAGES, DETECTIONS, NO_TRUTH)))
    assert healthy["precision"] == 0 and healthy["false_positives"] == 6 / 4 and np.isnan(healthy["recall"])
    empty = value(metrics(match_detections(IMAGES, NO_DETECTIONS, NO_TRUTH)))
    assert empty["false_positives"] == 0 and np.isnan(empty["f1"])
    assert all(
        np.isnan(number) for number in value(metrics(match_detections(IMAGES[:0], NO_DETECTIONS, NO_TRUTH))).values()
    )


def test_the_better_score_chooses_first():
    # Detection 0 overlaps both lesions, the second more; detection 1 only the second, which is taken.
    assert match_image(np.array([[0.6, 0.7], [0.0, 0.9]]), 0.5).tolist() == [1, -1]
    # As COCO: the later lesion of equal overlap; the threshold itself is enough.
    assert match_image(np.array([[0.5, 0.5]]), 0.5).tolist() == [1]


def test_only_the_highest_scores_of_an_image_are_kept(monkeypatch):
    monkeypatch.setattr("cag.metrics.matching.MAX_DETECTIONS", 1)
    assert match_detections(IMAGES, DETECTIONS, TRUTH).detections["score"].tolist() == [0.9, 0.6, 0.5]


def test_a_detection_without_area_is_false():
    flat = table([("a", 5.0, 5.0, 5.0, 5.0, 0.9)], "score")
    assert value(metrics(match_detections(IMAGES, flat, TRUTH)))["precision"] == 0


def draw(seed, n=12):
    rng = np.random.default_rng(seed)
    images = pd.DataFrame({"image_id": [f"i{k}" for k in range(n)], "patient_id": rng.choice(list("PQRS"), n)})
    images = images.assign(width=100, height=100)

    def boxes(count):
        low = rng.integers(0, 60, (count, 2)).astype(float)
        frame = pd.DataFrame(np.hstack([low, low + rng.integers(10, 40, (count, 2))]), columns=["x1", "y1", "x2", "y2"])
        return frame.assign(image_id=rng.choice(images["image_id"], count))

    return images, boxes(60).assign(score=rng.integers(0, 10, 60) / 10), boxes(25)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 100_000))
def test_order_of_rows_is_immaterial(seed):
    images, detections, truth = draw(seed)
    first = value(metrics(match_detections(images, detections, truth)))
    shuffled = (frame.sample(frac=1, random_state=seed) for frame in (images, detections, truth))
    second = value(metrics(match_detections(*shuffled)))
    assert first == pytest.approx(second, nan_ok=True)
    for name in ("recall", "precision", "f1", "image_sensitivity"):
        assert 0 <= first[name] <= 1


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 100_000))
def test_a_weight_of_two_is_an_image_twice(seed):
    images, detections, truth = draw(seed)
    counts = np.random.default_rng(seed).integers(0, 3, len(images))
    counts[0] = 1
    copies = pd.concat([images[counts > copy].assign(copy=copy) for copy in range(2)])

    def repeat(frame):
        merged = frame.merge(copies[["image_id", "copy"]], on="image_id")
        return merged.assign(image_id=merged["image_id"] + "_" + merged["copy"].astype(str))

    repeated = match_detections(repeat(images), repeat(detections), repeat(truth))
    matches = match_detections(images, detections, truth)
    weights = pd.Series(counts, index=images["image_id"])[matches.images["image_id"]].to_numpy(dtype=float)
    assert value(metrics(matches, weights[None])) == pytest.approx(value(metrics(repeated)), nan_ok=True)


def test_recall_by_severity_segment_and_size_with_intervals_from_resamples():
    matches, once = match_detections(IMAGES, DETECTIONS, TRUTH), np.ones((1, 4))
    by_severity = recall_by(matches, "percent_stenosis", once, bins=[25, 50, 70, 100])
    assert by_severity["n"].tolist() == [1, 2]
    assert by_severity["recall"].tolist() == [1, 0.5]
    assert recall_by(matches, "size", once)["size"].tolist() == [10]
    weights = np.array([[2.0, 0, 1, 1], [0.0, 2, 1, 1], [0.0, 0, 2, 2]])
    # Segment 2 (one found in a, one missed in b): 1, 0, undefined.
    table = recall_by(matches, "segment", weights)
    assert table["segment"].tolist() == [1, 2]
    assert table[["recall", "low", "high"]].iloc[1].tolist() == pytest.approx([0.5, 0.025, 0.975])
    assert recall_by(matches, "segment", weights[2:])["low"].isna().all()
