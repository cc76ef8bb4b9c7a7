"""How well a pre-trained network marks lumen and lesions in patients it has not seen.

``network`` is a ``PretrainingNetwork``: images to dense and frame logits.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from cag.metrics.center_hits import CenterHits, center_hits
from cag.networks.dense import LESION_PERCENT, lumen_cells
from cag.networks.training import FitSettings, predict
from cag.networks.transforms import scale
from cag.simulator.population import Population


def measure(network: nn.Module, held: Population, settings: FitSettings, device: str = "auto") -> dict[str, float]:
    """Quality on patients the network has not seen.

    Returns
    -------
    dict
        lesion_hit_rate: share of frames with a lesion of 25 % or more whose strongest cell lies within 8 px of one;
        frame_auc, patient_auc: the strongest lesion cell (its mean over a patient's contrast frames) against
        whether such a lesion is visible (in any of them); lumen_dice: cells at least a fifth lumen;
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
    truth = lumen_cells(held.lumen.float() / 255, grid) > 0.2
    shown, named = held.contrast, held.contrast & (held.view >= 0)
    strongest = lesion.flatten(1).amax(dim=1)
    return {
        "lesion_hit_rate": _hit_rate(lesion[visible], boxes[visible], size),
        "frame_auc": _auc(visible[shown], strongest[shown]),
        "patient_auc": _auc(*_by_patient(held.patient[shown], visible[shown], strongest[shown])),
        "lumen_dice": float(2 * (truth & (lumen > 0.5)).sum() / (truth.sum() + (lumen > 0.5).sum()).clamp(min=1)),
        "contrast_accuracy": _mean((frame[:, 0] > 0) == held.contrast),
        "artery_accuracy": _mean((frame[shown, 2] > 0) == (held.artery[shown] == 0)),
        "view_accuracy": _mean(frame[named, 3:].argmax(dim=1) == held.view[named]),
    }


def lesion_peaks(network: nn.Module, held: Population, settings: FitSettings, device: str = "auto") -> CenterHits:
    """Center hits of the lesion map on lesions of 25 % and more, in frames of contrast."""
    shown = held.take(held.contrast)

    def lesion(frames: Tensor) -> Tensor:
        return network(scale(frames))[0].fine[:, 1].sigmoid()

    network.eval()
    heat = predict(lesion, shown.frames, batch_size=settings.batch_size, device=device, precision=settings.precision)
    boxes = torch.where((shown.percent >= LESION_PERCENT)[..., None], shown.boxes, torch.nan)
    return center_hits(heat.numpy(), boxes.numpy(), shown.frames.shape[-1])


def recall_by_severity(
    network: nn.Module, held: Population, settings: FitSettings, device: str = "auto"
) -> dict[str, float]:
    """Share of lesions found with one false peak a frame, of all and by percent stenosis; NaN where there are none."""
    found = lesion_peaks(network, held, settings, device).found_at(1.0)
    percent = held.percent[held.contrast].numpy()
    hit = np.zeros(percent.shape, dtype=bool)
    hit[found["image"].to_numpy(), found["lesion"].to_numpy()] = True
    bands = {
        "all": (25.0, 101.0),
        "25-50": (25.0, 50.0),
        "50-70": (50.0, 70.0),
        "70-99": (70.0, 100.0),
        "100": (100.0, 101.0),
    }
    chosen = {name: (percent >= low) & (percent < high) for name, (low, high) in bands.items()}
    return {name: float(hit[own].mean()) if own.any() else float("nan") for name, own in chosen.items()}


def _hit_rate(lesion: Float[Tensor, "n g g"], boxes: Float[Tensor, "n k 4"], size: int, reach: float = 8.0) -> float:
    grid = lesion.shape[-1]
    best = lesion.flatten(1).argmax(dim=1)
    point = (torch.stack([best % grid, best // grid], dim=1) + 0.5)[:, None] * (size / grid)
    return _mean(((point >= boxes[..., :2] - reach) & (point <= boxes[..., 2:] + reach)).all(dim=-1).any(dim=1))


def _by_patient(patient: Tensor, truth: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    _, group = patient.unique(return_inverse=True)
    count = torch.bincount(group).clamp(min=1)
    return torch.bincount(group, truth.double()) > 0, torch.bincount(group, score.double()) / count


def _auc(truth: Tensor, score: Tensor) -> float:
    return float(roc_auc_score(truth.numpy(), score.numpy())) if len(truth.unique()) == 2 else float(np.nan)


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
