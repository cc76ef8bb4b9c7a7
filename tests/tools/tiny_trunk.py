"""A trunk of a few channels with the three stages of the real one."""

import torch
from torch import Tensor, nn

from cag.networks.trunk import Geometry, Trunk


class TinyTrunk(Trunk):
    """Three strided convolutions: stages at 1/8, 1/16 and 1/32."""

    channels = {"fine": 8, "middle": 12, "coarse": 16}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        generator, sizes = torch.Generator().manual_seed(0), ((3, 8, 8), (8, 12, 2), (12, 16, 2))
        self.blocks = nn.ModuleList(nn.Conv2d(into, out, step, stride=step) for into, out, step in sizes)
        self.norm = nn.BatchNorm2d(16)
        for block in self.blocks:
            nn.init.kaiming_normal_(block.weight, generator=generator)
            nn.init.zeros_(block.bias)

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        x, maps = images.expand(-1, 3, -1, -1), {}
        for stage, block in zip(self.channels, self.blocks, strict=True):
            x = block(x).relu()
            maps[stage] = x
        return maps | {"coarse": self.norm(x)}

    def geometry(self, stage: str, size: int, cells: int) -> Geometry:
        return Geometry(size / cells, size / cells / 2)
