"""Stenosis classification: the grid of folds, categories and redundancy training, one task a cell.

One training yields both arms: predictions of every epoch are kept, on inner patients and on the outer fold; the arms
differ in which of the two picks the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from cag.anatomy import severity_category
from cag.chapters.classification.samples import classification_samples
from cag.chapters.classification.settings import STUDY, CellSettings, ClassificationSettings, LabelRule, grid, variants
from cag.chapters.store import RunFolder, Store, run_task, run_tasks
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.data.splits import ARMS, patient_parts
from cag.networks.backbones import build_trunk, seeded
from cag.networks.classifier import StenosisClassifier, balanced_order
from cag.networks.training import Batches, fit, predict
from cag.networks.transforms import augment, scale
from cag.networks.trunk import Trunk
from cag.settings import InputError, LabelError, Weights

KIND = "classification"


def run_grid(cohort: Cohort, settings: ClassificationSettings, store: Store) -> pd.DataFrame:
    """Train what is not stored yet; publish ``classification``, a row a frame, cell and arm (``select_epochs``)."""
    return store.publish(KIND, _trained(cohort, settings, store))


def run_variants(cohort: Cohort, settings: ClassificationSettings, store: Store) -> tuple[pd.DataFrame, dict[str, str]]:
    """Train what ``variants`` names and publish ``classification_variants``: as ``run_grid``, with ``variant``.

    With it come the variants whose weights or labels cannot be had, each with the reason.
    """
    ways, refused = variants(settings), {}
    tables = [_trained(cohort, ways.pop(STUDY), store).assign(variant=STUDY)]
    for name, own in ways.items():
        try:
            tables.append(_trained(cohort, own, store).assign(variant=name))
        except InputError as error:
            refused[name] = str(error)
    return store.publish("classification_variants", pd.concat(tables, ignore_index=True)), refused


def _trained(cohort: Cohort, settings: ClassificationSettings, store: Store) -> pd.DataFrame:
    folders = run_tasks(KIND, train_cell, grid(settings), cohort, store)
    return pd.concat([select_epochs(folder.load_table("predictions")) for folder in folders], ignore_index=True)


def train_cell(cohort: Cohort, cell: CellSettings, folder: RunFolder) -> None:
    """Train one classifier; store its predictions of every epoch, history and weights. `LabelError` without frames."""
    samples, device = samples_of(cohort, frames_of(cell), cell.label_rule), folder.store.device
    parts = parts_of(cohort, cell, samples)
    learned = _dealt_anew(samples, parts, cell) if cell.label_rule == "permuted" else samples
    targets = targets_of(learned, cell.cut_points)
    train = torch.from_numpy(np.flatnonzero((parts == "train") & (cell.redundancy | ~samples["redundant"])))
    if not len(train):
        raise LabelError("no frame to train on", field=cell.model_view, remedy="Use fewer folds or more patients")
    is_scored = parts.isin(["inner", "outer"])
    scored = samples.assign(part=parts, target=targets)[is_scored]
    model, place, frozen = new_classifier(cell), frames_of(cell), cell.trainable == "head"
    # A frozen trunk is a feature computed once: its maps stand for the images, and there is nothing to augment.
    inputs = maps_of(cohort, place, start_of(cell), device) if frozen else images_of(cohort, place)
    network, prepare, read = (model.head, None, None) if frozen else (model, _augmented, scale)
    asked, records = inputs[torch.from_numpy(np.flatnonzero(is_scored))], []

    def on_epoch(epoch: int, network: torch.nn.Module) -> float:
        logits = predict(network, asked, device=device, prepare=read)
        records.append(epoch_rows(epoch, scored, logits.softmax(dim=1), cell))
        inner = records[-1].query("part == 'inner' and not redundant")
        return log_likelihood(inner) if len(inner) else float("nan")

    wanted = torch.tensor(targets.to_numpy())[train]
    order = partial(balanced_order, wanted, n_categories=cell.n_categories)
    batches = Batches((inputs[train], wanted), cell.fit.batch_size, order=order, prepare=prepare)
    generator = torch.Generator().manual_seed(seed_of(cell))
    run = partial(fit, network, batches, loss, cell.fit, generator=generator, device=device)
    history = run(on_epoch=on_epoch, progress=False)
    folder.save_table("predictions", pd.concat(records, ignore_index=True))
    folder.save_table("history", pd.DataFrame(history.rows))
    folder.save_weights("classifier", network.state_dict())


def loss(network: torch.nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Cross-entropy of the logits with the categories."""
    inputs, targets = batch
    return F.cross_entropy(network(inputs).float(), targets)


class Frames(NamedTuple):
    """Which frames of a cohort: their model view, labeled frames a run, pixels a side."""

    view: str
    per_run: int
    size: int


class Start(NamedTuple):
    """What decides the initial weights of a trunk; the seed does so for random ones only."""

    weights: Weights
    trunk: str
    backbone: str
    seed: int


def frames_of(cell: CellSettings) -> Frames:
    """The frames of a cell."""
    return Frames(cell.model_view, cell.frames_per_run, cell.image_size)


def start_of(cell: CellSettings) -> Start:
    """How the trunk of a cell starts."""
    return Start(cell.weights, cell.trunk, cell.backbone, cell.seed if cell.weights == "random" else 0)


@lru_cache(maxsize=32)
def samples_of(cohort: Cohort, frames: Frames, label_rule: LabelRule = "assigned") -> pd.DataFrame:
    """The frames, a row each; see ``classification_samples``."""
    samples = classification_samples(cohort, frames.per_run, "visible" if label_rule == "visible" else "assigned")
    return samples[samples["model_view"] == frames.view].reset_index(drop=True)


@lru_cache(maxsize=6)
def images_of(cohort: Cohort, frames: Frames) -> UInt8[Tensor, "n s s"]:
    """Grey levels of the frames, in the order of ``samples_of``."""
    return load_frames(cohort, samples_of(cohort, frames), frames.size)


@lru_cache(maxsize=4)
def frozen_trunk(start: Start) -> Trunk:
    """The trunk as it starts, one copy for all networks that keep it frozen."""
    return build_trunk(start.weights, start.seed, start.backbone).eval().requires_grad_(False)


@lru_cache(maxsize=6)
def maps_of(cohort: Cohort, frames: Frames, start: Start, device: str) -> Float[Tensor, "n c h w"]:
    """What the frozen trunk makes of the frames, in the order of ``samples_of``."""
    trunk, task = frozen_trunk(start), f"Maps of the frozen trunk, {frames.view}"
    return predict(trunk, images_of(cohort, frames), device=device, prepare=scale, progress=task)


def parts_of(cohort: Cohort, cell: CellSettings, samples: pd.DataFrame) -> pd.Series:
    """``outer``, ``inner`` or ``train`` for each frame; studies of low quality are scored, never trained on."""
    return patient_parts(cohort, samples["patient_id"], cell.fold, cell.folds, cell.seed)


def seed_of(cell: CellSettings) -> int:
    """A seed of its own for every cell, whatever the order in which they run; with permuted labels the same one."""
    rule = "assigned" if cell.label_rule == "permuted" else cell.label_rule
    return int(cell.model_copy(update={"label_rule": rule}).digest()[:8], 16)


def new_classifier(cell: CellSettings) -> StenosisClassifier:
    """An untrained classifier of a cell on its initial trunk, which is shared where it is frozen."""
    frozen = cell.trainable == "head"
    trunk = frozen_trunk(start_of(cell)) if frozen else build_trunk(cell.weights, cell.seed, cell.backbone)
    outputs = cell.n_categories + int(cell.redundancy)
    return seeded(lambda: StenosisClassifier(trunk, outputs, cell.head, cell.trainable), seed_of(cell))


def load_classifier(cell: CellSettings, state: Mapping[str, Tensor]) -> StenosisClassifier:
    """A classifier of a cell with stored weights (those of the head where the trunk is frozen), to be asked."""
    model = new_classifier(cell)
    (model.head if cell.trainable == "head" else model).load_state_dict(state)
    return model.eval()


def trained_classifier(cell: CellSettings, cohort: Cohort, store: Store) -> StenosisClassifier:
    """The classifier of a cell, trained here where it is not stored yet."""
    return load_classifier(cell, run_task(KIND, train_cell, cell, cohort, store).load_weights("classifier"))


def targets_of(samples: pd.DataFrame, cut_points: tuple[float, ...]) -> pd.Series:
    """Category of each frame; redundancy frames are the class after the last category."""
    categories = severity_category(samples["percent_stenosis"].to_numpy(), cut_points)
    return pd.Series(np.where(samples["redundant"], len(cut_points) + 1, categories), index=samples.index)


def epoch_rows(epoch: int, scored: pd.DataFrame, softmax: Float[Tensor, "n k"], cell: CellSettings) -> pd.DataFrame:
    """Predictions of one epoch, a row a frame of ``scored``; with redundancy training that class comes last."""
    k = cell.n_categories
    table = scored.assign(epoch=epoch, fold=cell.fold, n_categories=k, redundancy=cell.redundancy)
    said = softmax.double().numpy()
    table[[f"p_{category}" for category in range(k)]] = said[:, :k]
    return table.assign(p_redundant=said[:, k] if cell.redundancy else 0.0)


def log_likelihood(predictions: pd.DataFrame) -> float:
    """Mean log-probability of the true category: the score that picks an epoch, in either arm."""
    probabilities = predictions.filter(regex=r"^p_\d+$").to_numpy()
    chosen = probabilities[np.arange(len(predictions)), predictions["target"].to_numpy()]
    return float(np.log(np.clip(chosen, 1e-7, 1)).mean())


def select_epochs(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions of the epoch each arm picks.

    ``clean`` takes the epoch best on the inner patients and keeps both parts (thresholds and temperatures are chosen on
    the inner one); ``as_published`` takes the epoch best on the outer fold it is then scored on.
    """
    tables = []
    labeled = predictions[~predictions["redundant"]]
    for arm, part in zip(ARMS, ("inner", "outer"), strict=True):
        scores = labeled[labeled["part"] == part].groupby("epoch")[list(predictions)].apply(log_likelihood)
        best = scores.idxmax() if len(scores) else predictions["epoch"].max()
        tables.append(predictions[predictions["epoch"] == best].assign(arm=arm))
    chosen = pd.concat(tables, ignore_index=True)
    return chosen[(chosen["part"] == "outer") | (chosen["arm"] == "clean")].reset_index(drop=True)


def _dealt_anew(samples: pd.DataFrame, parts: pd.Series, cell: CellSettings) -> pd.DataFrame:
    """Samples whose runs outside the outer fold carry one another's labels."""
    severity = samples[parts.ne("outer")].groupby("run_id")["percent_stenosis"].max()
    shuffled = np.random.default_rng(seed_of(cell)).permutation(severity.to_numpy())
    dealt = samples["run_id"].map(dict(zip(severity.index, shuffled, strict=True)))
    return samples.assign(percent_stenosis=dealt.where(parts.ne("outer"), samples["percent_stenosis"]))


def _augmented(images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return augment(scale(images), generator), targets
