"""One fold of the detector: train on its training images, detect on the others, and the place prior beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import box_iou
from tqdm import tqdm

from cag.chapters.classification.operating import Classifiers
from cag.chapters.classification.settings import CellSettings
from cag.chapters.localization.frames import (
    PUBLISHED_MINIMUM,
    FrameChoice,
    choose_frames,
    detections_table,
    working_pixels,
)
from cag.chapters.store import RunFolder, Store
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.data.splits import ARMS, Arm, Split, split_images
from cag.metrics.boxes import enlarge
from cag.metrics.localization import average_precision
from cag.networks.backbones import build_trunk, seeded
from cag.networks.detector import PUBLISHED_DETECTOR, Detections, DetectorSettings, StenosisDetector
from cag.networks.training import Batches, FitSettings, Runtime, fit
from cag.networks.transforms import augment_with_boxes, scale
from cag.networks.trunk import STAGES, Trainable, Trunk
from cag.settings import Settings, Weights

#: Folder of trained folds in the store.
KIND = "localization_fpn"
#: Most training boxes that the place prior considers; more only repeat each other.
MAX_CANDIDATES = 1500


class FpnSettings(Settings):
    """All that one fold of the detector depends on besides the cohort."""

    choice: FrameChoice
    arm: Arm
    fold: int
    folds: int
    seed: int
    weights: Weights
    backbone: str
    trainable: Trainable
    #: A classifier whose trunk it starts from, the name of the folder of a trained detector, or the initial weights.
    start: CellSettings | str | None
    detector: DetectorSettings
    fit: FitSettings
    copies: int  #: Augmented copies of each training image whose maps are kept, where the trunk is frozen.
    box_minimum: float  #: Least side of a box in the clean arm, in working pixels.
    iou: float  #: Overlap at which the average precision picks the epoch.

    @property
    def shared(self) -> FpnSettings:
        """The same for all folds and both arms: what frames and stored maps depend on."""
        return self.model_copy(update={"arm": "clean", "fold": 0, "start": None})

    def least_side(self, arm: Arm) -> float:
        """Least side of a training box in working pixels."""
        return self.box_minimum if arm == "clean" else working_pixels(PUBLISHED_MINIMUM["fpn"], self.choice.image_size)


def train_fold(cohort: Cohort, settings: FpnSettings, folder: RunFolder) -> None:
    """Train a fold's detector; store its weights, history and detections, and in the clean arm the place prior's boxes.

    The epoch is the one of highest average precision on the inner part (clean) or on the scored
    images themselves (as published).
    """
    detector = start_detector(settings, folder.store)
    frames, device = choose_frames(cohort, settings.choice), folder.store.device
    parts = split_images(cohort, frames.images, Split(settings.arm, settings.fold, settings.folds, settings.seed))
    inputs, boxes = detector_inputs(cohort, settings.shared, device)
    size, train = settings.choice.image_size, parts == "train"
    judged = np.flatnonzero(parts == ("inner" if settings.arm == "clean" else "outer"))
    own = frames.take(judged)

    def score(epoch: int, _: object) -> float:
        found = detections_table(detect(detector, inputs, judged, size, device), own.images.image_id, "fpn")
        matches = own.match(found, settings.iou, settings.box_minimum)
        return float(average_precision(matches)[0]) + 1e-9 * epoch  # of equal epochs the later: early ones find nothing

    history = fit(
        detector,
        training_batches(inputs, boxes[settings.arm], np.flatnonzero(train), settings),
        lambda _, batch: detector.loss(maps_of(detector, batch[:-1]), batch[-1], size),
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
    found = {"fpn": detect(detector, inputs, scored, size, device)}
    if settings.arm == "clean":
        known = enlarge(np.concatenate(frames.take(train).boxes()), settings.box_minimum)
        found["prior"] = [centre_prior(known, int(train.sum()), iou=settings.iou)] * len(scored)
    tables = [detections_table(rows, frames.images.image_id.iloc[scored], name) for name, rows in found.items()]
    folder.save_table("detections", pd.concat(tables, ignore_index=True))
    folder.save_table("parts", frames.images[["image_id"]].assign(part=parts))
    folder.save_table("history", pd.DataFrame(history.rows))
    folder.save_weights("detector", detector_state(detector))


def centre_prior(boxes: Float[np.ndarray, "n 4"], n_images: int, *, count: int = 20, iou: float = 0.5) -> Detections:
    """The place prior, which sees no image: the fixed boxes that find most training lesions, best first.

    Greedy: of all training boxes, take the one that matches most lesions not matched yet, remove those, and repeat, up
    to ``count`` times. A box's score are the newly matched lesions per training image (of ``n_images``), lowered by a
    thousandth a rank so that every box can be cut from the next.
    """
    places = torch.as_tensor(np.asarray(boxes, dtype="float32").reshape(-1, 4))
    candidates = places[:: max(1, -(-len(places) // MAX_CANDIDATES))]
    hits, chosen, scores = box_iou(candidates, places) >= iou, [], []
    for rank in range(min(count, len(candidates))):
        gain = hits.sum(dim=1)
        best = int(gain.argmax())
        if gain[best] == 0:
            break
        chosen.append(best)
        scores.append(gain[best] / n_images * (1 - rank / 1000))
        hits &= ~hits[best]
    return {"boxes": candidates[chosen], "scores": torch.tensor(scores)}


def start_detector(settings: FpnSettings, store: Store) -> StenosisDetector:
    """The detector that a fold starts from."""
    start = settings.start
    if isinstance(start, CellSettings):
        return new_detector(settings, Classifiers.of(store.root).load(start.fold, start.model_view).trunk)
    state = RunFolder(store.root / KIND / start, store).load_weights("detector") if start else None
    return new_detector(settings, state=state)


def new_detector(
    settings: FpnSettings, trunk: Trunk | None = None, state: Mapping[str, Tensor] | None = None
) -> StenosisDetector:
    """A detector on the given trunk or on the initial one, fresh or with a trained one's ``detector_state``."""
    trunk = trunk or build_trunk(settings.weights, settings.seed, settings.backbone)
    seed = int(settings.digest()[:8], 16)
    detector = seeded(lambda: StenosisDetector(trunk, settings.detector, trainable=settings.trainable), seed)
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
    plain = [padded_boxes(frames.boxes(), settings.least_side(arm), arm) for arm in ARMS]
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


def padded_boxes(boxes: Sequence[np.ndarray], minimum: float, arm: Arm = "clean") -> Float[Tensor, "n k 4"]:
    """Boxes of each image, enlarged to a least side, as one tensor filled up with rows of NaN."""
    grown = [torch.as_tensor(enlarge(own, minimum, arm)).float() for own in boxes]
    return pad_sequence(grown, batch_first=True, padding_value=torch.nan)


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
