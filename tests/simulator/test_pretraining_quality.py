"""Quality of pre-training by a network whose answers are known."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cag.networks.dense import DenseOutput
from cag.networks.training import FitSettings
from cag.simulator.population import Population
from cag.simulator.pretraining import FRAME_OUTPUTS
from cag.simulator.pretraining_quality import recall_by_severity

FIT = FitSettings(epochs=1, batch_size=2, precision="fp32")


class _BrightSpots(nn.Module):
    """Marks a cell of 8 px as a lesion as strongly as it is bright."""

    def forward(self, images: Tensor) -> tuple[DenseOutput, Tensor]:
        cells = nn.functional.avg_pool2d(images, 8) * 8
        fine = torch.cat([cells, cells, cells], dim=1)
        return DenseOutput(fine, torch.zeros(len(images), 2, 1, 1)), torch.zeros(len(images), FRAME_OUTPUTS)


def test_only_the_lesions_that_shine_are_found() -> None:
    frames = torch.zeros(2, 96, 96, dtype=torch.uint8)
    frames[0, 16:24, 16:24] = 255  # in the 80 % lesion
    frames[1, 40:48, 40:48] = 250  # in the 30 % lesion of the other frame
    boxes = torch.full((2, 2, 4), math.nan)
    boxes[0, 0], boxes[0, 1] = torch.tensor([14.0, 14, 26, 26]), torch.tensor([60.0, 60, 70, 70])
    boxes[1, 0] = torch.tensor([38.0, 38, 50, 50])
    percent = torch.tensor([[80.0, 60.0], [30.0, math.nan]])
    two = torch.zeros(2, dtype=torch.long)
    held = Population(
        frames, torch.zeros(2, 48, 48, dtype=torch.uint8), boxes, percent, torch.ones(2).bool(), two, two, two
    )
    found = recall_by_severity(_BrightSpots(), held, FIT, "cpu")
    assert found["70-99"] == 1 and found["50-70"] == 0 and found["25-50"] == 1
    assert math.isnan(found["100"])
    assert found["all"] == 2 / 3
