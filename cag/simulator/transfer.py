"""Whether learning on simulated frames helps to find lesions on real ones."""

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
from cag.networks.dense import lesion_cells
from cag.networks.training import Batch, Batches, FitSettings, fit
from cag.networks.transforms import augment_with_boxes, scale
from cag.settings import LabelError, Settings
from cag.simulator.population import MAX_BOXES
from cag.simulator.pretraining import COMPACT, PretrainingNetwork, PretrainingSettings, lesion_peaks, new_network
from cag.simulator.tables import simulator_digest

#: Weight of lesion cells in the loss on real frames, and by how many pixels their boxes are widened.
POSITIVE_WEIGHT, MARGIN = 10.0, 2.0


class ReferenceSettings(Settings):
    """How difficulty and transfer are measured (book/study/methods, "The simulator")."""

    pretraining: PretrainingSettings = COMPACT  # On simulated frames
    real_epochs: int = Field(default=8, ge=1)
    #: Peak of the one-cycle schedule from the start weights, and from weights learned on simulated frames.
    learning_rate: float = Field(default=2e-3, gt=0)
    tuning_rate: float = Field(default=1e-3, gt=0)

    def fit(self, epochs: int, rate: float) -> FitSettings:
        """Training on real frames, as on simulated ones but for length and rate."""
        return self.pretraining.fit.model_copy(update={"epochs": epochs, "learning_rate": rate})


@dataclass(frozen=True)
class RealFrames:
    """Frames with boxes in pixels, NaN where there are fewer than the most."""

    frames: UInt8[Tensor, "n s s"]
    boxes: Float[Tensor, "n k 4"]


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
        return augment_with_boxes(scale(frames), boxes, generator, settings.pretraining.augmentation)

    batches = Batches((real.frames, real.boxes), plan.batch_size, prepare=prepare)
    generator = torch.Generator().manual_seed(settings.pretraining.seed)
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

    ``real`` and ``real, equal updates`` begin with the start weights; the second is trained for as many batches
    as the fine-tuned network has seen in all. ``network``, the pre-trained one, is tuned in place.
    """
    found = {
        "prior": prior_hits(train, held),
        "zero-shot": lesion_peaks(network, held.frames, held.boxes, batch_size=25),
    }
    plan = settings.fit(settings.real_epochs, settings.tuning_rate)
    tune(network, train, settings, plan, _checkpoint(settings, cache, "fine-tuned"))
    found["fine-tuned"] = lesion_peaks(network, held.frames, held.boxes, batch_size=25)
    before = settings.pretraining
    frames = before.epoch_frames or before.population.frames * (1 - before.validation_share)
    more = round(before.fit.epochs * frames / len(train.frames))
    for name, epochs in (("real", 0), ("real, equal updates", more)):
        alone = new_network(settings.pretraining)
        plan = settings.fit(settings.real_epochs + epochs, settings.learning_rate)
        tune(alone, train, settings, plan, _checkpoint(settings, cache, f"real-{settings.real_epochs + epochs}"))
        found[name] = lesion_peaks(alone, held.frames, held.boxes, batch_size=25)
    return found


def real_frames(cohort: Cohort, part: str, size: int) -> RealFrames:
    """Frames of one part of a public set with boxes, such as ARCADE's ``train`` and ``val``.

    The cohort has one frame a run, ``run_id`` beginning with the part's name.

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
