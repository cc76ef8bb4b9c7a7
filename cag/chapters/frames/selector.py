"""The trained frame selector, and what it says of a run: its contrast interval and the frames to classify."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from skimage.filters import sato
from torch import Tensor, nn

from cag.chapters.bundle import Part
from cag.chapters.frames.settings import FrameSelectionSettings, SequenceSettings, TrunkSettings
from cag.data.frames import shrink
from cag.networks.backbones import build_trunk, seeded
from cag.networks.frame_selector import (
    Averaged,
    FrameClassifier,
    IntervalLSTM,
    Standardized,
    TemporalConvolution,
    interval_from_probabilities,
    resample_indices,
    spread_to_frames,
)
from cag.networks.training import predict
from cag.networks.transforms import scale
from cag.networks.trunk import STAGES, Trunk

SequenceModel = Literal["cnn_lstm", "tcn"]
Interval = tuple[int, int] | None

#: A shorter run shows too little of filling and wash-out to have an interval found in it.
MIN_FRAMES = 8
#: A candidate must lie this share of the interval away from its borders, where filling is partial.
MARGIN = 0.1
#: Side of the reduced frame on which the grey-level curves are computed (pixels).
CURVE_SIZE = 96
#: Ridge widths, as Gaussian sigmas in pixels of the reduced frame: about 2-4 mm lumen.
RIDGE_SIGMAS = (1.5, 2.5)
#: Part of the reduced frame's side, at each border, that collimators and annotations may cover.
BORDER = 8


@dataclass(frozen=True)
class FrameSelector:
    """Everything needed to read a run: trunk, both stages of the clean arm, and their settings."""

    classifier: FrameClassifier
    head: Standardized
    sequence: Standardized
    settings: FrameSelectionSettings


@dataclass(frozen=True)
class FrameFinding:
    """What the frame selector found in one run of t frames; curves are 0-1 and empty where the run was too short."""

    #: Contrast probability from which the interval is read: by the biLSTM, unless ``still``.
    probability: Float[np.ndarray, " t"] = field(default_factory=lambda: np.zeros(0))
    interval: Interval = None  #: First and last frame.
    #: The frames that go on to classification.
    candidates: Int[np.ndarray, " k"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    pooled: Float[Tensor, "k f"] = field(default_factory=lambda: torch.zeros(0, 0))  #: Their pooled features.
    reason: str = ""  #: Why there is no interval; empty where there is one.
    #: By the biLSTM, even where ``still`` says that it has nothing to go by.
    sequence_probability: Float[np.ndarray, " t"] = field(default_factory=lambda: np.zeros(0))
    #: The run changes less than any that the biLSTM was trained on; the frame classifier decides alone.
    still: bool = False


def load_frame_selector(part: Part) -> FrameSelector:
    """The frame selector of a bundle, from its part ``frames``, in evaluation mode."""
    settings = FrameSelectionSettings.checked(part.settings)
    trunk = start_trunk(settings)
    if settings.trainable == "all":
        trunk.load_state_dict(part.folder.load_weights("trunk"))
    width = trunk.channels[STAGES[-1]]
    head = loaded(new_head(width, settings.seed), part.folder.load_weights("head"))
    sequence = loaded(new_sequence("cnn_lstm", width, settings), part.folder.load_weights("sequence"))
    return FrameSelector(FrameClassifier(trunk, "head").eval(), head, sequence, settings)


def find_interval(frames: UInt8[Tensor, "t h w"], selector: FrameSelector) -> FrameFinding:
    """Find the contrast interval and the candidate frames of a run of any size (0-255), frame rate and length.

    Fewer than 8 frames are answered with a reason.
    """
    count, settings = len(frames), selector.settings
    if count < MIN_FRAMES:
        reason = f"The run has {count} frames; at least {MIN_FRAMES} are needed to tell filling from wash-out."
        return FrameFinding(reason=reason)
    with ThreadPoolExecutor(max_workers=1) as beside:
        curves = beside.submit(frame_curves, frames)
        pooled = pooled_features(selector.classifier, shrink(frames, settings.image_size), settings.device)
    sequence, still = sequence_probability(selector.sequence, pooled, settings.device)
    probability = frame_probability(selector.head, pooled, settings.device) if still else sequence
    interval = interval_from_probabilities(probability, settings.rule)
    reason = "" if interval else f"No frame reaches a contrast probability of .5 (highest: {probability.max():.2f})."
    quality = image_quality(curves.result().vesselness.to_numpy())
    chosen = choose_candidates(probability, quality, interval, settings.candidates)
    return FrameFinding(probability, interval, chosen, pooled[torch.from_numpy(chosen)], reason, sequence, still)


def start_trunk(settings: TrunkSettings) -> Trunk:
    """The trunk with its initial weights."""
    return build_trunk(settings.weights, settings.seed, settings.backbone)


def new_head(features: int, seed: int) -> Standardized:
    """An untrained frame classifier head over pooled features."""
    return Standardized(seeded(lambda: nn.Linear(features, 1), seed), features)


def new_sequence(model: SequenceModel, features: int, settings: SequenceSettings) -> Standardized:
    """An untrained sequence network over pooled features: its members share inputs and differ in initial weights."""
    kind = IntervalLSTM if model == "cnn_lstm" else TemporalConvolution
    components = min(settings.components or 0, features)
    seeds = range(settings.seed, settings.seed + settings.members)
    network = Averaged([seeded(lambda: kind(components or features), seed) for seed in seeds])
    return Standardized(network, features, relative=settings.relative, components=components)


def loaded(network: Standardized, weights: Mapping[str, Tensor]) -> Standardized:
    """A network with stored weights, in evaluation mode."""
    network.load_state_dict(weights)
    return network.eval()


def pooled_features(classifier: FrameClassifier, frames: UInt8[Tensor, "t s s"], device: str) -> Float[Tensor, "t f"]:
    """Pooled features of frames of the network's size, by the layer that the frame classifier reads."""
    classifier.to(memory_format=torch.channels_last)  # convolutions are faster so
    return predict(classifier.features, frames, batch_size=64, device=device, prepare=scale)


def frame_probability(head: Standardized, pooled: Float[Tensor, "t f"], device: str) -> Float[np.ndarray, " t"]:
    """Contrast probability of each frame by itself."""
    logits = predict(head, pooled, batch_size=1024, device=device, precision="fp32")
    return logits.flatten().sigmoid().double().numpy()


def sequence_probability(
    model: Standardized, pooled: Float[Tensor, "t f"], device: str
) -> tuple[Float[np.ndarray, " t"], bool]:
    """Contrast probability of each frame by a sequence model; whether the run changes less than any it trained on."""
    sequence = pooled[torch.from_numpy(resample_indices(len(pooled)))]
    still = model.is_still(sequence)
    logits = predict(model, sequence[None], device=device, precision="fp32")
    return spread_to_frames(logits[0].sigmoid().double().numpy(), len(pooled)), still


def frame_curves(frames: UInt8[Tensor, "t h w"]) -> pd.DataFrame:
    """Mean vesselness and mean darkness of each frame, inside the field's border.

    Vesselness is Sato's ridge filter for dark tubes (Med Image Anal 2, 1998). Columns ``vesselness, darkness``.
    """
    reduced = shrink(frames, CURVE_SIZE).float().numpy() / 255
    inner = slice(BORDER, -BORDER)
    ridges = [sato(image, sigmas=RIDGE_SIGMAS, black_ridges=True)[inner, inner].mean() for image in reduced]
    darkness = 1 - reduced[:, inner, inner].mean(axis=(1, 2))
    return pd.DataFrame({"vesselness": ridges, "darkness": darkness})


def image_quality(vesselness: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """How clearly vessels stand out in each frame, 0-1 within the run.

    The ridge response rises with filling and falls with motion blur: it is high in quiet phases of the heart.
    """
    extent = np.ptp(vesselness)
    return (vesselness - vesselness.min()) / extent if extent else np.ones_like(vesselness)


def choose_candidates(
    probability: Float[np.ndarray, " t"], quality: Float[np.ndarray, " t"], interval: Interval, count: int
) -> Int[np.ndarray, " k"]:
    """Up to ``count`` increasing frames of full contrast and good quality (0-1) inside the found interval.

    The best frame by probability times quality is taken first; its neighbours are then set aside, so that the frames
    show different moments; and so on. When the interval is too short for the spacing, the neighbours come back.
    Without an interval there are none.
    """
    if interval is None:
        return np.zeros(0, dtype=np.int64)
    begin, end = interval
    length = end - begin + 1
    margin = min(round(MARGIN * length), max((length - count) // 2, 0))  # less where ``count`` frames would not remain
    frames = np.arange(begin + margin, end - margin + 1)
    score = probability[frames] * (0.05 + quality[frames])
    order = frames[np.argsort(-score, kind="stable")]
    chosen: list[int] = []
    for nearest in (frames.size // (2 * count), 0):
        for frame in order:
            if len(chosen) < count and all(abs(int(frame) - other) > nearest for other in chosen):
                chosen.append(int(frame))
    return np.array(sorted(chosen), dtype=np.int64)


def middle_frames(interval: Interval, count: int) -> Int[np.ndarray, " k"]:
    """The plain choice: the frames in the middle of the interval."""
    if interval is None:
        return np.zeros(0, dtype=np.int64)
    begin, end = interval
    first = max(begin, (begin + end + 1 - count) // 2)
    return np.arange(first, min(end, first + count - 1) + 1)
