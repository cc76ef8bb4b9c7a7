"""The reference detector: how hard simulated frames are, and whether learning on them helps on real ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.metrics.center_hits import CenterHits, center_hits
from cag.networks.backbones import build_trunk
from cag.networks.dense import lesion_cells
from cag.networks.training import Batch, Batches, FitSettings, fit
from cag.networks.transforms import PUBLISHED_AUGMENTATION, AugmentSettings, augment_with_boxes, scale
from cag.settings import LabelError, Settings
from cag.simulator.population import MAX_BOXES, PopulationSettings, render_population
from cag.simulator.pretraining import (
    PretrainingNetwork,
    lesion_peaks,
    measure,
    population_batches,
    pretraining_loss,
    recall_by_severity,
)
from cag.simulator.tables import simulator_digest

#: Weight of lesion cells in the loss on real frames, and by how many pixels their boxes are widened.
POSITIVE_WEIGHT, MARGIN = 10.0, 2.0


class ReferenceSettings(Settings):
    """How difficulty and transfer are measured (book/study/methods, "The simulator")."""

    #: About 2,000 frames of contrast.
    population: PopulationSettings = PopulationSettings(
        patients=240, seed=31_000, runs_per_patient=3, contrast_frames=3, background_frames=0
    )
    backbone: str = "resnet18"
    simulated_epochs: int = Field(default=8, ge=1)
    real_epochs: int = Field(default=8, ge=1)
    #: Peak of the one-cycle schedule from random weights, and from weights learned on simulated frames.
    learning_rate: float = Field(default=2e-3, gt=0)
    tuning_rate: float = Field(default=1e-3, gt=0)
    batch_size: int = Field(default=16, ge=2)
    validation_share: float = Field(default=0.2, gt=0, lt=1)  # Patients whom difficulty is measured on
    augmentation: AugmentSettings = PUBLISHED_AUGMENTATION
    seed: int = 0

    def fit(self, epochs: int, rate: float) -> FitSettings:
        """One-cycle training as the protocol has it."""
        return FitSettings(
            epochs=epochs, batch_size=self.batch_size, learning_rate=rate, weight_decay=0.01, schedule="one_cycle"
        )


@dataclass(frozen=True)
class RealFrames:
    """Frames with boxes in pixels, NaN where there are fewer than the most."""

    frames: UInt8[Tensor, "n s s"]
    boxes: Float[Tensor, "n k 4"]


def difficulty(settings: ReferenceSettings, cache: Path) -> tuple[PretrainingNetwork, dict[str, float]]:
    """Train the reference detector on simulated frames and measure it on patients it has not seen.

    Returns
    -------
    PretrainingNetwork
    dict
        ``recall_at_1`` (lesions found with one false peak a frame), ``patient_auc`` and what else
        ``cag.simulator.pretraining.measure`` tells.
    """
    population = render_population(settings.population, cache)
    train, held = population.split(settings.validation_share, settings.seed)
    network = new_network(settings)
    plan = settings.fit(settings.simulated_epochs, settings.learning_rate)
    generator = torch.Generator().manual_seed(settings.seed)
    batches = population_batches(train, settings.batch_size, settings.augmentation)
    kept = _checkpoint(settings, cache, "simulated")
    fit(network, batches, pretraining_loss, plan, generator=generator, checkpoint=kept, description="Simulated frames")
    found = recall_by_severity(network, held, plan)
    by_severity = {f"recall, {name} %": value for name, value in found.items() if name != "all"}
    return network, {"recall_at_1": found["all"]} | by_severity | measure(network, held, plan)


def prior_hits(train: RealFrames, held: RealFrames) -> CenterHits:
    """Center hits of the place where the training frames have their boxes: what needs no picture at all."""
    size = train.frames.shape[-1]
    usual = lesion_cells(train.boxes, size, size // 8, MARGIN).mean(dim=0).numpy()
    return center_hits(np.broadcast_to(usual, (len(held.frames), *usual.shape)), held.boxes.numpy(), size)


def tune(
    network: PretrainingNetwork, real: RealFrames, settings: ReferenceSettings, plan: FitSettings, kept: Path
) -> None:
    """Train a network in place on real frames' boxes."""

    def prepare(frames: Tensor, boxes: Tensor, generator: torch.Generator) -> Batch:
        return augment_with_boxes(scale(frames), boxes, generator, settings.augmentation)

    batches = Batches((real.frames, real.boxes), settings.batch_size, prepare=prepare)
    generator = torch.Generator().manual_seed(settings.seed)
    fit(network, batches, _box_loss, plan, generator=generator, checkpoint=kept, description="Real frames")


def _checkpoint(settings: ReferenceSettings, cache: Path, name: str) -> Path:
    """Where a training goes on after it was stopped; another simulator is another training."""
    return cache / f"{name}-{settings.digest()}-{simulator_digest()}.pt"


def _box_loss(network: nn.Module, batch: Batch) -> Tensor:
    images, boxes = batch
    size = images.shape[-1]
    logits = network(images)[0].fine[:, 1]
    weight = torch.tensor(POSITIVE_WEIGHT, device=logits.device)
    return binary_cross_entropy_with_logits(logits, lesion_cells(boxes, size, size // 8, MARGIN), pos_weight=weight)


def transfer(
    network: PretrainingNetwork, train: RealFrames, held: RealFrames, settings: ReferenceSettings, cache: Path
) -> dict[str, CenterHits]:
    """Whether learning on simulated frames helps on real ones: prior, zero-shot, fine-tuned, real frames alone.

    ``real`` and ``real, equal updates`` start from random weights; the second is trained for as many batches
    as the fine-tuned network has seen in all. ``network`` (``difficulty``'s) is tuned in place.
    """
    found = {
        "prior": prior_hits(train, held),
        "zero-shot": lesion_peaks(network, held.frames, held.boxes, batch_size=25),
    }
    plan = settings.fit(settings.real_epochs, settings.tuning_rate)
    tune(network, train, settings, plan, _checkpoint(settings, cache, "fine-tuned"))
    found["fine-tuned"] = lesion_peaks(network, held.frames, held.boxes, batch_size=25)
    frames = settings.population.patients * settings.population.runs_per_patient * settings.population.contrast_frames
    more = round(settings.simulated_epochs * (1 - settings.validation_share) * frames / len(train.frames))
    for name, epochs in (("real", 0), ("real, equal updates", more)):
        alone = new_network(settings)
        plan = settings.fit(settings.real_epochs + epochs, settings.learning_rate)
        tune(alone, train, settings, plan, _checkpoint(settings, cache, f"real-{settings.real_epochs + epochs}"))
        found[name] = lesion_peaks(alone, held.frames, held.boxes, batch_size=25)
    return found


def new_network(settings: ReferenceSettings) -> PretrainingNetwork:
    """The reference detector before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return PretrainingNetwork(build_trunk("random", settings.seed, settings.backbone))


def real_frames(cohort: Cohort, part: str, size: int) -> RealFrames:
    """Frames of one part of a public set with boxes, such as ARCADE's ``train`` and ``val``.

    Parameters
    ----------
    cohort : Cohort
        One frame a run, ``run_id`` beginning with the part's name.

    Raises
    ------
    LabelError
        If the cohort has no such part or no boxes.
    """
    cohort.require("boxes")
    manifest = cohort.manifest
    runs = manifest[manifest["run_id"].str.contains(part) & manifest["run_id"].isin(cohort.boxes["run_id"])]
    if runs.empty:
        raise LabelError("no frame of this part has a box", field=part, remedy="Use the set's own folders")
    frames = load_frames(cohort, runs[["run_id"]].assign(frame=0), size)
    boxes = torch.full((len(runs), 2 * MAX_BOXES, 4), torch.nan)
    place = {run_id: number for number, run_id in enumerate(runs["run_id"])}
    sides = runs.set_index("run_id")[["columns", "rows"]]
    for run_id, own in cohort.boxes[cohort.boxes["run_id"].isin(place)].groupby("run_id"):
        corners = own[["x1", "y1", "x2", "y2"]].to_numpy() * size / np.tile(sides.loc[run_id].to_numpy(), 2)
        boxes[place[run_id], : len(corners)] = torch.as_tensor(corners[: 2 * MAX_BOXES], dtype=torch.float32)
    return RealFrames(frames, boxes)
