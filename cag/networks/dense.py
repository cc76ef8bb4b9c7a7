"""Dense targets and heads: what pre-training asks of every cell of an image."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cag.networks.trunk import STAGES, Geometry, Trunk

#: Channels of the fine and the coarse prediction.
FINE_OUTPUTS = ("lumen", "lesion", "severe")
COARSE_OUTPUTS = ("lesion", "severe")

#: Percent diameter stenosis from which a lesion is one, and from which it is severe.
LESION_PERCENT, SEVERE_PERCENT = 25.0, 70.0


class DenseOutput(NamedTuple):
    """Logits: ``fine`` [b, 3, g, g] on the input's grid, ``coarse`` [b, 2, h', w'] on the cells of the last map."""

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
            nn.Conv2d(width, len(FINE_OUTPUTS), 1),
        )
        self.coarse = nn.Conv2d(trunk.channels[STAGES[-1]], len(COARSE_OUTPUTS), 1)
        for layer in (self.fuse[-1], self.coarse):
            nn.init.constant_(layer.bias, -3.0)  # type: ignore[arg-type]  # lesions are rare: start near silence

    def forward(self, maps: dict[str, Tensor], trunk: Trunk, size: int) -> DenseOutput:
        """Logits from the stages of ``trunk`` for images of ``size`` x ``size`` pixels."""
        aligned = [
            align(self.lateral[stage](maps[stage]), trunk.geometry(stage, size, maps[stage].shape[-1]), size, size // 8)
            for stage in STAGES
        ]
        return DenseOutput(self.fuse(torch.stack(aligned).sum(dim=0)).float(), self.coarse(maps[STAGES[-1]]).float())


def align(maps: Float[Tensor, "b c y x"], place: Geometry, size: int, grid: int) -> Float[Tensor, "b c g g"]:
    """Maps interpolated linearly to the centers of ``grid`` x ``grid`` cells that tile ``size`` pixels."""
    points = (torch.arange(grid, device=maps.device) + 0.5) * (size / grid)
    weights = _linear_weights((points - place.start) / place.stride, maps.shape[-1]).to(maps.dtype)
    return weights @ maps @ weights.T


def _linear_weights(index: Float[Tensor, " g"], cells: int) -> Float[Tensor, "g n"]:
    """Rows that interpolate linearly between cells at fractional indices, clamped to the first and last cell."""
    distance = (index.clamp(0, cells - 1)[:, None] - torch.arange(cells, device=index.device)).abs()
    return (1 - distance).clamp(min=0)


def lumen_cells(mask: Float[Tensor, "b h w"], grid: int) -> Float[Tensor, "b g g"]:
    """Share of each of ``grid`` x ``grid`` cells that is lumen, from a mask of 0 to 1."""
    return F.adaptive_avg_pool2d(mask[:, None], grid)[:, 0]


def lesion_cells(boxes: Float[Tensor, "b k 4"], size: int, grid: int, margin: float = 0.0) -> Float[Tensor, "b g g"]:
    """One in each of ``grid`` x ``grid`` cells that a box covers the center of, zero elsewhere.

    A box that lies between centers marks the cell its own center is in.

    Parameters
    ----------
    boxes : x1, y1, x2, y2 in pixels of an image of ``size`` x ``size``; rows of NaN stand for no box
    margin : float
        Pixels by which boxes are widened on each side.
    """
    centers = (torch.arange(grid, device=boxes.device) + 0.5) * (size / grid)
    return cells_at(boxes, centers, centers, size / grid, margin)


def cells_at(
    boxes: Float[Tensor, "b k 4"], y: Float[Tensor, " h"], x: Float[Tensor, " w"], pitch: float, margin: float
) -> Float[Tensor, "b h w"]:
    """``lesion_cells`` for cells centered at ``y`` and ``x`` pixels, ``pitch`` apart."""
    low, high = boxes[..., :2] - margin, boxes[..., 2:] + margin
    center = (low + high) / 2
    low, high = torch.minimum(low, center - pitch / 2), torch.maximum(high, center + pitch / 2)
    across = (x > low[..., :1]) & (x <= high[..., :1])
    down = (y > low[..., 1:]) & (y <= high[..., 1:])
    return (down[..., :, None] & across[..., None, :]).any(dim=1).float()


def dense_loss(
    output: DenseOutput,
    lumen: Float[Tensor, "b g g"],
    boxes: Float[Tensor, "b k 4"],
    percent: Float[Tensor, "b k"],
    trunk: Trunk,
    size: int,
) -> Float[Tensor, ""]:
    """Weighted cross-entropy of lumen share and lesion cells, fine and coarse.

    Parameters
    ----------
    lumen : 0 to 1
    boxes, percent : pixels of the input, NaN where there is none; percent diameter stenosis of each
    """
    grid, coarse = lumen.shape[-1], output.coarse.shape[-1]
    place = trunk.geometry(STAGES[-1], size, coarse)
    centers = place.start + place.stride * torch.arange(coarse, device=boxes.device)
    losses = [_cross_entropy(output.fine[:, 0], lumen, 4.0)]
    for number, cut in enumerate((LESION_PERCENT, SEVERE_PERCENT)):
        chosen = torch.where((percent >= cut)[..., None], boxes, torch.nan)
        losses.append(_cross_entropy(output.fine[:, 1 + number], lesion_cells(chosen, size, grid, 2.0), 20.0))
        near = cells_at(chosen, centers, centers, place.stride, 0.0)
        losses.append(0.3 * _cross_entropy(output.coarse[:, number], near, 5.0))
    return torch.stack(losses).sum()


def _cross_entropy(logits: Tensor, target: Tensor, positive_weight: float) -> Tensor:
    weight = torch.tensor(positive_weight, device=logits.device)
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)
