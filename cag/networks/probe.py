"""A small network that asks whether a picture gives something away."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ProbeNetwork(nn.Module):
    """Four strided convolutions, pooled to one logit: enough to find a shortcut, quick to train on two cores.

    Pooling is by mean and by maximum, so that both an overall look and one small mark can tell.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for out in (width, 2 * width, 4 * width, 4 * width):
            layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            channels = out
        self.features = nn.Sequential(*layers)
        self.answer = nn.Linear(2 * channels, 1)

    def forward(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
        """One logit an image."""
        maps = self.features(images)
        return self.answer(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1))[:, 0]
