"""Pre-training of a trunk on simulated angiograms: the study's ``xa`` and ``xa-labels`` weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from pydantic import Field
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from cag.anatomy import VIEWS
from cag.networks import dense as cells
from cag.networks.backbones import build_trunk
from cag.networks.dense import LESION_PERCENT, SEVERE_PERCENT, DenseHead, DenseOutput
from cag.networks.training import Batch, Batches, FitSettings, fit, predict
from cag.networks.transforms import (
    STRONG_AUGMENTATION,
    AugmentSettings,
    change_grey,
    draw_motion,
    move,
    move_boxes,
    scale,
)
from cag.networks.trunk import STAGES, Trunk
from cag.networks.weights import WEIGHTS_FOLDER, save_trunk
from cag.settings import Settings, Weights
from cag.simulator.center_hits import CenterHits, center_hits
from cag.simulator.population import Population, PopulationSettings, render_population
from cag.simulator.tables import simulator_digest


class PretrainingSettings(Settings):
    """How a trunk is pre-trained; the defaults are sized for two cores."""

    backbone: str = "inception_v3"
    #: What teaches: ``dense`` shows lumen, boxes and labels (the ``xa`` weights), ``labels`` only what is known of an
    #: image as a whole (``xa-labels``).
    supervision: Literal["dense", "labels"] = "dense"

    population: PopulationSettings = PopulationSettings()
    fit: FitSettings = FitSettings(
        epochs=4,
        batch_size=16,
        learning_rate=1.5e-3,
        weight_decay=0.01,
        patience=100,
        schedule="one_cycle",
        clip_norm=5.0,
    )
    augmentation: AugmentSettings = STRONG_AUGMENTATION  # Strong, since the trunk must also work on real angiograms
    weights: Weights = "random"  # Where the trunk starts from
    epoch_frames: int = Field(default=0, ge=0)  # Frames drawn for an epoch; 0 takes all of them
    validation_share: float = Field(default=0.1, gt=0, lt=1)  # Share of the patients that quality is measured on
    seed: int = 0


#: The compact network, from ImageNet, on more patients; epochs are short, so that a stopped call loses minutes.
COMPACT = PretrainingSettings(
    backbone="efficientnet_lite0",
    weights="imagenet",
    population=PopulationSettings(patients=1000, contrast_frames=4),
    fit=FitSettings(
        epochs=20, batch_size=16, learning_rate=1e-3, weight_decay=0.01, schedule="one_cycle", clip_norm=5.0,
        precision="fp32",
    ),
    epoch_frames=3000,
    validation_share=0.05,
)  # fmt: skip


def recipe(weights: str, backbone: str, **people: int) -> PretrainingSettings:
    """How ``xa`` or ``xa-labels`` are made, where ``people`` changes the population; labels need ImageNet's start."""
    base = COMPACT if backbone == COMPACT.backbone else PretrainingSettings(backbone=backbone)
    told: dict[str, Any] = {"supervision": "labels", "weights": "imagenet"} if weights == "xa-labels" else {}
    told["population"] = PopulationSettings.checked(base.population.model_dump() | people)
    return base.model_copy(update=told)


#: Percent stenosis that the frame's outputs tell from less.
CUTS = (LESION_PERCENT, 50.0, SEVERE_PERCENT, 100.0)
#: Outputs on the pooled last map: full contrast, left artery, one logit a cut, one a view.
FRAME_OUTPUTS = 2 + len(CUTS) + len(VIEWS)


class PretrainingNetwork(nn.Module):
    """The trunk with a dense head and a head on its pooled last map."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk
        self.dense = DenseHead(trunk)
        self.frame = nn.Linear(trunk.channels[STAGES[-1]], FRAME_OUTPUTS)

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[DenseOutput, Float[Tensor, "b k"]]:
        """Dense logits and frame logits of square images in [-1, 1]."""
        maps = self.trunk.stages(images)
        return self.dense(maps, self.trunk, images.shape[-1]), self._frame(maps[STAGES[-1]])

    def labels(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Frame logits alone."""
        return self._frame(self.trunk(images))

    def _frame(self, last: Float[Tensor, "b f y x"]) -> Float[Tensor, "b k"]:
        return self.frame(last.mean(dim=(2, 3))).float()


def new_network(settings: PretrainingSettings) -> PretrainingNetwork:
    """The network before training."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        return PretrainingNetwork(build_trunk(settings.weights, settings.seed, settings.backbone))


@dataclass(frozen=True)
class PretrainingResult:
    """The trained network and its record: settings, history of epochs, quality on unseen patients, device."""

    network: PretrainingNetwork
    record: dict[str, Any]


def pretrain(
    settings: PretrainingSettings,
    cache: Path,
    folder: Path = WEIGHTS_FOLDER,
    *,
    device: str = "auto",
    progress: bool = True,
) -> PretrainingResult:
    """Render the population, train, measure on unseen patients and write the trunk's shards.

    A call that was stopped goes on from its rendered chunks and its last finished epoch.

    Parameters
    ----------
    cache : folder of the rendered population and the checkpoint
    folder : where the shards and their record are written
    """
    # Rendered on the CPU whatever the training runs on, so that the frames do not depend on it.
    population = render_population(settings.population, cache, progress=progress)
    train, held = population.split(settings.validation_share, settings.seed)
    generator, network = torch.Generator().manual_seed(settings.seed), new_network(settings)
    dense = settings.supervision == "dense"

    def on_epoch(epoch: int, model: nn.Module) -> float:
        quality = measure(network, held, settings.fit, device)
        return (quality["lesion_hit_rate"] + quality["patient_auc"]) / 2 if dense else quality["image_auc"]

    history = fit(
        network,
        population_batches(train, settings.fit.batch_size, settings.augmentation, settings.epoch_frames),
        pretraining_loss if dense else labels_loss,
        settings.fit,
        generator=generator,
        device=device,
        on_epoch=on_epoch,
        checkpoint=cache / f"pretraining-{settings.digest()}-{simulator_digest()}.pt",
        progress=progress,
        description="Pre-training",
    )
    record = {
        "settings": settings.model_dump(mode="json"),
        "quality": _for_json(measure(network, held, settings.fit, device)),
        "recall_by_severity": _for_json(recall_by_severity(network, held, settings.fit, device)),
        "history": [_for_json(row) for row in history.rows],
        "frames": {"training": len(train), "validation": len(held)},
        "runtime": history.runtime,
        "torch": torch.__version__,
    }
    save_trunk(network.trunk, folder, record, "xa" if dense else "xa-labels", settings.backbone)
    return PretrainingResult(network, record)


def pretraining_loss(network: Any, batch: Batch) -> Tensor:
    """Dense loss plus the frame losses; the severity is that of the worst visible lesion."""
    images, lumen, boxes, percent, contrast, artery, view, _ = batch
    output, frame = network(images)
    size = images.shape[-1]
    loss = dense_loss(output, cells.lumen_cells(lumen, size // 8), boxes, percent, network.trunk, size)
    visible = torch.where(boxes.isfinite().all(dim=-1), percent, 0.0).nan_to_num().amax(dim=1)
    return loss + frame_loss(frame, contrast, artery, view, visible)


def labels_loss(network: Any, batch: Batch) -> Tensor:
    """The frame losses alone; the severity is the one assigned to the view, whether or not the frame shows it."""
    images, _, _, _, contrast, artery, view, severity = batch
    return frame_loss(network.labels(images), contrast, artery, view, severity[:, 0])


def frame_loss(
    frame: Float[Tensor, "b k"],
    contrast: Bool[Tensor, " b"],
    artery: Int[Tensor, " b"],
    view: Int[Tensor, " b"],
    percent: Float[Tensor, " b"],
) -> Float[Tensor, ""]:
    """Cross-entropy of contrast, artery, severity and view; all but the first where contrast shows the vessels.

    ``percent`` is NaN where the severity is not known.
    """
    loss = 0.5 * F.binary_cross_entropy_with_logits(frame[:, 0], contrast.float())
    if bool(contrast.any()):
        loss = loss + 0.2 * F.binary_cross_entropy_with_logits(frame[contrast, 1], (artery[contrast] == 0).float())
    graded, named = contrast & percent.isfinite(), contrast & (view >= 0)
    if bool(graded.any()):
        reached = percent[graded, None] >= torch.tensor(CUTS, device=percent.device)
        loss = loss + F.binary_cross_entropy_with_logits(frame[graded, 2 : 2 + len(CUTS)], reached.float())
    if bool(named.any()):
        loss = loss + 0.2 * F.cross_entropy(frame[named, 2 + len(CUTS) :], view[named])
    return loss


def population_batches(
    train: Population, batch_size: int, augmentation: AugmentSettings, epoch_frames: int = 0
) -> Batches:
    """Training frames augmented together with their targets, for ``pretraining_loss`` and ``labels_loss``.

    An epoch draws ``epoch_frames`` of them, or takes all.
    """

    def prepare(frames: Tensor, lumen: Tensor, boxes: Tensor, *rest: Any) -> Batch:
        *known, generator = rest
        motion = draw_motion(len(frames), generator, augmentation)
        images = change_grey(move(scale(frames), motion), generator, augmentation)
        moved = move(lumen[:, None].float() / 255, motion, fill="zeros")[:, 0]
        return images, moved, move_boxes(boxes, motion, frames.shape[-2:]), *known

    def order(generator: torch.Generator) -> Tensor:
        return torch.randperm(len(train), generator=generator)[: epoch_frames or None]

    known = (train.percent, train.contrast, train.artery, train.view, train.severity)
    return Batches((train.frames, train.lumen, train.boxes, *known), batch_size, order, prepare)


def _for_json(values: dict[str, float]) -> dict[str, float | None]:
    """JSON knows no NaN: what could not be measured is null."""
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def measure(
    network: PretrainingNetwork, held: Population, settings: FitSettings, device: str = "auto"
) -> dict[str, float]:
    """Quality on patients the network has not seen.

    Returns
    -------
    dict
        lesion_hit_rate: share of frames with a lesion of 25 % or more whose strongest cell lies within 8 px of one;
        frame_auc, patient_auc: the strongest lesion cell (its mean over a patient's contrast frames) against
        whether such a lesion is visible (the patient has one); lumen_dice: cells at least a fifth lumen;
        image_auc, artery_auc, and the same with 50 or 70: the frame's output at a cut (its mean over the artery's
        contrast frames) against the severity of the view (of the artery);
        contrast_accuracy, artery_accuracy, view_accuracy. NaN where there is nothing to measure.
    """

    def answers(frames: Tensor) -> Tensor:
        dense, frame = network(scale(frames))
        return torch.cat([dense.fine[:, :2].sigmoid().flatten(1), frame], dim=1)

    network.eval()
    size = held.frames.shape[-1]
    output = predict(answers, held.frames, batch_size=settings.batch_size, device=device, precision=settings.precision)
    grid = size // 8
    lumen, lesion = output[:, : 2 * grid * grid].unflatten(1, (2, grid, grid)).unbind(dim=1)
    frame = output[:, 2 * grid * grid :]
    boxes = torch.where((held.percent >= LESION_PERCENT)[..., None], held.boxes, torch.nan)
    visible = boxes.isfinite().all(dim=-1).any(dim=1)
    truth = cells.lumen_cells(held.lumen.float() / 255, grid) > 0.2
    shown, named = held.contrast, held.contrast & (held.view >= 0)
    strongest = lesion.flatten(1).amax(dim=1)
    side, diseased = 2 * held.patient + held.artery, held.severity[:, 2] >= LESION_PERCENT
    graded = {
        f"{level}_auc{'' if cut == LESION_PERCENT else f'_{cut:g}'}": _auc(truth >= cut, score)
        for number, cut in enumerate(CUTS[:3])
        for level, truth, score in (
            ("image", held.severity[named, 0], frame[named, 2 + number]),
            ("artery", *_pooled(side[shown], held.severity[shown, 1], frame[shown, 2 + number])),
        )
    }
    return graded | {
        "lesion_hit_rate": _hit_rate(lesion[visible], boxes[visible], size),
        "frame_auc": _auc(visible[shown], strongest[shown]),
        "patient_auc": _auc(*_pooled(held.patient[shown], diseased[shown], strongest[shown])),
        "lumen_dice": float(2 * (truth & (lumen > 0.5)).sum() / (truth.sum() + (lumen > 0.5).sum()).clamp(min=1)),
        "contrast_accuracy": _mean((frame[:, 0] > 0) == held.contrast),
        "artery_accuracy": _mean((frame[shown, 1] > 0) == (held.artery[shown] == 0)),
        "view_accuracy": _mean(frame[named, 2 + len(CUTS) :].argmax(dim=1) == held.view[named]),
    }


def lesion_peaks(
    network: PretrainingNetwork, frames: UInt8[Tensor, "n s s"], boxes: Float[Tensor, "n k 4"], **how: Any
) -> CenterHits:
    """Center hits of the lesion map on boxes in pixels, NaN where there are fewer; ``how`` goes to ``predict``."""

    def lesion(frames: Tensor) -> Tensor:
        return network(scale(frames))[0].fine[:, 1].sigmoid()

    network.eval()
    return center_hits(predict(lesion, frames, **how).numpy(), boxes.numpy(), frames.shape[-1])


def recall_by_severity(
    network: PretrainingNetwork, held: Population, settings: FitSettings, device: str = "auto"
) -> dict[str, float]:
    """Share of lesions of 25 % and more found with one false peak a frame of contrast, of all and by percent stenosis.

    NaN where there are none.
    """
    shown = held.take(held.contrast)
    boxes = torch.where((shown.percent >= LESION_PERCENT)[..., None], shown.boxes, torch.nan)
    how = {"batch_size": settings.batch_size, "device": device, "precision": settings.precision}
    found = lesion_peaks(network, shown.frames, boxes, **how).found_at(1.0)
    percent = shown.percent.numpy()
    hit = np.zeros(percent.shape, dtype=bool)
    hit[found["image"].to_numpy(), found["lesion"].to_numpy()] = True
    bands = {"all": (25, 101), "25-50": (25, 50), "50-70": (50, 70), "70-99": (70, 100), "100": (100, 101)}
    chosen = {name: (percent >= low) & (percent < high) for name, (low, high) in bands.items()}
    return {name: float(hit[own].mean()) if own.any() else float("nan") for name, own in chosen.items()}


def _hit_rate(lesion: Float[Tensor, "n g g"], boxes: Float[Tensor, "n k 4"], size: int, reach: float = 8.0) -> float:
    grid = lesion.shape[-1]
    best = lesion.flatten(1).argmax(dim=1)
    point = (torch.stack([best % grid, best // grid], dim=1) + 0.5)[:, None] * (size / grid)
    return _mean(((point >= boxes[..., :2] - reach) & (point <= boxes[..., 2:] + reach)).all(dim=-1).any(dim=1))


def _pooled(group: Tensor, truth: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """The largest truth and the mean score of each group."""
    _, number = group.unique(return_inverse=True)
    size = int(number.max()) + 1
    largest = torch.zeros(size).scatter_reduce(0, number, truth.float(), "amax")
    return largest, torch.zeros(size).scatter_reduce(0, number, score, "mean", include_self=False)


def _auc(truth: Tensor, score: Tensor) -> float:
    return float(roc_auc_score(truth.numpy(), score.numpy())) if len(truth.unique()) == 2 else float(np.nan)


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def dense_loss(
    output: DenseOutput,
    lumen: Float[Tensor, "b g g"],
    boxes: Float[Tensor, "b k 4"],
    percent: Float[Tensor, "b k"],
    trunk: Trunk,
    size: int,
) -> Float[Tensor, ""]:
    """Weighted cross-entropy of lumen share (0 to 1) and lesion cells, fine and coarse.

    Boxes are in pixels of the input, NaN where there is none, with the percent diameter stenosis of each.
    """
    grid, coarse = lumen.shape[-1], output.coarse.shape[-1]
    place = trunk.geometry(STAGES[-1], size, coarse)
    losses = [_cross_entropy(output.fine[:, 0], lumen, 4.0)]
    for number, cut in enumerate((LESION_PERCENT, SEVERE_PERCENT)):
        chosen = torch.where((percent >= cut)[..., None], boxes, torch.nan)
        losses.append(_cross_entropy(output.fine[:, 1 + number], cells.lesion_cells(chosen, size, grid, 2.0), 20.0))
        near = cells.covered(chosen, place, coarse, 0.0)
        losses.append(0.3 * _cross_entropy(output.coarse[:, number], near, 5.0))
    return torch.stack(losses).sum()


def _cross_entropy(logits: Tensor, target: Tensor, positive_weight: float) -> Tensor:
    weight = torch.tensor(positive_weight, device=logits.device)
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)
