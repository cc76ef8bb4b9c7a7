"""What every network of the study stands on: a trunk that turns an image into feature maps."""

from __future__ import annotations

from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from cag.settings import InputError

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
    """A convolutional network without its classification head.

    Attributes
    ----------
    channels : dict of str to int
        Channels of each stage of ``STAGES``.
    min_size : int
        Smallest height and width in pixels that leave one cell in the last map.
    """

    channels: dict[str, int]
    min_size: int = 32

    def stages(self, images: Float[Tensor, "b c h w"]) -> dict[str, Tensor]:
        """Maps of all three stages, keyed by ``STAGES``; images in [-1, 1], grey or in three channels."""
        raise NotImplementedError

    def geometry(self, stage: str, size: int, cells: int) -> Geometry:
        """Where the ``cells`` cells of a stage lie along ``size`` input pixels."""
        raise NotImplementedError

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f y x"]:
        """The last map; images in [-1, 1], grey or in three channels."""
        return self.stages(images)[STAGES[-1]]

    def rgb(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 h w"]:
        """Three equal channels from grey images.

        Raises
        ------
        InputError
            When an image is smaller than ``min_size`` or has neither one nor three channels.
        """
        _, channels, height, width = images.shape
        if min(height, width) < self.min_size:
            raise InputError(
                f"images of {height}x{width} px leave no feature map; the network needs at least {self.min_size} px",
                field="image_size",
                remedy=f"Set image_size to {self.min_size} or more",
            )
        if channels not in (1, 3):
            raise InputError(f"images have {channels} channels, expected 1 or 3", field="images")
        return images.expand(-1, 3, -1, -1)


class TrunkModel(nn.Module):
    """A network on a trunk that is trained with it (``all``) or not (``head``).

    A frozen trunk records no gradients and stays in evaluation mode, so that its batch statistics
    do not move and its maps may be computed once.
    """

    def __init__(self, trunk: Trunk, trainable: Trainable = "all") -> None:
        super().__init__()
        self.trunk = trunk
        self.trainable = trainable
        trunk.requires_grad_(trainable == "all")

    def train(self, mode: bool = True) -> TrunkModel:
        """Switch training mode; a frozen trunk stays in evaluation mode."""
        super().train(mode)
        if self.trainable == "head":
            self.trunk.eval()
        return self
