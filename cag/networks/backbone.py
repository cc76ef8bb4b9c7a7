"""Any convolutional classifier of torchvision as a trunk."""

from __future__ import annotations

from itertools import takewhile
from urllib.error import URLError

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import get_model

from cag.networks.trunk import STAGES, Geometry, Trunk
from cag.settings import InputError

_PROBE = 128
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_SD = (0.229, 0.224, 0.225)


class TorchvisionTrunk(Trunk):
    """The layers of a torchvision classifier before its pooling, with the last three resolutions as stages.

    Images in [-1, 1] are brought to the ImageNet normalization these networks expect.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, layers: list[nn.Module], name: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("sd", torch.tensor(_IMAGENET_SD)[:, None, None], persistent=False)
        self._ends, self.channels = self._find_stages(name)

    @classmethod
    def build(cls, name: str, *, pretrained: bool, seed: int) -> TorchvisionTrunk:
        """Build by torchvision's name, such as ``resnet18``, ``densenet121`` or ``convnext_tiny``.

        Raises
        ------
        InputError
            For a name that torchvision does not know, a network without a final feature map, or
            weights that cannot be downloaded.
        """
        try:
            # torchvision initializes from the default generator: seeded here and given back unchanged.
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                network = get_model(name, weights="DEFAULT" if pretrained else None)
        except (URLError, OSError) as error:
            remedy = "Connect to the network once, or set weights to random"
            problem = f"the ImageNet weights of {name} cannot be downloaded ({reason_of(error)})"
            raise InputError(problem, field="weights", remedy=remedy) from None
        except ValueError:
            problem = f"torchvision has no classifier called {name!r}"
            raise InputError(problem, field="backbone", remedy="Take a name such as resnet18") from None
        return cls(_before_pooling(network), name)

    def stages(self, images: Float[Tensor, "b c h w"]) -> dict[str, Tensor]:
        """Maps at the last three resolutions, finest first."""
        outputs = self._outputs(images)
        return {stage: outputs[end] for stage, end in zip(STAGES, self._ends, strict=True)}

    def geometry(self, stage: str, size: int, cells: int) -> Geometry:
        """Even cells over the whole image: these networks pad their convolutions."""
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
        was_training = self.training
        try:
            shapes = [tuple(x.shape) for x in self.eval()._outputs(torch.zeros(1, 1, _PROBE, _PROBE))]
        except (RuntimeError, AssertionError):
            shapes = []
        self.train(was_training)
        ends = {shape[-1]: index for index, shape in enumerate(shapes) if len(shape) == 4 and shape[-1] == shape[-2]}
        last = list(ends.values())[-3:]
        if len(last) < 3 or last[-1] != len(shapes) - 1:
            remedy = "Take a convolutional network such as resnet18, densenet121 or convnext_tiny"
            raise InputError(f"{name} does not end in a feature map", field="backbone", remedy=remedy)
        return last, {stage: shapes[end][1] for stage, end in zip(STAGES, last, strict=True)}


def _before_pooling(network: nn.Module) -> list[nn.Module]:
    """Layers in order up to the classifier's pooling; a long ``features`` sequence is taken apart."""
    children = takewhile(lambda child: not _is_head(*child), network.named_children())
    layers: list[nn.Module] = []
    for _, child in children:
        layers.extend(child.children() if isinstance(child, nn.Sequential) and len(child) >= 4 else [child])
    return layers


def _is_head(name: str, child: nn.Module) -> bool:
    return isinstance(child, nn.AdaptiveAvgPool2d | nn.Linear) or name in ("classifier", "head", "heads", "fc")


def reason_of(error: OSError | RuntimeError) -> str:
    """Why a download failed, in the operating system's words where there are any."""
    cause = getattr(error, "reason", error)
    return str(getattr(cause, "strerror", None) or cause)
