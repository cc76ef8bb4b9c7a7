"""Training of stage 2: sequence models over the frame classifier's features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from cag.chapters.frames.features import Standardized, relative_to_mean, seeded, sequences
from cag.chapters.frames.sampling import contrast_truth, inner_folds, split_patients
from cag.chapters.frames.settings import FrameSelectionSettings, SequenceModel, SequenceSettings
from cag.chapters.store import RunFolder
from cag.data.cohort import Cohort
from cag.networks.frame_selector import Averaged, IntervalLSTM, TemporalConvolution, soft_f1_loss
from cag.networks.training import Batches, FitSettings, History, fit, predict

Runs = tuple[Float[Tensor, "n t f"], Float[Tensor, "n t"]]


def train_sequence(
    cohort: Cohort, settings: SequenceSettings, folder: RunFolder, *, device: str, features: RunFolder
) -> None:
    """Train the members of a sequence model once and store two checkpoints of them.

    ``clean`` is of each member the epoch with the best soft F1 on its inner patients; ``as_published`` the
    one best on the very test patients it is then scored on.
    """
    split = settings.split
    train, test = split_patients(cohort, split.train_patients, split.seed)
    stored = features.load_weights("features")
    manifest = cohort.manifest

    def runs(patients: Sequence[str]) -> Runs:
        return sequences(stored, manifest[manifest.patient_id.isin(patients)], contrast_truth)

    everyone = runs(train)[0]
    model = new_sequence(settings.model, everyone.shape[2], settings)
    model.learn_scale(everyone)

    def prepared(patients: Sequence[str]) -> Runs:
        inputs, targets = runs(patients)
        return model.prepare(inputs), targets

    tested = prepared(test)
    leaked, histories = model.state_dict(), []
    folds = inner_folds(train, split.inner_share, split.seed, settings.members)
    members = model.network.get_submodule("members").children()
    for number, (inner, network) in enumerate(zip(folds, members, strict=True)):
        fitted = prepared(sorted(set(train) - set(inner)))
        history, best = _train_member(network, fitted, prepared(inner), tested, settings, number, device)
        leaked |= {f"network.members.{number}.{name}": value for name, value in best.items()}
        histories.append(pd.DataFrame(history.rows).assign(member=number))
    folder.save_weights("clean", model.state_dict())
    folder.save_weights("as_published", leaked)
    folder.save_table("history", pd.concat(histories, ignore_index=True))


def _train_member(
    network: nn.Module,
    fitted: Runs,
    inner: Runs,
    tested: Runs,
    settings: SequenceSettings,
    number: int,
    device: str,
) -> tuple[History, dict[str, Tensor]]:
    """Train a member in place on prepared runs; its history, and its weights at the epoch best on the test patients."""
    model = _Relative(network) if settings.relative else network
    leaked: dict[str, Tensor] = {}
    leaked_scores: list[float] = []

    def score(_: int, model: nn.Module) -> float:
        leaked_scores.append(_soft_f1(model, *tested, device))
        if leaked_scores[-1] == max(leaked_scores):
            leaked.update({name: value.detach().cpu().clone() for name, value in network.state_dict().items()})
        return _soft_f1(model, *inner, device)

    plan = FitSettings(
        epochs=settings.sequence_epochs,
        patience=settings.sequence_patience,
        batch_size=settings.sequence_batch,
        learning_rate=settings.sequence_learning_rate,
        precision="fp32",
    )
    batches = Batches(fitted, plan.batch_size, prepare=partial(crop_runs, share=settings.crop))
    generator = torch.Generator().manual_seed(settings.split.seed + 1000 * number)
    history = fit(model, batches, _sequence_loss, plan, generator=generator, device=device, on_epoch=score)
    network.cpu()
    return history, leaked


class _Relative(nn.Module):
    """A network that sees sequences relative to their own means."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, sequences: Float[Tensor, "b t f"]) -> Tensor:
        return self.network(relative_to_mean(sequences))


def new_sequence(
    model: SequenceModel, features: int, settings: SequenceSettings | FrameSelectionSettings
) -> Standardized:
    """An untrained sequence model over pooled features: its members share inputs and differ in initial weights."""
    kind = IntervalLSTM if model == "cnn_lstm" else TemporalConvolution
    components = min(settings.components or 0, features)
    seeds = range(settings.split.seed, settings.split.seed + settings.members)
    network = Averaged([seeded(lambda: kind(components or features), seed) for seed in seeds])
    return Standardized(network, features, relative=settings.relative, components=components)


def crop_runs(
    inputs: Float[Tensor, "b t f"], targets: Float[Tensor, "b t"], generator: torch.Generator, share: float
) -> tuple[Float[Tensor, "b t f"], Float[Tensor, "b t"]]:
    """Cut up to ``share`` of each run off at either end and stretch the rest to the same length."""
    count, steps = targets.shape
    first = torch.rand(count, 1, generator=generator) * share * steps
    last = steps - torch.rand(count, 1, generator=generator) * share * steps
    places = first + (last - first) * torch.arange(steps) / steps
    chosen = places.floor().long().clamp(0, steps - 1).to(inputs.device)
    return inputs.gather(1, chosen[..., None].expand_as(inputs)), targets.gather(1, chosen)


def _soft_f1(network: nn.Module, inputs: Float[Tensor, "n t f"], targets: Float[Tensor, "n t"], device: str) -> float:
    logits = predict(network, inputs, device=device, precision="fp32")
    return 1 - float(soft_f1_loss(logits, targets))


def _sequence_loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    inputs, targets = batch
    return soft_f1_loss(network(inputs), targets)
