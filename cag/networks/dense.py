"""The simulator's networks: what pre-training asks of every cell, and a probe for what gives an image away."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cag.networks.trunk import STAGES, Geometry, Trunk

#: Percent diameter stenosis from which a lesion is one, and from which it is severe.
LESION_PERCENT, SEVERE_PERCENT = 25.0, 70.0


class DenseOutput(NamedTuple):
    """Logits: lumen, lesion, severe lesion on the input's grid; lesion, severe lesion on the cells of the last map."""

    fine: Float[Tensor, "b 3 g g"]
    coarse: Float[Tensor, "b 2 y x"]


class DenseHead(nn.Module):
    """Lumen and lesion in every cell of 1/8 of the input, from all three stages of the trunk.

    The stages of Inception start inside the image (``Trunk.geometry``), so each is interpolated linearly to
    the centers of a regular grid, cells at the border taking the nearest value. The last map alone
    answers as well (``coarse``), so that what a classifier reads there knows about lesions.
    """

    def __init__(self, trunk: Trunk, width: int = 128) -> None:
        super().__init__()
        self.lateral = nn.ModuleDict({stage: nn.Conv2d(trunk.channels[stage], width, 1) for stage in STAGES})
        self.fuse = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 3, 1),
        )
        self.coarse = nn.Conv2d(trunk.channels[STAGES[-1]], 2, 1)
        for layer in (self.fuse[-1], self.coarse):
            nn.init.constant_(layer.bias, -3.0)  # type: ignore[arg-type]  # lesions are rare: start near silence

    def forward(self, maps: dict[str, Tensor], trunk: Trunk, size: int) -> DenseOutput:
        """Logits from the stages of ``trunk`` for images of ``size`` x ``size`` pixels."""
        places = {stage: trunk.geometry(stage, size, own.shape[-1]) for stage, own in maps.items()}
        aligned = [align(self.lateral[stage](maps[stage]), places[stage], size, size // 8) for stage in STAGES]
        return DenseOutput(self.fuse(torch.stack(aligned).sum(dim=0)).float(), self.coarse(maps[STAGES[-1]]).float())


def align(maps: Float[Tensor, "b c y x"], place: Geometry, size: int, grid: int) -> Float[Tensor, "b c g g"]:
    """Maps interpolated linearly to the centers of ``grid`` x ``grid`` cells that tile ``size`` pixels."""
    cells, points = maps.shape[-1], (torch.arange(grid, device=maps.device) + 0.5) * (size / grid)
    index = ((points - place.start) / place.stride).clamp(0, cells - 1)
    distance = (index[:, None] - torch.arange(cells, device=maps.device)).abs()
    weights = (1 - distance).clamp(min=0).to(maps.dtype)
    return weights @ maps @ weights.T


def lumen_cells(mask: Float[Tensor, "b h w"], grid: int) -> Float[Tensor, "b g g"]:
    """Share of each of ``grid`` x ``grid`` cells that is lumen, from a mask of 0 to 1."""
    return F.adaptive_avg_pool2d(mask[:, None], grid)[:, 0]


def lesion_cells(boxes: Float[Tensor, "b k 4"], size: int, grid: int, margin: float = 0.0) -> Float[Tensor, "b g g"]:
    """One in each of ``grid`` x ``grid`` cells that a box covers the center of, zero elsewhere.

    A box that lies between centers marks the cell its own center is in. Boxes are x1, y1, x2, y2 in pixels of an image
    of ``size`` x ``size``, widened by ``margin`` pixels on each side; rows of NaN stand for no box.
    """
    return _covered(boxes, Geometry(size / grid, size / grid / 2), grid, margin)


def _covered(boxes: Float[Tensor, "b k 4"], place: Geometry, cells: int, margin: float) -> Float[Tensor, "b g g"]:
    """``lesion_cells`` for cells that lie anywhere."""
    centers = place.start + place.stride * torch.arange(cells, device=boxes.device)
    low, high = boxes[..., :2] - margin, boxes[..., 2:] + margin
    center = (low + high) / 2
    low, high = torch.minimum(low, center - place.stride / 2), torch.maximum(high, center + place.stride / 2)
    inside = (centers > low[..., None]) & (centers <= high[..., None])
    return (inside[..., 1, :, None] & inside[..., 0, None, :]).any(dim=1).float()


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
        losses.append(_cross_entropy(output.fine[:, 1 + number], lesion_cells(chosen, size, grid, 2.0), 20.0))
        near = _covered(chosen, place, coarse, 0.0)
        losses.append(0.3 * _cross_entropy(output.coarse[:, number], near, 5.0))
    return torch.stack(losses).sum()


def _cross_entropy(logits: Tensor, target: Tensor, positive_weight: float) -> Tensor:
    weight = torch.tensor(positive_weight, device=logits.device)
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)


class ProbeNetwork(nn.Module):
    """Four strided convolutions, pooled to one logit: enough to find a shortcut, quick to train on two cores.

    Pooling is by mean and by maximum, so that both an overall look and one small mark can tell.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for into, out in pairwise((1, width, 2 * width, 4 * width, 4 * width)):
            layers += [nn.Conv2d(into, out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.answer = nn.Linear(8 * width, 1)

    def forward(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
        """One logit an image."""
        maps = self.features(images)
        return self.answer(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1))[:, 0]
