"""Stenosis classification: the grid of folds, categories and redundancy training, one task a cell.

One training yields both arms: predictions of every epoch are kept, on an inner patient-level
validation part and on the outer fold; the arms differ in which of the two picks the epoch.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from cag.chapters.classification.epochs import epoch_rows, log_likelihood, select_epochs, targets_of
from cag.chapters.classification.material import Material
from cag.chapters.classification.settings import CellSettings, ClassificationSettings, grid, trunk_digest
from cag.chapters.stages import record_stage
from cag.chapters.store import RunFolder, Store
from cag.chapters.tasks import Task, run_tasks
from cag.data.cohort import Cohort
from cag.networks.classifier import StenosisClassifier, balanced_order
from cag.networks.inception import build_trunk
from cag.networks.training import Batches, fit, predict
from cag.networks.transforms import augment, scale
from cag.networks.trunk import Trunk
from cag.settings import InputError, LabelError


def run_grid(
    cohort: Cohort, settings: ClassificationSettings, store: Store, material: Material | None = None
) -> pd.DataFrame:
    """Train what is not stored yet and publish the table ``classification``.

    Parameters
    ----------
    material : Material, optional
        Frames that other trainings of this process use too.

    Returns
    -------
    DataFrame
        A row for each frame, cell and arm; see ``select_epochs``.
    """
    cells = grid(settings)
    work = partial(train_cell, material=material or Material(cohort, cells[0], settings.device))
    folders = run_tasks([Task("classification", cell, work) for cell in cells], cohort, store)
    record_stage(store, "classification", settings, cohort)
    tables = [select_epochs(folder.load_table("predictions")) for folder in folders]
    return store.publish("classification", pd.concat(tables, ignore_index=True))


def train_cell(
    cohort: Cohort, cell: CellSettings, folder: RunFolder, *, material: Material, permuted: bool = False
) -> None:
    """Train one classifier and store its predictions of every epoch and its weights.

    Parameters
    ----------
    permuted : bool
        Deal the runs' labels anew among the runs of the view before training and choosing the epoch;
        the outer fold keeps its own. What is then found there is chance.

    Raises
    ------
    LabelError
        If no frame of this view is left to train on.
    """
    samples = material.samples[material.samples["model_view"] == cell.model_view]
    parts = material.parts(samples, cell.fold)
    generator = torch.Generator().manual_seed(_cell_seed(cell))
    labels = _dealt_anew(samples, parts, np.random.default_rng(_cell_seed(cell))) if permuted else samples
    targets = targets_of(labels, cell.cut_points)
    train = samples[(parts == "train") & (cell.redundancy | ~samples["redundant"])]
    if train.empty:
        raise LabelError("no frame to train on", field=cell.model_view, remedy="Use fewer folds or more patients")
    scored = samples.assign(part=parts, target=targets)[parts.isin(["inner", "outer"])]
    frozen = cell.trainable == "head"
    model = new_classifier(cell, material.trunk if frozen else None)
    inputs = material.maps if frozen else material.images
    records: list[pd.DataFrame] = []

    def on_epoch(epoch: int, network: torch.nn.Module) -> float:
        rows = torch.as_tensor(scored.index.to_numpy(copy=True))
        logits = predict(network, inputs[rows], device=material.device, prepare=None if frozen else scale)
        records.append(epoch_rows(epoch, scored, logits.softmax(dim=1), cell))
        inner = records[-1].query("part == 'inner' and not redundant")
        return log_likelihood(inner) if len(inner) else float("nan")

    wanted = torch.as_tensor(targets[train.index].to_numpy(copy=True))
    rows = torch.as_tensor(train.index.to_numpy(copy=True))
    order = partial(balanced_order, wanted, n_categories=cell.n_categories)
    prepare = None if frozen else _augmented
    network = model.head if frozen else model
    history = fit(
        network,
        Batches((inputs[rows], wanted), cell.fit.batch_size, order=order, prepare=prepare),
        _loss,
        cell.fit,
        generator=generator,
        device=material.device,
        on_epoch=on_epoch,
        progress=False,
    )
    folder.save_table("predictions", pd.concat(records, ignore_index=True))
    folder.save_table("history", pd.DataFrame(history.rows))
    folder.save_weights("classifier", network.state_dict())


def new_classifier(cell: CellSettings, trunk: Trunk | None = None) -> StenosisClassifier:
    """An untrained classifier of a cell on its initial trunk, or on one that is at hand already."""
    outputs = cell.n_categories + int(cell.redundancy)
    trunk = trunk or build_trunk(cell.weights, cell.seed, cell.backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_cell_seed(cell))
        return StenosisClassifier(trunk, outputs, head=cell.head, trainable=cell.trainable)


def load_classifier(
    store: Store, cohort_digest: str, cell: CellSettings, trunk: Trunk | None = None
) -> StenosisClassifier:
    """The trained classifier of a cell, in evaluation mode on the CPU.

    Parameters
    ----------
    trunk : Trunk, optional
        The frozen trunk of the cell, where it is at hand already.

    Raises
    ------
    InputError
        If that cell was not trained yet, or on a trunk that is there no more.
    """
    frozen = cell.trainable == "head"
    if frozen and cell.trunk != trunk_digest(cell.weights):
        remedy = "Execute notebook 03 with this profile again"
        raise InputError("this classifier was trained on other xa weights", field="weights", remedy=remedy)
    state = store.folder("classification", cell, cohort_digest).load_weights("classifier")
    model = new_classifier(cell, trunk if frozen else None)
    (model.head if frozen else model).load_state_dict(state)
    return model.eval()


def _dealt_anew(samples: pd.DataFrame, parts: pd.Series, rng: np.random.Generator) -> pd.DataFrame:
    """Samples whose runs outside the outer fold carry one another's labels."""
    own = samples[parts.ne("outer")]
    severity = own.groupby("run_id")["percent_stenosis"].max()
    dealt = pd.Series(rng.permutation(severity.to_numpy()), index=severity.index)
    labels = samples["run_id"].map(dealt).where(parts.ne("outer"), samples["percent_stenosis"])
    return samples.assign(percent_stenosis=labels)


def _augmented(images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return augment(scale(images), generator), targets


def _loss(network: torch.nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    inputs, targets = batch
    return F.cross_entropy(network(inputs).float(), targets)


def _cell_seed(cell: CellSettings) -> int:
    """A seed of its own for every cell, whatever the order in which they run."""
    return int(cell.digest()[:8], 16)
