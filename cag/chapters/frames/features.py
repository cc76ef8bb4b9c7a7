"""Pooled features and grey-level curves of every frame of every run, computed once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from sklearn.decomposition import PCA
from torch import Tensor, nn
from tqdm import tqdm

from cag.chapters.frames.baselines import frame_curves
from cag.chapters.frames.settings import FeatureSettings, TrunkSettings
from cag.chapters.store import RunFolder
from cag.data.cohort import Cohort
from cag.data.frames import shrink
from cag.networks.backbones import build_trunk
from cag.networks.frame_selector import FrameClassifier, resample_indices
from cag.networks.training import predict
from cag.networks.transforms import scale
from cag.networks.trunk import Trunk

FEATURE_BATCH = 64

M = TypeVar("M", bound=nn.Module)


class Standardized(nn.Module):
    """A network whose inputs are first brought to mean 0 and SD 1 by the training samples' own statistics.

    The statistics are part of the stored weights, so training and reading scale alike.

    Parameters
    ----------
    relative : bool
        Subtract from a sequence of frames its own mean first. What stays the same during a run, such as
        the patient's anatomy and the look of the machine, is then no longer seen; what changes is.
    components : int
        Show the network only so many principal components of the training samples, all divided by the SD of
        the first; 0 shows every feature. A few dozen runs cannot teach it which of 2,048 features matter.

    Attributes
    ----------
    least_change : Tensor, scalar
        The least ``change`` of a training sequence; 0 where inputs are not relative.
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
        self.register_buffer("least_change", torch.zeros(()))

    def learn_scale(self, samples: Float[Tensor, "... f"]) -> None:
        """Take mean and SD of each feature, and the components, from training samples; a constant keeps SD 1."""
        rows = self._centered(samples).flatten(0, -2)
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
        prepared = self.prepare(features)
        return self.network(relative_to_mean(prepared) if self.relative else prepared)

    def prepare(self, features: Float[Tensor, "... f"]) -> Float[Tensor, "... k"]:
        """Features scaled and, where asked for, as components; not yet relative, which commutes with both."""
        scaled = (features.float() - self.mean) / self.sd
        return scaled @ self.axes if self.components else scaled

    def _scaled(self, features: Float[Tensor, "... f"]) -> Float[Tensor, "... f"]:
        return (self._centered(features) - self.mean) / self.sd

    def _centered(self, features: Float[Tensor, "... f"]) -> Float[Tensor, "... f"]:
        features = features.float()
        return relative_to_mean(features) if self.relative else features


def relative_to_mean(sequences: Float[Tensor, "... t f"]) -> Float[Tensor, "... t f"]:
    """Sequences less their own means."""
    return sequences - sequences.mean(dim=-2, keepdim=True)


def seeded(build: Callable[[], M], seed: int) -> M:
    """A new module with initial weights drawn from ``seed``; the default generator is given back unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def start_trunk(settings: TrunkSettings) -> Trunk:
    """The trunk with its initial weights."""
    return build_trunk(settings.weights, settings.seed, settings.backbone)


def pooled_features(classifier: FrameClassifier, frames: UInt8[Tensor, "t s s"], device: str) -> Float[Tensor, "t f"]:
    """Pooled features of frames of the network's size, by the layer that the frame classifier reads."""
    classifier.to(memory_format=torch.channels_last)  # convolutions are faster so
    return predict(classifier.features, frames, batch_size=FEATURE_BATCH, device=device, prepare=scale)


def compute_features(
    cohort: Cohort, settings: FeatureSettings, folder: RunFolder, *, device: str, trained: RunFolder | None
) -> None:
    """Store features (half precision, keyed by run) and, beside them, curves of all runs; each run is read once.

    Parameters
    ----------
    trained : RunFolder, optional
        Where the trained trunk lies that ``settings.cnn`` names.
    """
    trunk = start_trunk(settings.trunk)
    if trained is not None:
        trunk.load_state_dict(trained.load_weights("trunk"))
    classifier = FrameClassifier(trunk, "head").eval()
    features: dict[str, Tensor] = {}
    curves: dict[str, Future[pd.DataFrame]] = {}
    with ThreadPoolExecutor(max_workers=1) as beside:
        for run_id in tqdm(cohort.manifest.run_id, desc="Features", unit="run"):
            frames = cohort.frames(run_id)
            curves[run_id] = beside.submit(frame_curves, frames)
            small = shrink(frames, settings.trunk.image_size)
            features[run_id] = pooled_features(classifier, small, device).half()
    tables = [curve.result().assign(run_id=run_id) for run_id, curve in curves.items()]
    folder.save_weights("features", features)
    folder.save_table("curves", pd.concat(tables, ignore_index=True))


def sequences(
    features: dict[str, Tensor], runs: pd.DataFrame, truth: Callable[[pd.Series], np.ndarray]
) -> tuple[Float[Tensor, "n t f"], Float[Tensor, "n t"]]:
    """Runs resampled to equal length: features, and 1 inside the true interval, 0 outside."""
    inputs, targets = [], []
    for _, run in runs.iterrows():
        steps = resample_indices(int(run.n_frames))
        inputs.append(features[run.run_id][torch.from_numpy(steps)].float())
        targets.append(torch.from_numpy(truth(run)[steps]).float())
    return torch.stack(inputs), torch.stack(targets)
