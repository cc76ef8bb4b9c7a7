"""One fold of the detector: train on its training images, detect on the others, and the place prior beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from cag.chapters.localization.data import LesionFrames
from cag.chapters.localization.material import FpnSettings, LocalizationMaterial
from cag.chapters.localization.prior import centre_prior
from cag.chapters.store import RunFolder
from cag.data.cohort import Cohort
from cag.data.splits import Split, split_images
from cag.metrics.boxes import CORNERS, enlarge
from cag.metrics.matching import match_detections
from cag.metrics.ranking import average_precision
from cag.networks.backbones import build_trunk
from cag.networks.detector import PUBLISHED_DETECTOR, Detections, DetectorSettings, StenosisDetector
from cag.networks.training import Batch, Batches, Runtime, fit
from cag.networks.transforms import augment_with_boxes, scale
from cag.networks.trunk import STAGES, Trunk


def new_detector(
    settings: FpnSettings, trunk: Trunk | None = None, state: Mapping[str, Tensor] | None = None
) -> StenosisDetector:
    """A detector on the given trunk or on the initial one, fresh or with a trained one's ``detector_state``."""
    trunk = trunk or build_trunk(settings.weights, settings.seed, settings.backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(settings.digest()[:8], 16))
        detector = StenosisDetector(trunk, settings.detector, trainable=settings.trainable)
    if state is not None:
        detector.load_state_dict(state, strict=settings.trainable == "all")
    return detector


def as_published(detector: DetectorSettings) -> DetectorSettings:
    """The published way to report detections: a fixed score, and overlapping ones kept."""
    names = {"score_threshold", "nms_threshold", "max_detections"}
    return detector.model_copy(update=PUBLISHED_DETECTOR.model_dump(include=names))


def detector_state(detector: StenosisDetector) -> dict[str, Tensor]:
    """What has to be stored: all weights, or only those of pyramid and heads where the trunk is frozen."""
    state = detector.state_dict()
    frozen = detector.trainable == "head"
    return {name: value for name, value in state.items() if not (frozen and name.startswith("trunk."))}


def train_fold(
    cohort: Cohort,
    settings: FpnSettings,
    folder: RunFolder,
    *,
    material: LocalizationMaterial,
    trunk: Trunk | None = None,
    initial: Mapping[str, Tensor] | None = None,
) -> None:
    """Train a fold's detector; store its weights, history and detections, and the boxes of the place prior.

    The epoch is the one of highest average precision on the inner part (clean) or on the scored
    images themselves (as published).

    Parameters
    ----------
    trunk : Trunk, optional
        Where the trunk starts from; the initial weights by default.
    initial : state dictionary, optional
        A trained detector's (``detector_state``), to be fine-tuned.
    """
    frames = material.frames
    parts = split_images(cohort, frames.images, Split(settings.arm, settings.fold, settings.folds, settings.seed))
    detector = new_detector(settings, trunk, initial)
    judge = _Judge(frames, np.flatnonzero(parts == ("inner" if settings.arm == "clean" else "outer")), settings)
    train = torch.as_tensor(np.flatnonzero(parts == "train"))
    history = fit(
        detector,
        _batches(material, settings, train),
        _loss_of(detector, settings),
        settings.fit,
        generator=torch.Generator().manual_seed(int(settings.digest()[:8], 16)),
        device=material.device,
        on_epoch=lambda epoch, _: judge.score(epoch, detect_rows(detector, material, judge.rows)),
        progress=False,
    )
    folder.save_table("detections", _fold_detections(detector, material, settings, parts))
    folder.save_table("parts", frames.images[["image_id"]].assign(part=parts))
    folder.save_table("history", pd.DataFrame(history.rows))
    folder.save_weights("detector", detector_state(detector))


def _fold_detections(
    detector: StenosisDetector, material: LocalizationMaterial, settings: FpnSettings, parts: np.ndarray
) -> pd.DataFrame:
    """Boxes of detector and place prior on the inner and the scored images of a fold."""
    ids, scored = material.frames.images.image_id, np.flatnonzero(np.isin(parts, ["inner", "outer"]))
    if settings.arm == "as_published":
        detector.settings = as_published(settings.detector)
    found = detections_table(detect_rows(detector, material, scored), ids.iloc[scored], "fpn")
    prior = _prior_table(material.frames, np.flatnonzero(parts == "train"), scored, material, settings)
    table = pd.concat([found, prior], ignore_index=True)
    part_of = dict(zip(ids, parts, strict=True))
    return table.assign(part=table.image_id.map(part_of), arm=settings.arm, fold=settings.fold)


@dataclass(frozen=True)
class _Judge:
    """Average precision on some of the images; of equal epochs the later, since early ones find nothing at all."""

    frames: LesionFrames
    rows: np.ndarray
    settings: FpnSettings

    def score(self, epoch: int, found: list[Detections]) -> float:
        own = self.frames.take(self.rows)
        table = detections_table(found, self.frames.images.image_id.iloc[self.rows], "fpn")
        match = partial(match_detections, iou_threshold=self.settings.iou, box_minimum=self.settings.box_minimum)
        return float(average_precision(match(own.images, table, own.truth))[0]) + 1e-9 * epoch


def detect_rows(detector: StenosisDetector, material: LocalizationMaterial, rows: np.ndarray) -> list[Detections]:
    """Detections on these frames, from stored maps where the trunk is frozen."""
    if detector.trainable == "all":
        return detect_images(detector, material.images[torch.as_tensor(rows)], material.device)
    runtime, found = Runtime.choose(material.device), []
    detector.eval().to(runtime.device)
    for chosen in torch.as_tensor(rows).split(32):
        maps = [stage[chosen].to(runtime.device, runtime.dtype) for stage in material.maps[0]]
        with runtime.autocast():
            size = material.settings.choice.image_size
            found += detector.detect_from_maps(dict(zip(STAGES, maps, strict=True)), size)
    return found


def detect_images(
    detector: StenosisDetector, images: UInt8[Tensor, "n s s"], device: str = "auto", batch_size: int = 16
) -> list[Detections]:
    """Detections on square grey images of the size the detector was trained at."""
    runtime, found = Runtime.choose(device), []
    detector.eval().to(runtime.device)
    for batch in images.split(batch_size):
        with runtime.autocast():
            found += detector.detect(scale(batch.to(runtime.device)))
    return found


def detections_table(found: Sequence[Detections], image_ids: Sequence[str] | pd.Series, method: str) -> pd.DataFrame:
    """Detections as rows: image_id, method, x1, y1, x2, y2, score."""
    boxes = np.concatenate([np.zeros((0, 4), "float32"), *(own["boxes"].float().numpy() for own in found)])
    scores = np.concatenate([np.zeros(0, "float32"), *(own["scores"].float().numpy() for own in found)])
    ids = np.repeat(np.asarray(list(image_ids), dtype=object), [len(own["scores"]) for own in found])
    table = pd.DataFrame({"image_id": ids, "method": method, **dict(zip(CORNERS, boxes.T, strict=True))})
    return table.assign(score=scores)


def _batches(material: LocalizationMaterial, settings: FpnSettings, train: Tensor) -> Batches:
    if settings.trainable == "all":
        tensors = (material.images[train], material.boxes(settings.arm)[train])
        return Batches(tensors, settings.fit.batch_size, prepare=_augmented)
    maps, boxes = material.maps
    count = len(material.frames.images)

    def order(generator: torch.Generator) -> Tensor:
        copy = torch.randint(settings.copies + 1, (len(train),), generator=generator)
        return (train + count * copy)[torch.randperm(len(train), generator=generator)]

    return Batches((*maps, boxes[settings.arm]), settings.fit.batch_size, order=order)


def _augmented(images: Tensor, boxes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return augment_with_boxes(scale(images), boxes, generator)


def _loss_of(detector: StenosisDetector, settings: FpnSettings) -> Callable[[nn.Module, Batch], Tensor]:
    size = settings.choice.image_size

    def from_images(_: nn.Module, batch: Batch) -> Tensor:
        images, boxes = batch
        return detector.loss(images, boxes)

    def from_maps(_: nn.Module, batch: Batch) -> Tensor:
        *maps, boxes = batch
        narrow = torch.is_autocast_enabled(boxes.device.type)
        maps = [own if narrow else own.float() for own in maps]
        return detector.loss_from_maps(dict(zip(STAGES, maps, strict=True)), boxes, size)

    return from_images if settings.trainable == "all" else from_maps


def _prior_table(
    frames: LesionFrames, train: np.ndarray, scored: np.ndarray, material: LocalizationMaterial, settings: FpnSettings
) -> pd.DataFrame:
    """The same boxes on every scored image, from the training images alone."""
    boxes = frames.boxes()
    own = enlarge(np.concatenate([boxes[row] for row in train]), material.box_minimum(settings.arm), settings.arm)
    places = centre_prior(own, len(train), iou=settings.iou)
    found: Detections = {"boxes": torch.as_tensor(places[:, :4]), "scores": torch.as_tensor(places[:, 4])}
    return detections_table([found] * len(scored), frames.images.image_id.iloc[scored], "prior")
