"""Public sets: fetched whole or not at all; layouts and quirks, on made-up sets and on the real excerpts."""

import io
import json
import zipfile
from email import message_from_string
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.response import addinfourl

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, shift

from cag.chapters.localization.frames import FrameChoice, choose_frames
from cag.data.cohort import Cohort
from cag.data.fingerprint import cell_means
from cag.data.images import read_image
from cag.data.public import read_public
from cag.data.public.arcade import THUMB, near_duplicate_groups, read_coco
from cag.data.public.fetch import RECORD, SOURCES, describe, fetch
from cag.data.splits import Split, fold_strata, patient_folds, split_images
from cag.data.tables import CORNERS
from cag.settings import InputError, LabelError, ManifestError

GOOD = {"id": 1, "image_id": 1, "bbox": [4, 5, 6, 7], "category_id": 26, "segmentation": [[4, 5, 10, 5, 10, 12]]}


def picture(rng: np.random.Generator) -> np.ndarray:
    """A smooth random image of 128 x 128 pixels, bright enough to be no collimator."""
    detail = gaussian_filter(rng.normal(size=(128, 128)), 3)
    return np.clip(140 + 300 * detail, 60, 255).astype(np.uint8)


def arcade_part(folder: Path, part: str, pictures: list[np.ndarray], *annotations: dict, **more: object) -> Path:
    """Write images and a COCO file, and return the latter."""
    place = folder / "stenosis" / part
    for name in ("images", "annotations"):
        (place / name).mkdir(parents=True, exist_ok=True)
    listed = [{"id": n, "file_name": f"{n}.png"} for n in range(1, len(pictures) + 1)]
    for image, named in zip(pictures, listed, strict=True):
        Image.fromarray(image).save(place / "images" / str(named["file_name"]))
    categories = [{"id": 1, "name": "1"}, {"id": 26, "name": "stenosis"}]
    coco = {"images": listed, "annotations": annotations, "categories": categories, **more}
    (place / "annotations" / f"{part}.json").write_text(json.dumps(coco))
    return place / "annotations" / f"{part}.json"


def box(number: int, image: int, *bbox: float | None) -> dict:
    return {"id": number, "image_id": image, "bbox": bbox}


@pytest.fixture
def made_up(tmp_path, rng):
    one, two = picture(rng), picture(rng)
    moved = np.clip(shift(one.astype(float), 1, mode="nearest") + 3, 0, 255).astype(np.uint8)
    boxes = [box(1, 1, 5, 6, 20, 10), box(1, 1, 5, 6, 20, 10), box(2, 2, 120, 100, 20, 20)]
    boxes += [box(3, 2, 130, 10, 5, 5), box(4, 2, 3, 3, 0, 9)]
    arcade_part(tmp_path, "train", [one, np.repeat(two[..., None], 3, 2), two], *boxes)
    arcade_part(tmp_path, "val", [moved], box(1, 1, 1.5, 2.5, 3, 4))
    return tmp_path


def test_quirks_of_arcade_are_handled_and_counted(made_up):
    cohort = Cohort.from_manifest(made_up)
    assert {quirk: count for quirk, count in cohort.counts.items() if count} == {
        "images without annotation left out": 1,
        "images stored in color, read as grey": 1,
        "annotation numbers used twice": 1,
        "boxes clipped to the image": 1,
        "boxes without area dropped": 2,
        "repeated boxes dropped": 1,
        "images in groups of near-duplicates": 2,
        "groups of near-duplicates": 1,
        "groups that lie in more than one of the set's own parts": 1,
    }
    assert cohort.manifest.run_id.tolist() == ["arcade_train_0001", "arcade_train_0002", "arcade_val_0001"]
    assert cohort.manifest.patient_id.tolist() == ["A0001", "A0002", "A0001"]
    corners = cohort.boxes[CORNERS].to_numpy().tolist()
    assert corners == [[5, 6, 25, 16], [120, 100, 128, 120], [1.5, 2.5, 4.5, 6.5]]
    cohort.require("boxes")
    stored = np.asarray(Image.open(made_up / "stenosis/train/images/2.png"))
    np.testing.assert_array_equal(cohort.frames("arcade_train_0002")[0].numpy(), stored[..., 0])
    assert cohort.simulated_or_real == "real angiograms (ARCADE)"
    (made_up / "stenosis/train/images/1.png").unlink()
    with pytest.raises(ManifestError, match=r"1.png: is annotated but not there"):
        read_public(made_up)
    with pytest.raises(ManifestError, match="layout of no public set"):
        read_public(made_up / "stenosis" / "train" / "images")


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (box(2, 2, 1, 2, 3, 4) | {"segmentation": [[]]}, "annotations whose outline has no points left out"),
        (box(2, 2, 1, 2, 3, 4) | {"segmentation": []}, "annotations whose outline has no points left out"),
        (box(2, 2), "boxes with a missing or infinite number left out"),
        ({"id": 2, "image_id": 2, "bbox": "1 2 3 4"}, "boxes with a missing or infinite number left out"),
        (box(2, 2, 1, float("nan"), 3, 4), "boxes with a missing or infinite number left out"),
        (box(2, 2, 1, None, 3, 4), "boxes with a missing or infinite number left out"),
        (box(2, 2, 1, 2, float("inf"), 4), "boxes with a missing or infinite number left out"),
        (box(2, 2, 1, 2, 3), "boxes with a missing or infinite number left out"),
        (box(2, 2, 1, 2, 3, 4) | {"category_id": 1}, "annotations of another category left out"),
        (box(2, 2, 1, 2, 3, -4), "boxes without area dropped"),
    ],
)
def test_unusable_annotations_are_left_out_and_counted(tmp_path, rng, odd, reason):
    arcade_part(tmp_path, "train", [picture(rng), picture(rng)], GOOD, odd)
    found = read_public(tmp_path)
    assert found.counts[reason] == 1 and found.tables.boxes[CORNERS].to_numpy().tolist() == [[4, 5, 10, 12]]


def test_deep_images_other_capitals_and_folders_in_names_are_read(tmp_path, rng):
    image, named = picture(rng), {"images": [{"id": 1, "file_name": "images/1.png"}]}
    stenosis = {"categories": [{"id": 26, "name": " Stenosis"}]}
    arcade_part(tmp_path, "train", [image.astype(np.uint16) * 257], GOOD, **named, **stenosis)
    cohort = Cohort.from_manifest(tmp_path)
    assert cohort.counts["images stored in color, read as grey"] == 0 and len(cohort.boxes) == 1
    np.testing.assert_array_equal(cohort.frames("arcade_train_0001")[0].numpy(), image)
    arcade_part(tmp_path, "train", [image.astype(np.uint16) * 16], GOOD, {"id": 2, "image_id": 1}, **named, **stenosis)
    np.testing.assert_allclose(Cohort.from_manifest(tmp_path).frames("arcade_train_0001")[0].numpy(), image, atol=1)
    arcade_part(tmp_path, "train", [image], box(1, 1), **stenosis)
    with pytest.raises(ManifestError, match=r"holds no annotated .*; 1 boxes with a missing or infinite number left"):
        read_public(tmp_path)
    arcade_part(tmp_path, "train", [image], box(1, 1, 4, 5, 0, 7), **stenosis)
    with pytest.raises(LabelError, match="boxes: this cohort has no such labels; 1 boxes without area dropped"):
        Cohort.from_manifest(tmp_path).require("boxes")
    names = [{"id": 1, "file_name": "a/1.png"}, {"id": 2, "file_name": "b/1.png"}]
    arcade_part(tmp_path, "train", [image], GOOD, box(2, 2, 1, 2, 3, 4), images=names)
    with pytest.raises(ManifestError, match=r"file_name: .*images/1.png and .*images/1.png have the same name\. Keep"):
        read_public(tmp_path)


@pytest.mark.parametrize(
    ("annotations", "more", "expected"),
    [
        ([GOOD, box(7, 9, 1, 2, 3, 4)], {}, "train.json, image_id: annotation 7 is of image 9"),
        ([GOOD], {"images": [{"id": 1, "file_name": "1.png"}] * 2}, "1 image numbers are given twice"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 4]}], {}, "train.json, annotations.0.id: is no COCO annotation file"),
        ([], {"images": 0}, "train.json, images: is no COCO annotation file"),
    ],
)
def test_broken_annotations_are_refused_by_place(tmp_path, annotations, more, expected):
    path = arcade_part(tmp_path, "train", [], *annotations, **({"images": [{"id": 1, "file_name": "1.png"}]} | more))
    with pytest.raises(ManifestError) as caught:
        read_coco(path)
    assert expected in str(caught.value)
    path.write_text("{")
    with pytest.raises(ManifestError, match=r"train.json: is no COCO annotation file \(Invalid JSON"):
        read_coco(path)


def test_groups_join_through_others(rng):
    one, two, three = picture(rng), picture(rng), picture(rng)
    between = ((one.astype(int) + two) // 2).astype(np.uint8)
    thumbs = np.stack([cell_means(image, THUMB) for image in (one, two, three, between)])
    assert near_duplicate_groups(thumbs[:3]).tolist() == [0, 1, 2]
    assert near_duplicate_groups(thumbs, 0.6).tolist() == [0, 0, 1, 0]
    assert cell_means(np.full((512, 512), 7, np.uint8), 64).tolist() == [[7.0] * 64] * 64


def test_real_quirks_are_counted_no_group_is_split_and_the_known_pair_is_one(cag_data):
    cohort = Cohort.from_manifest(cag_data / "arcade")
    assert cohort.counts["images without annotation left out"] == 3
    assert cohort.counts["images stored in color, read as grey"] == 38
    assert cohort.counts["groups that lie in more than one of the set's own parts"] > 0
    val = cohort.manifest.run_id.str.startswith("arcade_val")
    assert val.sum() == 200 and cohort.boxes.run_id.isin(cohort.manifest.run_id[val]).sum() == 406
    frames = choose_frames(cohort, FrameChoice())
    folds = patient_folds(fold_strata(cohort), 4, 0).set_index("patient_id").fold
    sizes = frames.images.patient_id.value_counts()
    repeated = frames.images[frames.images.patient_id.isin(sizes.index[sizes > 1])]
    assert len(repeated) == cohort.counts["images in groups of near-duplicates"]
    for fold in range(4):
        parts = pd.Series(split_images(cohort, frames.images, Split("clean", fold, 4, 0)), index=frames.images.index)
        assert (parts[repeated.index].groupby(repeated.patient_id).nunique() == 1).all()
        assert (repeated.patient_id.map(folds).eq(fold) == parts[repeated.index].eq("outer")).all()
    folder = cag_data / "arcade" / "stenosis"
    names = ("train/images/218.png", "val/images/58.png", "train/images/219.png", "val/images/59.png")
    groups = near_duplicate_groups(np.stack([cell_means(read_image(folder / name), THUMB) for name in names]))
    assert groups[0] == groups[1] and len(set(groups[1:])) == 3


def test_excerpts_of_cadica_and_danilov(cag_data):
    cohort = Cohort.from_manifest(cag_data / "cadica_excerpt")
    manifest, boxes = cohort.manifest, cohort.boxes
    assert (len(boxes), len(manifest), manifest.n_frames.sum(), manifest.patient_id.nunique()) == (46, 13, 43, 4)
    assert manifest.set_index("run_id").has_lesion[["cadica_p19_v6", "cadica_p19_v9"]].tolist() == [True, False]
    first = boxes[(boxes.run_id == "cadica_p19_v6") & (boxes.frame == 0)]
    assert first[CORNERS].to_numpy().tolist() == [[147, 211, 185, 283]]
    assert first.severity_class.tolist() == ["p0_20"] and first.percent_stenosis.tolist() == [10]
    assert cohort.counts["boxes of frames without an image left out"] > 0
    assert cohort.frames("cadica_p19_v6", [1]).shape == (1, 512, 512)
    found = read_public(cag_data / "danilov_excerpt").tables
    assert (len(found.boxes), len(found.manifest), set(found.manifest.patient_id)) == (7, 6, {"D14_002"})
    boxes = found.boxes[found.boxes.run_id == "danilov_14_002_5_0017"]
    assert boxes[CORNERS].to_numpy().tolist() == [[161, 173, 179, 187], [222, 174, 241, 186]]


SIDES = "<xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>6</ymax>"
VOC = f"<annotation><object><bndbox>{SIDES}</bndbox></object></annotation>"


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 16), 90, np.uint8)).save(path)


@pytest.mark.parametrize("line", ["1 2 3 p0_20", "1 2 3 4 p5", "a b c d p99"])
def test_cadica_boxes_of_another_form(tmp_path, line):
    video = tmp_path / "selectedVideos" / "p3" / "v1"
    video.parent.mkdir(parents=True)
    with pytest.raises(ManifestError, match="holds no annotated image or video"):
        read_public(tmp_path)
    save(video / "input" / "p3_v1_00001.png")
    (video / "groundtruth").mkdir()
    truth = video / "groundtruth" / "p3_v1_00001.txt"
    truth.write_text("\ufeff1 2 3 4 p99\r\n\n")
    (video.parent / "lesionVideos.txt").write_text("\ufeffv1\r\n")
    for place in (video / "input" / "._p3_v1_00001.png", truth.with_name("._p3_v1_00001.txt")):
        place.write_bytes(b"\0\xff")
    found = read_public(tmp_path)
    assert found.tables.boxes.percent_stenosis.tolist() == [99] and not any(found.counts.values())
    truth.rename(truth.with_name("P3_V1_00001.TXT")).write_text("1 2 3 4 P99")
    (video.parent / "nonlesionVideos.txt").write_text("v1")
    (video.parent / "v2" / "input").mkdir(parents=True)
    found, left_out = read_public(tmp_path)
    assert found.boxes.severity_class.tolist() == ["p99"] and found.manifest.has_lesion.isna().all()
    assert left_out["videos in neither list or in both"] == left_out["videos without an image left out"] == 1
    truth.write_text(f"1 2 3 4 p99\n{line}\n")
    with pytest.raises(ManifestError, match=r"p3_v1_00001.txt: line 2: .* is not x y w h class"):
        read_public(tmp_path)


@pytest.mark.parametrize("text", ["<annotation>", VOC.replace("<xmin>1", "<xmin>one")])
def test_danilov_files_of_another_form(tmp_path, text):
    for frame in (1, 2):
        save(tmp_path / "image_dir" / f"14_2_5_000{frame}.bmp")
    (tmp_path / "xml_dir").mkdir()
    xml = tmp_path / "xml_dir" / "14_2_5_0001.xml"
    for path in (xml, xml.with_name("14_2_5_0003.xml")):
        path.write_text(VOC.replace(">1<", ">1,5<"))
    found = read_public(tmp_path)
    assert list(found.counts.values())[:2] == [1, 1] and found.tables.boxes.x1.tolist() == [1.5]
    save(xml.parents[1] / "image_dir" / "14_2_5_0001.png")
    with pytest.raises(ManifestError, match=r"image_dir/14_2_5_0001.bmp and image_dir/14_2_5_0001.png have the same"):
        read_public(tmp_path)
    (xml.parents[1] / "image_dir" / "14_2_5_0001.png").unlink()
    xml.write_text(text)
    with pytest.raises(ManifestError, match=r"14_2_5_0001.xml: is no Pascal VOC annotation"):
        read_public(tmp_path)
    xml.write_text(VOC)
    save(tmp_path / "image_dir" / "frame1.bmp")
    (tmp_path / "xml_dir" / "frame1.xml").write_text(VOC)
    with pytest.raises(ManifestError, match="1 parts instead of 4"):
        read_public(tmp_path)


def danilov_zip(*, inner: bool = False, escape: bool = False, folder: str = "image_dir") -> bytes:
    """A set of two frames in the layout of Danilov et al."""
    image, buffer, outer = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.fromarray(np.full((16, 16), 90, np.uint8)).save(image, format="BMP")
    with zipfile.ZipFile(buffer, "w") as archive:
        for frame in ("14_2_5_0001", "15_1_5_0001"):
            archive.writestr(f"data/{folder}/{frame}.bmp", image.getvalue())
            archive.writestr(f"data/xml_dir/{frame}.xml", VOC)
        if escape:
            archive.writestr("../evil", "x")
    if not inner:
        return buffer.getvalue()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("published/set.zip", buffer.getvalue())
    return outer.getvalue()


@pytest.fixture
def server(monkeypatch):
    """What is served instead of the set; it breaks off after ``stop`` bytes."""
    server = SimpleNamespace(content=danilov_zip(), stop=None, status=200, asked=0)

    def opened(url: str, _: object = None) -> addinfourl:
        server.asked += 1
        told = message_from_string(f"Content-Length: {len(server.content)}")
        if server.status != 200:
            raise HTTPError(url, server.status, "", told, io.BytesIO())
        return addinfourl(io.BytesIO(server.content[: server.stop]), told, url)

    monkeypatch.setattr("urllib.request.urlopen", opened)
    monkeypatch.setitem(SOURCES, "danilov", SOURCES["danilov"]._replace(sha256=""))
    return server


def knows(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """From now on the set's digest is known."""
    monkeypatch.setitem(SOURCES, "danilov", SOURCES["danilov"]._replace(sha256=sha256(content).hexdigest()))


@pytest.mark.parametrize("inner", [False, True])
def test_a_set_is_fetched_read_and_found_again(server, tmp_path, inner):
    server.content = danilov_zip(inner=inner, escape=True)
    folder, found = fetch("danilov", tmp_path, progress=False)
    assert folder == tmp_path / "danilov" and (folder / "image_dir").is_dir()
    assert found.tables.manifest.patient_id.tolist() == ["D14_2", "D15_1"] and len(found.tables.boxes) == 2
    record = json.loads((tmp_path / "danilov" / RECORD).read_text())
    assert record["sha256"] == sha256(server.content).hexdigest() and "Attribution 4.0" in record["license"]
    fetch("danilov", tmp_path, progress=False)
    assert server.asked == 1, "not asked again"
    assert not list(tmp_path.parent.rglob("evil"))


def test_a_broken_download_is_begun_again_and_another_digest_refused(server, tmp_path, monkeypatch):
    knows(monkeypatch, server.content)
    server.stop = 700
    with pytest.raises(InputError, match=r"cannot be downloaded .* Run it again"):
        fetch("danilov", tmp_path, progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {"danilov.zip.part"}
    server.stop = None
    _, found = fetch("danilov", tmp_path, progress=False)
    assert server.asked == 2 and len(found.tables.manifest) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"danilov.zip", "danilov"}
    other = tmp_path / "other"
    knows(monkeypatch, b"something else")
    with pytest.raises(InputError, match=r"danilov.zip: SHA-256 is \w+ instead of"):
        fetch("danilov", other, progress=False)
    mine = tmp_path / "mine.zip"
    mine.write_bytes(server.content)
    with pytest.raises(InputError, match=r"mine.zip: SHA-256 is \w+ instead of"):
        fetch("danilov", other, archive=mine, progress=False)
    assert not (other / "danilov").exists()
    knows(monkeypatch, server.content)
    assert len(fetch("danilov", other, archive=mine)[1].tables.manifest) == 2
    with pytest.raises(InputError, match="no zip or tar archive"):
        fetch("cadica", tmp_path, archive=tmp_path / "absent.zip")


def test_what_is_not_the_set_is_refused_and_a_refusing_server_is_one_sentence_with_a_way_out(server, tmp_path):
    wrong = {"cannot be unpacked": b"<html>Please log in</html>", "known layout": danilov_zip(folder="other")}
    for expected, server.content in wrong.items():
        out = tmp_path / expected.replace(" ", "_")
        with pytest.raises(InputError, match=expected):
            fetch("danilov", out, progress=False)
        assert [path.name for path in out.iterdir()] == ["danilov.zip"] and not (tmp_path / "evil").exists()
    server.status = 403
    with pytest.raises(InputError, match=r"\(403\)\. .* --archive"):
        fetch("danilov", tmp_path, progress=False)
    with pytest.raises(InputError, match=r"'imagenet' is no known set\. Known: arcade, cadica, danilov"):
        fetch("imagenet", tmp_path)
    for source in SOURCES.values():
        assert all(part in describe(source) for part in (source.url, "Creative Commons", "doi 10."))
