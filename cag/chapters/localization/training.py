"""One fold of the detector: train on its training images, detect on the others, and the place prior beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from cag.chapters.classification.settings import CellSettings
from cag.chapters.localization.classifiers import Classifiers
from cag.chapters.localization.frames import PUBLISHED_MINIMUM, FrameChoice, LesionFrames, choose_frames, working_pixels
from cag.chapters.localization.prior import centre_prior
from cag.chapters.store import RunFolder
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.data.splits import ARMS, Arm, Split, split_images
from cag.metrics.boxes import CORNERS, enlarge
from cag.metrics.localization import average_precision
from cag.metrics.matching import match_detections
from cag.networks.backbones import build_trunk
from cag.networks.detector import PUBLISHED_DETECTOR, Detections, DetectorSettings, StenosisDetector
from cag.networks.training import Batches, FitSettings, Runtime, fit
from cag.networks.transforms import augment_with_boxes, scale
from cag.networks.trunk import STAGES, Trainable, Trunk
from cag.settings import Settings, Weights


class FpnSettings(Settings):
    """All that one fold of the detector depends on besides the cohort.

    Attributes
    ----------
    choice : FrameChoice
    arm : {'clean', 'as_published'}
    fold, folds, seed : int
    weights, backbone, trainable : see ``LocalizationSettings``
    start : CellSettings, optional
        The classifier whose trunk the detector starts from; the initial weights without one.
    detector : DetectorSettings
    fit : FitSettings
    copies : int
        Augmented copies of each training image whose maps are kept, where the trunk is frozen.
    box_minimum : float
        Least side of a box in the clean arm, in working pixels.
    iou : float
        Overlap at which the average precision picks the epoch.
    """

    choice: FrameChoice
    arm: Arm
    fold: int
    folds: int
    seed: int
    weights: Weights
    backbone: str
    trainable: Trainable
    start: CellSettings | None
    detector: DetectorSettings
    fit: FitSettings
    copies: int
    box_minimum: float
    iou: float

    @property
    def shared(self) -> FpnSettings:
        """The same for all folds and both arms: what frames and stored maps depend on."""
        return self.model_copy(update={"arm": "clean", "fold": 0, "start": None})

    def least_side(self, arm: Arm) -> float:
        """Least side of a training box in working pixels."""
        return self.box_minimum if arm == "clean" else working_pixels(PUBLISHED_MINIMUM["fpn"], self.choice.image_size)


def train_fold(cohort: Cohort, settings: FpnSettings, folder: RunFolder) -> None:
    """Train a fold's detector from the initial weights, or from its classifier's trunk; see ``train_from``."""
    cell = settings.start
    trunk = Classifiers.of(folder.store.root).load(cell.fold, cell.model_view).trunk if cell else None
    train_from(new_detector(settings, trunk), cohort, settings, folder)


def train_from(detector: StenosisDetector, cohort: Cohort, settings: FpnSettings, folder: RunFolder) -> None:
    """Train a detector; store its weights, history and detections, and the boxes of the place prior.

    The epoch is the one of highest average precision on the inner part (clean) or on the scored
    images themselves (as published).
    """
    frames, device = choose_frames(cohort, settings.choice), folder.store.device
    parts = split_images(cohort, frames.images, Split(settings.arm, settings.fold, settings.folds, settings.seed))
    inputs, boxes = detector_inputs(cohort, settings.shared, device)
    size, ids = settings.choice.image_size, frames.images.image_id
    judged = np.flatnonzero(parts == ("inner" if settings.arm == "clean" else "outer"))
    own = frames.take(judged)

    def score(epoch: int, _: object) -> float:
        found = detections_table(detect(detector, inputs, judged, size, device), ids.iloc[judged], "fpn")
        match = partial(match_detections, iou_threshold=settings.iou, box_minimum=settings.box_minimum)
        # Of equal epochs the later: early ones find nothing at all.
        return float(average_precision(match(own.images, found, own.truth))[0]) + 1e-9 * epoch

    history = fit(
        detector,
        training_batches(inputs, boxes[settings.arm], np.flatnonzero(parts == "train"), settings),
        partial(detector_loss, size=size),
        settings.fit,
        generator=torch.Generator().manual_seed(int(settings.digest()[:8], 16)),
        device=device,
        on_epoch=score,
        progress=False,
    )
    if settings.arm == "as_published":  # its way to report: a fixed score, and overlapping boxes kept
        names = {"score_threshold", "nms_threshold", "max_detections"}
        detector.settings = settings.detector.model_copy(update=PUBLISHED_DETECTOR.model_dump(include=names))
    scored = np.flatnonzero(np.isin(parts, ["inner", "outer"]))
    places = [_place_prior(frames, parts == "train", settings)] * len(scored)
    found = {"fpn": detect(detector, inputs, scored, size, device), "prior": places}
    table = pd.concat([detections_table(rows, ids.iloc[scored], name) for name, rows in found.items()])
    part_of = dict(zip(ids, parts, strict=True))
    table = table.assign(part=table.image_id.map(part_of), arm=settings.arm, fold=settings.fold)
    folder.save_table("detections", table.reset_index(drop=True))
    folder.save_table("parts", frames.images[["image_id"]].assign(part=parts))
    folder.save_table("history", pd.DataFrame(history.rows))
    folder.save_weights("detector", detector_state(detector))


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


def detector_state(detector: StenosisDetector) -> dict[str, Tensor]:
    """What has to be stored: all weights, or only those of pyramid and heads where the trunk is frozen."""
    frozen = detector.trainable == "head"
    return {name: own for name, own in detector.state_dict().items() if not (frozen and name.startswith("trunk."))}


@lru_cache(maxsize=2)
def detector_inputs(
    cohort: Cohort, settings: FpnSettings, device: str
) -> tuple[tuple[Tensor, ...], dict[Arm, Float[Tensor, "n k 4"]]]:
    """What the detectors read of every frame, and its true boxes in either arm, filled up with rows of NaN.

    Where every layer is trained: grey levels ``[n, s, s]``. Where the trunk is frozen: its three stage maps, of every
    frame as it is, then of its augmented copies, so that ``n`` is (copies + 1) times the frames.
    """
    frames = choose_frames(cohort, settings.choice)
    images = load_frames(cohort, frames.images, settings.choice.image_size)
    plain = []
    for arm in ARMS:
        own = [torch.as_tensor(enlarge(boxes, settings.least_side(arm), arm)) for boxes in frames.boxes()]
        plain.append(pad_sequence(own, batch_first=True, padding_value=torch.nan).float())
    if settings.trainable == "all":
        return (images,), dict(zip(ARMS, plain, strict=True))
    trunk = build_trunk(settings.weights, settings.seed, settings.backbone)
    generator = torch.Generator().manual_seed(settings.seed)
    rounds, boxes = [stage_maps(trunk, scale(images), device)], [torch.cat(plain, dim=1)]
    for _ in range(settings.copies):
        changed, moved = augment_with_boxes(scale(images), boxes[0], generator)
        rounds.append(stage_maps(trunk, changed, device))
        boxes.append(moved)
    maps = tuple(torch.cat(parts) for parts in zip(*rounds, strict=True))
    return maps, dict(zip(ARMS, torch.cat(boxes).chunk(len(ARMS), dim=1), strict=True))


@torch.no_grad()
def stage_maps(trunk: Trunk, images: Float[Tensor, "n 1 s s"], device: str) -> tuple[Tensor, ...]:
    """The three maps of a frozen trunk for many images, in bfloat16 on the CPU."""
    runtime = Runtime.choose(device)
    trunk.eval().to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parts: list[list[Tensor]] = [[] for _ in STAGES]
    for batch in tqdm(images.split(32), desc="Maps of the frozen trunk", unit="batch"):
        with runtime.autocast():
            maps = trunk.stages(batch.to(runtime.device))
        for part, stage in zip(parts, STAGES, strict=True):
            part.append(maps[stage].to("cpu", torch.bfloat16))
    return tuple(torch.cat(part) for part in parts)


def training_batches(
    inputs: tuple[Tensor, ...], boxes: Float[Tensor, "n k 4"], rows: np.ndarray, settings: FpnSettings
) -> Batches:
    """Batches of the frames at ``rows``: in each epoch one stored copy of each at random, or a fresh augmentation."""
    train, frozen = torch.as_tensor(rows), settings.trainable == "head"
    count = len(boxes) // (settings.copies + 1)

    def order(generator: torch.Generator) -> Tensor:
        copy = torch.randint(settings.copies + 1, (len(train),), generator=generator) if frozen else 0
        return (train + count * copy)[torch.randperm(len(train), generator=generator)]

    def augmented(images: Tensor, boxes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return augment_with_boxes(scale(images), boxes, generator)

    return Batches((*inputs, boxes), settings.fit.batch_size, order=order, prepare=None if frozen else augmented)


def detector_loss(detector: StenosisDetector, batch: tuple[Tensor, ...], size: int) -> Tensor:
    """Focal and box loss of a batch (what the detector reads, then boxes) of frames of ``size`` pixels."""
    *inputs, boxes = batch
    return detector.loss(maps_of(detector, inputs), boxes, size)


def maps_of(detector: StenosisDetector, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Stage maps of a batch: the stored ones, or those of its frames (grey levels, or in [-1, 1])."""
    if len(inputs) == 1:
        return detector.maps(inputs[0] if inputs[0].is_floating_point() else scale(inputs[0]))
    narrow = torch.is_autocast_enabled(inputs[0].device.type)
    return dict(zip(STAGES, (own if narrow else own.float() for own in inputs), strict=True))


def detect(
    detector: StenosisDetector, inputs: tuple[Tensor, ...], rows: np.ndarray, size: int, device: str
) -> list[Detections]:
    """Detections on the frames at ``rows``, best first, in their pixels."""
    runtime, found = Runtime.choose(device), []
    detector.eval().to(runtime.device)
    for chosen in torch.as_tensor(rows).split(32):
        with runtime.autocast():
            maps = maps_of(detector, [own[chosen].to(runtime.device) for own in inputs])
            found += detector.detect(maps, size)
    return found


def detections_table(found: Sequence[Detections], image_ids: pd.Series, method: str) -> pd.DataFrame:
    """Detections as rows: image_id, method, x1, y1, x2, y2, score."""
    boxes = np.concatenate([np.zeros((0, 4), "float32"), *(own["boxes"].float().numpy() for own in found)])
    scores = np.concatenate([np.zeros(0, "float32"), *(own["scores"].float().numpy() for own in found)])
    ids = np.repeat(image_ids.to_numpy(dtype=object), [len(own["scores"]) for own in found])
    table = pd.DataFrame({"image_id": ids, "method": method, **dict(zip(CORNERS, boxes.T, strict=True))})
    return table.assign(score=scores)


def _place_prior(frames: LesionFrames, train: np.ndarray, settings: FpnSettings) -> Detections:
    """The same boxes for every image, from the training images alone."""
    own = np.concatenate([boxes for boxes, used in zip(frames.boxes(), train, strict=True) if used])
    own = enlarge(own, settings.least_side(settings.arm), settings.arm)
    places = centre_prior(own, int(train.sum()), iou=settings.iou)
    return {"boxes": torch.as_tensor(places[:, :4]), "scores": torch.as_tensor(places[:, 4])}
