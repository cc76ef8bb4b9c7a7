"""The detector that learned from readers' outlines, on anyone's angiograms, and scored where the truth is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from safetensors import SafetensorError
from safetensors.torch import load_file

from cag.chapters.angiograms.training import DenseSettings, detect, new_detector
from cag.chapters.localization.frames import LesionFrames, choose_frames, detections_table
from cag.chapters.localization.scores import Scored, ScoringRule
from cag.data.archives import FoundFile, is_archive, opened, tree_entries
from cag.data.cohort import Cohort
from cag.data.dicom import read_frames
from cag.data.frames import load_frames, shrink
from cag.data.images import SUFFIXES, read_image
from cag.metrics.boxes import CORNERS, corners
from cag.metrics.intervals import Measured
from cag.metrics.tables import interval_table
from cag.networks.dense_detector import DenseDetector
from cag.networks.training import Runtime
from cag.networks.transforms import scale
from cag.networks.weights import WEIGHTS_FOLDER
from cag.settings import InputError, StudySettings, Weights, printable, write_atomically, writing


class AngiogramSettings(StudySettings):
    """What notebook 11 is told."""

    weights: Weights = "imagenet"  #: Where a training starts from.
    train: bool = False  #: Train on the set's frames and ship that detector; else take the one that is shipped.


#: The weights that come with the project, and what is known of them.
WEIGHTS, RECORD = WEIGHTS_FOLDER / "arcade.safetensors", WEIGHTS_FOLDER / "arcade.json"
OVERLAPS, METRICS = (0.5, 0.3, 0.1), ["f1", "precision", "recall", "ap50", "recall_at_1fp"]
COLUMNS = ["file", "frame", *CORNERS, "score"]


def shipped_detector() -> tuple[DenseDetector, DenseSettings, float]:
    """The detector that comes with the project, its settings, and the score from which a box counts."""
    try:
        record, state = json.loads(RECORD.read_text()), load_file(WEIGHTS)
    except (OSError, ValueError, SafetensorError):
        remedy = "Restore the weights folder, or train it by notebook 11"
        raise InputError("the detector's weights cannot be read", file=WEIGHTS.name, remedy=remedy) from None
    settings = DenseSettings.checked(record["settings"])
    return new_detector(settings.model_copy(update={"weights": "random"}), state), settings, record["threshold"]


def angiograms(place: Path) -> Iterator[tuple[str, UInt8[np.ndarray, "t h w"] | InputError]]:
    """Each file of a folder or an archive, or one file, DICOM or image: its name, its frames or why it is not read."""
    alone = place.is_file() and not is_archive(place)
    for file in opened([FoundFile(printable(place.name), place)] if alone else tree_entries(place)):
        try:
            if file.path is None:
                raise InputError(file.problem)
            is_image = Path(file.name).suffix.lower() in SUFFIXES
            yield file.name, read_image(file.path)[None] if is_image else read_frames(file.path)
        except InputError as error:
            yield file.name, error


def detect_files(place: Path, out: Path, device: str = "auto") -> tuple[pd.DataFrame, dict[str, str]]:
    """Find stenoses in every frame; write ``boxes.csv`` and of each file the frame of the best box, as PNG, to ``out``.

    The table has ``file, frame, x1, y1, x2, y2`` (pixels of the file), ``score`` and ``counts``: whether the score
    reaches the operating point, chosen on frames of ARCADE. The files that were refused follow, with the reason.
    """
    (detector, settings, threshold), runtime = shipped_detector(), Runtime.choose(device)
    detector.to(runtime.device)
    tables, refused, size = list[pd.DataFrame](), dict[str, str](), settings.image_size
    with writing(out.name):
        out.mkdir(parents=True, exist_ok=True)
    for number, (name, frames) in enumerate(angiograms(place), start=1):
        if isinstance(frames, InputError):
            refused[name] = frames.reason
            continue
        squares = shrink(torch.tensor(frames), size).split(16)
        found = [own for part in squares for own in detector.detect(scale(part.to(runtime.device)))]
        table = detections_table(found, pd.Series(range(len(frames))), name)
        table = table.rename(columns={"image_id": "frame", "method": "file"})[COLUMNS]
        table[CORNERS] *= np.tile(frames.shape[:0:-1], 2) / size
        tables.append(table.assign(counts=table["score"] >= threshold))
        best = int(table["frame"].iloc[table["score"].argmax()]) if len(table) else 0
        shown = Image.fromarray(frames[best]).convert("RGB")
        for box in corners(tables[-1].query("frame == @best and counts")).tolist():
            ImageDraw.Draw(shown).rectangle(box, outline="yellow", width=2)
        write_atomically(out / f"{number:04d}.png", partial(shown.save, format="png"))
    boxes = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*COLUMNS, "counts"])
    write_atomically(out / "boxes.csv", lambda path: boxes.to_csv(path, index=False))
    return boxes, refused


def score_set(folder: Path, device: str = "auto") -> pd.DataFrame:
    """The shipped detector on a set with boxes, such as a part of ARCADE: ``scores`` of what it finds."""
    (detector, settings, threshold), cohort = shipped_detector(), Cohort.from_manifest(folder)
    frames = choose_frames(cohort, settings.choice)
    boxes = detect(detector, load_frames(cohort, frames.images, settings.image_size), frames, device)
    return scores(boxes.assign(operating=boxes.score >= threshold), frames)


def scores(boxes: pd.DataFrame, frames: LesionFrames, resamples: int = 2000) -> pd.DataFrame:
    """The metrics of boxes at each of ``OVERLAPS``, with intervals over groups of near-duplicate images."""
    sides = {iou: Scored(frames.images, boxes, frames.truth, ScoringRule(iou, 0.0, "clean")) for iou in OVERLAPS}
    measured = {iou: Measured(own.metrics, own.patients) for iou, own in sides.items()}
    tables = [interval_table(own, n=resamples, rng=0, iou=iou) for iou, own in measured.items()]
    return pd.concat(tables, ignore_index=True).query("metric in @METRICS").reset_index(drop=True)
