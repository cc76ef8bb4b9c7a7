"""Boxes of lesions by the visibility rules."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cag.simulator.phantom.lesions import LesionPlan
from cag.simulator.phantom.plan import PatientPlan, RunPlan
from cag.simulator.phantom.run import RunRenderer
from cag.simulator.phantom.truth import COLUMNS, MOST_FORESHORTENING

RUN = RunPlan(
    "R", "P0001", 4, "RCA", "RCA LAO", 40, 0, n_frames=45, catheter="JR4", injection_start_s=0.8, injection_s=1.2
)


def renderer(*lesions: LesionPlan, **changes: object) -> RunRenderer:
    return RunRenderer(PatientPlan("P0001", 8, lesions=lesions), replace(RUN, **changes))


def lesion(percent: float, segment: int = 2, length: float = 14.0) -> LesionPlan:
    return LesionPlan("RCA", segment, 0.4, percent, length)


def test_a_box_surrounds_the_throat_in_the_contrast_frames():
    run = renderer(lesion(70))
    boxes = run.boxes()
    assert list(boxes.columns) == COLUMNS
    truth = run.truth
    assert truth.contrast_begin is not None and truth.contrast_end is not None
    shown = set(boxes["frame"])
    assert set(range(truth.contrast_begin + 2, truth.contrast_end - 1)) <= shown
    assert 0 not in shown and min(shown) > 0.8 * 15
    throat = run.scene.tree.lesions[0].throat
    where = run.scene.vessels(torch.tensor(boxes["frame"].to_numpy()))
    x, y = where.x[:, throat].numpy(), where.y[:, throat].numpy()
    assert ((boxes["x1"] < x) & (x < boxes["x2"]) & (boxes["y1"] < y) & (y < boxes["y2"])).all()
    assert boxes["minimal_mm"].iloc[0] == pytest.approx(0.3 * boxes["reference_mm"].iloc[0], rel=0.02)
    sides = np.maximum(boxes["x2"] - boxes["x1"], boxes["y2"] - boxes["y1"])
    assert 20 < sides.median() < 120


def test_boxes_of_some_frames_are_those_of_the_whole_run():
    run = renderer(lesion(60), lesion(30, 1))
    every = run.boxes(batch=8)
    some = run.boxes([20, 22])
    expected = every[every["frame"].isin([20, 22])].reset_index(drop=True)
    assert len(some) >= 2
    pd.testing.assert_frame_equal(some, expected, check_exact=True)


def test_an_occlusions_box_sits_at_the_stump():
    run = renderer(lesion(100))
    (box,) = run.boxes([22]).itertuples()
    placed, where = run.scene.tree.lesions[0], run.scene.vessels(torch.tensor([22]))
    for sample, inside in ((placed.throat, True), (placed.last + 60, False)):
        assert (box.x1 <= where.x[0, sample] <= box.x2 and box.y1 <= where.y[0, sample] <= box.y2) == inside
    assert box.minimal_mm == 0


def test_foreshortened_lesions_have_no_box():
    plan, views = lesion(60, 2, 10.0), itertools.product(range(-80, 81, 20), (-40, 0, 40))
    runs = [renderer(plan, primary_angle=primary, secondary_angle=secondary) for primary, secondary in views]
    boxes = pd.concat([run.boxes([22]) for run in runs])
    assert 5 < len(boxes) < len(runs) == 27 and (boxes["foreshortening"] < MOST_FORESHORTENING).all()


def test_healthy_runs_thin_lesions_and_lesions_outside_the_field_have_no_box():
    for run in (renderer(), renderer(lesion(0.5)), renderer(lesion(60), rows=96, columns=96)):
        boxes = run.boxes([20])
        assert list(boxes.columns) == COLUMNS and len(boxes) == 0 and boxes["frame"].dtype == np.int64
    assert len(renderer(lesion(1.0)).boxes([20])) == 1
