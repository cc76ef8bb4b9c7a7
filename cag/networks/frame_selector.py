"""Candidate frame selection: frame CNN, sequence networks over its features, and the contrast interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cag.networks.trunk import STAGES, Trainable, Trunk, TrunkModel
from cag.settings import InputError

#: Steps every run is resampled to before the sequence network.
STEPS = 64

IntervalRule = Literal["last_positive", "longest", "mass"]


class FrameClassifier(TrunkModel):
    """Full contrast or not, frame by frame: the trunk, global average pooling, one logit."""

    def __init__(self, trunk: Trunk, trainable: Trainable = "all") -> None:
        super().__init__(trunk, trainable)
        self.head = nn.Linear(trunk.channels[STAGES[-1]], 1)

    def features(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        """Pooled features of images in [-1, 1]."""
        return self.trunk(images).mean(dim=(2, 3))

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """Logit of full contrast of images in [-1, 1]."""
        return self.head(self.features(images))[:, 0]


class IntervalLSTM(nn.Module):
    """Bidirectional LSTM in parallel with per-frame features, one logit a step.

    The source names no activation for the two dense layers after the concatenation; ReLU here.
    """

    def __init__(self, features: int = 2048) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, 256, batch_first=True, bidirectional=True)
        self.lstm_norm = nn.BatchNorm1d(512)
        self.frame = nn.Sequential(nn.Linear(features, 256), nn.ReLU())
        self.frame_norm = nn.BatchNorm1d(256)
        self.dense1, self.norm1 = nn.Linear(768, 512), nn.BatchNorm1d(512)
        self.dense2, self.norm2 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.drop1, self.drop2 = nn.Dropout(0.2), nn.Dropout(0.2)
        self.logit = nn.Linear(256, 1)

    def forward(self, features: Float[Tensor, "b t f"]) -> Float[Tensor, "b t"]:
        """Logits of full contrast for pooled features of resampled runs; computed in float32."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            sequence = _over_channels(self.lstm_norm, self.lstm(features)[0])
            frame = _over_channels(self.frame_norm, self.frame(features))
            x = self.drop1(torch.cat([sequence, frame], dim=2))
            x = _over_channels(self.norm1, self.dense1(x).relu())
            x = self.drop2(_over_channels(self.norm2, self.dense2(x).relu()))
            return self.logit(x)[..., 0]


class TemporalConvolution(nn.Module):
    """Dilated residual convolutions over the same features, a lighter alternative to the LSTM.

    Source: Bai et al. 2018, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks", not causal.
    """

    def __init__(self, features: int = 2048, width: int = 96, dilations: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        super().__init__()
        self.entry = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, width))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(8, width),
                nn.ReLU(),
                nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation),
                nn.Dropout(0.2),
            )
            for dilation in dilations
        )
        self.logit = nn.Conv1d(width, 1, 1)

    def forward(self, features: Float[Tensor, "b t f"]) -> Float[Tensor, "b t"]:
        """Logits of full contrast for pooled features of runs of any length; computed in float32."""
        with torch.autocast(features.device.type, enabled=False):
            x = self.entry(features.float()).transpose(1, 2)
            for block in self.blocks:
                x = x + block(x)
            return self.logit(x)[:, 0]


class Averaged(nn.Module):
    """Networks asked together: the logit of the mean of their probabilities."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, features: Float[Tensor, "b t f"]) -> Float[Tensor, "b t"]:
        """Logits of full contrast."""
        if len(self.members) == 1:
            return self.members[0](features)
        return torch.stack([member(features) for member in self.members]).sigmoid().mean(dim=0).logit(eps=1e-6)


def _over_channels(norm: nn.Module, sequence: Float[Tensor, "b t f"]) -> Float[Tensor, "b t f"]:
    """Batch norm of the last axis."""
    return norm(sequence.flatten(0, 1)).view_as(sequence)


def soft_f1_loss(logits: Float[Tensor, "b t"], truth: Float[Tensor, "b t"], smooth: float = 1.0) -> Float[Tensor, ""]:
    """One minus soft F1: sums over the frames of a run, mean over runs.

    Parameters
    ----------
    truth : 0 or 1
    smooth : float
        Added to numerator and denominator, so that runs without contrast teach silence; as published
        about 0, where such a run has loss 1 and no gradient.
    """
    probability = logits.float().sigmoid()
    overlap = (probability * truth).sum(dim=1)
    total = probability.sum(dim=1) + truth.sum(dim=1)
    return (1 - (2 * overlap + smooth) / (total + smooth).clamp(min=1e-7)).mean()


def resample_indices(n: int, steps: int = STEPS) -> Int[np.ndarray, " steps"]:
    """The frame that stands at each step of a resampled run of ``n`` frames (nearest lower index)."""
    if n < 1:
        raise InputError(f"a run of {n} frames cannot be resampled", field="n_frames")
    return np.arange(steps) * n // steps


def spread_to_frames(probability: Float[np.ndarray, " steps"], n: int) -> Float[np.ndarray, " n"]:
    """Values at the steps of a resampled run, back on its ``n`` frames.

    Each frame that was sampled gets the mean of its steps; frames between two sampled ones are
    interpolated. So an interval comes back exactly for runs up to ``steps`` frames and within half
    the sampling distance for longer ones, without a bias to either side.
    """
    sampled = resample_indices(n, len(probability))
    frames, step = np.unique(sampled, return_inverse=True)
    mean = np.bincount(step, weights=probability) / np.bincount(step)
    return np.interp(np.arange(n), frames, mean)


def interval_from_probabilities(
    probability: Float[np.ndarray, " n"], rule: IntervalRule = "mass", threshold: float = 0.5
) -> tuple[int, int] | None:
    """First and last frame (inclusive) of the contrast interval, or None when no frame reaches the threshold.

    Parameters
    ----------
    rule : {'last_positive', 'longest', 'mass'}
        From the first to the last positive frame (as published); the longest run of positive frames, of equals
        that with the larger probability; or the interval with the largest sum of (probability - threshold),
        which bridges short gaps and ignores stray frames.
    """
    positive = probability >= threshold
    if not positive.any():
        return None
    if rule == "last_positive":
        frames = np.flatnonzero(positive)
        return int(frames[0]), int(frames[-1])
    if rule == "mass" and (probability > threshold).any():
        return _heaviest_interval(probability - threshold)
    runs = _runs(positive)
    return max(runs, key=lambda run: (run[1] - run[0], probability[run[0] : run[1] + 1].sum()))


def _runs(positive: Bool[np.ndarray, " n"]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], positive.astype(int), [0]])))
    return [(int(begin), int(end) - 1) for begin, end in edges.reshape(-1, 2)]


def _heaviest_interval(weight: Float[np.ndarray, " n"]) -> tuple[int, int]:
    """Interval of the largest sum (Kadane), from prefix sums and their running minimum."""
    prefix = np.concatenate([[0.0], np.cumsum(weight)])
    lowest = np.minimum.accumulate(prefix[:-1])
    end = int(np.argmax(prefix[1:] - lowest))
    return int(np.argmin(prefix[: end + 1])), end
