"""A cohort of drawn frames and the classifiers trained on it once, for the tests of the experiments."""

import pandas as pd
import pytest
import torch

from cag.chapters.classification import training as experiment
from cag.chapters.store import Store
from cag.data.cohort import Cohort, FrameSource


class DrawnFrames(FrameSource):
    """Frames whose brightness is the run's number: enough to tell them apart."""

    def frames(self, run, indices):
        return torch.full((len(indices), 96, 96), int(run["run_id"][1:3]) * 5, dtype=torch.uint8)

    def lumen_mask(self, run, indices):
        mask = torch.zeros((len(indices), 96, 96), dtype=torch.bool)
        mask[:, 40:60, 40:60] = True
        return mask


@pytest.fixture(scope="session")
def drawn_cohort():
    patients = [f"P{number:02d}" for number in range(12)]
    runs = []
    for patient in patients:
        for view in ("LCA LAO cranial", "RCA LAO"):
            runs.append({"run_id": f"{patient}_{view[:3]}", "patient_id": patient, "view": view, "n_frames": 60})
    manifest = pd.DataFrame(runs).assign(source="simulated", contrast_begin=20, contrast_end=40, rows=96, columns=96)
    manifest["artery"] = manifest["view"].str[:3]
    rows = [(patients[n], "LCA", 13, (0, 60, 100)[n % 3]) for n in range(12)]
    rows += [*((patients[n], "RCA", 2, (10, 70)[n % 2]) for n in range(12)), (patients[0], "LCA", 18, 80)]
    lesions = pd.DataFrame(rows, columns=["patient_id", "artery", "segment", "percent_stenosis"])
    corners = {"x1": 30, "y1": 30, "x2": 50, "y2": 50, "segment": 2, "percent_stenosis": 70.0}
    boxes = pd.DataFrame([{"run_id": run["run_id"], "frame": f} | corners for run in runs for f in range(20, 41)])
    people = pd.DataFrame({"patient_id": patients, "low_quality": [0] * 11 + [1]})
    return Cohort(manifest, people, lesions, boxes, folder=None, source=DrawnFrames(), origin="drawn")


@pytest.fixture(scope="session")
def grid_settings():
    quick = {"weights": "random", "image_size": 128, "folds": 2, "epochs": 3, "patience": 3, "frames_per_run": 4}
    return experiment.ClassificationSettings(**quick, bootstrap=20, model_views=("LCA LAO cranial", "RCA"))


@pytest.fixture(scope="session")
def grid_store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def grid_predictions(drawn_cohort, grid_settings, grid_store):
    return experiment.run_grid(drawn_cohort, grid_settings, grid_store)
