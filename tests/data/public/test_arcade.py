"""ARCADE: near-duplicates stay on one side of a split, and odd annotations are named and counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cag.chapters.localization.frames import FrameChoice, choose_frames
from cag.data.cohort import Cohort
from cag.data.public import arcade, read_public
from cag.data.public.arcade import read_coco
from cag.data.splits import Split, fold_strata, patient_folds, split_images
from cag.settings import ManifestError


def annotation(number: int, image: int, bbox: list[float], **more: object) -> dict[str, Any]:
    return {"id": number, "image_id": image, "bbox": bbox, "category_id": 26, **more}


GOOD = annotation(1, 1, [4, 5, 6, 7], segmentation=[[4, 5, 10, 5, 10, 12]])


@pytest.fixture
def coco_file(tmp_path: Path) -> Callable[..., Path]:
    """A set of two images and these annotations: ``coco_file(annotation, ...)`` gives its annotation file."""

    def write(*annotations: dict[str, Any], images: list[dict[str, Any]] | None = None) -> Path:
        root = tmp_path / "stenosis" / "train"
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / "annotations").mkdir(exist_ok=True)
        rng = np.random.default_rng(0)
        for name in ("1.png", "2.png"):
            Image.fromarray(rng.integers(60, 255, (64, 64), dtype=np.uint8)).save(root / "images" / name)
        listed = images or [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "2.png"}]
        categories = [{"id": 1, "name": "1"}, {"id": 26, "name": "stenosis"}]
        text = json.dumps({"images": listed, "annotations": list(annotations), "categories": categories})
        (root / "annotations" / "train.json").write_text(text)
        return root / "annotations" / "train.json"

    return write


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (annotation(2, 2, [1, 2, 3, 4], segmentation=[[]]), "annotations whose outline has no points left out"),
        (annotation(2, 2, [1, float("nan"), 3, 4]), "boxes with a missing or infinite number left out"),
        (annotation(2, 2, [1, 2, float("inf"), 4]), "boxes with a missing or infinite number left out"),
        (annotation(2, 2, [1, 2, 3, 4]) | {"category_id": 1}, "annotations of another category left out"),
        (annotation(2, 2, [1, 2, 3, -4]), "boxes without area dropped"),
    ],
)
def test_unusable_annotations_are_left_out_and_counted(
    coco_file: Callable[..., Path], tmp_path: Path, odd: dict[str, Any], reason: str
) -> None:
    coco_file(GOOD, odd)
    found = read_public(tmp_path)
    assert found.counts[reason] == 1
    assert found.tables.boxes[["x1", "y1", "x2", "y2"]].to_numpy().tolist() == [[4, 5, 10, 12]]


def test_annotations_of_unknown_images_and_repeated_image_numbers_are_refused(coco_file: Callable[..., Path]) -> None:
    with pytest.raises(ManifestError, match=r"train.json, image_id: annotation 7 is of image 9"):
        read_coco(coco_file(GOOD, annotation(7, 9, [1, 2, 3, 4])), "stenosis")
    twice = [{"id": 1, "file_name": "1.png"}, {"id": 1, "file_name": "2.png"}]
    with pytest.raises(ManifestError, match="1 image numbers are given twice"):
        read_coco(coco_file(GOOD, images=twice), "stenosis")
    for broken in ({"id": 1, "image_id": 1, "bbox": [1, 2, 3]}, {"image_id": 1, "bbox": [1, 2, 3, 4]}, {"id": 1}):
        with pytest.raises(ManifestError, match="no COCO annotation file"):
            read_coco(coco_file(broken), "stenosis")


def test_the_known_pair_is_one_group(cag_data: Path) -> None:
    # train 218 equals val 58; train 219 and val 59 are other pictures.
    folder = cag_data / "arcade" / "stenosis"
    names = ("train/images/218.png", "val/images/58.png", "train/images/219.png", "val/images/59.png")
    groups = arcade.image_groups([folder / name for name in names])
    assert groups[0] == groups[1]
    assert len(set(groups[1:])) == 3


def test_real_quirks_are_counted_and_no_group_is_split(cag_data: Path) -> None:
    cohort = Cohort.from_manifest(cag_data / "arcade")
    assert cohort.counts["images without annotation left out"] == 3
    assert cohort.counts["images stored in color, read as grey"] == 38
    assert cohort.counts["groups that lie in more than one of the set's own parts"] > 0
    frames = choose_frames(cohort, FrameChoice())
    strata = fold_strata(cohort)
    folds = patient_folds(strata, 4, 0).set_index("patient_id").fold
    sizes = frames.images.patient_id.value_counts()
    repeated = frames.images[frames.images.patient_id.isin(sizes.index[sizes > 1])]
    assert len(repeated) == cohort.counts["images in groups of near-duplicates"]
    for fold in range(4):
        parts = pd.Series(split_images(cohort, frames.images, Split("clean", fold, 4, 0)), index=frames.images.index)
        assert (parts[repeated.index].groupby(repeated.patient_id).nunique() == 1).all()
        assert (repeated.patient_id.map(folds).eq(fold) == parts[repeated.index].eq("outer")).all()
