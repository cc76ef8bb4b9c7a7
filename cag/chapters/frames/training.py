"""Training of frame selection in three tasks: pooled features, stage 1 (frame classifier), stage 2 (sequence networks).

Each task serves both arms. ``clean`` chooses its checkpoints on training patients set aside. ``as_published`` chooses
stage 1 on single images set aside and stage 2 on the very test patients that it is then scored on.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from cag.chapters.frames.sampling import contrast_truth, inner_folds, inner_samples, sampled_frames, split_patients
from cag.chapters.frames.selector import (
    SequenceModel,
    frame_curves,
    new_head,
    new_sequence,
    pooled_features,
    start_trunk,
)
from cag.chapters.frames.settings import CnnSettings, SequenceSettings, TrunkSettings, features_of
from cag.chapters.store import RunFolder, Store, run_task, run_tasks
from cag.data.cohort import Cohort
from cag.data.frames import load_frames, shrink
from cag.data.splits import ARMS, Arm
from cag.networks.backbones import seeded
from cag.networks.frame_selector import FrameClassifier, Standardized, resample_indices, soft_f1_loss
from cag.networks.training import Batches, FitSettings, Precision, Rows, fit, predict
from cag.networks.transforms import augment, scale
from cag.settings import Settings

#: Sequence networks and the arms that each is scored in; the temporal convolution was not published.
SEQUENCES: dict[SequenceModel, tuple[Arm, ...]] = {"cnn_lstm": ARMS, "tcn": ("clean",)}

#: Runs whose features are one task: a few minutes on two cores.
RUNS_AT_ONCE = 100

Runs = tuple[Float[Tensor, "n t f"], Float[Tensor, "n t"]]


class PartSettings(Settings):
    """Some runs, and the trunk that reads them."""

    trunk: CnnSettings | TrunkSettings
    runs: list[str]


class Features(NamedTuple):
    """Stored features of runs: weights ``clean`` and ``as_published`` (half precision, by run), table ``curves``.

    Of a trunk as it starts both arms read ``clean``; ``CnnSettings`` name one that stage 1 trained.
    """

    parts: list[RunFolder]

    def load_weights(self, arm: Arm) -> dict[str, Tensor]:
        """Pooled features [frames, features] of every run."""
        return {run: own for part in self.parts for run, own in part.load_weights(arm).items()}

    def load_table(self, name: str) -> pd.DataFrame:
        """Rows of every run."""
        return pd.concat([part.load_table(name) for part in self.parts], ignore_index=True)


def run_features(cohort: Cohort, settings: CnnSettings, store: Store) -> Features:
    """The features of every run of training and test, a task for each hundred, so that a stopped call loses minutes."""
    (train, test), trunk = split_patients(cohort, settings), features_of(settings)
    runs = cohort.manifest.run_id[cohort.manifest.patient_id.isin([*train, *test])].tolist()
    parts = -(-len(runs) // RUNS_AT_ONCE)
    own = [PartSettings(trunk=trunk, runs=runs[part::parts]) for part in range(parts)]
    return Features(run_tasks("frame_features", compute_features, own, cohort, replace(store, scheduler="")))


def compute_features(cohort: Cohort, asked: PartSettings, folder: RunFolder) -> None:
    """Store features and, beside them, grey-level curves of a part of the runs; each run is read once."""
    settings = asked.trunk
    trunks = {"clean": start_trunk(settings)}
    if isinstance(settings, CnnSettings):
        trained = run_task("frame_cnn", train_cnn, settings, cohort, folder.store)
        trunks |= {"as_published": start_trunk(settings)}
        for arm, trunk in trunks.items():
            trunk.load_state_dict(trained.load_weights(f"trunk_{arm}"))
    classifiers = {arm: FrameClassifier(trunk, "head").eval() for arm, trunk in trunks.items()}
    features: dict[str, dict[str, Tensor]] = {arm: {} for arm in trunks}
    curves: dict[str, Future[pd.DataFrame]] = {}
    with ThreadPoolExecutor(max_workers=1) as beside:
        for run_id in tqdm(asked.runs, desc="Features", unit="run"):
            frames = cohort.frames(run_id)
            curves[run_id] = beside.submit(frame_curves, frames)
            small = shrink(frames, settings.image_size)
            for arm, classifier in classifiers.items():
                features[arm][run_id] = pooled_features(classifier, small, folder.store.device).half()
    for arm, of_runs in features.items():
        folder.save_weights(arm, of_runs)
    tables = [curve.result().assign(run_id=run_id) for run_id, curve in curves.items()]
    folder.save_table("curves", pd.concat(tables, ignore_index=True))


def train_cnn(cohort: Cohort, settings: CnnSettings, folder: RunFolder) -> None:
    """Train the frame classifier of each arm: ``head_<arm>``, ``history`` and, where trained, ``trunk_<arm>``."""
    train, _ = split_patients(cohort, settings)
    runs = cohort.manifest[cohort.manifest.patient_id.isin(train)]
    samples = sampled_frames(runs, settings.frames_per_part, settings.belt)
    targets = torch.tensor(samples.target.to_numpy(dtype=np.float32))
    if settings.trainable == "all":
        inputs = load_frames(cohort, samples, settings.image_size)
    else:
        stored = run_features(cohort, settings, folder.store).load_weights("clean")
        rows = zip(samples.run_id, samples.frame, strict=True)
        inputs = torch.stack([stored[run][frame].float() for run, frame in rows])
    histories = []
    for arm in ARMS:
        inner = torch.tensor(inner_samples(samples, settings.inner_share, settings.seed, by_patient=arm == "clean"))
        model, history = _fit_frames(inputs, targets, inner, settings, folder.store.device)
        if isinstance(model, FrameClassifier):
            folder.save_weights(f"trunk_{arm}", model.trunk.state_dict())
            model = Standardized(model.head, model.head.in_features)
        folder.save_weights(f"head_{arm}", model.state_dict())
        histories.append(pd.DataFrame(history).assign(arm=arm))
    folder.save_table("history", pd.concat(histories, ignore_index=True))


def _fit_frames(
    inputs: Tensor, targets: Float[Tensor, " n"], inner: Bool[Tensor, " n"], settings: CnnSettings, device: str
) -> tuple[FrameClassifier | Standardized, Rows]:
    """Train on images (all layers) or on pooled features (the head); ``inner`` chooses the checkpoint."""
    model: FrameClassifier | Standardized
    if settings.trainable == "all":
        model = seeded(lambda: FrameClassifier(start_trunk(settings), "all"), settings.seed)
        plan, prepare, read = _plan(settings, "cnn", "auto"), _augmented, scale
    else:
        model = new_head(inputs.shape[1], settings.seed)
        model.learn_scale(inputs[~inner])
        plan, prepare, read = _plan(settings, "cnn", "fp32"), None, None

    def score(_: int, network: nn.Module) -> float:
        logits = predict(network, inputs[inner], device=device, precision=plan.precision, prepare=read)
        return -float(binary_cross_entropy_with_logits(logits.flatten(), targets[inner]))

    batches = Batches((inputs[~inner], targets[~inner]), plan.batch_size, prepare=prepare)
    generator = torch.Generator().manual_seed(settings.seed)
    history = fit(model, batches, _frame_loss, plan, generator=generator, device=device, on_epoch=score)
    return model.cpu(), history.rows


def train_sequences(cohort: Cohort, settings: SequenceSettings, folder: RunFolder) -> None:
    """Train the sequence networks and store the checkpoint of each arm as ``<model>_<arm>``, and ``history``."""
    trained, histories = settings.trainable == "all", []
    stored = run_features(cohort, settings, folder.store)
    for model, arms in SEQUENCES.items():
        for arm in arms if trained else ("clean",):  # from one training over shared features come both checkpoints
            weights, history = _fit_sequence(cohort, model, stored.load_weights(arm), settings, folder.store.device)
            for saved in (arm,) if trained else arms:
                folder.save_weights(f"{model}_{saved}", weights[saved])
            histories.append(history.assign(model=model, arm=arm))
    folder.save_table("history", pd.concat(histories, ignore_index=True))


def _fit_sequence(
    cohort: Cohort, name: SequenceModel, features: dict[str, Tensor], settings: SequenceSettings, device: str
) -> tuple[dict[Arm, dict[str, Tensor]], pd.DataFrame]:
    """Train the members once; each arm's weights, and the histories."""
    train, test = split_patients(cohort, settings)
    everyone = sequences(features, cohort.manifest[cohort.manifest.patient_id.isin(train)])[0]
    model = new_sequence(name, everyone.shape[2], settings)
    model.learn_scale(everyone)

    def prepared(patients: Collection[str]) -> Runs:
        inputs, targets = sequences(features, cohort.manifest[cohort.manifest.patient_id.isin(patients)])
        return model.prepare(inputs), targets

    tested, leaked, histories = prepared(test), model.state_dict(), []
    folds = inner_folds(train, settings.inner_share, settings.seed, settings.members)
    for number, inner in enumerate(folds):
        parts = prepared(set(train) - set(inner)), prepared(inner), tested
        history, best = _fit_member(model, number, parts, settings, device)
        leaked |= {f"network.members.{number}.{key}": value for key, value in best.items()}
        histories.append(pd.DataFrame(history).assign(member=number))
    return {"clean": model.state_dict(), "as_published": leaked}, pd.concat(histories, ignore_index=True)


def _fit_member(
    model: Standardized, number: int, parts: tuple[Runs, Runs, Runs], settings: SequenceSettings, device: str
) -> tuple[Rows, dict[str, Tensor]]:
    """Train a member in place on prepared runs; its history, and its weights at the epoch best on the test patients."""
    fitted, inner, tested = parts
    network = model.network.get_submodule(f"members.{number}")
    leaked: dict[str, Tensor] = {}
    leaked_scores: list[float] = []

    def soft_f1(network: nn.Module, runs: Runs) -> float:
        logits = predict(network, model.centered(runs[0]), device=device, precision="fp32")
        return 1 - float(soft_f1_loss(logits, runs[1]))

    def score(_: int, network: nn.Module) -> float:
        leaked_scores.append(soft_f1(network, tested))
        if leaked_scores[-1] == max(leaked_scores):
            leaked.update({name: value.detach().cpu().clone() for name, value in network.state_dict().items()})
        return soft_f1(network, inner)

    def cropped(inputs: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        inputs, targets = crop_runs(inputs, targets, generator, settings.crop)
        return model.centered(inputs), targets

    plan = _plan(settings, "sequence", "fp32")
    generator = torch.Generator().manual_seed(settings.seed + 1000 * number)
    batches = Batches(fitted, plan.batch_size, prepare=cropped)
    history = fit(network, batches, _sequence_loss, plan, generator=generator, device=device, on_epoch=score)
    network.cpu()
    return history.rows, leaked


def sequences(features: dict[str, Tensor], runs: pd.DataFrame) -> Runs:
    """Runs of the manifest resampled to equal length: features, and 1 inside the true interval, 0 outside."""
    steps = [resample_indices(int(count)) for count in runs.n_frames]
    inputs = [features[run][torch.from_numpy(own)].float() for run, own in zip(runs.run_id, steps, strict=True)]
    truth = [contrast_truth(run)[own] for (_, run), own in zip(runs.iterrows(), steps, strict=True)]
    return torch.stack(inputs), torch.from_numpy(np.stack(truth)).float()


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


def _plan(settings: CnnSettings, stage: str, precision: Precision) -> FitSettings:
    fields = {"epochs": "epochs", "patience": "patience", "batch_size": "batch", "learning_rate": "learning_rate"}
    return FitSettings(
        **{own: getattr(settings, f"{stage}_{name}") for own, name in fields.items()}, precision=precision
    )


def _sequence_loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    inputs, targets = batch
    return soft_f1_loss(network(inputs), targets)


def _frame_loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    inputs, targets = batch
    return binary_cross_entropy_with_logits(network(inputs).float().flatten(), targets)


def _augmented(images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return augment(scale(images), generator), targets
