"""Which frames are shown, by rule."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cag.chapters.localization.cases import choose_cases, overlaps

COLUMNS = ["image_id", "x1", "y1", "x2", "y2"]


def frame_of(rows: list[tuple], *more: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[*COLUMNS, *more])


IMAGES = pd.DataFrame({"image_id": ["a", "b", "c"]})
TRUTH = frame_of(
    [("c", 0, 0, 20, 20, 2, 90.0), ("a", 0, 0, 10, 10, 2, 40.0), ("b", 0, 0, 10, 10, 12, 60.0)],
    "segment",
    "percent_stenosis",
)
FOUND = frame_of([("a", 0, 0, 10, 10, 0.6), ("b", 5, 0, 15, 10, 0.9), ("b", 50, 50, 60, 60, 0.4)], "score")


def test_overlaps_of_nothing() -> None:
    box = np.array([[0, 0, 10, 10]], "float32")
    assert overlaps(box, np.zeros((0, 4), "float32")).tolist() == [0]
    assert overlaps(np.zeros((0, 4), "float32"), box).tolist() == []


def test_each_case_is_found_by_its_rule() -> None:
    cases = choose_cases(IMAGES, TRUTH, FOUND).set_index("case")
    assert cases.image_id.to_dict() == {"best": "a", "typical": "b", "missed": "c", "false": "b"}
    assert cases.sentence["best"] == "Best: its lesion found, least overlap (IoU) 1.00"
    assert (
        cases.sentence["missed"]
        == "Missed: a 90 % stenosis of the mid RCA that no box above the operating score touches"
    )
    assert cases.sentence["false"] == "False: a box of score 0.40 that touches no lesion"


def test_without_detections_nothing_is_best_or_false() -> None:
    assert choose_cases(IMAGES, TRUTH, FOUND.iloc[:0]).case.tolist() == ["typical", "missed"]


def test_unknown_severity_shows_the_largest() -> None:
    truth = TRUTH.assign(percent_stenosis=np.nan, segment=np.nan)
    cases = choose_cases(IMAGES, truth, FOUND.iloc[:0]).set_index("case")
    assert cases.image_id["missed"] == "c"
    assert cases.sentence["missed"] == "Missed: a stenosis that no box above the operating score touches"
