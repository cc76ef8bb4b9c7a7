"""One fold of the CAM: heatmaps of the classifiers, their boxes, and the threshold of either arm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from cag.chapters.classification.training import CellSettings
from cag.chapters.localization.classifiers import FoldClassifiers
from cag.chapters.localization.data import FrameChoice, LesionFrames
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
    classifiers : cells of the classifiers, one a view
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
    classifiers: tuple[CellSettings, ...]
    box_minimum: float
    iou: float


class BorrowedCamSettings(CamSettings):
    """A fold explained by classifiers of another cohort.

    Attributes
    ----------
    borrowed_from : str
        Digest of that cohort.
    """

    borrowed_from: str


@dataclass(frozen=True)
class CamMaterial:
    """Frames as the classifiers read them, and the last maps of their trunk where it is frozen."""

    cohort: Cohort
    frames: LesionFrames
    classifiers: FoldClassifiers
    device: str

    @cached_property
    def images(self) -> Tensor:
        """Grey levels ``[n, s, s]`` at the classifiers' size."""
        return load_frames(self.cohort, self.frames.images, self.classifiers.image_size)

    @cached_property
    def frozen_maps(self) -> Float[Tensor, "n f y x"]:
        """Last maps of the initial trunk, which all classifiers share that train their head only."""
        model = self.classifiers.load(0, self.classifiers.views[0])
        return self._maps_of(model, self.images)

    def maps(self, model: StenosisClassifier, rows: np.ndarray) -> Float[Tensor, "n f y x"]:
        """Last maps of a classifier for these frames."""
        chosen = torch.as_tensor(rows)
        return self.frozen_maps[chosen] if model.trainable == "head" else self._maps_of(model, self.images[chosen])

    def _maps_of(self, model: StenosisClassifier, images: Tensor) -> Tensor:
        return predict(model.maps, images, device=self.device, prepare=scale, description="Maps for the CAM")


def cam_fold(cohort: Cohort, settings: CamSettings, folder: RunFolder, *, material: CamMaterial) -> None:
    """Store the boxes and heatmaps of one fold, and the threshold that gave the boxes.

    ``clean``: the scored fold's images by the classifiers that have not seen its patients; the threshold
    of best F1 on inner images; maps put where the cells look. ``as_published``: the classifiers
    of the first fold on every image, those they were trained on included; threshold .75; maps
    stretched over the image.
    """
    images, clean = material.frames.images, settings.arm == "clean"
    split = Split("clean", settings.fold, settings.folds, settings.seed)
    parts = split_images(cohort, images, split) if clean else np.full(len(images), "outer", dtype=object)
    rows = np.flatnonzero(np.isin(parts, ["inner", "outer"]))
    heat, probability = np.zeros((len(images),) + (settings.choice.image_size,) * 2, "float32"), np.zeros(len(images))
    if isinstance(settings, BorrowedCamSettings):
        heat[rows], probability[rows] = _most_probable_view(material, rows, settings)
    else:
        for view in sorted(images.model_view.iloc[rows].unique()):
            own = rows[images.model_view.iloc[rows] == view]
            if clean:
                _refuse_leak(material.classifiers, settings.fold, view, images.patient_id.iloc[own], parts[own])
            model = material.classifiers.load(settings.fold, view)
            heat[own], probability[own] = _explain(model, material.maps(model, own), settings)
    boxes = partial(activation_boxes, images, heat, probability)
    threshold = _best_threshold(material.frames, boxes, parts, settings) if clean else PUBLISHED_THRESHOLD
    part_of = dict(zip(images.image_id, parts, strict=True))
    table = boxes(rows, threshold)
    table = table.assign(part=table.image_id.map(part_of), arm=settings.arm, fold=settings.fold)
    folder.save_table("detections", table)
    folder.save_table("parts", images[["image_id"]].assign(part=parts))
    folder.save_json("threshold", {"threshold": threshold})
    folder.save_weights("heatmaps", {"heatmaps": _stored(heat)})


def activation_boxes(
    images: pd.DataFrame, heat: np.ndarray, probability: np.ndarray, rows: np.ndarray, threshold: float
) -> pd.DataFrame:
    """Boxes of the maps at a threshold: image_id, method, x1, y1, x2, y2, score.

    The score is the classifier's probability of stenosis times the largest activation inside.
    """
    tables = []
    for row in rows:
        found = boxes_from_activation(heat[row], threshold)
        table = pd.DataFrame(dict(zip(CORNERS, found.boxes.T, strict=True)))
        tables.append(table.assign(image_id=images.image_id.iloc[row], score=found.scores * probability[row]))
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
    coarse = activation_from_maps(model.head, maps, 1, settings.method)
    heat = enlarge_activation(coarse, size, size, model.trunk if settings.arm == "clean" else None)
    return heat, logits.softmax(dim=1)[:, 1].numpy()


def _most_probable_view(
    material: CamMaterial, rows: np.ndarray, settings: CamSettings
) -> tuple[Float[np.ndarray, "n s s"], Float[np.ndarray, " n"]]:
    """Activation by that view's borrowed classifier that is surest of a stenosis: the frames' own views are unknown."""
    heat: np.ndarray | None = None
    probability = np.full(len(rows), -1.0)
    for view in material.classifiers.views:
        model = material.classifiers.load(0, view)
        own_heat, own_probability = _explain(model, material.maps(model, rows), settings)
        heat = np.zeros_like(own_heat) if heat is None else heat
        surer = own_probability > probability
        heat[surer], probability[surer] = own_heat[surer], own_probability[surer]
    return (np.zeros((0, 1, 1), "float32") if heat is None else heat), probability


def _best_threshold(frames: LesionFrames, boxes: partial, parts: np.ndarray, settings: CamSettings) -> float:
    """The threshold of best F1 on the inner images; of equal ones the first of ``THRESHOLDS``."""
    rows = np.flatnonzero(parts == "inner")
    inner = frames.take(rows)
    match = partial(match_detections, iou_threshold=settings.iou, box_minimum=settings.box_minimum)
    every = [match(inner.images, boxes(rows, threshold), inner.truth) for threshold in THRESHOLDS]
    scores = [np.nan_to_num(metrics(matches)["f1"][0]) for matches in every]
    return THRESHOLDS[int(np.argmax(scores))]


def _refuse_leak(classifiers: FoldClassifiers, fold: int, view: str, patients: pd.Series, parts: np.ndarray) -> None:
    """Stop where a classifier was trained on a patient it is to be scored on."""
    known = classifiers.parts(fold)
    wrong = patients[patients.map(known).to_numpy() != parts].unique()
    if len(wrong):
        problem = f"{len(wrong)} patients of fold {fold + 1} lie in another part of the classifier's split"
        raise LeakError(problem, field=view, remedy="Run notebook 03 again with the same folds and seed")


def _stored(heat: np.ndarray) -> Tensor:
    small = torch.nn.functional.adaptive_avg_pool2d(torch.as_tensor(heat)[:, None], STORED_SIZE)[:, 0]
    return (small * 255).round().to(torch.uint8)
