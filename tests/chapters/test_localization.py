"""The localization experiment on a tiny cohort of bright squares."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch

from cag.chapters.bundle import export_part, load_part
from cag.chapters.classification.operating import Classifiers
from cag.chapters.classification.settings import ClassificationSettings, grid
from cag.chapters.classification.training import new_classifier
from cag.chapters.localization import cam, training
from cag.chapters.localization.comparison import export_detectors, localize
from cag.chapters.localization.scores import Scored, scoring_rule, text_grid
from cag.chapters.localization.settings import START_VIEW, LocalizationSettings, fpn_cells
from cag.chapters.localization.training import FpnSettings, detect, new_detector
from cag.chapters.store import Store
from cag.data.cohort import Cohort, FrameSource
from cag.data.frames import load_frames
from cag.data.splits import LeakError, fold_strata, patient_folds
from cag.metrics.boxes import CORNERS
from cag.settings import InputError, SettingsError

SIZE = 96
COMMON = {"profile": "test", "weights": "random", "backbone": "resnet18", "device": "cpu", "folds": 2}
SETTINGS = LocalizationSettings(
    **COMMON, image_size=SIZE, epochs=10, channels=8, augmented_copies=1, bootstrap=20, learning_rate=0.01, batch_size=8
)


class Squares(FrameSource):
    """Frames with a bright square of 24 pixels, elsewhere in every patient."""

    def frames(self, run: pd.Series, indices: Sequence[int] | None) -> torch.Tensor:
        count = len(indices) if indices is not None else int(run.n_frames)
        place = 10 + 5 * int(run.patient_id[1:])
        frames = torch.full((count, SIZE, SIZE), 100, dtype=torch.uint8)
        frames[:, place : place + 24, place : place + 24] = 220
        return frames


def squares(patients: int = 8, *, views: bool = True) -> Cohort:
    ids = [f"P{number}" for number in range(patients)]
    every = {"source": "simulated", "n_frames": 4, "rows": SIZE, "columns": SIZE}
    manifest = pd.DataFrame({"patient_id": ids, "run_id": [f"{patient}_R1" for patient in ids], **every})
    manifest = manifest.assign(contrast_begin=0.0, contrast_end=3.0)
    manifest["artery"] = ["LCA", "RCA"] * (patients // 2) if views else None
    manifest["view"] = ["LCA RAO caudal", "RCA LAO"] * (patients // 2) if views else None
    place = [10 + 5 * number for number in range(patients)]
    boxes = pd.DataFrame({"run_id": manifest.run_id, "x1": place, "y1": place, "segment": 2, "foreshortening": np.nan})
    boxes["percent_stenosis"] = [30.0, 60.0, 80.0, 100.0] * (patients // 4)
    boxes = boxes.assign(x2=boxes.x1 + 24, y2=boxes.y1 + 24).merge(pd.DataFrame({"frame": [1, 2]}), how="cross")
    lesions = manifest[["patient_id", "artery"]].assign(segment=2, percent_stenosis=60.0, length_mm=10.0)
    patients_table = pd.DataFrame({"patient_id": ids, "low_quality": False})
    return Cohort(manifest, patients_table, lesions if views else lesions.iloc[:0], boxes, None, source=Squares())


def store_classifiers(store: Store, cohort: Cohort, shift: int = 0) -> None:
    """What notebook 03 leaves in the bundle, untrained; ``shift`` moves every patient to another fold."""
    settings = ClassificationSettings(**COMMON, image_size=SIZE, head="plain", model_views=("LCA RAO caudal", "RCA"))
    settings = settings.model_copy(update={"cut_points": ((25.0,),), "redundancy": (True,)})
    cells = {f"{cell.model_view}-{cell.fold}": cell for cell in grid(settings)}
    folds = patient_folds(fold_strata(cohort), 2, 0)
    weights = {name: new_classifier(cell).head.state_dict() for name, cell in cells.items()}
    facts = {"cells": {name: cell.model_dump(mode="json") for name, cell in cells.items()}}
    facts["folds"] = {p: (int(f) + shift) % 2 for p, f in zip(folds.patient_id, folds.fold, strict=True)}
    export_part(store, "classification", settings=settings, cohort=cohort, weights=weights, facts=facts)


@pytest.fixture(scope="module")
def cohort():
    return squares()


@pytest.fixture(scope="module")
def store(tmp_path_factory, cohort):
    store = Store(tmp_path_factory.mktemp("results"), "cpu")
    store_classifiers(store, cohort)
    return store


@pytest.fixture(scope="module")
def found(store, cohort):
    return localize(cohort, SETTINGS, store)


def test_clean_methods_are_scored_once_on_the_same_images_and_published_rules_leak_patients(found):
    clean = found.images[found.images.arm == "clean"]
    for method in ("fpn", "cam", "prior"):
        assert clean[clean.method == method].image_id.tolist() == found.frames.images.image_id.tolist()
    assert clean.groupby("patient_id").fold.nunique().max() == 1
    side = found.sides["clean", "cam"]
    parts = [side.of_artery(name) for name in ("LCA", "RCA")]
    assert [len(own.truth) for own in parts] == [8, 8]
    recalls = [float(own.metrics(np.ones((1, len(own.images))))["recall"][0]) for own in (*parts, side)]
    assert recalls[2] == pytest.approx(np.mean(recalls[:2]))
    published = found.images[found.images.arm == "as_published"]
    assert set(published.method) == {"fpn", "cam"}
    assert published[published.method == "fpn"].groupby("patient_id").fold.nunique().max() == 2
    cam = published[published.method == "cam"]
    assert (cam.fold == 0).all() and len(cam) == len(found.frames.images)
    chosen = found.operating.set_index(["arm", "method"]).threshold
    assert chosen["as_published", "cam"].item() == 0.0
    assert chosen["as_published", "fpn"].tolist() == [0.35, 0.35]


def test_tables_lie_inside_the_image_and_finished_folds_are_found_again(found, store, cohort, monkeypatch):
    boxes = pd.read_parquet(store.table("localization_detections"))
    assert set(boxes.image_id) <= set(found.frames.truth.image_id)
    assert list(boxes) == ["image_id", "method", *CORNERS, "score", "arm", "fold", "operating"]
    assert boxes[boxes.method != "prior"][CORNERS].stack().between(0, SIZE).all()
    assert len(pd.read_parquet(store.table("localization_truth"))) == 16
    heat = found.heat()
    assert set(heat) == set(found.frames.images.image_id)
    assert all(own.shape == (64, 64) and own.min() >= 0 and own.max() <= 1 for own in heat.values())
    monkeypatch.setattr(training, "fit", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(cam, "explain", lambda *_: pytest.fail("explained again"))
    again = localize(cohort, SETTINGS, store)
    pd.testing.assert_frame_equal(again.detections, found.detections)


def test_an_exported_detector_finds_the_same_boxes_again(found, store, cohort):
    export_detectors(found, cohort, SETTINGS, store)
    part = load_part(store.root, "localization")
    (name,) = (name for name, cell in part.facts["cells"].items() if cell["fold"] == 0)
    cell = FpnSettings.checked(part.facts["cells"][name])
    detector = new_detector(cell, state=part.folder.load_weights(name))
    own = found.detections.query("arm == 'clean' and method == 'fpn' and fold == 0")
    assert (own.operating == (own.score >= part.facts["thresholds"][name])).all()
    row = int(np.flatnonzero(found.frames.images.image_id == own.image_id.iloc[0])[0])
    inputs = (load_frames(cohort, found.frames.images, SIZE, progress=False),)
    boxes = detect(detector, inputs, np.array([row]), SIZE, "cpu")[0]["boxes"].numpy()
    expected = own[own.image_id == own.image_id.iloc[0]][CORNERS].to_numpy()
    # Boxes of nearly equal score may change places, since stored maps are rounded: each has its like on the other side.
    apart = np.abs(boxes[:, None] - expected[None]).max(axis=2)
    assert len(boxes) == len(expected) and apart.min(axis=0).max() <= 1 and apart.min(axis=1).max() <= 1


def test_published_truth_is_scored_looser_for_the_cam_and_a_grid_of_text_keeps_the_order_of_scores():
    rows = [("RCA", "prior", "sens_s", 0.5, 0.25, 0.75, 3), ("LCA", "cam", "mse", 31.4, np.nan, np.nan, 3)]
    names = ["artery", "method", "metric", "value", "low", "high", "n_groups"]
    table = text_grid(pd.DataFrame(rows, columns=names), ["artery", "Metric"], "method")
    first, second = table.to_numpy().tolist()
    assert first == ["RCA", "Sens_s", "0.50 (0.25 to 0.75)", "–"]
    assert second == ["LCA", "“MSE”, px", "–", "31 (no interval)"]
    assert list(table) == ["artery", "Metric", "place prior", "CAM"]
    assert scoring_rule("as_published", "cam", 0.5, 35).iou == 0.1
    assert scoring_rule("as_published", "fpn", 0.4, 35).box_minimum == 50
    assert scoring_rule("clean", "cam", 0.4, 35) == scoring_rule("clean", "fpn", 0.4, 35)
    images = pd.DataFrame({"image_id": ["a", "b"], "patient_id": ["P", "Q"], "width": 256, "height": 256})
    truth = pd.DataFrame({"image_id": ["a", "b"], "x1": 10, "y1": 10, "x2": 40, "y2": 40, "percent_stenosis": 50.0})
    boxes = truth.assign(score=0.9, operating=True)
    values = Scored(images, boxes, truth, scoring_rule("clean", "fpn", 0.5, 35)).metrics(np.ones((1, 2)))
    assert {name: float(value[0]) for name, value in values.items()} == {
        **dict.fromkeys(("global_sensitivity", "sens_s", "spec_s", "recall", "precision", "f1"), 1.0),
        **dict.fromkeys(("mse", "false_positives", "distance_found", "distance_with_misses"), 0.0),
        **{"ap50": 1.0, "recall_at_1fp": 1.0, "ap": pytest.approx(1.0), "ar": pytest.approx(1.0)},
    }


def test_borrowed_classifiers_explain_a_cohort_without_views_to_which_else_no_cam_applies(store, tmp_path):
    changes = {"arms": ("clean",), "epochs": 1, "cam_profile": store.root.name}
    own = Store(store.root.parent / "own", "cpu")
    found = localize(squares(views=False), SETTINGS.model_copy(update=changes), own)
    assert found.sides["clean", "cam"].images.image_id.tolist() == found.frames.images.image_id.tolist()
    assert set(found.heat()) == set(found.frames.images.image_id)
    with pytest.raises(InputError, match="nothing: holds no trained classifiers"):
        localize(squares(views=False), SETTINGS.model_copy(update=changes | {"cam_profile": "nothing"}), own)
    changes = {"arms": ("clean",), "epochs": 1, "trainable": "all", "bootstrap": 5}
    found = localize(squares(views=False), SETTINGS.model_copy(update=changes), Store(tmp_path, "cpu"))
    assert found.heat() == {} and set(found.sides) == {("clean", "fpn"), ("clean", "prior")}
    assert any(name.startswith("trunk.") for name in found.detectors()[0][1].load_weights("detector"))


def test_classifiers_are_refused_where_they_are_missing_or_of_other_folds(cohort, tmp_path):
    store = Store(tmp_path, "cpu")
    with pytest.raises(InputError, match="notebook 03"):
        localize(cohort, SETTINGS, store)
    store_classifiers(store, cohort)
    with pytest.raises(LeakError, match="not of this cohort in 3 folds"):
        localize(cohort, SETTINGS.model_copy(update={"folds": 3}), store)
    with pytest.raises(LeakError, match="not of this cohort"):
        localize(squares(12), SETTINGS, store)
    store_classifiers(store, cohort, shift=1)
    with pytest.raises(LeakError, match="not of this cohort in 2 folds, seed 0"):
        localize(cohort, SETTINGS, store)


def test_anchors_follow_the_image_size_digests_what_matters_and_a_detector_the_classifier_of_its_trunk(store):
    half, full = (SETTINGS.model_copy(update={"image_size": size}).detector() for size in (128, 256))
    assert np.allclose(np.array(full.anchor_sizes), 2 * np.array(half.anchor_sizes))
    published = SETTINGS.model_copy(update={"anchors": "published", "image_size": 512})
    assert published.detector().anchor_sizes == (32, 64, 128, 256, 512)
    other = SETTINGS.model_copy(update={"profile": "other", "bootstrap": 7, "device": "auto"})
    assert [cell.digest() for cell in fpn_cells(other, None)] == [cell.digest() for cell in fpn_cells(SETTINGS, None)]
    own = Classifiers.of(store.root)
    changed = SETTINGS.model_copy(update={"trainable": "all", "arms": ("clean",)})
    assert [cell.start for cell in fpn_cells(changed, own)] == [own.cells[fold, START_VIEW][1] for fold in range(2)]
    other = changed.model_copy(update={"backbone": "efficientnet_lite0"})
    assert [cell.start for cell in fpn_cells(other, own)] == [None, None]


def test_the_manifest_may_name_an_environment_variable(monkeypatch, tmp_path):
    settings = LocalizationSettings(manifest="$SOME_SETS/arcade")
    monkeypatch.setenv("SOME_SETS", str(tmp_path))
    assert settings.manifest_path == tmp_path / "arcade"
    monkeypatch.delenv("SOME_SETS")
    with pytest.raises(SettingsError, match="variable that is not set"):
        _ = settings.manifest_path
