"""Damaged annotations of CADICA and the Danilov set are refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cag.data.public import read_public
from cag.settings import ManifestError

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>"
VOC = f"<annotation><object>{BOX}</object></annotation>"


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 16), 90, np.uint8)).save(path)


@pytest.mark.parametrize("line", ["1 2 3 p0_20", "1 2 3 4 p5", "a b c d p99"])
def test_cadica_boxes_of_another_form(tmp_path: Path, line: str) -> None:
    video = tmp_path / "selectedVideos" / "p3" / "v1"
    save(video / "input" / "p3_v1_00001.png")
    (video / "groundtruth").mkdir()
    truth = video / "groundtruth" / "p3_v1_00001.txt"
    truth.write_text("1 2 3 4 p99\r\n")
    found = read_public(tmp_path)
    assert found.tables.boxes.percent_stenosis.tolist() == [99] and found.counts["videos in neither list"] == 1
    truth.write_text(f"1 2 3 4 p99\n{line}\n")
    with pytest.raises(ManifestError, match=r"p3_v1_00001.txt: line 2: .* is not x y w h class"):
        read_public(tmp_path)


def test_cadica_without_videos(tmp_path: Path) -> None:
    (tmp_path / "selectedVideos").mkdir()
    with pytest.raises(ManifestError, match="holds no video"):
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
