"""Examples: each kind by its rule, each sentence from its boxes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cag.chapters.localization.examples import choose_examples
from cag.chapters.localization.scores import Scored, scoring_rule

COLUMNS = ["image_id", "x1", "y1", "x2", "y2"]
IMAGES = pd.DataFrame({"image_id": list("abcd"), "patient_id": ["P", "Q", "R", "R"], "width": 256, "height": 256})
TRUTH = pd.DataFrame(
    [
        ("a", 0, 0, 10, 10, 2, 90.0, 0.5),
        ("b", 0, 0, 10, 10, 12, 40.0, 0.0),
        ("c", 0, 0, 10, 10, 13, 60.0, 0.0),
        ("d", 0, 0, 10, 10, 13, 95.0, 0.0),
    ],
    columns=[*COLUMNS, "segment", "percent_stenosis", "foreshortening"],
)
FOUND = pd.DataFrame(
    [
        ("a", 0, 0, 10, 10, 0.1, False),  # below the operating score
        ("a", 40, 0, 50, 10, 0.8, True),  # 40 px from the lesion
        ("b", 30, 40, 40, 50, 0.9, True),  # 50 px from the lesion
        ("c", 0, 5, 10, 15, 0.7, True),  # IoU 50/150
    ],
    columns=[*COLUMNS, "score", "operating"],
)


def side(found: pd.DataFrame = FOUND, truth: pd.DataFrame = TRUTH, iou: float = 0.5) -> Scored:
    return Scored(IMAGES, found, truth, scoring_rule("clean", "fpn", iou, 0))


def test_each_kind_by_its_rule_and_in_words() -> None:
    examples = choose_examples(side())
    assert examples.kind.tolist() == ["best", "typical", "missed", "missed", "loose", "false", "false"]
    assert examples.image_id.tolist() == ["c", "d", "d", "a", "c", "b", "a"]
    assert examples.sentence.tolist() == [
        "Best: its lesion found, least overlap (IoU) 0.33",
        "Typical: 0 of 1 lesions touched by a box, mean overlap 0.00",
        "Missed: a 95 % stenosis of the mid LAD; no box of any score counts in this frame",
        "Missed: a 90 % stenosis of the mid RCA (foreshortened); "
        "no box above the operating score touches it; one of score 0.10 does",
        "Loose: a 60 % stenosis of the mid LAD; the best box overlaps it (IoU 0.33), too little to count",
        "False: a box of score 0.90, 20 x 20 px; the nearest lesion lies 100 px away (pixels of a 512 px frame)",
        "False: a box of score 0.80, 20 x 20 px; the nearest lesion lies 80 px away (pixels of a 512 px frame)",
    ]


def test_one_of_each_patient_and_unknown_severity_by_size() -> None:
    unknown = TRUTH.assign(percent_stenosis=np.nan, segment=np.nan, foreshortening=np.nan)
    unknown.loc[2, ["x2", "y2"]] = [30, 30]
    examples = choose_examples(side(FOUND.iloc[:0], unknown), count=9)
    assert examples.kind.tolist() == ["typical", "missed", "missed", "missed"], "without boxes nothing is best or false"
    assert examples.image_id.tolist()[1:] == ["c", "a", "b"]
    assert examples.sentence[1] == "Missed: a stenosis; no box of any score counts in this frame"


def test_a_looser_overlap_leaves_nothing_loose() -> None:
    assert "loose" not in choose_examples(side(iou=0.3)).kind.tolist()
