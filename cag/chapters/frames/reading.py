"""The trained frame selector, and what it says of a single run that it has never seen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from cag.chapters.frames.baselines import frame_curves
from cag.chapters.frames.candidates import choose_candidates, image_quality
from cag.chapters.frames.features import Standardized, pooled_features, start_trunk
from cag.chapters.frames.networks import new_head
from cag.chapters.frames.sequences import new_sequence
from cag.chapters.frames.settings import FrameSelectionSettings
from cag.chapters.store import RunFolder, Store, trunk_digest
from cag.data.frames import shrink
from cag.networks.frame_selector import FrameClassifier, interval_from_probabilities, resample_indices, spread_to_frames
from cag.networks.training import predict
from cag.networks.trunk import STAGES
from cag.settings import InputError

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
    """What the frame selector found in one run.

    Attributes
    ----------
    probability : array of float 0-1, shape (t,)
        Contrast probability of each frame, from which the interval is read: by the biLSTM, unless ``still``;
        empty when the run was too short to read.
    frame_probability : array of float 0-1, shape (t,)
        The same by the frame classifier alone.
    quality : array of float 0-1, shape (t,)
        How clearly vessels stand out.
    interval : (begin, end) or None
        Inclusive frames.
    candidates : array of int
        The frames that go on to classification.
    reason : str
        Why there is no interval; empty when there is one.
    sequence_probability : array of float 0-1, shape (t,)
        By the biLSTM, even where ``still`` says that it has nothing to go by.
    still : bool
        Whether the run changes less than any that the biLSTM was trained on. Then the frame classifier,
        which sees frames as they are, decides alone.
    """

    probability: Float[np.ndarray, " t"]
    frame_probability: Float[np.ndarray, " t"]
    quality: Float[np.ndarray, " t"]
    interval: tuple[int, int] | None
    candidates: Int[np.ndarray, " k"]
    reason: str
    sequence_probability: Float[np.ndarray, " t"] = field(default_factory=lambda: np.zeros(0))
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
        return _no_finding(reason)
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


def guarded_probability(
    head: Standardized, model: Standardized, pooled: Float[Tensor, "t f"], device: str
) -> Float[np.ndarray, " t"]:
    """As ``sequence_probability``; where nothing changes, as ``frame_probability``.

    Relative features of a run that is filled from its first frame to its last are noise around zero,
    and so are those of a run without contrast: only the frames themselves tell one from the other.
    """
    if is_still(model, pooled):
        return frame_probability(head, pooled, device)
    return sequence_probability(model, pooled, device)


def save_frame_selector(
    store: Store, settings: FrameSelectionSettings, cnn: RunFolder, sequence: RunFolder
) -> RunFolder:
    """Put the clean arm's stages together where ``load_frame_selector`` finds them."""
    folder = _folder(store)
    if settings.trainable == "all":
        folder.save_weights("trunk", cnn.load_weights("trunk"))
    folder.save_weights("head", cnn.load_weights("head"))
    folder.save_weights("sequence", sequence.load_weights("clean"))
    folder.save_json("trunk", {"digest": trunk_digest(settings)})
    folder.finish(settings)
    return folder


def load_frame_selector(store: Store) -> FrameSelector:
    """The frame selector that notebook 02 trained in this profile, in evaluation mode.

    Raises
    ------
    InputError
        If it was not trained yet, or what is stored cannot be read.
    """
    folder = _folder(store)
    if not folder.complete:
        remedy = "Execute notebook 02 with this profile first"
        raise InputError("no trained frame selector", file=f"results/{store.root.name}", remedy=remedy)
    settings = FrameSelectionSettings.checked(folder.load_json("settings"))
    if folder.load_json("trunk")["digest"] != trunk_digest(settings):
        problem, remedy = "was trained on other xa weights", "Execute notebook 02 with this profile again"
        raise InputError(problem, file=f"results/{store.root.name}", field="frame selector", remedy=remedy)
    trunk = start_trunk(settings.trunk)
    if settings.trainable == "all":
        trunk.load_state_dict(folder.load_weights("trunk"))
    width = trunk.channels[STAGES[-1]]
    head = new_head(width, settings.seed)
    sequence = new_sequence("cnn_lstm", width, settings)
    head.load_state_dict(folder.load_weights("head"))
    sequence.load_state_dict(folder.load_weights("sequence"))
    return FrameSelector(FrameClassifier(trunk, "head").eval(), head.eval(), sequence.eval(), settings)


def _folder(store: Store) -> RunFolder:
    return RunFolder(store.root / "models" / "frame_selector")


def _no_finding(reason: str) -> FrameFinding:
    nothing = np.zeros(0)
    return FrameFinding(nothing, nothing, nothing, None, np.zeros(0, dtype=np.int64), reason)
