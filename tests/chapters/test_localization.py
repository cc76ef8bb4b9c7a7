"""The localization experiment on a tiny cohort of bright squares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cag.chapters.classification.training import CellSettings, ClassificationSettings, new_classifier
from cag.chapters.localization import comparison as localization
from cag.chapters.localization import settings as localization_settings
from cag.chapters.localization.agreement import agreement_table
from cag.chapters.localization.comparison import Localization, heatmap, localize
from cag.chapters.localization.curves import (
    FORESHORTENING_BINS,
    froc_table,
    recall_table,
    segment_table,
    sweep_table,
)
from cag.chapters.localization.others import beside_others, others
from cag.chapters.localization.reading import detect, load_detector
from cag.chapters.localization.scores import Scored, difference_table, headline, metric_table, scoring_rule
from cag.chapters.localization.settings import LocalizationSettings, detector_settings, fpn_cells, frame_choice
from cag.chapters.localization.tables import (
    agreement_text,
    comparison_table,
    exclusion_table,
    method_table,
    table_four,
)
from cag.chapters.stages import record_stage
from cag.chapters.store import Store
from cag.data.cohort import Cohort, FrameSource
from cag.data.splits import LeakError, Split, fold_strata, inner_split, patient_folds, split_images
from cag.metrics.boxes import CORNERS
from cag.networks.training import FitSettings
from cag.settings import InputError, SettingsError

SIZE = 96
SETTINGS = LocalizationSettings(
    profile="test",
    weights="random",
    backbone="resnet18",
    image_size=SIZE,
    folds=2,
    epochs=10,
    channels=8,
    augmented_copies=1,
    bootstrap=20,
    learning_rate=0.01,
    batch_size=8,
    device="cpu",
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
    manifest = pd.DataFrame({"patient_id": ids, "run_id": [f"{patient}_R1" for patient in ids]}).assign(
        source="simulated", n_frames=4, rows=SIZE, columns=SIZE, contrast_begin=0.0, contrast_end=3.0
    )
    manifest["artery"] = ["LCA", "RCA"] * (patients // 2) if views else None
    manifest["view"] = ["LCA RAO caudal", "RCA LAO"] * (patients // 2) if views else None
    place = [10 + 5 * number for number in range(patients)]
    boxes = pd.DataFrame({"run_id": manifest.run_id, "x1": place, "y1": place}).assign(
        segment=2, percent_stenosis=[30.0, 60.0, 80.0, 100.0] * (patients // 4)
    )
    boxes = boxes.assign(x2=boxes.x1 + 24, y2=boxes.y1 + 24).merge(pd.DataFrame({"frame": [1, 2]}), how="cross")
    lesions = manifest[["patient_id", "artery"]].assign(segment=2, percent_stenosis=60.0, length_mm=10.0)
    patients_table = pd.DataFrame({"patient_id": ids, "low_quality": False})
    return Cohort(manifest, patients_table, lesions if views else lesions.iloc[:0], boxes, None, source=Squares())


def store_classifiers(store: Store, cohort: Cohort) -> None:
    """What notebook 03 leaves behind, untrained."""
    severity = fold_strata(cohort)
    folds = patient_folds(severity, 2, 0)
    for fold in range(2):
        parts = inner_split(folds, severity, fold, seed=0)
        for view in ("LCA RAO caudal", "RCA"):
            cell = CellSettings(
                cut_points=(25.0,),
                redundancy=True,
                model_view=view,
                fold=fold,
                folds=2,
                image_size=SIZE,
                frames_per_run=2,
                label_rule="assigned",
                trainable="head",
                head="plain",
                backbone="resnet18",
                weights="random",
                seed=0,
                fit=FitSettings(epochs=1),
            )
            folder = store.folder("classification", cell, cohort.digest())
            folder.save_table("predictions", parts[parts.part != "train"].assign(epoch=0))
            folder.save_weights("classifier", new_classifier(cell).head.state_dict())
            folder.finish(cell)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return squares()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, cohort: Cohort) -> Store:
    store = Store(tmp_path_factory.mktemp("results"))
    store_classifiers(store, cohort)
    return store


@pytest.fixture(scope="module")
def found(store: Store, cohort: Cohort) -> Localization:
    return localize(cohort, SETTINGS, store)


def test_clean_methods_are_scored_once_on_the_same_images(found: Localization) -> None:
    clean = found.images[found.images.arm == "clean"]
    for method in ("fpn", "cam", "prior"):
        assert clean[clean.method == method].image_id.tolist() == found.frames.images.image_id.tolist()
    assert (clean.groupby("image_id").fold.nunique() == 1).all()
    assert clean.groupby("patient_id").fold.nunique().max() == 1


def test_published_rules_leak_patients_and_score_the_cam_on_everything(found: Localization) -> None:
    published = found.images[found.images.arm == "as_published"]
    assert set(published.method) == {"fpn", "cam"}
    assert published[published.method == "fpn"].groupby("patient_id").fold.nunique().max() == 2
    assert (published[published.method == "cam"].fold == 0).all()
    assert len(published[published.method == "cam"]) == len(found.frames.images)
    chosen = found.operating.set_index(["arm", "method"]).threshold
    assert chosen["as_published", "cam"].item() == 0.0
    assert chosen["as_published", "fpn"].tolist() == [0.35, 0.35]


def test_tables_are_published_and_lie_inside_the_image(found: Localization, store: Store) -> None:
    boxes = pd.read_parquet(store.table("localization_detections"))
    assert set(boxes.image_id) <= set(found.truth.image_id)
    assert {"image_id", "arm", "method", "fold", *CORNERS, "score"} <= set(boxes)
    inside = boxes[boxes.method != "prior"]
    assert (inside[CORNERS] >= 0).all(axis=None)
    assert (inside[CORNERS] <= SIZE).all(axis=None)
    assert len(pd.read_parquet(store.table("localization_truth"))) == 16


def test_finished_folds_are_found_again(
    found: Localization, store: Store, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localization, "train_fold", lambda *_, **__: pytest.fail("trained again"))
    again = localize(cohort, SETTINGS, store)
    pd.testing.assert_frame_equal(again.detections, found.detections)


def test_a_stored_detector_finds_the_same_boxes_again(found: Localization, store: Store, cohort: Cohort) -> None:
    detector, threshold = load_detector(cohort, SETTINGS, store, fold=0)
    own = found.detections.query("arm == 'clean' and method == 'fpn' and fold == 0")
    image_id = own.image_id.iloc[0]
    expected = own[own.image_id == image_id]
    run_id, frame = image_id.split(":")
    boxes = detect(cohort.frames(run_id, [int(frame)]), detector, SETTINGS)
    # Boxes of nearly equal score may change places, since stored maps are rounded: each has its like on the other side.
    apart = np.abs(boxes[CORNERS].to_numpy()[:, None] - expected[CORNERS].to_numpy()[None]).max(axis=2)
    assert len(boxes) == len(expected)
    assert apart.min(axis=0).max() <= 1 and apart.min(axis=1).max() <= 1
    assert threshold == found.operating.query("arm == 'clean' and method == 'fpn' and fold == 0").threshold.iloc[0]
    doubled = detect(torch.zeros(1, 2 * SIZE, SIZE, dtype=torch.uint8), detector, SETTINGS)
    assert doubled.y2.max() > SIZE


def test_every_number_has_an_interval_and_every_table_its_rows(found: Localization) -> None:
    table = metric_table(found.sides, bootstrap=20, seed=0)
    assert set(table.artery) == {"both", "LCA", "RCA"}
    recall = table.query("arm == 'clean' and method == 'fpn' and artery == 'both' and metric == 'recall'").iloc[0]
    assert recall.low <= recall.value <= recall.high
    assert recall.n_groups == 8
    claims = pd.DataFrame(
        [("Table 4", "LCA", "FPN, IoU>0.5", "sens_s", 0.44)],
        columns=["source", "subset", "condition", "metric", "value"],
    )
    four = table_four(table, claims, {})
    assert len(four) == 2 * 2 * 4
    assert four.query("Artery == 'LCA' and Method == 'FPN' and Metric == 'Sens_s'").Paper.item() == "0.44"
    assert list(method_table(table, {}).columns) == ["Metric", "CAM", "FPN", "place prior"]
    agreement = agreement_table(found.sides, bootstrap=20, seed=0)
    text = agreement_text(agreement)
    assert text.Methods.tolist() == ["FPN, CAM", "FPN, place prior", "CAM, place prior"]
    shares = agreement[(agreement["first"] == "fpn") & (agreement["second"] == "cam")].set_index("metric").value
    assert shares[["both", "only_first", "only_second", "neither"]].sum() == pytest.approx(1)
    assert shares["both"] + shares["only_first"] == pytest.approx(recall.value)
    text = comparison_table(difference_table(found.sides, bootstrap=20, seed=0))
    assert text.Comparison.nunique() == 6
    assert "FPN as published minus FPN clean" in set(text.Comparison)
    assert headline(table)["fpn_recall"].value == recall.value
    assert {0.25, 0.5, 1, 2, 4} <= set(froc_table(found.sides, bootstrap=20, seed=0).false_positives)
    sweep = sweep_table(found.sides, bootstrap=20, seed=0).query("method == 'cam'")
    assert (np.diff(sweep.recall) <= 0).all()
    assert segment_table(found.sides, bootstrap=20, seed=0).group.unique().tolist() == ["mid RCA"]
    assert segment_table(found.sides, bootstrap=20, seed=0, least=17).empty
    assert recall_table(found.sides, "foreshortening", bins=FORESHORTENING_BINS, bootstrap=20, seed=0).empty
    groups = recall_table(found.sides, "percent_stenosis", bins=(25, 50, 101), bootstrap=20, seed=0)
    assert groups[groups.method == "fpn"][["group", "lesions"]].to_numpy().tolist() == [["25-49", 4], ["50-100", 12]]


def test_figures_of_others_stand_below_our_own(found: Localization) -> None:
    table = beside_others(metric_table(found.sides, bootstrap=5, seed=0), "squares")
    assert table.Study.iloc[0] == "this run, FPN"
    values = table.set_index(["Study", "Metric"]).Value
    assert values["StenUNet 2023", "F1"] == "0.535"
    assert (table.Source[table.Study.str.startswith("this run")] == "").all()
    assert others().source.str.len().min() > 0
    assert values["Molenaar et al. 2025", "Expert agreement"] == "0.65"
    assert values["Pascual-González et al. 2025", "F1"] == "0.355 ± 0.079"


def test_what_was_odd_is_listed_with_its_number() -> None:
    excluded = pd.DataFrame({"reason": ["no area inside the frame", "kept, clipped to the frame"], "boxes": [2, 1]})
    table = exclusion_table({"images without annotation left out": 3}, excluded)
    assert table.to_numpy().tolist() == [
        ["images without annotation left out", 3],
        ["box left out: no area inside the frame", 2],
        ["box kept, clipped to the frame", 1],
    ]


def test_borrowed_classifiers_explain_a_cohort_without_views(
    store: Store, cohort: Cohort, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = ClassificationSettings(weights="random", folds=2, seed=0)
    record_stage(store, "classification", settings, cohort)
    monkeypatch.setattr(localization_settings, "ROOT", tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "lent").symlink_to(store.root)
    changes = {"arms": ("clean",), "epochs": 1, "cam_profile": "lent"}
    found = localize(squares(views=False), SETTINGS.model_copy(update=changes), Store(tmp_path / "own"))
    side = found.sides["clean", "cam"]
    assert side.images.image_id.tolist() == found.frames.images.image_id.tolist()
    assert found.not_applicable == {}
    assert heatmap(found, found.frames.images.image_id.iloc[0]) is not None
    with pytest.raises(InputError, match="holds no trained classification"):
        localize(
            squares(views=False),
            SETTINGS.model_copy(update=changes | {"cam_profile": "nothing"}),
            Store(tmp_path / "other"),
        )


def test_heatmaps_are_kept_for_the_figures(found: Localization) -> None:
    heat = heatmap(found, found.frames.images.image_id.iloc[0])
    assert heat is not None
    assert heat.shape == (64, 64)
    assert heat.min() >= 0 and heat.max() <= 1


def test_without_classifiers_the_remedy_is_named(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Run notebook 03"):
        localize(cohort, SETTINGS, Store(tmp_path))


def test_a_classifier_that_saw_the_patients_is_refused(cohort: Cohort, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store_classifiers(store, cohort)
    for path in (tmp_path / "classification").glob("*/predictions.parquet"):
        table = pd.read_parquet(path)
        table.assign(part=table.part.map({"inner": "outer", "outer": "inner"})).to_parquet(path)
    with pytest.raises(LeakError, match="classifier's split"):
        localize(cohort, SETTINGS.model_copy(update={"arms": ("clean",), "epochs": 1}), store)


def test_without_views_the_cam_does_not_apply_and_every_layer_can_be_trained(tmp_path: Path) -> None:
    changes = {"arms": ("clean",), "epochs": 1, "trainable": "all", "bootstrap": 5}
    found = localize(squares(views=False), SETTINGS.model_copy(update=changes), Store(tmp_path))
    metrics = metric_table(found.sides, bootstrap=5, seed=0)
    assert np.isnan(headline(metrics)["cam_recall"].value)
    claims = pd.DataFrame(columns=["source", "subset", "condition", "metric", "value"], dtype=object)
    four = table_four(metrics, claims, found.not_applicable)
    assert set(four[four.Method == "CAM"].Clean) == {"not applicable"}
    table = method_table(metrics, found.not_applicable).set_index("Metric")
    assert table["CAM"]["Scored on"].startswith("not applicable") and table["CAM"]["Recall"] == "–"
    assert heatmap(found, found.frames.images.image_id.iloc[0]) is None
    assert set(found.sides) == {("clean", "fpn"), ("clean", "prior")}


def test_low_quality_studies_are_scored_but_never_trained_on(cohort: Cohort) -> None:
    cohort.patients["low_quality"] = [True] + [False] * 7
    images = cohort.boxes.merge(cohort.manifest[["run_id", "patient_id"]])[["patient_id"]]
    parts = [split_images(cohort, images, Split("clean", fold, 2, 0)) for fold in range(2)]
    cohort.patients["low_quality"] = False
    assert sorted({str(part[0]) for part in parts}) == ["left out", "outer"]


def test_published_truth_is_scored_looser_for_the_cam() -> None:
    assert scoring_rule("as_published", "cam", 0.5, 35).iou == 0.1
    assert scoring_rule("as_published", "fpn", 0.4, 35).box_minimum == 50
    assert scoring_rule("clean", "cam", 0.4, 35) == scoring_rule("clean", "fpn", 0.4, 35)


def test_scores_are_exact_where_everything_is_found() -> None:
    images = pd.DataFrame({"image_id": ["a", "b"], "patient_id": ["P", "Q"], "width": 256, "height": 256})
    truth = pd.DataFrame({"image_id": ["a", "b"], "x1": 10, "y1": 10, "x2": 40, "y2": 40, "percent_stenosis": 50.0})
    boxes = truth.assign(score=0.9, operating=True)
    side = Scored(images, boxes, truth, scoring_rule("clean", "fpn", 0.5, 35))
    values = side.metrics(np.ones((1, 2)))
    assert {name: float(value[0]) for name, value in values.items()} == {
        **dict.fromkeys(("global_sensitivity", "sens_s", "spec_s", "recall", "precision", "f1"), 1.0),
        **dict.fromkeys(("mse", "false_positives", "distance_found", "distance_with_misses"), 0.0),
        **{"ap50": 1.0, "recall_at_1fp": 1.0, "ap": pytest.approx(1.0), "ar": pytest.approx(1.0)},
    }


def test_anchors_follow_the_image_size_and_digests_what_matters() -> None:
    half, full = (detector_settings(SETTINGS.model_copy(update={"image_size": size})) for size in (128, 256))
    assert np.allclose(np.array(full.anchor_sizes), 2 * np.array(half.anchor_sizes))
    published = SETTINGS.model_copy(update={"anchors": "published", "image_size": 512})
    assert detector_settings(published).anchor_sizes == (32, 64, 128, 256, 512)
    other = SETTINGS.model_copy(update={"profile": "other", "bootstrap": 7, "device": "auto"})
    assert [cell.digest() for cell in fpn_cells(other, None)] == [cell.digest() for cell in fpn_cells(SETTINGS, None)]
    assert frame_choice(SETTINGS, None).model_views == ()


def test_the_manifest_may_name_an_environment_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = LocalizationSettings(manifest="$SOME_SETS/arcade")
    monkeypatch.setenv("SOME_SETS", str(tmp_path))
    assert settings.manifest_path == tmp_path / "arcade"
    monkeypatch.delenv("SOME_SETS")
    with pytest.raises(SettingsError, match="variable that is not set"):
        _ = settings.manifest_path
