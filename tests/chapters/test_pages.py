"""What the pages count, show and say; three headline numbers, computed once more by counting pairs in plain Python."""

import dataclasses
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from notebook_cells import page_of, run_cells
from scipy.stats import spearmanr

from cag.chapters import meaning, redundancy
from cag.chapters.classification.scores import image_metrics, level_metrics, reference_standard
from cag.chapters.classification.settings import grid
from cag.chapters.classification.training import parts_of
from cag.chapters.store import Store
from cag.data.cohort import Cohort, FrameSource
from cag.metrics.intervals import Estimate
from cag.metrics.matching import match_detections
from cag.metrics.tables import estimate
from cag.settings import ROOT, LabelError, SettingsError


class DrawnFrames(FrameSource):
    def frames(self, run, indices):
        return torch.full((len(indices), 64, 64), 7, dtype=torch.uint8)


@pytest.fixture
def cohort():
    runs = [("A1", "A", "LCA", "LCA LAO cranial", 10, 40), ("A2", "A", "RCA", "RCA LAO", 10, 40)]
    runs += [("B1", "B", "LCA", "no standard view", 10, 40), ("B2", "B", "RCA", "RCA LAO", np.nan, np.nan)]
    names = ["run_id", "patient_id", "artery", "view", "contrast_begin", "contrast_end"]
    manifest = pd.DataFrame(runs, columns=names).assign(n_frames=60, source="simulated")
    patients = pd.DataFrame({"patient_id": ["A", "B"], "age": [60, 70], "sex": ["M", "F"], "diabetes": [1, np.nan]})
    lesions = pd.DataFrame({"patient_id": ["A", "B"], "artery": ["LCA", "RCA"], "segment": [13, 2]})
    lesions["percent_stenosis"] = [60.0, 100.0]
    boxes = pd.DataFrame([{"run_id": "A1", "frame": 20, "x1": 4, "y1": 5, "x2": 9, "y2": 11, "percent_stenosis": 60.0}])
    return Cohort(manifest, patients, lesions, boxes, None, source=DrawnFrames(), origin="drawn")


def shown(cohort, *cells, **names):
    """What these cells of notebook 01 show of a cohort."""
    page, settings = page_of(), SimpleNamespace(seed=0)
    namespace = run_cells("01_cohort", *cells, page=page, cohort=cohort, settings=settings, **names)
    return namespace, page.shown


def test_the_cohort_page_shows_its_flow_characteristics_and_frames_of_views_and_patients(cohort, monkeypatch):
    flow = {"step": ["a", "b"], "patients": [2, 2], "runs": [4, 3], "frames": [9, 5], "set_aside": ["", "1 runs"]}
    _, figures = shown(cohort, "cell-05b", flow=pd.DataFrame(flow))
    texts = [text.get_text() for text in figures["fig-flow"].axes[0].texts]
    assert "b\n2 patients, 3 runs, 5 frames" in texts and "set aside: 1 runs" in texts
    table = shown(cohort, "cell-11")[1]["tab-characteristics"].set_index("characteristic")
    assert table.loc["age, median (IQR), years", "value"] == "65 (62-68)"
    assert table.loc["male", "value"] == "1 (50 %)" and table.loc["diabetes"].tolist() == ["1 (100 %)", 1]
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


PUBLISHED = ROOT / "results" / "published"
LEADING = {"n_categories": 2, "redundancy": True, "arm": "clean"}


def area(scores: list[tuple[bool, float]]) -> float:
    """Share of pairs in which the diseased one scores higher, ties half."""
    pairs = list(product((s for ill, s in scores if ill), (s for ill, s in scores if not ill)))
    return sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs)


def compare(folder: Path, reference: pd.DataFrame, image: pd.DataFrame, levels: pd.DataFrame) -> None:
    rows = pd.read_parquet(folder / "classification.parquet").to_dict("records")
    rows = [row for row in rows if row["part"] == "outer" and not row["redundant"]]
    rows = [row for row in rows if all(row[name] == value for name, value in LEADING.items())]
    top: dict[str, float] = {}
    for row in rows:
        row["score"] = row["p_1"] / (row["p_0"] + row["p_1"])
        top[row["patient_id"]] = max(top.get(row["patient_id"], 0.0), row["score"])
    rca = [(row["target"] > 0, row["score"]) for row in rows if row["artery"] == "RCA"]
    agree = sum(ill == (score > 0.5) for ill, score in rca) / len(rca)
    said, true = (sum(part) / len(rca) for part in zip(*((s > 0.5, ill) for ill, s in rca), strict=True))
    by_chance = said * true + (1 - said) * (1 - true)
    ill = reference.groupby("patient_id")["target"].max().astype(bool)
    patients = estimate(levels, metric="auc", level="patient", how="max", threshold="half", **LEADING)
    assert patients.value == pytest.approx(area([(ill[patient], score) for patient, score in top.items()]))
    assert estimate(image, metric="auc", artery="RCA", **LEADING).value == pytest.approx(area(rca))
    kappa = estimate(image, metric="kappa", artery="RCA", **LEADING).value
    assert kappa == pytest.approx((agree - by_chance) / (1 - by_chance))


def test_headlines_of_a_tiny_study(drawn_cohort, grid_settings, grid_store, grid_predictions):
    reference = reference_standard(drawn_cohort, grid_settings)
    image = image_metrics(grid_predictions, n=2, rng=0)
    levels = level_metrics(grid_predictions, reference, n=2, rng=0)
    compare(grid_store.root, reference, image, levels)
    assert {"value", "low", "high", "fold_mean", "fold_sd"} <= set(image)
    assert set(levels.query("arm == 'as_published'")["threshold"]) == {"half"}, "no patients are set aside to choose on"


def test_headlines_of_the_published_run():
    if not (PUBLISHED / "classification.parquet").exists():
        pytest.skip("no published run: results/published holds no classification.parquet")
    names = ("reference", "image_metrics", "level_metrics")
    compare(PUBLISHED, *(pd.read_parquet(PUBLISHED / f"classification_{name}.parquet") for name in names))


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


def test_groups_hold_every_level_beside_its_severity_and_overlaps_give_the_matches_of_the_metrics(store, boxes):
    frames = pd.read_parquet(store.table("classification"))
    cases = run_cells("09_explore", "explore-05", page=page_of(store=store))["cases"]
    counts = {"Patients": 6, "LCA, arteries": 6, "LCA, frames": 12, "RCA, arteries": 6, "RCA, frames": 12}
    assert {name: len(own["score"]) for name, own in cases.items()} == counts
    assert cases["Patients"]["score"] == frames.groupby("patient_id")["p_1"].max().round(4).tolist()
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


def test_shares_of_the_mass_by_hand_and_rank_correlation_is_scipy_s(rng):
    maps = np.zeros((1, 4, 4))
    maps[0, 0] = [1, 1, 1, 1]
    lumen, lesion = np.zeros((2, 1, 4, 4), dtype=bool)
    lumen[0, 0, :2] = lesion[0, 0, 1:3] = True
    shares = redundancy.shares_of(maps, lumen, lesion)
    assert shares["lumen"][0] == 0.5 and shares["lesion"][0] == 0.5
    assert shares["background"][0] == 0.25, "the fourth pixel of the row belongs to neither"
    assert shares["lumen_area"][0] == 2 / 16 and shares["either_area"][0] == 3 / 16
    assert np.isnan(redundancy.shares_of(maps * 0, lumen, lesion)["lumen"][0])
    first, second = rng.random((2, 3, 4, 5))
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(redundancy.rank_correlation(first, second), expected)
    np.testing.assert_allclose(redundancy.rank_correlation(first, first**3), 1)
    assert np.isnan(redundancy.rank_correlation(first, second * 0)).all()


def test_frames_with_a_visible_stenosis_are_of_the_outer_fold_and_tightest_first(drawn_cohort, grid_settings):
    found = redundancy.seen_by(drawn_cohort, grid_settings)
    assert {cell.model_view for cell, _ in found} == {"LCA LAO cranial", "RCA"}
    cell, seen = found[0]
    assert cell == grid(grid_settings.leading)[0] and (cell.redundancy, cell.n_categories) == (True, 2)
    assert parts_of(drawn_cohort, cell, seen.rows).eq("outer").all() and not seen.rows["run_id"].duplicated().any()
    assert seen.rows["visible"].is_monotonic_decreasing and len(seen.images) == len(seen.rows) == len(seen.lumen)
    assert seen.lesion[0, 60, 60] and not seen.lesion[0, 80, 80], "a box from 30 to 50 of 96 lies at 40 to 67 of 128"
    np.testing.assert_allclose(seen.lumen.mean(axis=(1, 2)), 400 / 96**2, rtol=0.05)
    bare = dataclasses.replace(drawn_cohort, boxes=drawn_cohort.boxes.iloc[:0])
    with pytest.raises(LabelError, match="boxes"):
        redundancy.seen_by(bare, grid_settings)
    with pytest.raises(SettingsError, match="redundancy"):
        redundancy.seen_by(drawn_cohort, grid_settings.changed(redundancy=[True]))


ABOVE, BELOW, AROUND = Estimate(0.2, 0.1, 0.3, 9), Estimate(-0.2, -0.3, -0.1, 9), Estimate(0.1, -0.1, 0.3, 9)
UNKNOWN = Estimate(0.1, float("nan"), float("nan"), 1)


def test_a_difference_is_told_where_its_whole_interval_lies_on_one_side():
    told = [meaning.told(own, "more", "less", "unclear") for own in (ABOVE, BELOW, AROUND, UNKNOWN)]
    assert told == ["more", "less", "unclear", "unclear"]
    assert meaning.telling_digits(Estimate(0.1, 0.0004, 0.2, 9)) == "0.1000 (0.0004 to 0.2000)"
    for published, word in ((0.05, "below"), (0.1, "inside"), (0.31, "above")):
        assert meaning.beside_published(ABOVE, published) == f"the published {published:.2f} lies {word} the interval"
