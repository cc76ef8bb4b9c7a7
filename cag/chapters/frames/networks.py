"""Training of stage 1, the frame classifier."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from cag.chapters.frames.features import Standardized, seeded, start_trunk
from cag.chapters.frames.sampling import inner_patients, sampled_frames, split_patients
from cag.chapters.frames.settings import CnnSettings
from cag.chapters.store import RunFolder
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.networks.frame_selector import FrameClassifier
from cag.networks.training import Batches, FitSettings, History, fit, predict
from cag.networks.transforms import augment, scale


def train_cnn(
    cohort: Cohort, settings: CnnSettings, folder: RunFolder, *, device: str, features: RunFolder | None
) -> None:
    """Train the frame classifier of an arm and store head, history and, where trained, its trunk.

    Parameters
    ----------
    features : RunFolder, optional
        Stored features of the frozen trunk; with ``trainable = "all"`` images are read instead.
    """
    train, _ = split_patients(cohort, settings.split.train_patients, settings.split.seed)
    runs = cohort.manifest[cohort.manifest.patient_id.isin(train)]
    samples = sampled_frames(runs, settings.frames_per_part, settings.belt)
    inner = inner_samples(samples, settings)
    targets = torch.tensor(samples.target.to_numpy(dtype=np.float32))
    plan = FitSettings(
        epochs=settings.cnn_epochs,
        patience=settings.cnn_patience,
        batch_size=settings.cnn_batch,
        learning_rate=settings.cnn_learning_rate,
    )
    if features is None:
        model, history = _train_all(cohort, samples, targets, inner, settings, plan, device)
        head = Standardized(model.head, model.head.in_features)
        folder.save_weights("trunk", model.trunk.state_dict())
    else:
        stored = features.load_weights("features")
        inputs = torch.stack(
            [stored[run][frame].float() for run, frame in zip(samples.run_id, samples.frame, strict=True)]
        )
        head, history = _train_head(inputs, targets, inner, settings, plan, device)
    folder.save_weights("head", head.state_dict())
    folder.save_table("history", pd.DataFrame(history.rows))


def inner_samples(samples: pd.DataFrame, settings: CnnSettings) -> Bool[np.ndarray, " n"]:
    """Which sampled frames choose the checkpoint.

    ``clean``: those of the inner patients. ``as_published``: frames drawn one by one, so that
    neighbors of the same run stand on both sides.
    """
    split = settings.split
    if settings.arm == "clean":
        train = sorted(set(samples.patient_id))
        return samples.patient_id.isin(inner_patients(train, split.inner_share, split.seed)).to_numpy()
    count = max(1, round(split.inner_share * len(samples)))
    inner = np.zeros(len(samples), dtype=bool)
    inner[np.random.default_rng([split.seed, 2]).permutation(len(samples))[:count]] = True
    return inner


def _train_all(
    cohort: Cohort,
    samples: pd.DataFrame,
    targets: Float[Tensor, " n"],
    inner: Bool[np.ndarray, " n"],
    settings: CnnSettings,
    plan: FitSettings,
    device: str,
) -> tuple[FrameClassifier, History]:
    images = load_frames(cohort, samples, settings.trunk.image_size)
    model = seeded(lambda: FrameClassifier(start_trunk(settings.trunk), "all"), settings.split.seed)

    def score(_: int, network: nn.Module) -> float:
        logits = predict(network, images[torch.tensor(inner)], device=device, prepare=scale)
        return -float(binary_cross_entropy_with_logits(logits, targets[torch.tensor(inner)]))

    fitted = torch.tensor(~inner)
    batches = Batches((images[fitted], targets[fitted]), plan.batch_size, prepare=_augmented)
    generator = torch.Generator().manual_seed(settings.split.seed)
    history = fit(model, batches, _frame_loss, plan, generator=generator, device=device, on_epoch=score)
    return model.cpu(), history


def _train_head(
    inputs: Float[Tensor, "n f"],
    targets: Float[Tensor, " n"],
    inner: Bool[np.ndarray, " n"],
    settings: CnnSettings,
    plan: FitSettings,
    device: str,
) -> tuple[Standardized, History]:
    head = new_head(inputs.shape[1], settings.split.seed)
    fitted, scored = torch.tensor(~inner), torch.tensor(inner)
    head.learn_scale(inputs[fitted])

    def score(_: int, network: nn.Module) -> float:
        logits = predict(network, inputs[scored], device=device, precision="fp32")[:, 0]
        return -float(binary_cross_entropy_with_logits(logits, targets[scored]))

    batches = Batches((inputs[fitted], targets[fitted]), plan.batch_size)
    plan = plan.model_copy(update={"precision": "fp32"})
    generator = torch.Generator().manual_seed(settings.split.seed)
    history = fit(head, batches, _frame_loss, plan, generator=generator, device=device, on_epoch=score)
    return head.cpu(), history


def new_head(features: int, seed: int) -> Standardized:
    """An untrained frame classifier head over pooled features."""
    return Standardized(seeded(lambda: nn.Linear(features, 1), seed), features)


def _frame_loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    inputs, targets = batch
    return binary_cross_entropy_with_logits(network(inputs).float().flatten(), targets)


def _augmented(images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return augment(scale(images), generator), targets
