"""Real angiograms: training on outlines goes on after a stop, and the shipped detector reads what anyone has."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from cag.chapters.angiograms import detection, training
from cag.chapters.angiograms.training import DenseSettings, padded_outlines, part_of, train_dense, training_batches
from cag.chapters.localization.frames import choose_frames
from cag.chapters.store import Store, run_task
from cag.data.cohort import Cohort
from cag.networks.dense_detector import DenseDetectorSettings, inside
from cag.networks.training import FitSettings
from cag.networks.transforms import AugmentSettings
from cag.settings import InputError

TURNS = AugmentSettings(degrees=25, contrast=(1, 1), zoom=(0.8, 1.2), shift=0.05)
SETTINGS = DenseSettings(
    image_size=96, weights="random", detector=DenseDetectorSettings(width=8, score_threshold=0), augmentation=TURNS,
    fit=FitSettings(epochs=2, batch_size=2, learning_rate=1e-3, schedule="one_cycle"),
)  # fmt: skip


@pytest.fixture
def made_up(tmp_path, rng):
    """ARCADE's layout: 128 px images, bright where the outline is; four to learn from, two for choice."""
    for part, count in (("train", 4), ("val", 2)):
        place, numbers = tmp_path / "stenosis" / part, range(1, count + 1)
        for name in ("images", "annotations"):
            (place / name).mkdir(parents=True)
        for number in numbers:
            image = rng.integers(60, 200, (128, 128), dtype=np.uint8)
            image[40:70, 30:90] = 255
            Image.fromarray(image).save(place / "images" / f"{number}.png")
        lesion = {"bbox": [30, 40, 60, 30], "segmentation": [[30, 40, 90, 40, 90, 70, 30, 70]]}
        boxes = [{"id": n, "image_id": n, **lesion} for n in numbers]
        named = {"images": [{"id": n, "file_name": f"{n}.png"} for n in numbers], "annotations": boxes}
        (place / "annotations" / f"{part}.json").write_text(json.dumps(named))
    return tmp_path


def test_outlines_move_with_their_images(made_up):
    cohort = Cohort.from_manifest(made_up)
    frames = choose_frames(cohort, SETTINGS.choice)
    outlines = padded_outlines(cohort, frames, 96)
    assert outlines.shape == (6, 1, 4, 2) and outlines[0, 0, 2].tolist() == [67.5, 52.5]
    images = torch.zeros(6, 96, 96, dtype=torch.uint8)
    images[:, 30:53, 23:68] = 255
    batches = training_batches(images, outlines, part_of(frames.images) == "train", SETTINGS)
    y, x = torch.meshgrid(*[torch.arange(96) + 0.5] * 2, indexing="ij")
    drawn = batches.epoch(torch.Generator().manual_seed(1), torch.device("cpu"))
    moved, own = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    bright, covered = moved[:, 0] > 0, inside(x, y, own)[:, 0]
    assert len(moved) == 4 and (bright & covered).sum() / (bright | covered).sum() > 0.9


def test_training_is_stored_shipped_and_reads_images_dicom_and_sets(made_up, tmp_path, write_run, monkeypatch):
    cohort, store = Cohort.from_manifest(made_up), Store(tmp_path / "store")
    folder = run_task("angiograms_dense", train_dense, SETTINGS, cohort, store)
    assert set(folder.load_table("detections").image_id) == {"arcade_val_0001:0", "arcade_val_0002:0"}
    assert folder.load_table("history").epoch.tolist() == [0, 1]
    for name in ("WEIGHTS", "RECORD"):
        monkeypatch.setattr(detection, name, tmp_path / getattr(detection, name).name)
    with pytest.raises(InputError, match=r"arcade\.safetensors: the detector's weights cannot be read"):
        detection.shipped_detector()
    detection.RECORD.write_text(json.dumps({"settings": SETTINGS.model_dump(mode="json"), "threshold": 0.0}))
    shutil.copy(folder.path / "detector.safetensors", detection.WEIGHTS)
    (own := tmp_path / "own").mkdir()
    write_run(own / "run.dcm", n_frames=3, size=(64, 128))
    Image.fromarray(np.zeros((50, 70), np.uint8)).save(own / "one.PNG")
    (own / "text.txt").touch()
    boxes, refused = detection.detect_files(own, tmp_path / "out")
    assert list(refused) == ["text.txt"] and set(boxes.file) == {"run.dcm", "one.PNG"} and boxes.counts.all()
    most = boxes.groupby("file")[["x2", "y2"]].max().loc[["run.dcm", "one.PNG"]]
    np.testing.assert_allclose(most, [(128, 64), (70, 50)], rtol=0.2, err_msg="boxes are in the pixels of the file")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0001.png", "0002.png", "boxes.csv"]
    scored = detection.score_set(made_up / "stenosis" / "val").set_index(["iou", "metric"]).value
    assert (scored[0.1] >= scored[0.5])[["recall", "f1"]].all()


def test_a_training_goes_on_after_its_last_whole_epoch(made_up, tmp_path, monkeypatch):
    cohort, scored = Cohort.from_manifest(made_up), training.average_precision
    whole, stopped = Store(tmp_path / "whole"), Store(tmp_path / "stopped")
    kept = iter([scored])  # the score of the second epoch is not to be had
    monkeypatch.setattr(training, "average_precision", lambda matches: next(kept)(matches))
    with pytest.raises(StopIteration):
        run_task("angiograms_dense", train_dense, SETTINGS, cohort, stopped)
    monkeypatch.setattr(training, "average_precision", scored)
    one, other = (run_task("angiograms_dense", train_dense, SETTINGS, cohort, store) for store in (whole, stopped))
    assert other.load_table("history").epoch.tolist() == [0, 1]
    weights = other.load_weights("detector")
    assert all(torch.equal(own, weights[name]) for name, own in one.load_weights("detector").items())
