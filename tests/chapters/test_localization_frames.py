"""Choosing frames and boxes of the localization experiment."""

import numpy as np
import pandas as pd
import pytest

from cag.chapters.localization.frames import (
    FrameChoice,
    LesionFrames,
    boxes_by_image,
    choose_frames,
    detections_table,
    working_pixels,
)
from cag.data.cohort import Cohort
from cag.metrics.boxes import CORNERS
from cag.networks.detector import Detections
from cag.settings import LabelError

BOX = (64, 64, 128, 128)


def chosen(boxes: list[tuple], view: tuple = ("RCA LAO", "RCA LAO"), **choice: object) -> LesionFrames:
    """Frames of two patients with one run of 512 x 256 pixels each; contrast from frame 2 to 9 where it is known."""
    manifest = pd.DataFrame({"run_id": ["P1_R01", "P2_R01"], "patient_id": ["P1", "P2"], "view": view})
    manifest = manifest.assign(contrast_begin=[2, np.nan], contrast_end=[9, np.nan], rows=512, columns=256)
    manifest = manifest.assign(source="simulated", artery="RCA")
    table = pd.DataFrame(
        [(run, frame, *box, percent) for run, frame, box, percent in boxes],
        columns=["run_id", "frame", *CORNERS, "percent_stenosis"],
    ).assign(segment=2, foreshortening=0.25)
    cohort = Cohort(manifest, pd.DataFrame(), pd.DataFrame(), table.astype(dict.fromkeys(CORNERS, float)), None)
    return choose_frames(cohort, FrameChoice(**choice))


def test_boxes_are_scaled_to_the_working_image():
    frames = chosen([("P1_R01", 4, BOX, 80.0)], image_size=128)
    assert frames.images.image_id.tolist() == ["P1_R01:4"]
    assert frames.truth[CORNERS].to_numpy().tolist() == [[32, 16, 64, 32]]
    assert frames.truth.foreshortening.tolist() == [0.25]
    assert frames.images[["width", "height"]].to_numpy().tolist() == [[128, 128]]
    assert (working_pixels(50, 512), working_pixels(35, 256)) == (50, 17.5)


def test_only_lesions_that_count_inside_contrast_take_part():
    frames = chosen(
        [
            ("P1_R01", 1, BOX, 80.0),  # before contrast
            ("P1_R01", 4, BOX, 24.0),  # mild
            ("P1_R01", 7, BOX, 25.0),  # counts
            ("P1_R01", 7, BOX, 25.0),  # again
            ("P2_R01", 3, BOX, np.nan),  # no contrast label, no severity: counts
        ]
    )
    assert frames.images.image_id.tolist() == ["P1_R01:7", "P2_R01:3"]
    assert frames.excluded.to_dict() == {
        "stenosis below 25 %": 1,
        "outside the contrast interval": 1,
        "in a view that no classifier reads": 0,
        "the same box twice": 1,
    }


@pytest.mark.parametrize(
    ("view", "model"), [("LCA RAO caudal", "LCA RAO caudal"), ("RCA LAO", "RCA"), (None, "RCA"), ("unheard of", "RCA")]
)
def test_a_frame_is_read_by_the_classifier_of_its_view_or_artery(view, model):
    boxes = [("P1_R01", 4, BOX, 80.0), ("P2_R01", 4, BOX, 80.0)]
    frames = chosen(boxes, view=(view, "LCA LAO caudal"), model_views=(model,))
    assert frames.images.run_id.tolist() == ["P1_R01"]
    assert frames.excluded["in a view that no classifier reads"] == 1


@pytest.mark.parametrize(("per_run", "taken"), [(3, [1, 4, 7]), (1, [4]), (99, list(range(9)))])
def test_frames_of_a_run_are_spread_over_it(per_run, taken):
    boxes = [("P2_R01", frame, BOX, 80.0) for frame in range(9)]
    assert chosen(boxes, frames_per_run=per_run).images.frame.tolist() == taken


def test_a_limit_takes_whole_patients():
    boxes = [(run, frame, BOX, 80.0) for run in ("P1_R01", "P2_R01") for frame in (3, 5)]
    images = chosen(boxes, frames_per_run=2, max_images=3).images
    assert len(images) == 2
    assert images.patient_id.nunique() == 1


def test_a_cohort_without_lesions_that_count_is_refused():
    with pytest.raises(LabelError, match="no frame has a lesion of at least 25 %"):
        chosen([("P1_R01", 4, BOX, 10.0)])


def test_boxes_go_into_a_table_and_back_in_the_order_of_the_images():
    ids, counts = pd.Series(["b", "a", "c"]), (2, 0, 1)
    boxes = [np.arange(4 * count, dtype="float32").reshape(count, 4) for count in counts]
    found: list[Detections] = [{"boxes": own, "scores": np.ones(len(own))} for own in boxes]
    table = detections_table(found, ids, "fpn")
    assert table.image_id.tolist() == ["b", "b", "c"]
    for name, own in zip(["b", "a", "c"], boxes_by_image(table, ids), strict=True):
        assert own.tolist() == boxes["bac".index(name)].tolist()
