"""One fold of the CAM: heatmaps of the classifiers, their boxes, and the threshold of either arm."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from cag.chapters.classification.operating import Classifiers
from cag.chapters.classification.settings import CellSettings
from cag.chapters.classification.training import Start, frozen_trunk, start_of
from cag.chapters.localization.frames import FrameChoice, choose_frames, detections_table
from cag.chapters.store import RunFolder
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.data.splits import Arm, Split, split_images
from cag.metrics.localization import metrics
from cag.networks.cam import CamMethod, activation_from_maps, boxes_from_activation, enlarge_activation
from cag.networks.detector import Detections
from cag.networks.training import predict
from cag.networks.transforms import scale
from cag.settings import Settings

#: The threshold of the publication, and those tried on inner images in the clean arm.
PUBLISHED_THRESHOLD = 0.75
THRESHOLDS = (0.75, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

#: Pixels a side of the heatmaps that are stored for figures.
STORED_SIZE = 64


class CamSettings(Settings):
    """All that one fold of the CAM depends on besides the cohort."""

    choice: FrameChoice
    arm: Arm
    fold: int
    folds: int
    seed: int
    method: CamMethod
    lender: str  #: Profile of another cohort whose classifiers explain the frames; empty for this cohort's own.
    classifiers: tuple[CellSettings, ...]
    trained_on: str  #: Digest of their cohort.
    box_minimum: float  #: Least side of a box in the clean arm, in working pixels.
    iou: float  #: Overlap at which the threshold is chosen, clean arm.


def cam_fold(cohort: Cohort, settings: CamSettings, folder: RunFolder) -> None:
    """Store the boxes and heatmaps of one fold.

    ``clean``: the scored fold's images by the classifiers that have not seen its patients; the threshold of best F1 on
    inner images, of equal ones the first; maps put where the cells look. ``as_published``: the classifiers of the first
    fold on every image, those they were trained on included; threshold .75; maps stretched over the image.
    """
    frames, clean = choose_frames(cohort, settings.choice), settings.arm == "clean"
    images, split = frames.images, Split("clean", settings.fold, settings.folds, settings.seed)
    parts = split_images(cohort, images, split) if clean else np.full(len(images), "outer", dtype=object)
    rows, inner = np.flatnonzero(np.isin(parts, ["inner", "outer"])), np.flatnonzero(parts == "inner")
    heat, sure = explain(cohort, settings, rows, folder)
    known = frames.take(inner)

    def boxes(rows: np.ndarray, threshold: float) -> pd.DataFrame:
        """Boxes and their score: the classifier's probability of stenosis times the largest activation inside."""
        found = [(*boxes_from_activation(heat[row], threshold), sure[row]) for row in rows]
        scored: list[Detections] = [
            {"boxes": torch.as_tensor(own), "scores": torch.as_tensor(scores * p)} for own, scores, p in found
        ]
        return detections_table(scored, images.image_id.iloc[rows], "cam")

    def f1(threshold: float) -> float:
        matches = known.match(boxes(inner, threshold), settings.iou, settings.box_minimum)
        return float(np.nan_to_num(metrics(matches)["f1"][0]))

    threshold = max(THRESHOLDS, key=f1) if clean else PUBLISHED_THRESHOLD
    folder.save_table("detections", boxes(rows, threshold))
    folder.save_table("parts", images[["image_id"]].assign(part=parts))
    small = torch.nn.functional.adaptive_avg_pool2d(torch.as_tensor(heat)[:, None], STORED_SIZE)[:, 0]
    folder.save_weights("heatmaps", {"heatmaps": (small * 255).round().to(torch.uint8)})


def explain(
    cohort: Cohort, settings: CamSettings, rows: np.ndarray, folder: RunFolder
) -> tuple[Float[np.ndarray, "n s s"], Float[np.ndarray, " n"]]:
    """Activation of the stenosis output for the images at ``rows``, and its probability against "no stenosis" alone.

    The classifier of a frame's view explains it. Borrowed classifiers do not know the view: the surest of a stenosis
    does.
    """
    images, size = choose_frames(cohort, settings.choice).images, settings.choice.image_size
    borrowed, root, device = settings.lender, folder.store.root, folder.store.device
    lent = Classifiers.of(root.parent / borrowed if borrowed else root)
    heat, sure = np.zeros((len(images), size, size), "float32"), np.full(len(images), -1.0)
    for view in lent.views if borrowed else sorted(images.model_view.iloc[rows].unique()):
        own = rows if borrowed else rows[images.model_view.iloc[rows] == view]
        fold = 0 if borrowed else settings.fold
        model, (_, cell) = lent.load(fold, view), lent.cells[fold, view]
        if cell.trainable == "head":
            maps = frozen_maps(cohort, settings.choice, cell.image_size, start_of(cell), device)[torch.as_tensor(own)]
        else:
            shown = load_frames(cohort, images.iloc[own], cell.image_size)
            maps = predict(model.maps, shown, device=device, prepare=scale)
        head = model.cpu().head
        with torch.no_grad():
            probability = head(maps)[:, :2].softmax(dim=1)[:, 1].numpy()
        coarse = activation_from_maps(head, maps, [1], settings.method)
        found = enlarge_activation(coarse, size, size, model.trunk if settings.arm == "clean" else None)
        surer = probability > sure[own]
        heat[own[surer]], sure[own[surer]] = found[surer], probability[surer]
    return heat, sure


@lru_cache(maxsize=1)
def frozen_maps(cohort: Cohort, choice: FrameChoice, size: int, start: Start, device: str) -> Float[Tensor, "n f y x"]:
    """Last maps of the initial trunk for every frame, which all classifiers share that train their head only."""
    images = load_frames(cohort, choose_frames(cohort, choice).images, size)
    return predict(frozen_trunk(start), images, device=device, prepare=scale)
