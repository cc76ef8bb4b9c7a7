"""Choosing frames and boxes of the localization experiment."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cag.chapters.localization.frames import FrameChoice, boxes_by_image, choose_frames, model_view, working_pixels
from cag.data.cohort import Cohort
from cag.metrics.boxes import CORNERS
from cag.settings import LabelError


def cohort_of(boxes: list[tuple], begin: float = 2, end: float = 9) -> Cohort:
    """Two patients with one run of 512 x 256 pixels each."""
    manifest = pd.DataFrame(
        {
            "run_id": ["P1_R01", "P2_R01"],
            "patient_id": ["P1", "P2"],
            "rows": 512,
            "columns": 256,
            "artery": "RCA",
            "view": "RCA LAO",
            "contrast_begin": [begin, np.nan],
            "contrast_end": [end, np.nan],
        }
    )
    columns = ["run_id", "frame", *CORNERS, "segment", "percent_stenosis"]
    empty = pd.DataFrame()
    return Cohort(
        manifest=manifest, patients=empty, lesions=empty, boxes=pd.DataFrame(boxes, columns=columns), folder=None
    )


def test_boxes_are_scaled_to_the_working_image() -> None:
    cohort = cohort_of([("P1_R01", 4, 64, 64, 128, 128, 2, 80.0)])
    chosen = choose_frames(cohort, FrameChoice(image_size=128))
    assert chosen.images.image_id.tolist() == ["P1_R01:4"]
    assert chosen.truth[CORNERS].to_numpy().tolist() == [[32, 16, 64, 32]]
    assert chosen.images[["width", "height"]].to_numpy().tolist() == [[128, 128]]


def test_published_lengths_follow_the_image_size() -> None:
    assert working_pixels(50, 512) == 50
    assert working_pixels(35, 256) == 17.5


def test_only_lesions_that_count_inside_contrast_take_part() -> None:
    boxes = [
        ("P1_R01", 1, 10, 10, 50, 50, 2, 80.0),  # before contrast
        ("P1_R01", 4, 10, 10, 50, 50, 2, 24.0),  # mild
        ("P1_R01", 5, 10, 10, 10, 50, 2, 80.0),  # no area
        ("P1_R01", 6, 300, 10, 400, 50, 2, 80.0),  # outside the 256 columns
        ("P1_R01", 7, -20, 10, 50, 50, 2, 25.0),  # counts, clipped
        ("P1_R01", 7, -20, 10, 50, 50, 2, 25.0),  # again
        ("P1_R01", 8, np.nan, 10, 50, 50, 2, 80.0),  # a coordinate is missing
        ("P2_R01", 3, 10, 10, 50, 50, 2, np.nan),  # no contrast label, no severity: counts
    ]
    chosen = choose_frames(cohort_of(boxes), FrameChoice(image_size=256))
    assert chosen.images.image_id.tolist() == ["P1_R01:7", "P2_R01:3"]
    assert chosen.truth.x1.tolist() == [0, 10]
    assert dict(zip(chosen.excluded.reason, chosen.excluded.boxes, strict=True)) == {
        "a coordinate is missing": 1,
        "no area inside the frame": 2,
        "stenosis below 25 %": 1,
        "outside the contrast interval": 1,
        "in a view that no classifier reads": 0,
        "the same box twice": 1,
        "kept, clipped to the frame": 1,
    }


def test_what_only_a_simulator_knows_follows_the_box() -> None:
    boxes = [("P1_R01", 4, 64, 64, 128, 128, 2, 80.0)]
    assert choose_frames(cohort_of(boxes), FrameChoice()).truth.foreshortening.isna().all()
    cohort = cohort_of(boxes)
    cohort.boxes["foreshortening"] = 0.25
    assert choose_frames(cohort, FrameChoice()).truth.foreshortening.tolist() == [0.25]


def test_views_without_classifier_are_left_out_and_counted() -> None:
    cohort = cohort_of([("P1_R01", 4, 10, 10, 50, 50, 2, 80.0), ("P2_R01", 4, 10, 10, 50, 50, 2, 80.0)])
    cohort.manifest["view"] = ["RCA LAO", "LCA LAO caudal"]
    chosen = choose_frames(cohort, FrameChoice(model_views=("RCA",)))
    assert chosen.images.run_id.tolist() == ["P1_R01"]
    assert chosen.excluded.set_index("reason").boxes["in a view that no classifier reads"] == 1


def test_frames_of_a_run_are_spread_over_it() -> None:
    cohort = cohort_of([("P2_R01", frame, 10, 10, 50, 50, 2, 80.0) for frame in range(9)])
    assert choose_frames(cohort, FrameChoice(frames_per_run=3)).images.frame.tolist() == [1, 4, 7]
    assert choose_frames(cohort, FrameChoice(frames_per_run=1)).images.frame.tolist() == [4]
    assert len(choose_frames(cohort, FrameChoice(frames_per_run=99)).images) == 9


def test_a_limit_takes_whole_patients() -> None:
    boxes = [(run, frame, 10, 10, 50, 50, 2, 80.0) for run in ("P1_R01", "P2_R01") for frame in (3, 5)]
    images = choose_frames(cohort_of(boxes), FrameChoice(frames_per_run=2, max_images=3)).images
    assert len(images) == 2
    assert images.patient_id.nunique() == 1


def test_unknown_runs_and_empty_choices_are_refused_by_name() -> None:
    with pytest.raises(LabelError, match="'P9_R01'"):
        choose_frames(cohort_of([("P9_R01", 4, 1, 1, 5, 5, 2, 80.0)]), FrameChoice())
    with pytest.raises(LabelError, match="no frame has a lesion of at least 25 %"):
        choose_frames(cohort_of([("P1_R01", 4, 1, 1, 5, 5, 2, 10.0)]), FrameChoice())


def test_boxes_by_image_keeps_order_and_empty_images() -> None:
    boxes = pd.DataFrame({"image_id": ["b", "a", "b"], "x1": [1, 2, 3], "y1": 0, "x2": 9, "y2": 9})
    first, second, third = boxes_by_image(boxes, pd.Series(["a", "c", "b"]))
    assert first[:, 0].tolist() == [2]
    assert second.shape == (0, 4)
    assert third[:, 0].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("view", "artery", "model"),
    [
        ("LCA RAO caudal", "LCA", "LCA RAO caudal"),
        ("RCA LAO", "RCA", "RCA"),
        (np.nan, "RCA", "RCA"),
        (np.nan, np.nan, ""),
    ],
)
def test_model_view(view: object, artery: object, model: str) -> None:
    assert model_view(view, artery) == model  # type: ignore[arg-type]
