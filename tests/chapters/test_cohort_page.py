from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from cag.chapters import cohort as tables
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


def test_unknown_characteristics_are_left_out_of_the_share(cohort):
    table = tables.characteristics(cohort.patients).set_index("characteristic")
    assert table.loc["age, median (IQR), years", "value"] == "65 (62-68)"
    assert table.loc["male", "value"] == "1 (50 %)"
    assert table.loc["diabetes"].tolist() == ["1 (100 %)", 1]


def test_one_frame_a_view_with_its_boxes(cohort):
    examples = tables.view_examples(cohort, 0)
    assert list(examples) == ["LCA LAO cranial", "RCA LAO"]
    assert [boxes.tolist() for _, boxes in examples.values()] == [[[4, 5, 9, 11]], []]


def test_frames_in_contrast_are_of_the_patients_in_turn(cohort):
    assert len(tables.contrast_frames(cohort, 40, 0)) == 3, "one run has no contrast interval"
    assert [frame.shape for frame in tables.contrast_frames(cohort, 2, 0)] == [(64, 64)] * 2


def test_the_page_shows_the_stored_measurements_and_the_pretrained_network():
    table, _ = tables.stored_acceptance()
    assert {"realism", "shortcuts", "difficulty"} <= set(table["part"])
    assert not table["wanted"].str.startswith((">", "<")).any(), "a page would show a quotation"
    quality = {"recall_by_severity": {"all": 0.7, "25-50": 0.5}, "quality": {"patient_auc": 0.95}}
    assert tables.pretrained_difficulty(quality)["met"].tolist() == ["yes", "no", "reported"]
