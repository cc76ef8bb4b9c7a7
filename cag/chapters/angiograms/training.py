"""Real angiograms: a dense detector that is trained and scored on frames with readers' outlines (ARCADE)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from cag.chapters.localization.frames import FrameChoice, LesionFrames, choose_frames, detections_table
from cag.chapters.store import RunFolder
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.data.public import arcade
from cag.metrics.localization import average_precision
from cag.networks.backbones import build_trunk, seeded
from cag.networks.dense_detector import DenseDetector, DenseDetectorSettings
from cag.networks.training import Batches, FitSettings, Runtime, fit
from cag.networks.transforms import AugmentSettings, change_grey, draw_motion, move, scale
from cag.settings import Settings, Weights

AUGMENTATION = AugmentSettings(
    **{"degrees": 20.0, "gamma": (0.6, 1.6), "brightness": 0.3, "zoom": (0.75, 1.3), "shift": 0.08},
    **{"soften": (-0.7, 0.9), "noise": 0.05, "vignette": 0.5},
)


class DenseSettings(Settings):
    """All that one training depends on besides the cohort."""

    image_size: int = Field(384, ge=96, le=1024)  #: Width and height of a frame as the network sees it (pixels).
    backbone: str = "efficientnet_lite0"
    weights: Weights = "imagenet"  #: The trunk's start.
    seed: int = 0
    detector: DenseDetectorSettings = DenseDetectorSettings()
    augmentation: AugmentSettings = AUGMENTATION
    fit: FitSettings = FitSettings(
        **{"epochs": 20, "patience": 20, "batch_size": 8, "learning_rate": 1e-3, "weight_decay": 0.02},
        **{"schedule": "one_cycle", "clip_norm": 5.0},
    )

    @property
    def choice(self) -> FrameChoice:
        """All frames of the set with a lesion."""
        return FrameChoice(image_size=self.image_size, frames_per_run=1)


def train_dense(cohort: Cohort, settings: DenseSettings, folder: RunFolder) -> None:
    """Train on the set's train part; val chooses the epoch. Store weights, history, and detections of all but train."""
    frames, device = choose_frames(cohort, settings.choice), folder.store.device
    parts, images = part_of(frames.images), load_frames(cohort, frames.images, settings.image_size)
    detector, val = new_detector(settings), np.flatnonzero(parts == "val")
    known = frames.take(val)

    def score(epoch: int, _: object) -> float:
        return float(average_precision(known.match(detect(detector, images[val], known, device), 0.5, 0.0))[0])

    checkpoint = folder.path.with_suffix(".pt")
    history = fit(
        detector,
        training_batches(images, padded_outlines(cohort, frames, settings.image_size), parts == "train", settings),
        lambda _, batch: detector.loss(*batch),
        settings.fit,
        generator=torch.Generator().manual_seed(settings.seed),
        device=device,
        on_epoch=score,
        checkpoint=checkpoint,
        description="Dense detector",
    )
    unseen = np.flatnonzero(parts != "train")
    folder.save_table("detections", detect(detector, images[unseen], frames.take(unseen), device))
    folder.save_table("history", pd.DataFrame(history.rows))
    folder.save_weights("detector", detector.state_dict())
    checkpoint.unlink()


def new_detector(settings: DenseSettings, state: Mapping[str, Tensor] | None = None) -> DenseDetector:
    """A detector on its initial trunk, or with a trained one's weights."""
    trunk = build_trunk(settings.weights, settings.seed, settings.backbone)
    detector = seeded(lambda: DenseDetector(trunk, settings.detector), settings.seed)
    if state is not None:
        detector.load_state_dict(state)
    return detector.eval()


def part_of(images: pd.DataFrame) -> Float[np.ndarray, " n"]:
    """The set's own part of each image: ``train``, ``val`` or ``test``."""
    return images.run_id.str.split("_").str[1].to_numpy()


def padded_outlines(cohort: Cohort, frames: LesionFrames, size: int) -> Float[Tensor, "n k p 2"]:
    """The outlines of every frame in its working pixels, for ``DenseDetector.loss``."""
    assert cohort.folder is not None
    known, runs = arcade.outlines(cohort.folder), cohort.manifest.set_index("run_id")
    most = max(len(known[run_id]) for run_id in frames.images.run_id)
    longest = max(len(outline) for run_id in frames.images.run_id for outline in known[run_id])
    padded = torch.full((len(frames.images), most, longest, 2), torch.nan)
    for row, run_id in enumerate(frames.images.run_id):
        factor = size / runs.loc[run_id, ["columns", "rows"]].to_numpy(float)
        for place, outline in enumerate(known[run_id]):
            padded[row, place] = torch.as_tensor(outline[0] * factor)
            padded[row, place, : len(outline)] = torch.as_tensor(outline * factor)
    return padded


def training_batches(
    images: UInt8[Tensor, "n s s"], outlines: Float[Tensor, "n k p 2"], train: np.ndarray, settings: DenseSettings
) -> Batches:
    """Batches of the training frames, changed anew each time, with their outlines."""
    rows, size = torch.as_tensor(np.flatnonzero(train)), settings.image_size

    def order(generator: torch.Generator) -> Tensor:
        return rows[torch.randperm(len(rows), generator=generator)]

    def changed(frames: Tensor, own: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        motion = draw_motion(len(frames), generator, settings.augmentation)
        moved = torch.einsum("bij,bkpj->bkpi", motion[:, :, :2], own * 2 / size - 1) + motion[:, None, None, :, 2]
        seen = change_grey(move(scale(frames), motion), generator, settings.augmentation)
        return seen, ((moved + 1) / 2 * size).clamp(0, size)

    return Batches((images, outlines), settings.fit.batch_size, order=order, prepare=changed)


def detect(detector: DenseDetector, images: UInt8[Tensor, "n s s"], frames: LesionFrames, device: str) -> pd.DataFrame:
    """Detections of the images as rows, in their working pixels."""
    runtime, found = Runtime.choose(device), []
    detector.eval().to(runtime.device)
    for batch in images.split(16):
        with runtime.autocast():
            found += detector.detect(scale(batch.to(runtime.device)))
    return detections_table(found, frames.images.image_id, "dense")
