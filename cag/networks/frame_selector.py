"""Candidate frame selection: frame CNN, sequence networks over its features, and the contrast interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from torch import Tensor, nn

from cag.networks.trunk import STAGES, Trainable, Trunk, TrunkModel
from cag.settings import InputError

#: Steps every run is resampled to before the sequence network.
STEPS = 64

IntervalRule = Literal["last_positive", "longest"]


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

    def __init__(self, features: int = 2048) -> None:
        super().__init__()
        self.entry = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, 96))
        convolutions = (nn.Conv1d(96, 96, 3, padding=step, dilation=step) for step in (1, 2, 4, 8))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(8, 96), nn.ReLU(), own, nn.Dropout(0.2)) for own in convolutions
        )
        self.logit = nn.Conv1d(96, 1, 1)

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
        logits = torch.stack([member(features) for member in self.members])
        return logits.sigmoid().mean(dim=0).logit(eps=1e-6) if len(logits) > 1 else logits[0]


class Standardized(nn.Module):
    """A network whose inputs are first brought to mean 0 and SD 1 by the training samples' own statistics.

    The statistics are part of the stored weights, so training and reading scale alike. ``relative`` subtracts from a
    sequence of frames its own mean first: what stays the same during a run, such as the patient's anatomy and the look
    of the machine, is no longer seen. ``components`` shows the network only so many principal components of the
    training samples, all divided by the SD of the first; 0 shows every feature. A few dozen runs cannot teach it which
    of 2,048 features matter.
    """

    mean: Tensor
    sd: Tensor
    axes: Tensor
    least_change: Tensor

    def __init__(self, network: nn.Module, features: int, *, relative: bool = False, components: int = 0) -> None:
        super().__init__()
        self.network, self.relative, self.components = network, relative, components
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("sd", torch.ones(features))
        self.register_buffer("axes", torch.zeros(features, components))
        self.register_buffer("least_change", torch.zeros(()))  # of a training sequence; 0 where not relative

    def learn_scale(self, samples: Float[Tensor, "... f"]) -> None:
        """Take mean and SD of each feature, and the components, from training samples; a constant keeps SD 1."""
        rows = self.centered(samples.float()).flatten(0, -2)
        sd = rows.std(dim=0)
        self.mean.copy_(rows.mean(dim=0))
        self.sd.copy_(torch.where(sd > 1e-6, sd, torch.ones_like(sd)))
        if self.components:
            found = PCA(self.components, svd_solver="covariance_eigh").fit(self._scaled(samples).flatten(0, -2).numpy())
            axes = found.components_.T / np.sqrt(found.explained_variance_[0])
            self.axes.copy_(torch.from_numpy(np.ascontiguousarray(axes)))
        if self.relative:
            self.least_change.copy_(self.change(samples).min())

    def change(self, sequences: Float[Tensor, "*b t f"]) -> Float[Tensor, "*b"]:
        """How much a sequence of frames changes: root mean square of its features in units of the training's SD."""
        return self._scaled(sequences).square().mean(dim=(-2, -1)).sqrt()

    def is_still(self, sequence: Float[Tensor, "t f"]) -> bool:
        """Whether a sequence changes less than any that was trained on, so that relative features say nothing."""
        return bool(self.change(sequence) < self.least_change)

    def forward(self, features: Float[Tensor, "... f"]) -> Tensor:
        """Outputs of the network for raw features."""
        return self.network(self.centered(self.prepare(features)))

    def prepare(self, features: Float[Tensor, "... f"]) -> Float[Tensor, "... k"]:
        """Features scaled and, where asked for, as components; not yet relative, which commutes with both."""
        scaled = (features.float() - self.mean) / self.sd
        return scaled @ self.axes if self.components else scaled

    def centered(self, sequences: Float[Tensor, "... t f"]) -> Float[Tensor, "... t f"]:
        """Sequences less their own means where the network sees relative features."""
        return sequences - sequences.mean(dim=-2, keepdim=True) if self.relative else sequences

    def _scaled(self, features: Float[Tensor, "... f"]) -> Float[Tensor, "... f"]:
        return (self.centered(features.float()) - self.mean) / self.sd


def _over_channels(norm: nn.Module, sequence: Float[Tensor, "b t f"]) -> Float[Tensor, "b t f"]:
    """Batch norm of the last axis."""
    return norm(sequence.flatten(0, 1)).view_as(sequence)


def soft_f1_loss(logits: Float[Tensor, "b t"], truth: Float[Tensor, "b t"], smooth: float = 1.0) -> Float[Tensor, ""]:
    """One minus soft F1: sums over the frames of a run, mean over runs; truth is 0 or 1.

    ``smooth`` is added to numerator and denominator. With 0, as published, a run without contrast has loss 1 and no
    gradient; with 1 such runs teach silence.
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

    Each frame that was sampled gets the mean of its steps; frames between are interpolated. So an interval comes back
    exactly for runs up to ``steps`` frames and within half the sampling distance, without bias, for longer ones.
    """
    frames, step = np.unique(resample_indices(n, len(probability)), return_inverse=True)
    mean = np.bincount(step, weights=probability) / np.bincount(step)
    return np.interp(np.arange(n), frames, mean)


def interval_from_probabilities(probability: Float[np.ndarray, " n"], rule: IntervalRule) -> tuple[int, int] | None:
    """First and last frame (inclusive) of the contrast interval, or None when no frame reaches .5.

    From the first to the last positive frame (``last_positive``, as published), or the longest run of positive frames,
    of equals that with the larger probability (``longest``).
    """
    positive = np.flatnonzero(probability >= 0.5)
    if len(positive) == 0:
        return None
    runs = [positive] if rule == "last_positive" else np.split(positive, np.flatnonzero(np.diff(positive) > 1) + 1)
    run = max(runs, key=lambda run: (len(run), probability[run].sum()))
    return int(run[0]), int(run[-1])
