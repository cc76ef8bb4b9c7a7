"""Stenosis classification: the grid of folds, categories and redundancy training, one task a cell.

One training yields both arms: predictions of every epoch are kept, on an inner patient-level
validation part and on the outer fold; the arms differ in which of the two picks the epoch.
"""

from __future__ import annotations

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
from cag.chapters.classification.settings import CellSettings, ClassificationSettings, grid, trunk_digest
from cag.chapters.store import RunFolder, Store, run_task, run_tasks, task_folder
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.data.severity import low_quality, patient_severity
from cag.data.splits import inner_split, patient_folds
from cag.networks.backbones import build_trunk
from cag.networks.classifier import StenosisClassifier, balanced_order
from cag.networks.training import Batches, fit, predict
from cag.networks.transforms import augment, scale
from cag.networks.trunk import Trunk
from cag.settings import InputError, LabelError, Weights

KIND = "classification"
ARMS = ("clean", "as_published")


def run_grid(cohort: Cohort, settings: ClassificationSettings, store: Store) -> pd.DataFrame:
    """Train what is not stored yet and publish the table ``classification``.

    Returns
    -------
    DataFrame
        A row for each frame, cell and arm; see ``select_epochs``.
    """
    folders = run_tasks(KIND, train_cell, grid(settings), cohort, store)
    return store.publish(KIND, chosen_epochs(folders))


def train_cell(cohort: Cohort, cell: CellSettings, folder: RunFolder) -> None:
    """Train one classifier and store its predictions of every epoch, its history and its weights.

    Raises
    ------
    LabelError
        If no frame of this view is left to train on.
    """
    train_on(cohort, cell, folder, frames_of(cell))


def train_on(cohort: Cohort, cell: CellSettings, folder: RunFolder, frames: Frames, *, permuted: bool = False) -> None:
    """``train_cell`` on frames that share their maps, with the runs' labels dealt anew where ``permuted``.

    The labels are dealt among the runs of the view before training and choosing the epoch; the outer fold keeps
    its own. What is then found there is chance.
    """
    samples = samples_of(cohort, frames, cell.label_rule)
    samples = samples[samples["model_view"] == cell.model_view]
    parts = parts_of(cohort, cell, samples)
    generator = torch.Generator().manual_seed(_cell_seed(cell))
    labels = _dealt_anew(samples, parts, np.random.default_rng(_cell_seed(cell))) if permuted else samples
    targets = targets_of(labels, cell.cut_points)
    train = samples[(parts == "train") & (cell.redundancy | ~samples["redundant"])]
    if train.empty:
        raise LabelError("no frame to train on", field=cell.model_view, remedy="Use fewer folds or more patients")
    scored = samples.assign(part=parts, target=targets)[parts.isin(["inner", "outer"])]
    model, device = new_classifier(cell), folder.store.device
    # A frozen trunk is a feature computed once: its maps stand for the images, and there is nothing to augment.
    if cell.trainable == "head":
        network, inputs, prepare, read = model.head, maps_of(cohort, frames, start_of(cell), device), None, None
    else:
        network, inputs, prepare, read = model, images_of(cohort, frames), _augmented, scale
    records: list[pd.DataFrame] = []

    def on_epoch(epoch: int, network: torch.nn.Module) -> float:
        logits = predict(network, inputs[_places(scored)], device=device, prepare=read)
        records.append(epoch_rows(epoch, scored, logits.softmax(dim=1), cell))
        inner = records[-1].query("part == 'inner' and not redundant")
        return log_likelihood(inner) if len(inner) else float("nan")

    wanted = torch.as_tensor(targets[train.index].to_numpy(copy=True))
    order = partial(balanced_order, wanted, n_categories=cell.n_categories)
    batches = Batches((inputs[_places(train)], wanted), cell.fit.batch_size, order=order, prepare=prepare)
    history = fit(
        network, batches, loss, cell.fit, generator=generator, device=device, on_epoch=on_epoch, progress=False
    )
    folder.save_table("predictions", pd.concat(records, ignore_index=True))
    folder.save_table("history", pd.DataFrame(history.rows))
    folder.save_weights("classifier", network.state_dict())


def loss(network: torch.nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Cross-entropy of the logits with the categories."""
    inputs, targets = batch
    return F.cross_entropy(network(inputs).float(), targets)


class Frames(NamedTuple):
    """Which frames of a cohort: labeled frames a run, pixels a side, and model views (all where there are none)."""

    per_run: int
    size: int
    views: tuple[str, ...] = ()


class Start(NamedTuple):
    """What decides the initial weights of a trunk; the seed does so for random ones only."""

    weights: Weights
    trunk: str
    backbone: str
    seed: int


def frames_of(cell: CellSettings) -> Frames:
    """The frames whose maps the cells of a grid share: those of every view."""
    return Frames(cell.frames_per_run, cell.image_size)


def start_of(cell: CellSettings) -> Start:
    """How the trunk of a cell starts."""
    return Start(cell.weights, cell.trunk, cell.backbone, cell.seed if cell.weights == "random" else 0)


@lru_cache(maxsize=4)
def samples_of(cohort: Cohort, frames: Frames, label_rule: str = "assigned") -> pd.DataFrame:
    """The frames, a row each; see ``classification_samples``."""
    samples = classification_samples(cohort, frames.per_run, label_rule)  # type: ignore[arg-type]
    return samples[samples["model_view"].isin(frames.views)].reset_index(drop=True) if frames.views else samples


@lru_cache(maxsize=2)
def images_of(cohort: Cohort, frames: Frames) -> UInt8[Tensor, "n s s"]:
    """Grey levels of the frames, in the order of ``samples_of``."""
    if frames.views:
        every = samples_of(cohort, frames._replace(views=()))
        return images_of(cohort, frames._replace(views=()))[_places(every[every["model_view"].isin(frames.views)])]
    return load_frames(cohort, samples_of(cohort, frames), frames.size)


@lru_cache(maxsize=4)
def frozen_trunk(start: Start) -> Trunk:
    """The trunk as it starts, one copy for all networks that keep it frozen.

    Raises
    ------
    InputError
        If its weights cannot be had.
    """
    return build_trunk(start.weights, start.seed, start.backbone).eval().requires_grad_(False)


@lru_cache(maxsize=3)
def maps_of(cohort: Cohort, frames: Frames, start: Start, device: str) -> Float[Tensor, "n c h w"]:
    """What the frozen trunk makes of the frames, in the order of ``samples_of``."""
    trunk, task = frozen_trunk(start), "Maps of the frozen trunk"
    return predict(trunk, images_of(cohort, frames), device=device, prepare=scale, progress=task)


def parts_of(cohort: Cohort, cell: CellSettings, samples: pd.DataFrame) -> pd.Series:
    """``outer``, ``inner`` or ``train`` for each frame; studies of low quality are scored, never trained on."""
    severity = patient_severity(cohort)
    folds = patient_folds(severity, cell.folds, cell.seed)
    split = inner_split(folds, severity, cell.fold, seed=cell.seed).set_index("patient_id")["part"]
    parts = samples["patient_id"].map(split)
    return parts.mask(samples["patient_id"].isin(low_quality(cohort)) & parts.ne("outer"), "left out")


def new_classifier(cell: CellSettings, trunk: Trunk | None = None) -> StenosisClassifier:
    """An untrained classifier of a cell on its initial trunk, which is shared where it is frozen, or on another."""
    if trunk is None:
        frozen = cell.trainable == "head"
        trunk = frozen_trunk(start_of(cell)) if frozen else build_trunk(cell.weights, cell.seed, cell.backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_cell_seed(cell))
        outputs = cell.n_categories + int(cell.redundancy)
        return StenosisClassifier(trunk, outputs, head=cell.head, trainable=cell.trainable)


def cell_folder(cell: CellSettings, cohort: Cohort, store: Store) -> RunFolder:
    """The folder of a cell, whether it was trained or not."""
    return task_folder(KIND, train_cell, cell, cohort, store)


def trained_classifier(cell: CellSettings, cohort: Cohort, store: Store) -> StenosisClassifier:
    """The classifier of a cell, in evaluation mode on the CPU; trained here where it is not stored yet."""
    return load_classifier(cell, run_task(KIND, train_cell, cell, cohort, store))


def load_classifier(cell: CellSettings, folder: RunFolder) -> StenosisClassifier:
    """The classifier of a cell from its folder, in evaluation mode on the CPU.

    Raises
    ------
    InputError
        If that cell was not trained yet, or on a trunk that is there no more.
    """
    if cell.trainable == "head" and cell.trunk != trunk_digest(cell.weights, cell.backbone):
        remedy = "Execute notebook 03 with this profile again"
        raise InputError("this classifier was trained on other xa weights", field="weights", remedy=remedy)
    state, model = folder.load_weights("classifier"), new_classifier(cell)
    (model.head if cell.trainable == "head" else model).load_state_dict(state)
    return model.cpu().eval()


def targets_of(samples: pd.DataFrame, cut_points: tuple[float, ...]) -> pd.Series:
    """Category of each frame; redundancy frames are the class after the last category."""
    categories = severity_category(samples["percent_stenosis"].to_numpy(), cut_points)
    return pd.Series(np.where(samples["redundant"], len(cut_points) + 1, categories), index=samples.index)


def epoch_rows(epoch: int, scored: pd.DataFrame, probabilities: Tensor, cell: CellSettings) -> pd.DataFrame:
    """Predictions of one epoch, a row a frame.

    Parameters
    ----------
    scored : DataFrame
        Frames with their ``part`` and ``target``.
    probabilities : Tensor [n, k or k + 1]
        Softmax outputs; the last of k + 1 is the redundancy class.
    """
    k = cell.n_categories
    table = scored.assign(epoch=epoch, fold=cell.fold, n_categories=k, redundancy=cell.redundancy)
    for category in range(k):
        table[f"p_{category}"] = probabilities[:, category].double().numpy()
    table["p_redundant"] = probabilities[:, k].double().numpy() if cell.redundancy else 0.0
    return table


def log_likelihood(predictions: pd.DataFrame) -> float:
    """Mean log-probability of the true category: the score that picks an epoch, in either arm."""
    probabilities = predictions.filter(regex=r"^p_\d+$").to_numpy()
    chosen = probabilities[np.arange(len(predictions)), predictions["target"].to_numpy()]
    return float(np.log(np.clip(chosen, 1e-7, 1)).mean())


def chosen_epochs(folders: list[RunFolder]) -> pd.DataFrame:
    """``select_epochs`` of every cell."""
    return pd.concat([select_epochs(folder.load_table("predictions")) for folder in folders], ignore_index=True)


def select_epochs(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions of the epoch each arm picks.

    ``clean`` takes the epoch best on the inner patients and keeps both parts (thresholds and
    temperatures are chosen on the inner one); ``as_published`` takes the epoch best on the
    outer fold it is then scored on.
    """
    tables = []
    labeled = predictions[~predictions["redundant"]]
    for arm, part in zip(ARMS, ("inner", "outer"), strict=True):
        scores = labeled[labeled["part"] == part].groupby("epoch")[list(predictions)].apply(log_likelihood)
        best = scores.idxmax() if len(scores) else predictions["epoch"].max()
        tables.append(predictions[predictions["epoch"] == best].assign(arm=arm))
    chosen = pd.concat(tables, ignore_index=True)
    return chosen[(chosen["part"] == "outer") | (chosen["arm"] == "clean")].reset_index(drop=True)


def _places(samples: pd.DataFrame) -> Tensor:
    return torch.as_tensor(samples.index.to_numpy(copy=True))


def _dealt_anew(samples: pd.DataFrame, parts: pd.Series, rng: np.random.Generator) -> pd.DataFrame:
    """Samples whose runs outside the outer fold carry one another's labels."""
    own = samples[parts.ne("outer")]
    severity = own.groupby("run_id")["percent_stenosis"].max()
    dealt = pd.Series(rng.permutation(severity.to_numpy()), index=severity.index)
    labels = samples["run_id"].map(dealt).where(parts.ne("outer"), samples["percent_stenosis"])
    return samples.assign(percent_stenosis=labels)


def _augmented(images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return augment(scale(images), generator), targets


def _cell_seed(cell: CellSettings) -> int:
    """A seed of its own for every cell, whatever the order in which they run."""
    return int(cell.digest()[:8], 16)
