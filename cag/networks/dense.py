"""The head of the simulator's network: what pre-training asks of every cell."""

from __future__ import annotations

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
    return covered(boxes, Geometry(size / grid, size / grid / 2), grid, margin)


def covered(boxes: Float[Tensor, "b k 4"], place: Geometry, cells: int, margin: float) -> Float[Tensor, "b g g"]:
    """``lesion_cells`` for cells that lie anywhere."""
    centers = place.start + place.stride * torch.arange(cells, device=boxes.device)
    low, high = boxes[..., :2] - margin, boxes[..., 2:] + margin
    center = (low + high) / 2
    low, high = torch.minimum(low, center - place.stride / 2), torch.maximum(high, center + place.stride / 2)
    inside = (centers > low[..., None]) & (centers <= high[..., None])
    return (inside[..., 1, :, None] & inside[..., 0, None, :]).any(dim=1).float()
