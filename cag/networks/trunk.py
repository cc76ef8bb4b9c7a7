"""What every network of the study stands on: a trunk that turns an image into feature maps."""

from __future__ import annotations

from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

Trainable = Literal["all", "head"]

#: The three maps that a trunk gives, by their resolution: about 1/8, 1/16 and 1/32 of the image.
STAGES: tuple[str, str, str] = ("fine", "middle", "coarse")


class Geometry(NamedTuple):
    """Where the cells of a feature map lie in the input.

    Cell ``i`` looks at the surroundings of ``start + stride * i``, in pixels of the input counted
    from its edge (the first pixel spans 0 to 1), so unpadded convolutions are accounted for.
    """

    stride: float
    start: float


class Trunk(nn.Module):
    """A convolutional network without its classification head."""

    channels: dict[str, int]  #: Of each stage of ``STAGES``.

    def stages(self, images: Float[Tensor, "b c h w"]) -> dict[str, Tensor]:
        """Maps of all three stages, keyed by ``STAGES``; images in [-1, 1], grey or in three channels."""
        raise NotImplementedError

    def geometry(self, stage: str, size: int, cells: int) -> Geometry:
        """Where the ``cells`` cells of a stage lie along ``size`` input pixels."""
        raise NotImplementedError

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f y x"]:
        """The last map; images in [-1, 1], grey or in three channels."""
        return self.stages(images)[STAGES[-1]]


class TrunkModel(nn.Module):
    """A network on a trunk that is trained with it (``all``) or not (``head``).

    A frozen trunk records no gradients and stays in evaluation mode: its maps may be computed once.
    """

    def __init__(self, trunk: Trunk, trainable: Trainable = "all") -> None:
        super().__init__()
        self.trunk, self.trainable = trunk.requires_grad_(trainable == "all"), trainable

    def train(self, mode: bool = True) -> TrunkModel:
        """Switch training mode; a frozen trunk stays in evaluation mode."""
        super().train(mode)
        if self.trainable == "head":
            self.trunk.eval()
        return self
