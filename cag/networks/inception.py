"""The Inception-v3 trunk, and where its initial weights come from."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import Inception3, Inception_V3_Weights, inception_v3

from cag.networks.backbone import TorchvisionTrunk, reason_of
from cag.networks.trunk import Geometry, Trunk
from cag.networks.weights import WEIGHTS_FOLDER, load_trunk, save_trunk
from cag.settings import InputError, Weights

__all__ = ["InceptionTrunk", "build_trunk", "save_trunk"]


class InceptionTrunk(Trunk):
    """Inception-v3 up to its last mixed block, without auxiliary classifier.

    ``forward`` maps images [b, 1|3, h, w] in [-1, 1] to [b, 2048, h', w'], 14x14 at 512x512 pixels.
    ``stages`` adds the maps after blocks "mixed2" and "mixed7" (torchvision's Mixed_5d and Mixed_6e).
    torchvision's ImageNet weights were trained on inputs in [-1, 1]; its ``transform_input`` only undoes
    another normalization, so it is off here.

    The stem and the reductions are unpadded: the first cell of mixed2 sits 13 pixels inside the image,
    those of mixed7 and mixed10 21 and 37. ``geometry`` tells.

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision".
    """

    channels = {"mixed2": 288, "mixed7": 768, "mixed10": 2048}  # noqa: RUF012
    min_size = 75

    _geometry = {  # noqa: RUF012
        "mixed2": Geometry(8, 13.5),
        "mixed7": Geometry(16, 21.5),
        "mixed10": Geometry(32, 37.5),
    }

    def __init__(self, network: Inception3) -> None:
        super().__init__()
        blocks = {name: block for name, block in network.named_children() if name not in _HEAD}
        names = list(blocks)
        cut, last = names.index("Mixed_6a"), names.index("Mixed_7a")
        self.fine = nn.ModuleDict({name: blocks[name] for name in names[:cut]})
        self.middle = nn.ModuleDict({name: blocks[name] for name in names[cut:last]})
        self.coarse = nn.ModuleDict({name: blocks[name] for name in names[last:]})

    def stages(self, images: Float[Tensor, "b c h w"]) -> dict[str, Tensor]:
        """Maps after mixed2 (288 channels), mixed7 (768) and mixed10 (2048)."""
        x = self.rgb(images)
        maps = {}
        for stage, blocks in (("mixed2", self.fine), ("mixed7", self.middle), ("mixed10", self.coarse)):
            for block in blocks.values():
                x = block(x)
            maps[stage] = x
        return maps

    def geometry(self, stage: str, size: int, cells: int) -> Geometry:
        """Stride and first center of a stage, from the kernels, strides and paddings of the network."""
        return self._geometry[stage]


_HEAD = ("AuxLogits", "avgpool", "dropout", "fc")


def build_trunk(weights: Weights, seed: int, backbone: str = "inception_v3", folder: Path = WEIGHTS_FOLDER) -> Trunk:
    """A trunk with the initial weights asked for.

    Parameters
    ----------
    weights : {'imagenet', 'xa', 'random'}
        ImageNet weights of torchvision (downloaded once), the study's own pre-trained on simulated
        angiograms, or Kaiming-normal.
    seed : int
        Seed of the random weights.
    backbone : str
        ``inception_v3``, or another convolutional classifier of torchvision.
    folder : Path
        Where the ``xa`` shards lie.

    Raises
    ------
    InputError
        When the weights cannot be had or the backbone is unknown.
    """
    if backbone != "inception_v3":
        return _other_backbone(weights, seed, backbone)
    if weights == "imagenet":
        return InceptionTrunk(_imagenet())
    with torch.device("meta"):
        network = inception_v3(weights=None, init_weights=False, aux_logits=False)
    trunk = InceptionTrunk(network).to_empty(device="cpu")
    _initialize(trunk, torch.Generator().manual_seed(seed))
    if weights == "xa":
        load_trunk(trunk, folder)
    return trunk


def _other_backbone(weights: Weights, seed: int, backbone: str) -> Trunk:
    if weights == "xa":
        raise InputError(
            f"there are no xa weights for {backbone}",
            field="weights",
            remedy="Set weights to random or imagenet, or backbone to inception_v3",
        )
    return TorchvisionTrunk.build(backbone, pretrained=weights == "imagenet", seed=seed)


def _imagenet() -> Inception3:
    try:
        state = Inception_V3_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"the ImageNet weights cannot be downloaded ({reason_of(error)})",
            field="weights",
            remedy="Connect to the network once, or set weights to xa or random",
        ) from None
    with torch.device("meta"):
        network = inception_v3(weights=None, init_weights=False, aux_logits=True)
    network.load_state_dict(state, assign=True)
    return network


def _initialize(trunk: nn.Module, generator: torch.Generator) -> None:
    """Kaiming-normal convolutions and neutral batch norms (torchvision's own start takes minutes)."""
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
