"""One fold of the CAM: heatmaps of the classifiers, their boxes, and the threshold of either arm."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from cag.chapters.classification.settings import CellSettings
from cag.chapters.classification.training import new_classifier
from cag.chapters.localization.classifiers import Classifiers
from cag.chapters.localization.frames import FrameChoice, LesionFrames, choose_frames
from cag.chapters.store import RunFolder
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.data.splits import Arm, LeakError, Split, split_images
from cag.metrics.boxes import CORNERS
from cag.metrics.localization import metrics
from cag.metrics.matching import match_detections
from cag.networks.cam import CamMethod, activation_from_maps, boxes_from_activation, enlarge_activation
from cag.networks.classifier import StenosisClassifier
from cag.networks.training import predict
from cag.networks.transforms import scale
from cag.settings import Settings

#: The threshold of the publication, and those tried on inner images in the clean arm.
PUBLISHED_THRESHOLD = 0.75
THRESHOLDS = (0.75, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

#: Pixels a side of the heatmaps that are stored for figures.
STORED_SIZE = 64


class CamSettings(Settings):
    """All that one fold of the CAM depends on besides the cohort.

    Attributes
    ----------
    choice : FrameChoice
    arm : {'clean', 'as_published'}
    fold, folds, seed : int
    method : {'gradcam', 'hirescam', 'layercam'}
    lender : str
        Profile of another cohort whose classifiers explain the frames; empty for this cohort's own.
    classifiers : sequence of CellSettings
    trained_on : str
        Digest of their cohort.
    box_minimum : float
        Least side of a box in working pixels, clean arm.
    iou : float
        Overlap at which the threshold is chosen, clean arm.
    """

    choice: FrameChoice
    arm: Arm
    fold: int
    folds: int
    seed: int
    method: CamMethod
    lender: str
    classifiers: tuple[CellSettings, ...]
    trained_on: str
    box_minimum: float
    iou: float


def cam_fold(cohort: Cohort, settings: CamSettings, folder: RunFolder) -> None:
    """Store the boxes and heatmaps of one fold, and the threshold that gave the boxes.

    ``clean``: the scored fold's images by the classifiers that have not seen its patients; the threshold
    of best F1 on inner images; maps put where the cells look. ``as_published``: the classifiers
    of the first fold on every image, those they were trained on included; threshold .75; maps
    stretched over the image. Borrowed classifiers do not know a frame's view: the surest of a stenosis explains it.
    """
    frames, clean = choose_frames(cohort, settings.choice), settings.arm == "clean"
    images = frames.images
    split = Split("clean", settings.fold, settings.folds, settings.seed)
    parts = split_images(cohort, images, split) if clean else np.full(len(images), "outer", dtype=object)
    rows = np.flatnonzero(np.isin(parts, ["inner", "outer"]))
    root = folder.store.root
    lent = Classifiers.of(root.parent / settings.lender if settings.lender else root)
    if clean and not settings.lender:
        _refuse_leak(lent, settings.fold, images.patient_id[parts == "outer"])
    heat, sure = np.zeros((len(images),) + (settings.choice.image_size,) * 2, "float32"), np.full(len(images), -1.0)
    for view in lent.views if settings.lender else sorted(images.model_view.iloc[rows].unique()):
        own = rows if settings.lender else rows[images.model_view.iloc[rows] == view]
        fold = 0 if settings.lender else settings.fold
        model, cell = lent.load(fold, view), lent.cells[fold, view][1]
        found, probability = _explain(model, _maps(cohort, settings.choice, cell, model, own, folder), settings)
        surer = probability > sure[own]
        heat[own[surer]], sure[own[surer]] = found[surer], probability[surer]
    boxes = partial(activation_boxes, images, heat, sure)
    threshold = _best_threshold(frames, boxes, parts, settings) if clean else PUBLISHED_THRESHOLD
    table, part_of = boxes(rows, threshold), dict(zip(images.image_id, parts, strict=True))
    table = table.assign(part=table.image_id.map(part_of), arm=settings.arm, fold=settings.fold)
    folder.save_table("detections", table)
    folder.save_table("parts", images[["image_id"]].assign(part=parts))
    folder.save_json("threshold", {"threshold": threshold})
    small = torch.nn.functional.adaptive_avg_pool2d(torch.as_tensor(heat)[:, None], STORED_SIZE)[:, 0]
    folder.save_weights("heatmaps", {"heatmaps": (small * 255).round().to(torch.uint8)})


@lru_cache(maxsize=1)
def frozen_maps(cohort: Cohort, choice: FrameChoice, cell: CellSettings, device: str) -> Float[Tensor, "n f y x"]:
    """Last maps of the initial trunk for every frame, which all classifiers share that train their head only."""
    images = load_frames(cohort, choose_frames(cohort, choice).images, cell.image_size)
    return predict(new_classifier(cell).maps, images, device=device, prepare=scale)


def _maps(
    cohort: Cohort,
    choice: FrameChoice,
    cell: CellSettings,
    model: StenosisClassifier,
    rows: np.ndarray,
    folder: RunFolder,
) -> Float[Tensor, "n f y x"]:
    """Last maps of a classifier for the frames at these rows."""
    if model.trainable == "head":
        shared = cell.model_copy(update={"fold": 0, "model_view": ""})
        return frozen_maps(cohort, choice, shared, folder.store.device)[torch.as_tensor(rows)]
    images = load_frames(cohort, choose_frames(cohort, choice).images.iloc[rows], cell.image_size)
    return predict(model.maps, images, device=folder.store.device, prepare=scale)


def activation_boxes(
    images: pd.DataFrame, heat: np.ndarray, probability: np.ndarray, rows: np.ndarray, threshold: float
) -> pd.DataFrame:
    """Boxes of the maps at a threshold: image_id, method, x1, y1, x2, y2, score.

    The score is the classifier's probability of stenosis times the largest activation inside.
    """
    tables = []
    for row in rows:
        boxes, scores = boxes_from_activation(heat[row], threshold)
        table = pd.DataFrame(dict(zip(CORNERS, boxes.T, strict=True)))
        tables.append(table.assign(image_id=images.image_id.iloc[row], score=scores * probability[row]))
    whole = pd.concat(tables, ignore_index=True)
    return whole.assign(method="cam")[["image_id", "method", *CORNERS, "score"]]


def _explain(
    model: StenosisClassifier, maps: Tensor, settings: CamSettings
) -> tuple[Float[np.ndarray, "n s s"], Float[np.ndarray, " n"]]:
    """Activation of the stenosis output, and its probability against "no stenosis" alone."""
    size = settings.choice.image_size
    model = model.cpu().eval()
    with torch.no_grad():
        logits = model.head(maps)[:, :2]
    coarse = activation_from_maps(model.head, maps, [1], settings.method)
    heat = enlarge_activation(coarse, size, size, model.trunk if settings.arm == "clean" else None)
    return heat, logits.softmax(dim=1)[:, 1].numpy()


def _best_threshold(
    frames: LesionFrames, boxes: Callable[[np.ndarray, float], pd.DataFrame], parts: np.ndarray, settings: CamSettings
) -> float:
    """The threshold of best F1 on the inner images; of equal ones the first of ``THRESHOLDS``."""
    rows = np.flatnonzero(parts == "inner")
    inner = frames.take(rows)
    match = partial(match_detections, iou_threshold=settings.iou, box_minimum=settings.box_minimum)
    every = [match(inner.images, boxes(rows, threshold), inner.truth) for threshold in THRESHOLDS]
    return THRESHOLDS[int(np.argmax([np.nan_to_num(metrics(matches)["f1"][0]) for matches in every]))]


def _refuse_leak(lent: Classifiers, fold: int, patients: pd.Series) -> None:
    """Stop where a classifier was trained on a patient it is to be scored on."""
    known = patients.map(lent.part.facts["folds"])
    wrong = patients[known.notna() & known.ne(fold)].unique()
    if len(wrong):
        problem = f"{len(wrong)} patients of fold {fold + 1} lie in another part of the classifiers' split"
        raise LeakError(problem, field="folds", remedy="Run notebook 03 again with the same folds and seed")
