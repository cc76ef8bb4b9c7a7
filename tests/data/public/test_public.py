"""Public sets: layouts and quirks, on made-up sets and on the real excerpts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, shift

from cag.data.cohort import Cohort
from cag.data.public import arcade, read_public
from cag.data.public.arcade import near_duplicate_groups, thumbnail
from cag.settings import ManifestError


def picture(rng: np.random.Generator) -> np.ndarray:
    """A smooth random image of 128 x 128 pixels, bright enough to be no collimator."""
    detail = gaussian_filter(rng.normal(size=(128, 128)), 3)
    return np.clip(140 + 300 * detail, 60, 255).astype(np.uint8)


def make_arcade(folder: Path, part: str, images: list[np.ndarray], boxes: list[tuple[int, list[float]]]) -> None:
    """Write images and a COCO file; the first annotation's number is used twice."""
    (folder / "stenosis" / part / "images").mkdir(parents=True)
    (folder / "stenosis" / part / "annotations").mkdir()
    for number, image in enumerate(images, start=1):
        Image.fromarray(image).save(folder / "stenosis" / part / "images" / f"{number}.png")
    coco = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(1, len(images) + 1)],
        "annotations": [{"id": max(n, 1), "image_id": i, "bbox": box} for n, (i, box) in enumerate(boxes)],
    }
    (folder / "stenosis" / part / "annotations" / f"{part}.json").write_text(json.dumps(coco))


@pytest.fixture
def made_up(tmp_path: Path, rng: np.random.Generator) -> Path:
    one, two = picture(rng), picture(rng)
    moved = np.clip(shift(one.astype(float), 1, mode="nearest") + 3, 0, 255).astype(np.uint8)
    boxes: list[tuple[int, list[float]]] = [(1, [5, 6, 20, 10]), (1, [5, 6, 20, 10]), (2, [120, 100, 20, 20])]
    boxes += [(2, [130, 10, 5, 5]), (2, [3, 3, 0, 9])]
    make_arcade(tmp_path, "train", [one, np.repeat(two[..., None], 3, 2), two], boxes)
    make_arcade(tmp_path, "val", [moved], [(1, [1.5, 2.5, 3, 4])])
    return tmp_path


def test_quirks_of_arcade_are_handled_and_counted(made_up: Path) -> None:
    found = read_public(made_up)
    assert found.counts == {
        "images without annotation left out": 1,
        "images stored in color, read as grey": 1,
        "annotation numbers used twice": 1,
        "annotations of another category left out": 0,
        "annotations whose outline has no points left out": 0,
        "boxes with a missing or infinite number left out": 0,
        "boxes clipped to the image": 1,
        "boxes without area dropped": 2,
        "repeated boxes dropped": 1,
        "images in groups of near-duplicates": 2,
        "groups of near-duplicates": 1,
        "groups that lie in more than one of the set's own parts": 1,
    }
    assert Cohort.from_manifest(made_up).counts == found.counts
    manifest, boxes = found.tables.manifest, found.tables.boxes
    assert manifest.run_id.tolist() == ["arcade_train_0001", "arcade_train_0002", "arcade_val_0001"]
    assert manifest.patient_id.tolist() == ["A0001", "A0002", "A0001"]
    assert boxes[["x1", "y1", "x2", "y2"]].to_numpy().tolist() == [
        [5, 6, 25, 16],
        [120, 100, 128, 120],
        [1.5, 2.5, 4.5, 6.5],
    ]


def test_arcade_opens_as_a_cohort(made_up: Path) -> None:
    cohort = Cohort.from_manifest(made_up)
    cohort.require("boxes")
    frame = cohort.frames("arcade_train_0002")
    stored = np.asarray(Image.open(made_up / "stenosis/train/images/2.png"))
    np.testing.assert_array_equal(frame[0].numpy(), stored[..., 0])
    assert cohort.simulated_or_real == "real angiograms (ARCADE)"


def test_broken_arcade_is_refused(made_up: Path) -> None:
    (made_up / "stenosis/train/images/1.png").unlink()
    with pytest.raises(ManifestError, match=r"1.png: is annotated but not there"):
        read_public(made_up)
    annotations = made_up / "stenosis/train/annotations/train.json"
    for text in ("{", '{"images": [{"id": 1, "file_name": "../1.png"}], "annotations": []}', "[]"):
        annotations.write_text(text)
        with pytest.raises(ManifestError, match="no COCO annotation file"):
            read_public(made_up)
    with pytest.raises(ManifestError, match="layout of no public set"):
        read_public(made_up / "stenosis" / "train" / "images")


def test_groups_join_through_others(rng: np.random.Generator) -> None:
    one, two = picture(rng), picture(rng)
    between = ((one.astype(int) + two) // 2).astype(np.uint8)
    thumbs = np.stack([thumbnail(image) for image in (one, two, picture(rng))])
    assert near_duplicate_groups(thumbs).tolist() == [0, 1, 2]
    chained = np.concatenate([thumbs, thumbnail(between)[None]])
    assert near_duplicate_groups(chained, 0.6).tolist() == [0, 0, 1, 0]
    assert thumbnail(np.full((512, 512), 7, np.uint8)).tolist() == [[7.0] * 64] * 64


def test_cadica_excerpt(cag_data: Path) -> None:
    found = read_public(cag_data / "cadica_excerpt")
    manifest, boxes = found.tables.manifest, found.tables.boxes
    assert (
        len(boxes) == 46
        and len(manifest) == 13
        and manifest.n_frames.sum() == 43
        and manifest.patient_id.nunique() == 4
    )
    assert manifest.set_index("run_id").has_lesion[["cadica_p19_v6", "cadica_p19_v9"]].tolist() == [True, False]
    first = boxes[(boxes.run_id == "cadica_p19_v6") & (boxes.frame == 0)]
    assert first[["x1", "y1", "x2", "y2"]].to_numpy().tolist() == [[147, 211, 185, 283]]
    assert first.severity_class.tolist() == ["p0_20"] and first.percent_stenosis.tolist() == [10]
    assert found.counts["boxes of frames without an image left out"] > 0
    frames = Cohort.from_manifest(cag_data / "cadica_excerpt").frames("cadica_p19_v6", [1])
    assert frames.shape == (1, 512, 512)


def test_danilov_excerpt(cag_data: Path) -> None:
    found = read_public(cag_data / "danilov_excerpt")
    assert (
        len(found.tables.boxes) == 7
        and len(found.tables.manifest) == 6
        and set(found.tables.manifest.patient_id) == {"D14_002"}
    )
    boxes = found.tables.boxes[found.tables.boxes.run_id == "danilov_14_002_5_0017"]
    assert boxes[["x1", "y1", "x2", "y2"]].to_numpy().tolist() == [[161, 173, 179, 187], [222, 174, 241, 186]]


def test_arcade_val_is_read(cag_data: Path) -> None:
    found = arcade.read(cag_data / "arcade", parts=("val",))
    assert len(found.tables.manifest) == 200 and len(found.tables.boxes) == 406


BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>"
VOC = f"<annotation><object>{BOX}</object></annotation>"


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 16), 90, np.uint8)).save(path)


@pytest.mark.parametrize("line", ["1 2 3 p0_20", "1 2 3 4 p5", "a b c d p99"])
def test_cadica_boxes_of_another_form(tmp_path: Path, line: str) -> None:
    video = tmp_path / "selectedVideos" / "p3" / "v1"
    video.parent.mkdir(parents=True)
    with pytest.raises(ManifestError, match="holds no video"):
        read_public(tmp_path)
    save(video / "input" / "p3_v1_00001.png")
    (video / "groundtruth").mkdir()
    truth = video / "groundtruth" / "p3_v1_00001.txt"
    truth.write_text("1 2 3 4 p99\r\n")
    found = read_public(tmp_path)
    assert found.tables.boxes.percent_stenosis.tolist() == [99] and found.counts["videos in neither list"] == 1
    truth.write_text(f"1 2 3 4 p99\n{line}\n")
    with pytest.raises(ManifestError, match=r"p3_v1_00001.txt: line 2: .* is not x y w h class"):
        read_public(tmp_path)


@pytest.mark.parametrize(
    "text", ["<annotation>", VOC.replace("<xmin>1", "<xmin>one"), '<!DOCTYPE a [<!ENTITY x "y">]>' + VOC]
)
def test_danilov_annotations_of_another_form(tmp_path: Path, text: str) -> None:
    save(tmp_path / "image_dir" / "14_2_5_0001.bmp")
    save(tmp_path / "image_dir" / "14_2_5_0002.bmp")
    (tmp_path / "xml_dir").mkdir()
    xml = tmp_path / "xml_dir" / "14_2_5_0001.xml"
    xml.write_text(VOC)
    found = read_public(tmp_path)
    assert found.counts["images without annotation left out"] == 1 and len(found.tables.boxes) == 1
    xml.write_text(text)
    with pytest.raises(ManifestError, match=r"14_2_5_0001.xml: is no Pascal VOC annotation"):
        read_public(tmp_path)


def test_danilov_names_of_another_form(tmp_path: Path) -> None:
    save(tmp_path / "image_dir" / "frame1.bmp")
    (tmp_path / "xml_dir").mkdir()
    (tmp_path / "xml_dir" / "frame1.xml").write_text(VOC)
    with pytest.raises(ManifestError, match="1 parts instead of 4"):
        read_public(tmp_path)
