"""A run as a whole: frame by frame equality, determinism, refusals, boxes by the visibility rules."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cag.settings import SettingsError
from cag.simulator.phantom.lesions import LesionPlan
from cag.simulator.phantom.plan import PatientPlan, RunPlan
from cag.simulator.phantom.run import RunRenderer, render_runs
from cag.simulator.phantom.truth import COLUMNS, MOST_FORESHORTENING

LESION = LesionPlan("RCA", 2, 0.4, 70.0, 14.0)
PATIENT = PatientPlan("P0001", 8, lesions=(LESION,), calcium=0.5, clips=True, pacing_leads=True)
INJECTED = {"n_frames": 45, "catheter": "JR4", "injection_start_s": 0.8, "injection_s": 1.2}
SEEN_RUN = RunPlan("P0001_R01", "P0001", 4, "RCA", "RCA LAO", 40, 0, **INJECTED)
RUN = replace(SEEN_RUN, breathing_mm=5.0, rows=160, columns=160, pixel_mm=0.33 * 3.2)


def test_any_frame_alone_equals_that_frame_of_the_whole_run_in_any_number_of_threads():
    whole = RunRenderer(PATIENT, RUN).render(batch=7)
    assert whole.shape == (45, 160, 160) and whole.dtype == torch.uint8
    for frames in ([0], [44], [30, 2, 30]):
        assert torch.equal(RunRenderer(PATIENT, RUN).render(frames), whole[frames])
    assert torch.equal(RunRenderer(PATIENT, RUN).render(batch=64), whole)
    panning = RunRenderer(PATIENT, replace(RUN, panning_mm=20.0, panning_deg=70.0, n_frames=9))
    assert torch.equal(panning.render([5, 1]), panning.render()[[5, 1]])
    try:
        torch.set_num_threads(3)
        assert torch.equal(RunRenderer(PATIENT, RUN).render([3, 20]), whole[[3, 20]])
    finally:
        torch.set_num_threads(1)


def test_runs_drawn_together_are_the_same_bytes():
    others = [replace(RUN, run_id=f"X{n}", seed=50 + n, primary_angle=-20.0 + n) for n in range(3)]
    requests = [(RunRenderer(PATIENT, run), frames) for run, frames in zip(others, ([4, 9], [], [12]), strict=True)]
    alone = [renderer.render(frames) for renderer, frames in requests]
    for batch in (1, 2, 16):
        together = list(render_runs(requests, batch))
        assert [part.shape[0] for part in together] == [2, 0, 1]
        assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))
    with pytest.raises(SettingsError, match="different sizes"):
        list(render_runs([*requests, (RunRenderer(PATIENT, replace(RUN, rows=64, columns=64)), [0])]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_frames_are_the_same_bytes_each_time_and_close_to_the_cpus():
    first, again = (RunRenderer(PATIENT, RUN, "cuda").render([3, 20]) for _ in range(2))
    assert torch.equal(first, again)
    difference = first.cpu().float() - RunRenderer(PATIENT, RUN).render([3, 20]).float()
    assert float(difference.abs().mean()) < 0.5


def test_contrast_darkens_the_vessels_and_washes_out():
    renderer = RunRenderer(PATIENT, RUN)
    truth = renderer.truth
    assert not truth.end_censored
    peak = (truth.contrast_begin + truth.contrast_end) // 2
    mask = renderer.lumen_mask([peak])[0]
    before, during = renderer.render([0])[0].float(), renderer.render([peak])[0].float()
    assert 0.005 < float(mask.float().mean()) < 0.2
    assert float(before[mask].mean() - during[mask].mean()) > 12
    assert not renderer.lumen_mask([0]).any() and {1, 2, 3} <= set(truth.segments)


@pytest.mark.parametrize(
    ("artery", "segment", "view", "angles", "percent"),
    [("RCA", 2, "RCA LAO", (40, 0), 30.0), ("RCA", 2, "RCA LAO", (40, 0), 70.0),
     ("LCA", 13, "LCA RAO cranial", (-20, 33), 30.0), ("LCA", 19, "LCA RAO caudal", (-25, -25), 70.0)],
)  # fmt: skip
def test_the_mask_shows_the_percent_stenosis(artery, segment, view, angles, percent):
    lesion = LesionPlan(artery, segment, 0.3, percent, 16.0, skew=0.0, plateau=0.2)
    fine = {"n_frames": 30, "injection_start_s": 0.1, "rows": 1536, "columns": 1536, "pixel_mm": 0.11}
    run = RunPlan("R", "P0001", 4, artery, view, *angles, catheter={"LCA": "JL4", "RCA": "JR4"}[artery], **fine)
    ill, healthy = (RunRenderer(replace(PATIENT, lesions=x), run) for x in ((lesion,), ()))
    frame = 26
    assert len(ill.boxes([frame])) == 1, "the lesion is to be visible"
    throat = ill.scene.tree.lesions[0].throat
    widths = [_width(renderer, frame, throat) for renderer in (ill, healthy)]
    assert 100 * (1 - widths[0] / widths[1]) == pytest.approx(percent, abs=5)


def _width(renderer: RunRenderer, frame: int, sample: int) -> float:
    """Width (px) of the mask across the vessel: twice the nearer wall, so that side branches do not count."""
    mask = renderer.lumen_mask([frame])[0].numpy()
    where = renderer.scene.vessels(torch.tensor([frame]))
    middle = torch.stack([where.y[0], where.x[0]], dim=1).numpy()
    reach, widths = np.arange(0, 60, 0.1)[:, None], []
    for k in range(sample - 2, sample + 3):
        along = middle[k + 4] - middle[k - 4]
        across = np.array([-along[1], along[0]]) / np.linalg.norm(along)
        lines = [(middle[k] + side * reach * across).astype(int) for side in (-1, 1)]
        widths.append(0.2 * min(int(np.argmin(mask[line[:, 0], line[:, 1]])) for line in lines))
    return float(np.mean(widths))


def test_no_frames_asked_no_frames_given_and_what_is_not_of_the_run_is_refused():
    renderer = RunRenderer(PATIENT, RUN)
    for ask in (renderer.render, renderer.boxes, renderer.lumen_mask):
        assert len(ask([])) == 0
        for index in (-1, 45):
            with pytest.raises(SettingsError, match=f"frame {index} is outside"):
                ask([0, index])
    with pytest.raises(SettingsError, match="patient_id"):
        RunRenderer(PATIENT, replace(RUN, patient_id="P0002"))
    with pytest.raises(SettingsError, match="batch"):
        renderer.render([0], batch=0)


def renderer(*lesions: LesionPlan, **changes: object) -> RunRenderer:
    return RunRenderer(PatientPlan("P0001", 8, lesions=lesions), replace(SEEN_RUN, **changes))


def lesion(percent: float, segment: int = 2, length: float = 14.0) -> LesionPlan:
    return LesionPlan("RCA", segment, 0.4, percent, length)


def test_a_box_surrounds_the_throat_in_the_contrast_frames():
    run = renderer(lesion(70))
    boxes, truth = run.boxes(), run.truth
    shown = set(boxes["frame"])
    assert list(boxes.columns) == COLUMNS
    assert set(range(truth.contrast_begin + 2, truth.contrast_end - 1)) <= shown
    assert 0 not in shown and min(shown) > 0.8 * 15
    throat = run.scene.tree.lesions[0].throat
    where = run.scene.vessels(torch.tensor(boxes["frame"].to_numpy()))
    x, y = where.x[:, throat].numpy(), where.y[:, throat].numpy()
    assert ((boxes["x1"] < x) & (x < boxes["x2"]) & (boxes["y1"] < y) & (y < boxes["y2"])).all()
    assert boxes["minimal_mm"].iloc[0] == pytest.approx(0.3 * boxes["reference_mm"].iloc[0], rel=0.02)
    sides = np.maximum(boxes["x2"] - boxes["x1"], boxes["y2"] - boxes["y1"])
    assert 20 < sides.median() < 120


def test_an_occlusions_box_sits_at_the_stump_and_boxes_of_some_frames_are_those_of_the_run():
    run = renderer(lesion(100))
    (box,) = run.boxes([22]).itertuples()
    placed, where = run.scene.tree.lesions[0], run.scene.vessels(torch.tensor([22]))
    for sample, inside in ((placed.throat, True), (placed.last + 60, False)):
        assert (box.x1 <= where.x[0, sample] <= box.x2 and box.y1 <= where.y[0, sample] <= box.y2) == inside
    assert box.minimal_mm == 0
    run = renderer(lesion(60), lesion(30, 1))
    every, some = run.boxes(batch=8), run.boxes([20, 22])
    expected = every[every["frame"].isin([20, 22])].reset_index(drop=True)
    assert len(some) >= 2
    pd.testing.assert_frame_equal(some, expected, check_exact=True)


def test_foreshortened_thin_and_no_lesions_and_those_outside_the_field_have_no_box():
    plan, views = lesion(60, 2, 10.0), itertools.product(range(-80, 81, 20), (-40, 0, 40))
    runs = [renderer(plan, primary_angle=primary, secondary_angle=secondary) for primary, secondary in views]
    boxes = pd.concat([run.boxes([22]) for run in runs])
    assert 5 < len(boxes) < len(runs) == 27 and (boxes["foreshortening"] < MOST_FORESHORTENING).all()
    for run in (renderer(), renderer(lesion(0.5)), renderer(lesion(60), rows=96, columns=96)):
        boxes = run.boxes([20])
        assert list(boxes.columns) == COLUMNS and len(boxes) == 0 and boxes["frame"].dtype == np.int64
    assert len(renderer(lesion(1.0)).boxes([20])) == 1
