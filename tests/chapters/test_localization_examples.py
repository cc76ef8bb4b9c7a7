"""Examples by their rules with sentences from their boxes; the place prior by hand."""

import numpy as np
import pandas as pd
import pytest

from cag.book.figures.localization import choose_examples
from cag.chapters.localization.scores import Scored, scoring_rule
from cag.chapters.localization.training import centre_prior

COLUMNS = ["image_id", "x1", "y1", "x2", "y2"]
IMAGES = pd.DataFrame({"image_id": list("abcd"), "patient_id": ["P", "Q", "R", "R"], "width": 256, "height": 256})
TRUTH = pd.DataFrame(
    [
        ("a", 0, 0, 10, 10, 2, 90.0),
        ("b", 0, 0, 10, 10, 12, 40.0),
        ("c", 0, 0, 10, 10, 13, 60.0),
        ("d", 0, 0, 10, 10, 13, 95.0),
    ],
    columns=[*COLUMNS, "segment", "percent_stenosis"],
)
FOUND = pd.DataFrame(
    [
        ("a", 0, 0, 10, 10, 0.1, False),  # below the operating score
        ("a", 40, 0, 50, 10, 0.8, True),
        ("b", 30, 40, 40, 50, 0.9, True),
        ("c", 0, 5, 10, 15, 0.7, True),  # IoU 50/150
    ],
    columns=[*COLUMNS, "score", "operating"],
)


def side(found: pd.DataFrame = FOUND, truth: pd.DataFrame = TRUTH, iou: float = 0.5) -> Scored:
    return Scored(IMAGES, found, truth, scoring_rule("clean", "fpn", iou, 0))


def test_each_kind_by_its_rule_and_in_words():
    chosen = choose_examples(side())
    assert list(zip(chosen.image_id, chosen.sentence, strict=True)) == [
        ("c", "Best: every lesion found, least overlap (IoU) 0.33"),
        ("d", "Typical: mean overlap (IoU) 0.00 of its lesions with a box"),
        ("d", "Missed: stenosis of 95 %, mid LAD; no box above the operating score touches it"),
        ("a", "Missed: stenosis of 90 %, mid RCA; no box above the operating score touches it"),
        ("c", "Loose: stenosis of 60 %, mid LAD; the best box overlaps it by 0.33 (IoU), too little to count"),
        ("b", "False: a box of score 0.90 that touches no lesion"),
        ("a", "False: a box of score 0.80 that touches no lesion"),
    ]
    assert chosen.kind.tolist() == ["best", "typical", "missed", "missed", "loose", "false", "false"]


def test_one_of_each_patient_and_unknown_severity_by_size():
    unknown = TRUTH.assign(percent_stenosis=np.nan, segment=np.nan)
    unknown.loc[2, ["x2", "y2"]] = [30, 30]
    chosen = choose_examples(side(FOUND.iloc[:0], unknown), count=9)
    assert chosen.kind.tolist() == ["typical", "missed", "missed", "missed"], "without boxes nothing is best or false"
    assert chosen.image_id.tolist()[1:] == ["c", "a", "b"]
    assert chosen.sentence[1].startswith("Missed: stenosis; no box")


def test_a_looser_overlap_leaves_nothing_loose():
    assert "loose" not in choose_examples(side(iou=0.3)).kind.tolist()


APART = [[i * 20, 0, i * 20 + 10, 10] for i in range(5)]
MIDDLE = [2, 0, 12, 10]  # IoU with each neighbour 8/12; of the neighbours with each other 6/14


@pytest.mark.parametrize(
    ("boxes", "images", "count", "expected"),
    [
        ([APART[0]] * 3 + [[50, 50, 70, 70]], 4, 20, [[*APART[0], 0.75], [50, 50, 70, 70, 0.25 * 0.999]]),
        ([[0, 0, 10, 10], MIDDLE, [4, 0, 14, 10]], 3, 20, [[*MIDDLE, 1.0]]),
        (APART, 5, 2, [[*APART[0], 0.2], [*APART[1], 0.2 * 0.999]]),
        ([], 1, 20, np.zeros((0, 5))),
    ],
    ids=["the commonest place first", "chosen for the lesions it matches", "ordered where alike", "no box"],
)
def test_the_place_prior_takes_the_boxes_that_match_most(boxes, images, count, expected):
    found = centre_prior(np.array(boxes, dtype=float).reshape(-1, 4), images, count=count)
    table = np.column_stack([found["boxes"].numpy(), found["scores"].numpy()])
    assert table == pytest.approx(np.array(expected))
