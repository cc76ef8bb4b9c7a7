from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from notebook_cells import page_of, run_cells

from cag.chapters.store import Store
from cag.metrics.matching import match_detections


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"patient_id": [f"P{i // 4}" for i in range(24)], "artery": ["LCA", "LCA", "RCA", "RCA"] * 6})
    rows = rows.assign(run_id=rows.patient_id + "_R", frame=range(24), view="RCA LAO", redundant=False, part="outer")
    rows = rows.assign(percent_stenosis=rng.choice([0.0, 60.0], 24), n_categories=2, redundancy=True, arm="clean")
    p = rng.uniform(0.05, 0.95, 24)
    rows = rows.assign(target=(rows.percent_stenosis > 0).astype(int), p_0=1 - p, p_1=p, p_redundant=0.0, fold=0)
    store.publish("classification", rows)
    worst = rows.groupby(["patient_id", "artery"], as_index=False)["percent_stenosis"].max()
    store.publish("classification_reference", worst.assign(target=worst.percent_stenosis.ge(25).astype(int)))
    return store


@pytest.fixture
def boxes(store):
    images = pd.DataFrame({"image_id": ["a", "b"], "patient_id": ["P", "Q"], "width": 512, "height": 512})
    store.publish("localization_images", images.assign(arm="clean", method="fpn"))
    corners = ["x1", "y1", "x2", "y2"]
    truth = 4 * pd.DataFrame([(0, 0, 10, 10), (50, 50, 60, 60), (0, 0, 20, 20)], columns=corners)
    store.publish("localization_truth", truth.assign(image_id=["a", "a", "b"]))
    found = 4 * pd.DataFrame([(0, 0, 10, 9), (1, 0, 11, 10), (80, 80, 90, 90), (0, 0, 20, 18)], columns=corners)
    found = found.assign(image_id=["a", "a", "a", "b"], score=[0.9, 0.8, 0.3, 0.7], arm="clean", method="fpn")
    store.publish("localization_detections", found)
    return images, found, truth.assign(image_id=["a", "a", "b"])


def test_groups_hold_every_level_beside_its_severity(store):
    frames = pd.read_parquet(store.table("classification"))
    cases = run_cells("09_explore", "explore-05", page=page_of(store=store))["cases"]
    counts = {"Patients": 6, "LCA, arteries": 6, "LCA, frames": 12, "RCA, arteries": 6, "RCA, frames": 12}
    assert {name: len(own["score"]) for name, own in cases.items()} == counts
    assert cases["Patients"]["score"] == frames.groupby("patient_id")["p_1"].max().round(4).tolist()


def test_overlaps_give_the_matches_of_the_metrics(store, boxes):
    images, found, truth = boxes
    (overlaps,) = run_cells("09_explore", "cell-09", page=page_of(store=store))["methods"].values()
    assert (overlaps["images"], overlaps["lesions"]) == (2, 3)
    assert [score for _, score, _ in overlaps["boxes"]] == [0.9, 0.8, 0.7, 0.3], "best first"
    taken: set[int] = set()
    hits = []
    for _, _, pairs in overlaps["boxes"]:
        free = [pair for pair in pairs if pair[0] not in taken and pair[1] >= 0.5]
        hits.append(bool(free))
        taken |= {max(free, key=lambda pair: pair[1])[0]} if free else set()
    assert hits == match_detections(images, found, truth, iou_threshold=0.5).detections["hit"].tolist()


def test_the_surest_errors_show_their_lesions_and_what_was_said(store):
    def frames(run_id, indices):
        return torch.zeros((len(indices), 32, 32), dtype=torch.uint8)

    box = {"run_id": "P0_R", "frame": 1, "x1": 1.0, "y1": 1.0, "x2": 9.0, "y2": 9.0}
    boxes = pd.DataFrame([box | {"percent_stenosis": 80.0}, box | {"percent_stenosis": 20.0}])
    rows = pd.read_parquet(store.table("classification")).iloc[:2]
    rows = rows.assign(target=[0, 1], percent_stenosis=[0.0, 80.0], score=[0.1, 0.1])
    page = page_of(cohort=SimpleNamespace(frames=frames, boxes=boxes))
    run_cells("09_explore", "cell-11", page=page, frames=rows)
    ax, *_ = page.shown["fig-failures"].axes
    assert len(ax.patches) == 1, "mild disease is no lesion"
    assert "missed: score 0.10\nRCA LAO" in ax.get_title()
    assert page.shown["tab-failures"]["error"].tolist() == ["missed"], "a score below one half is no false alarm"
