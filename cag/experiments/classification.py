"""Stenosis classification: the grid of folds, categories and redundancy training, one task a cell.

One training yields both arms: predictions of every epoch are kept, on an inner patient-level
validation part and on the outer fold; the arms differ in which of the two picks the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from typing import Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from cag.anatomy import MODEL_VIEWS, THREE_CATEGORIES, TWO_CATEGORIES, severity_category
from cag.cohort import Cohort
from cag.engine import Batches, FitSettings, fit, predict
from cag.errors import LabelError
from cag.experiments.classification_samples import LabelRule, artery_severity, classification_samples
from cag.experiments.stages import record_stage
from cag.models.inception import build_trunk
from cag.models.stenosis_classifier import StenosisClassifier, balanced_order
from cag.models.trunk import Trunk
from cag.settings import Settings, StudySettings, Weights
from cag.splits import inner_split, patient_folds
from cag.store import RunFolder, Store
from cag.tasks import Task, run_tasks
from cag.transforms import augment, load_frames, scale

ARMS = ("clean", "as_published")


class ClassificationSettings(StudySettings):
    """What notebooks 03 to 05 are told.

    Attributes
    ----------
    image_size : int
        Height and width the networks see, pixels.
    cut_points : sequence of sequences of float
        Lowest percent stenosis of each category but the first, for every category system compared.
    redundancy : sequence of bool
        Train without and with redundancy frames.
    model_views : sequence of str
        The classifiers: one a view of the LCA, one for the RCA.
    folds : int
        Patient folds of the cross-validation.
    frames_per_run : int
        Labeled frames taken from each contrast interval.
    label_rule : {'assigned', 'visible'}
        See ``classification_samples``.
    trainable : {'all', 'head'}
        ``all`` as published; ``head`` keeps the trunk frozen and trains on its maps, computed once.
    """

    image_size: int = Field(default=192, ge=96, le=1024)
    cut_points: tuple[tuple[float, ...], ...] = (TWO_CATEGORIES, THREE_CATEGORIES)
    redundancy: tuple[bool, ...] = (False, True)
    model_views: tuple[str, ...] = MODEL_VIEWS
    folds: int = Field(default=3, ge=2, le=20)
    frames_per_run: int = Field(default=5, ge=1, le=50)
    label_rule: LabelRule = "assigned"
    trainable: Literal["all", "head"] = "head"
    head: Literal["published", "plain"] = "published"
    backbone: str = "inception_v3"
    epochs: int = Field(default=6, ge=1)
    patience: int = Field(default=6, ge=1)
    batch_size: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0)


class CellSettings(Settings):
    """All that one cell of the grid depends on besides the cohort."""

    cut_points: tuple[float, ...]
    redundancy: bool
    model_view: str
    fold: int
    folds: int
    image_size: int
    frames_per_run: int
    label_rule: LabelRule
    trainable: Literal["all", "head"]
    head: Literal["published", "plain"]
    backbone: str
    weights: Weights
    seed: int
    fit: FitSettings


def grid(settings: ClassificationSettings) -> list[CellSettings]:
    """Every cell of the experiment, the most valuable first: 2-CAT with redundancy leads."""
    shared = settings.model_dump(include=set(CellSettings.model_fields) - {"cut_points", "redundancy", "fit"})
    training = FitSettings.checked(settings.model_dump(include=set(FitSettings.model_fields)))
    systems = sorted(product(settings.cut_points, settings.redundancy), key=lambda cell: (len(cell[0]), not cell[1]))
    return [
        CellSettings(**shared, cut_points=cuts, redundancy=redundant, model_view=view, fold=fold, fit=training)
        for (cuts, redundant), fold, view in product(systems, range(settings.folds), settings.model_views)
    ]


@dataclass(frozen=True)
class Material:
    """Frames of the experiment, held in memory and shared by the cells of one process."""

    cohort: Cohort
    cell: CellSettings
    device: str

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The frames, a row each; see ``classification_samples``."""
        return classification_samples(self.cohort, self.cell.frames_per_run, self.cell.label_rule)

    @cached_property
    def images(self) -> UInt8[Tensor, "n s s"]:
        """Grey levels of the frames."""
        return load_frames(self.cohort, self.samples, self.cell.image_size)

    @cached_property
    def trunk(self) -> Trunk:
        """The trunk as it starts; frozen, it serves every cell."""
        return build_trunk(self.cell.weights, self.cell.seed, self.cell.backbone)

    @cached_property
    def maps(self) -> Float[Tensor, "n c h w"]:
        """What the frozen trunk makes of the frames."""
        return predict(
            self.trunk,
            self.images,
            device=self.device,
            prepare=scale,
            progress=True,
            description="Maps of the frozen trunk",
        )

    @cached_property
    def severity(self) -> dict[str, int]:
        """Severity stratum of each patient; see ``patient_severity``."""
        return patient_severity(self.cohort)

    @cached_property
    def folds(self) -> pd.DataFrame:
        """Fold of each patient: the same in every view, category system and stage."""
        return patient_folds(self.severity, self.cell.folds, self.cell.seed)


def patient_severity(cohort: Cohort) -> dict[str, int]:
    """Category of each patient's worst segment (none, stenosis, occlusion): what the folds are stratified by."""
    worst = artery_severity(cohort).groupby("patient_id")["percent_stenosis"].max()
    categories = severity_category(worst.to_numpy(), THREE_CATEGORIES)
    return dict(zip(worst.index, categories.tolist(), strict=True))


def run_grid(cohort: Cohort, settings: ClassificationSettings, store: Store) -> pd.DataFrame:
    """Train what is not stored yet and publish the table ``classification``.

    Returns
    -------
    DataFrame
        A row for each frame, cell and arm; see ``select_epochs``.
    """
    cells = grid(settings)
    material = Material(cohort, cells[0], settings.device)
    work = partial(train_cell, material=material)
    folders = run_tasks([Task("classification", cell, work) for cell in cells], cohort, store)
    record_stage(store, "classification", settings, cohort)
    tables = [select_epochs(folder.load_table("predictions")) for folder in folders]
    return store.publish("classification", pd.concat(tables, ignore_index=True))


def train_cell(cohort: Cohort, cell: CellSettings, folder: RunFolder, *, material: Material) -> None:
    """Train one classifier and store its predictions of every epoch and its weights.

    Raises
    ------
    LabelError
        If no frame of this view is left to train on.
    """
    samples = material.samples[material.samples["model_view"] == cell.model_view]
    parts = _parts(samples, cell, material)
    train = samples[(parts == "train") & (cell.redundancy | ~samples["redundant"])]
    if train.empty:
        raise LabelError("no frame to train on", field=cell.model_view, remedy="Use fewer folds or more patients")
    scored = samples[parts.isin(["inner", "outer"])]
    targets = targets_of(samples, cell.cut_points)
    generator = torch.Generator().manual_seed(_cell_seed(cell))
    model = new_classifier(cell, material.trunk if cell.trainable == "head" else None)
    network = model.head if cell.trainable == "head" else model
    inputs = material.maps if cell.trainable == "head" else material.images
    records: list[pd.DataFrame] = []

    def on_epoch(epoch: int, network: torch.nn.Module) -> float:
        rows = torch.as_tensor(scored.index.to_numpy(copy=True))
        prepare = None if cell.trainable == "head" else scale
        logits = predict(network, inputs[rows], device=material.device, prepare=prepare)
        records.append(_record(epoch, scored, parts, targets, logits.softmax(dim=1), cell))
        inner = records[-1].query("part == 'inner' and not redundant")
        return log_likelihood(inner) if len(inner) else float("nan")

    wanted = torch.as_tensor(targets[train.index].to_numpy(copy=True))
    rows = torch.as_tensor(train.index.to_numpy(copy=True))
    order = partial(balanced_order, wanted, n_categories=len(cell.cut_points) + 1)
    prepare = None if cell.trainable == "head" else _augmented
    batches = Batches((inputs[rows], wanted), cell.fit.batch_size, order=order, prepare=prepare)
    history = fit(
        network,
        batches,
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
    outputs = len(cell.cut_points) + 1 + int(cell.redundancy)
    trunk = trunk or build_trunk(cell.weights, cell.seed, cell.backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_cell_seed(cell))
        return StenosisClassifier(trunk, outputs, head=cell.head, trainable=cell.trainable)


def load_classifier(store: Store, cohort_digest: str, cell: CellSettings) -> StenosisClassifier:
    """The trained classifier of a cell, in evaluation mode on the CPU.

    Raises
    ------
    InputError
        If that cell was not trained yet.
    """
    folder = store.folder("classification", cell, cohort_digest)
    model = new_classifier(cell)
    (model.head if cell.trainable == "head" else model).load_state_dict(folder.load_weights("classifier"))
    return model.eval()


def targets_of(samples: pd.DataFrame, cut_points: tuple[float, ...]) -> pd.Series:
    """Category of each frame; redundancy frames are the class after the last category."""
    categories = severity_category(samples["percent_stenosis"].to_numpy(), cut_points)
    return pd.Series(np.where(samples["redundant"], len(cut_points) + 1, categories), index=samples.index)


def log_likelihood(predictions: pd.DataFrame) -> float:
    """Mean log-probability of the true category: the score that picks an epoch, in either arm."""
    probabilities = predictions.filter(regex=r"^p_\d+$").to_numpy()
    chosen = probabilities[np.arange(len(predictions)), predictions["target"].to_numpy()]
    return float(np.log(np.clip(chosen, 1e-7, 1)).mean())


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


def _parts(samples: pd.DataFrame, cell: CellSettings, material: Material) -> pd.Series:
    """``outer``, ``inner`` or ``train`` for each frame; studies of low quality are scored, never trained on."""
    split = inner_split(material.folds, material.severity, cell.fold, seed=cell.seed).set_index("patient_id")["part"]
    people = material.cohort.patients.set_index("patient_id")
    low_quality = people.get("low_quality", pd.Series(dtype=float)).fillna(0).astype(bool)
    poor = samples["patient_id"].isin(low_quality.index[low_quality])
    parts = samples["patient_id"].map(split)
    return parts.mask(poor & parts.ne("outer"), "left out")


def _record(
    epoch: int, scored: pd.DataFrame, parts: pd.Series, targets: pd.Series, probabilities: Tensor, cell: CellSettings
) -> pd.DataFrame:
    n_categories = len(cell.cut_points) + 1
    table = scored.assign(
        part=parts[scored.index], target=targets[scored.index], epoch=epoch, fold=cell.fold, n_categories=n_categories
    )
    table["redundancy"] = cell.redundancy
    for category in range(n_categories):
        table[f"p_{category}"] = probabilities[:, category].double().numpy()
    table["p_redundant"] = probabilities[:, n_categories].double().numpy() if cell.redundancy else 0.0
    return table


def _augmented(images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return augment(scale(images), generator), targets


def _loss(network: torch.nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    inputs, targets = batch
    return F.cross_entropy(network(inputs).float(), targets)


def _cell_seed(cell: CellSettings) -> int:
    """A seed of its own for every cell, whatever the order in which they run."""
    return int(cell.digest()[:8], 16)
