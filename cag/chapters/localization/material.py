"""What the folds of the detector share: settings, frames, and the maps of a frozen trunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm import tqdm

from cag.chapters.classification.training import CellSettings
from cag.chapters.localization.data import FrameChoice, LesionFrames, choose_frames
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.data.splits import ARMS, Arm
from cag.metrics.boxes import enlarge
from cag.networks.backbones import build_trunk
from cag.networks.detector import DetectorSettings
from cag.networks.training import FitSettings, Runtime
from cag.networks.transforms import augment_with_boxes, scale
from cag.networks.trunk import STAGES, Trainable, Trunk
from cag.settings import Settings, Weights

#: Least side of a box as published, in pixels of a frame of 512: the detector's, and the CAM's.
PUBLISHED_MINIMUM = {"fpn": 50.0, "cam": 75.0}


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
        Boxes are trained with at least so many working pixels a side.
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


@dataclass(frozen=True)
class LocalizationMaterial:
    """Frames, and what a frozen trunk makes of them, held in memory and shared by the folds of one process."""

    cohort: Cohort
    settings: FpnSettings
    device: str

    @cached_property
    def frames(self) -> LesionFrames:
        """The frames of the experiment with their boxes."""
        return choose_frames(self.cohort, self.settings.choice)

    @cached_property
    def images(self) -> UInt8[Tensor, "n s s"]:
        """Grey levels of the frames."""
        return load_frames(self.cohort, self.frames.images, self.settings.choice.image_size)

    @cached_property
    def maps(self) -> tuple[tuple[Tensor, ...], dict[Arm, Float[Tensor, "n k 4"]]]:
        """Stage maps of every frame as it is, then of its augmented copies; true boxes of each for either arm."""
        trunk = build_trunk(self.settings.weights, self.settings.seed, self.settings.backbone)
        generator = torch.Generator().manual_seed(self.settings.seed)
        plain: dict[Arm, Tensor] = {arm: self.boxes(arm) for arm in ARMS}
        rounds = [stage_maps(trunk, scale(self.images), self.device)]
        boxes: dict[Arm, list[Tensor]] = {arm: [own] for arm, own in plain.items()}
        for _ in range(self.settings.copies):
            both = torch.cat(list(plain.values()), dim=1)
            changed, moved = augment_with_boxes(scale(self.images), both, generator)
            rounds.append(stage_maps(trunk, changed, self.device))
            for arm, own in zip(boxes, moved.chunk(len(boxes), dim=1), strict=True):
                boxes[arm].append(own)
        joined = tuple(torch.cat(parts) for parts in zip(*rounds, strict=True))
        return joined, {arm: torch.cat(own) for arm, own in boxes.items()}

    def boxes(self, arm: Arm) -> Float[Tensor, "n k 4"]:
        """True boxes of each frame at the least size of an arm, padded with NaN."""
        return padded([enlarge(own, self.box_minimum(arm), arm) for own in self.frames.boxes()])

    def box_minimum(self, arm: Arm) -> float:
        """Least side of a training box in working pixels; the publication's 50 pixels belong to a frame of 512."""
        published = PUBLISHED_MINIMUM["fpn"] * self.settings.choice.image_size / 512
        return self.settings.box_minimum if arm == "clean" else published


def padded(boxes: Sequence[np.ndarray]) -> Float[Tensor, "n k 4"]:
    """Boxes of all images in one tensor; rows of NaN fill up."""
    most = max([1, *(len(own) for own in boxes)])
    out = torch.full((len(boxes), most, 4), torch.nan)
    for row, own in zip(out, boxes, strict=True):
        row[: len(own)] = torch.as_tensor(own)
    return out


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
