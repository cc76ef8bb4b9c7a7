"""The trained frame selector, and what it says of a single run that it has never seen."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from cag.chapters.bundle import Part, export_part
from cag.chapters.frames.baselines import frame_curves
from cag.chapters.frames.candidates import choose_candidates, image_quality
from cag.chapters.frames.sampling import split_patients
from cag.chapters.frames.settings import FrameSelectionSettings
from cag.chapters.frames.training import new_head, new_sequence, pooled_features, start_trunk
from cag.chapters.store import RunFolder, Store
from cag.data.cohort import Cohort
from cag.data.frames import shrink
from cag.networks.frame_selector import (
    FrameClassifier,
    Standardized,
    interval_from_probabilities,
    resample_indices,
    spread_to_frames,
)
from cag.networks.training import predict
from cag.networks.trunk import STAGES

#: A shorter run shows too little of filling and wash-out to have an interval found in it.
MIN_FRAMES = 8


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
    probability: Float[np.ndarray, " t"]
    frame_probability: Float[np.ndarray, " t"]  #: By the frame classifier alone.
    quality: Float[np.ndarray, " t"]  #: How clearly vessels stand out.
    interval: tuple[int, int] | None  #: First and last frame.
    candidates: Int[np.ndarray, " k"]  #: The frames that go on to classification.
    reason: str  #: Why there is no interval; empty where there is one.
    #: By the biLSTM, even where ``still`` says that it has nothing to go by.
    sequence_probability: Float[np.ndarray, " t"] = field(default_factory=lambda: np.zeros(0))
    #: The run changes less than any that the biLSTM was trained on; the frame classifier decides alone.
    still: bool = False


def find_interval(frames: UInt8[Tensor, "t h w"], selector: FrameSelector) -> FrameFinding:
    """Find the contrast interval and the candidate frames of a run of any frame rate and length.

    Parameters
    ----------
    frames : grey levels 0-255, any size; fewer than 8 frames are answered with a reason
    """
    count = len(frames)
    if count < MIN_FRAMES:
        reason = f"The run has {count} frames; at least {MIN_FRAMES} are needed to tell filling from wash-out."
        nothing = np.zeros(0)
        return FrameFinding(nothing, nothing, nothing, None, np.zeros(0, dtype=np.int64), reason)
    settings = selector.settings
    with ThreadPoolExecutor(max_workers=1) as beside:
        curves = beside.submit(frame_curves, frames)
        pooled = pooled_features(selector.classifier, shrink(frames, settings.image_size), settings.device)
    alone = frame_probability(selector.head, pooled, settings.device)
    sequence = sequence_probability(selector.sequence, pooled, settings.device)
    still = is_still(selector.sequence, pooled)
    probability = alone if still else sequence
    quality = image_quality(curves.result().vesselness.to_numpy())
    interval = interval_from_probabilities(probability, settings.interval_rule("clean"))
    reason = "" if interval else f"No frame reaches a contrast probability of .5 (highest: {probability.max():.2f})."
    candidates = choose_candidates(probability, quality, interval, settings.candidates)
    return FrameFinding(probability, alone, quality, interval, candidates, reason, sequence, still)


def frame_probability(head: Standardized, pooled: Float[Tensor, "t f"], device: str) -> Float[np.ndarray, " t"]:
    """Contrast probability of each frame by itself."""
    logits = predict(head, pooled, batch_size=1024, device=device, precision="fp32")
    return logits.flatten().sigmoid().double().numpy()


def sequence_probability(model: Standardized, pooled: Float[Tensor, "t f"], device: str) -> Float[np.ndarray, " t"]:
    """Contrast probability of each frame by a sequence model over the resampled run."""
    steps = torch.from_numpy(resample_indices(len(pooled)))
    logits = predict(model, pooled[steps][None], device=device, precision="fp32")
    return spread_to_frames(logits[0].sigmoid().double().numpy(), len(pooled))


def is_still(model: Standardized, pooled: Float[Tensor, "t f"]) -> bool:
    """Whether a run changes less than any that the sequence model was trained on."""
    return model.is_still(pooled[torch.from_numpy(resample_indices(len(pooled)))])


def loaded(network: Standardized, weights: Mapping[str, Tensor]) -> Standardized:
    """A network with stored weights, in evaluation mode."""
    network.load_state_dict(weights)
    return network.eval()


def export_selector(
    cohort: Cohort, settings: FrameSelectionSettings, store: Store, cnn: RunFolder, sequence: RunFolder
) -> None:
    """Put the clean arm's networks into the profile's bundle, where ``load_frame_selector`` finds them."""
    weights = {"head": cnn.load_weights("head_clean"), "sequence": sequence.load_weights("cnn_lstm_clean")}
    if settings.trainable == "all":
        weights["trunk"] = cnn.load_weights("trunk_clean")
    tested = split_patients(cohort, settings.train_patients, settings.seed)[1]
    export_part(store, "frames", settings=settings, cohort=cohort, weights=weights, facts={"tested": tested})


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
