"""Clean localization metrics by hand and against pycocotools, and the published ones where they differ."""

import contextlib
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cag.metrics.boxes import CORNERS
from cag.metrics.localization import (
    IOU_THRESHOLDS,
    average_precision,
    coco_metrics,
    froc_sensitivity,
    metrics,
    score_at_rate,
)
from cag.metrics.matching import match_detections, match_image
from cag.metrics.published import image_counts
from cag.metrics.published import metrics as published_metrics

# Images a and b have lesions, c and d none; d has no detection either. Diagonals are 5 (3 x 4 pixels scaled by 100).
IMAGES = pd.DataFrame({"image_id": list("abcd"), "patient_id": ["P1", "P1", "P2", "P3"], "width": 300, "height": 400})


def table(rows, *more):
    return pd.DataFrame(rows, columns=["image_id", *CORNERS, *more])


TRUTH = table([("a", 0.0, 0.0, 10.0, 10.0), ("a", 50.0, 50.0, 60.0, 60.0), ("b", 0.0, 0.0, 10.0, 10.0)])
TRUTH = TRUTH.assign(percent_stenosis=[30.0, 90.0, 90.0], segment=[1, 2, 2])
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
RATES = (0.25, 0.5, 1.0, 2.0)
NO_DETECTIONS, NO_TRUTH = DETECTIONS.iloc[:0], TRUTH.iloc[:0]


def value(result):
    return {name: array[0] for name, array in result.items()}


def test_matches_and_metrics_by_hand():
    matches = match_detections(IMAGES, DETECTIONS, TRUTH)
    assert matches.detections["hit"].tolist() == [True, False, False, False, False, True]
    assert matches.truth["found"].tolist() == [True, True, False]
    assert matches.truth["distance"].tolist() == pytest.approx([1, 0, np.nan], nan_ok=True)
    assert (matches.truth["diagonal"] == 500).all()
    expected = {"recall": 2 / 3, "precision": 2 / 6, "f1": 2 * 2 / (3 + 6), "image_sensitivity": 1 / 2}
    expected |= {"false_positives": 4 / 4, "distance_found": (1 + 0) / 2, "distance_with_misses": (1 + 0 + 500) / 3}
    assert value(metrics(match_detections(IMAGES, DETECTIONS, TRUTH))) == pytest.approx(expected)


def test_enlarged_boxes_overlap_more_and_the_better_score_chooses_first():
    for threshold, found in ((24 / 36 - 1e-9, True), (24 / 36 + 1e-9, False)):
        matches = match_detections(IMAGES, DETECTIONS, TRUTH, box_minimum=30.0, iou_threshold=threshold)
        assert matches.truth["found"][2] == found
    assert match_image(np.array([[0.6, 0.7], [0.0, 0.9]]), 0.5).tolist() == [1, -1]
    # As COCO: the later lesion of equal overlap; the threshold itself is enough.
    assert match_image(np.array([[0.5, 0.5]]), 0.5).tolist() == [1]


@pytest.mark.parametrize(
    ("n_images", "detections", "truth", "expected"),
    [
        (4, NO_DETECTIONS, TRUTH, {"recall": 0, "f1": 0, "image_sensitivity": 0, "distance_with_misses": 500, "ap": 0}),
        (4, DETECTIONS, NO_TRUTH, {"precision": 0, "false_positives": 6 / 4}),
        (4, NO_DETECTIONS, NO_TRUTH, {}),
        (0, NO_DETECTIONS, NO_TRUTH, {}),
    ],
)
def test_nothing_found_and_nothing_to_find(n_images, detections, truth, expected):
    matches = match_detections(IMAGES[:n_images], detections, truth)
    result = value(metrics(matches)) | {"ap": average_precision(matches)[0]}
    result |= {"froc": froc_sensitivity(matches, np.ones((1, n_images)), [1.0])[0, 0]}
    assert {name for name, number in result.items() if number > 0} == {k for k, v in expected.items() if v > 0}
    for name, number in expected.items():
        assert result[name] == pytest.approx(number)
    assert len(detections) or score_at_rate(matches, 1.0) == float("inf")


def test_only_the_highest_scores_of_an_image_are_kept_and_one_without_area_is_false(monkeypatch):
    monkeypatch.setattr("cag.metrics.matching.MAX_DETECTIONS", 1)
    assert match_detections(IMAGES, DETECTIONS, TRUTH).detections["score"].tolist() == [0.9, 0.6, 0.5]
    flat = table([("a", 5.0, 5.0, 5.0, 5.0, 0.9)], "score")
    assert value(metrics(match_detections(IMAGES, flat, TRUTH)))["precision"] == 0


def draw(seed, n=15, lesions=25, found=80, levels=1000):
    """Images, detections of which half lie near a lesion, and lesions; the first two images have none."""
    rng = np.random.default_rng(seed)
    images = pd.DataFrame({"image_id": [f"i{k:02d}" for k in range(n)], "patient_id": rng.choice(list("PQRS"), n)})

    def frame(boxes, image_id):
        return pd.DataFrame(boxes, columns=CORNERS).assign(image_id=image_id)

    def boxes(count):
        low = rng.uniform(0, 400, (count, 2))
        return np.hstack([low, low + rng.uniform(20, 60, (count, 2))])

    truth = frame(boxes(lesions), rng.choice(images["image_id"][2:], lesions))
    near = truth.iloc[rng.integers(0, lesions, found // 2)]
    close = near[CORNERS].to_numpy() + rng.normal(0, 3, (len(near), 4))
    ids = [*near["image_id"], *rng.choice(images["image_id"], found - len(near))]
    detections = frame(np.vstack([close, boxes(found - len(near))]), ids)
    scores = rng.choice(levels, found, replace=levels < found) / levels
    return images.assign(width=512, height=512), detections.assign(score=scores), truth


@settings(max_examples=10)
@given(st.integers(0, 100_000))
def test_order_of_rows_is_immaterial(seed):
    tables = draw(seed)
    first = value(metrics(match_detections(*tables)))
    second = value(metrics(match_detections(*(table.sample(frac=1, random_state=seed) for table in tables))))
    assert first == pytest.approx(second, nan_ok=True)


@settings(max_examples=8)
@given(st.integers(0, 100_000))
def test_a_weight_of_two_is_an_image_twice(seed):
    images, *boxes = draw(seed)
    counts = np.random.default_rng(seed).integers(0, 3, len(images))
    copies = pd.concat([images[counts > copy].assign(copy=copy) for copy in range(2)])

    def repeat(table):
        merged = table.merge(copies[["image_id", "copy"]], on="image_id")
        return merged.assign(image_id=merged["image_id"] + "_" + merged["copy"].astype(str))

    repeated, matches = match_detections(*map(repeat, (images, *boxes))), match_detections(images, *boxes)
    weights, once = counts[None].astype(float), np.ones((1, len(repeated.images)))
    assert value(metrics(matches, weights)) == pytest.approx(value(metrics(repeated)), nan_ok=True)
    np.testing.assert_allclose(average_precision(matches, weights), average_precision(repeated))
    np.testing.assert_allclose(froc_sensitivity(matches, weights, RATES), froc_sensitivity(repeated, once, RATES))


def by_pycocotools(images, detections, truth):
    """Average precision and largest recall at each IoU of .5 to .95, straight from pycocotools."""
    number = {image_id: index for index, image_id in enumerate(sorted(images["image_id"]))}

    def annotations(table):
        rows = []
        for index, row in enumerate(table.itertuples(), start=1):
            size = [row.x2 - row.x1, row.y2 - row.y1]
            entry = {"id": index, "image_id": number[row.image_id], "category_id": 1, "iscrowd": 0}
            rows.append(entry | {"bbox": [row.x1, row.y1, *size], "area": size[0] * size[1]})
        return rows

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [{"id": index} for index in number.values()], "categories": [{"id": 1}]}
        coco.dataset["annotations"] = annotations(truth)
        coco.createIndex()
        scores = zip(annotations(detections), detections["score"], strict=True)
        found = [entry | {"score": score} for entry, score in scores]
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, 0, 0, 2].mean(1), evaluation.eval["recall"][:, 0, 0, 2]


@settings(max_examples=6)
@given(st.integers(0, 100_000))
def test_average_precision_is_pycocotools_at_each_iou(seed):
    images, detections, truth = draw(seed)
    matches = [match_detections(images, detections, truth, iou_threshold=t) for t in IOU_THRESHOLDS]
    precision, recall = by_pycocotools(images, detections, truth)
    np.testing.assert_allclose([average_precision(each)[0] for each in matches], precision, atol=1e-9)
    both = coco_metrics(matches)
    assert both["ap"][0] == pytest.approx(precision.mean(), abs=1e-9)
    assert both["ar"][0] == pytest.approx(recall.mean(), abs=1e-9)


def test_equal_scores_of_different_images_are_as_in_pycocotools():
    images, detections, truth = draw(3, levels=7)
    # Within an image the order of equal scores is ours (by coordinates); sorted so, pycocotools' is the same.
    detections = detections.sort_values(["image_id", *CORNERS])
    ours = average_precision(match_detections(images, detections, truth))[0]
    assert ours == pytest.approx(by_pycocotools(images, detections, truth)[0][0], abs=1e-9)


# Ten images, four lesions. By falling score: hit, miss, hit, miss, miss, hit; one lesion is never found.
HITS, SCORES = [True, False, True, False, False, True], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]


def by_hand(hits=HITS, scores=SCORES):
    images = pd.DataFrame({"image_id": [f"i{k}" for k in range(10)], "patient_id": "P", "width": 9, "height": 9})
    place, box = iter(range(4)), (0.0, 0.0, 9.0, 9.0)
    detections = table([(f"i{next(place)}" if hit else "i9", *box) for hit in hits]).assign(score=scores)
    return match_detections(images, detections, table([(f"i{k}", *box) for k in range(4)]))


def test_average_precision_froc_and_the_score_at_a_rate_by_hand_where_no_threshold_splits_equal_scores():
    assert average_precision(by_hand())[0] == pytest.approx((26 + 25 * 2 / 3 + 25 / 2) / 101)
    sensitivity = froc_sensitivity(by_hand(), np.ones((1, 10)), (0.0, 0.1, 0.2, 0.3, 4.0))[0]
    assert sensitivity.tolist() == [1 / 4, 2 / 4, 2 / 4, 3 / 4, 3 / 4]
    assert [score_at_rate(by_hand(), rate) for rate in (0.1, 4.0)] == [0.7, 0.4]
    assert score_at_rate(by_hand(hits=[False], scores=[0.9]), 0.0) == float("inf")
    matches = by_hand(scores=[0.5] * 6)
    assert froc_sensitivity(matches, np.ones((1, 10)), (0.0, 0.2, 0.3))[0].tolist() == [0, 0, 0.75]
    assert [score_at_rate(matches, rate) for rate in (0.2, 0.3)] == [float("inf"), 0.5]


@settings(max_examples=6)
@given(st.integers(0, 100_000))
def test_froc_rises_and_is_the_recall_at_its_score(seed):
    images, detections, truth = draw(seed, levels=20)
    matches = match_detections(images, detections, truth)
    rates = np.linspace(0, 6, 13)
    sensitivity = froc_sensitivity(matches, np.ones((1, len(images))), rates)[0]
    assert (np.diff(sensitivity) >= 0).all() and sensitivity[0] >= 0 and sensitivity[-1] <= 1
    hits = matches.detections.loc[matches.detections["hit"], "score"].to_numpy()
    # Two scores may keep within a rate with equally many lesions found: the lower is taken.
    expected = [(hits >= score_at_rate(matches, rate)).sum() / len(truth) for rate in rates]
    np.testing.assert_allclose(sensitivity, expected)


THREE_IMAGES = pd.DataFrame({"image_id": list("abc"), "patient_id": ["P1", "P2", "P3"], "width": 512, "height": 512})


THREE_LESIONS = table([("a", 0.0, 0.0, 10.0, 10.0), ("a", 100.0, 0.0, 110.0, 10.0), ("b", 0.0, 0.0, 10.0, 10.0)])
FIVE_BOXES = table(
    [
        ("a", 0.0, 0.0, 10.0, 10.0, 0.9),  # on the first lesion, 0 px off
        ("a", 0.0, 2.0, 10.0, 12.0, 0.8),  # again: IoU 80/120, 2 px off, forgiven
        ("a", 60.0, 0.0, 70.0, 10.0, 0.7),  # nothing there: 40 px from the second lesion
        ("b", 5.0, 0.0, 15.0, 10.0, 0.6),  # IoU 50/150: not above .5, 5 px off
        ("c", 0.0, 0.0, 10.0, 10.0, 0.5),  # an image without a lesion
    ],
    "score",
)


def numbers(detections=FIVE_BOXES, truth=THREE_LESIONS, iou_threshold=0.5, **how):
    counts = image_counts(THREE_IMAGES, detections, truth, iou_threshold=iou_threshold, **how)
    return {name: value[0] for name, value in published_metrics(counts).items()}


def test_published_numbers_by_hand_where_an_overlap_of_exactly_the_threshold_does_not_count():
    result = numbers()
    assert result["global_sensitivity"] == 1 / 2  # of the images with a lesion
    assert result["sens_s"] == pytest.approx(1 / 3)
    assert result["spec_s"] == 2 / 5  # both detections of one lesion are right
    assert result["mse"] == pytest.approx((0 + 2 + 40 + 5) / 4)  # image c has no center to be near
    half = table([("b", 0.0, 0.0, 10.0, 5.0, 0.9)], "score")  # IoU 50/100
    assert numbers(half)["sens_s"] == 0
    assert numbers(half, iou_threshold=0.49)["sens_s"] == pytest.approx(1 / 3)


def test_in_published_numbers_misses_cost_nothing_duplicates_are_forgiven_and_one_detection_may_find_two_lesions():
    one = numbers(FIVE_BOXES.iloc[:1])
    assert one["mse"] == 0 and one["sens_s"] == pytest.approx(1 / 3)
    wide = table([("a", 0.0, 0.0, 110.0, 10.0, 0.9)], "score")
    assert numbers(wide, iou_threshold=0.05)["sens_s"] == pytest.approx(2 / 3)
    twice = pd.concat([FIVE_BOXES.iloc[:1]] * 4)
    assert numbers(twice)["spec_s"] == 1
    assert metrics(match_detections(THREE_IMAGES, twice, THREE_LESIONS))["precision"][0] == 1 / 4


def test_the_off_center_rule_of_published_numbers():
    # A 10 x 10 lesion at the origin and a detection of 50 x 50 at the origin: enlarged from its corner the
    # lesion becomes the detection (IoU 1, distance 0); symmetrically it is [-20, 30]: IoU 900/4100, 20 sqrt 2 px off.
    corner, lesion = table([("b", 0.0, 0.0, 50.0, 50.0, 0.9)], "score"), THREE_LESIONS.iloc[2:]
    published = numbers(corner, lesion, box_minimum=50.0)
    assert published["sens_s"] == 1 and published["mse"] == 0
    clean = numbers(corner, lesion, box_minimum=50.0, rule="clean")
    assert clean["sens_s"] == 0 and clean["mse"] == pytest.approx(20 * np.sqrt(2))


def test_published_numbers_ignore_the_order_of_rows_repeat_images_by_weights_and_may_be_of_nothing():
    assert numbers(FIVE_BOXES.iloc[::-1], THREE_LESIONS.iloc[::-1]) == pytest.approx(numbers())
    counts = image_counts(THREE_IMAGES, FIVE_BOXES, THREE_LESIONS, iou_threshold=0.5)
    twice = published_metrics(pd.concat([counts, counts.iloc[:1]]))
    for name, value in published_metrics(counts, np.array([[2.0, 1, 1]])).items():
        assert value[0] == pytest.approx(twice[name][0])
    silent = numbers(FIVE_BOXES.iloc[:0])
    assert silent["global_sensitivity"] == 0 and np.isnan(silent["spec_s"]) and np.isnan(silent["mse"])
    healthy = numbers(truth=THREE_LESIONS.iloc[:0])
    assert np.isnan(healthy["global_sensitivity"]) and healthy["spec_s"] == 0 and np.isnan(healthy["mse"])
