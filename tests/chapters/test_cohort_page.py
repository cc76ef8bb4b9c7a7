from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from notebook_cells import page_of, run_cells

from cag.data.cohort import Cohort, FrameSource


class DrawnFrames(FrameSource):
    def frames(self, run, indices):
        return torch.full((len(indices), 64, 64), 7, dtype=torch.uint8)


@pytest.fixture
def cohort():
    manifest = pd.DataFrame(
        {
            "run_id": ["A1", "A2", "B1", "B2"],
            "patient_id": ["A", "A", "B", "B"],
            "artery": ["LCA", "RCA", "LCA", "RCA"],
            "view": ["LCA LAO cranial", "RCA LAO", "no standard view", "RCA LAO"],
            "contrast_begin": [10, 10, 10, np.nan],
            "contrast_end": [40, 40, 40, np.nan],
            "n_frames": 60,
            "source": "simulated",
        }
    )
    patients = pd.DataFrame({"patient_id": ["A", "B"], "age": [60, 70], "sex": ["M", "F"], "diabetes": [1, np.nan]})
    lesions = pd.DataFrame(
        {"patient_id": ["A", "B"], "artery": ["LCA", "RCA"], "segment": [13, 2], "percent_stenosis": [60.0, 100.0]}
    )
    boxes = pd.DataFrame(
        {"run_id": ["A1"], "frame": [20], "x1": [4], "y1": [5], "x2": [9], "y2": [11], "percent_stenosis": [60.0]}
    )
    return Cohort(manifest, patients, lesions, boxes, None, source=DrawnFrames(), origin="drawn")


def shown(cohort, *cells, **names):
    """What these cells of notebook 01 show of a cohort."""
    page, settings = page_of(), SimpleNamespace(seed=0)
    namespace = run_cells("01_cohort", *cells, page=page, cohort=cohort, settings=settings, **names)
    return namespace, page.shown


def test_a_flow_tells_what_each_step_sets_aside(cohort):
    flow = {"step": ["a", "b"], "patients": [2, 2], "runs": [4, 3], "frames": [9, 5], "set_aside": ["", "1 runs"]}
    _, figures = shown(cohort, "cell-05b", flow=pd.DataFrame(flow))
    texts = [text.get_text() for text in figures["fig-flow"].axes[0].texts]
    assert "b\n2 patients, 3 runs, 5 frames" in texts and "set aside: 1 runs" in texts


def test_unknown_characteristics_are_left_out_of_the_share(cohort):
    table = shown(cohort, "cell-11")[1]["tab-characteristics"].set_index("characteristic")
    assert table.loc["age, median (IQR), years", "value"] == "65 (62-68)"
    assert table.loc["male", "value"] == "1 (50 %)"
    assert table.loc["diabetes"].tolist() == ["1 (100 %)", 1]


def test_one_frame_a_view_with_its_boxes_and_frames_of_the_patients_in_turn(cohort, monkeypatch):
    monkeypatch.setattr("cag.simulator.acceptance.real_angiograms", lambda: None)
    namespace, figures = shown(cohort, "cell-13", "cell-18")
    assert [ax.get_title() for ax in figures["fig-views"].axes[:2]] == ["LCA LAO cranial", "RCA LAO"]
    assert namespace["views"]["LCA LAO cranial"].truth.tolist() == [[4, 5, 9, 11]]
    assert not len(namespace["views"]["RCA LAO"].truth)
    assert [frame.shape for frame in namespace["own"]] == [(64, 64)] * 3, "one run has no contrast interval"


def test_the_page_shows_the_stored_measurements_and_the_pretrained_network(cohort):
    table = shown(cohort, "cell-22")[1]["tab-simulator-acceptance"]
    assert {"realism", "shortcuts", "difficulty"} <= set(table["part"])
    assert not table["wanted"].str.startswith((">", "<")).any(), "a page would show a quotation"
    network = table[table["measure"].str.startswith("xa network")]
    assert network["met"].isin(["yes", "no"]).sum() == 2 and network["met"].eq("reported").sum() == len(network) - 2
