"""Localization: frames and boxes chosen, examples by their rules, transfer between two tiny cohorts."""

import numpy as np
import pandas as pd
import pytest
import torch

from cag.book.figures.localization import choose_examples
from cag.chapters.localization.comparison import localize, train_detectors
from cag.chapters.localization.frames import (
    FrameChoice,
    LesionFrames,
    boxes_by_image,
    choose_frames,
    detections_table,
    working_pixels,
)
from cag.chapters.localization.scores import Scored, scoring_rule
from cag.chapters.localization.settings import fpn_cells
from cag.chapters.localization.training import centre_prior
from cag.chapters.localization.transfer import WAYS, run_transfer
from cag.chapters.store import Store
from cag.data.cohort import Cohort
from cag.metrics.boxes import CORNERS
from cag.networks.detector import Detections
from cag.settings import InputError, LabelError
from tests.chapters.test_localization import SETTINGS, squares

BOX = (64, 64, 128, 128)


def chosen(boxes: list[tuple], view: tuple = ("RCA LAO", "RCA LAO"), **choice: object) -> LesionFrames:
    """Frames of two patients with one run of 512 x 256 pixels each; contrast from frame 2 to 9 where it is known."""
    manifest = pd.DataFrame({"run_id": ["P1_R01", "P2_R01"], "patient_id": ["P1", "P2"], "view": view})
    manifest = manifest.assign(contrast_begin=[2, np.nan], contrast_end=[9, np.nan], rows=512, columns=256)
    manifest = manifest.assign(source="simulated", artery="RCA")
    names = ["run_id", "frame", *CORNERS, "percent_stenosis"]
    table = pd.DataFrame([(run, frame, *box, percent) for run, frame, box, percent in boxes], columns=names)
    table = table.assign(segment=2, foreshortening=0.25)
    cohort = Cohort(manifest, pd.DataFrame(), pd.DataFrame(), table.astype(dict.fromkeys(CORNERS, float)), None)
    return choose_frames(cohort, FrameChoice(**choice))


def test_boxes_are_scaled_to_the_working_image_and_go_into_a_table_and_back_in_the_order_of_the_images():
    frames = chosen([("P1_R01", 4, BOX, 80.0)], image_size=128)
    assert frames.images.image_id.tolist() == ["P1_R01:4"]
    assert frames.truth[CORNERS].to_numpy().tolist() == [[32, 16, 64, 32]]
    assert frames.truth.foreshortening.tolist() == [0.25]
    assert frames.images[["width", "height"]].to_numpy().tolist() == [[128, 128]]
    assert (working_pixels(50, 512), working_pixels(35, 256)) == (50, 17.5)
    ids, counts = pd.Series(["b", "a", "c"]), (2, 0, 1)
    boxes = [np.arange(4 * count, dtype="float32").reshape(count, 4) for count in counts]
    found: list[Detections] = [{"boxes": own, "scores": np.ones(len(own))} for own in boxes]
    table = detections_table(found, ids, "fpn")
    assert table.image_id.tolist() == ["b", "b", "c"]
    for name, own in zip(["b", "a", "c"], boxes_by_image(table, ids), strict=True):
        assert own.tolist() == boxes["bac".index(name)].tolist()


def test_only_lesions_that_count_inside_contrast_take_part_or_none_and_a_limit_takes_whole_patients():
    early, mild, counts = ("P1_R01", 1, BOX, 80.0), ("P1_R01", 4, BOX, 24.0), ("P1_R01", 7, BOX, 25.0)
    unlabeled = ("P2_R01", 3, BOX, np.nan)  # neither contrast nor severity is known: counts
    frames = chosen([early, mild, counts, counts, unlabeled])
    assert frames.images.image_id.tolist() == ["P1_R01:7", "P2_R01:3"]
    excluded = {"stenosis below 25 %": 1, "outside the contrast interval": 1, "the same box twice": 1}
    assert frames.excluded.to_dict() == excluded | {"in a view that no classifier reads": 0}
    boxes = [(run, frame, BOX, 80.0) for run in ("P1_R01", "P2_R01") for frame in (3, 5)]
    images = chosen(boxes, frames_per_run=2, max_images=3).images
    assert len(images) == 2 and images.patient_id.nunique() == 1
    with pytest.raises(LabelError, match="no frame has a lesion of at least 25 %"):
        chosen([("P1_R01", 4, BOX, 10.0)])


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


IMAGES = pd.DataFrame({"image_id": list("abcd"), "patient_id": ["P", "Q", "R", "R"], "width": 256, "height": 256})
TRUTH = pd.DataFrame({"image_id": list("abcd"), "x1": 0, "y1": 0, "x2": 10, "y2": 10, "segment": [2, 12, 13, 13]})
TRUTH["percent_stenosis"] = [90.0, 40.0, 60.0, 95.0]
FOUND = pd.DataFrame(
    [
        ("a", 0, 0, 10, 10, 0.1, False),  # below the operating score
        ("a", 40, 0, 50, 10, 0.8, True),
        ("b", 30, 40, 40, 50, 0.9, True),
        ("c", 0, 5, 10, 15, 0.7, True),  # IoU 50/150
    ],
    columns=["image_id", *CORNERS, "score", "operating"],
)


def side(found: pd.DataFrame = FOUND, truth: pd.DataFrame = TRUTH, iou: float = 0.5) -> Scored:
    return Scored(IMAGES, found, truth, scoring_rule("clean", "fpn", iou, 0))


def test_examples_by_their_rule_in_words_one_of_each_patient_and_unknown_severity_by_size():
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
    assert "loose" not in choose_examples(side(iou=0.3)).kind.tolist(), "a looser overlap leaves nothing loose"
    unknown = TRUTH.assign(percent_stenosis=np.nan, segment=np.nan)
    unknown.loc[2, ["x2", "y2"]] = [30, 30]
    chosen = choose_examples(side(FOUND.iloc[:0], unknown), count=9)
    assert chosen.kind.tolist() == ["typical", "missed", "missed", "missed"], "without boxes nothing is best or false"
    assert chosen.image_id.tolist()[1:] == ["c", "a", "b"]
    assert chosen.sentence[1].startswith("Missed: stenosis; no box")


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


QUICK = SETTINGS.model_copy(update={"arms": ("clean",), "epochs": 2, "bootstrap": 5})


@pytest.fixture(scope="module")
def other():
    cohort = squares(12, views=False)
    cohort.manifest["source"] = "arcade"
    return cohort


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("transfer"), "cpu")


@pytest.fixture(scope="module")
def sides(store, other):
    own = squares(views=False)
    return run_transfer(localize(own, QUICK, store), own, other, QUICK, store)


def test_every_way_is_scored_on_the_same_frames_and_the_cohort_itself_is_no_other(sides, store):
    names = ["simulated patients", "real angiograms (ARCADE)"]
    assert list(sides) == [(name, way) for name in names for way in WAYS]
    for (name, way), side in sides.items():
        assert side.images.image_id.tolist() == sides[name, "home"].images.image_id.tolist(), way
        assert set(side.detections.image_id) <= set(side.images.image_id) and "operating" in side.detections
    # each fold of either cohort at home, and fine-tuned from the other
    assert len(list((store.root / "localization_fpn").glob("*/complete.json"))) == 4 * QUICK.folds
    own = squares(views=False)
    with pytest.raises(InputError, match="is the cohort itself"):
        run_transfer(localize(own, QUICK, store), own, squares(views=False), QUICK, store)


def test_fine_tuning_starts_from_the_detector_named(sides, store, other):
    (start, folder), *_ = train_detectors(fpn_cells(QUICK, None), other, store)
    still = start.fit.model_copy(update={"learning_rate": 1e-12, "epochs": 1})
    cell = start.model_copy(update={"fit": still, "start": folder.path.name})
    ((_, tuned),) = train_detectors([cell], squares(views=False), store)
    given = folder.load_weights("detector")
    for name, value in tuned.load_weights("detector").items():
        torch.testing.assert_close(value, given[name], rtol=0, atol=1e-6)
