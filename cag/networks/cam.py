"""Class activation maps of the classifier at the trunk's last block, and the boxes they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from skimage.measure import label, regionprops
from torch import Tensor, nn

from cag.networks.classifier import StenosisClassifier
from cag.networks.trunk import STAGES, Trunk

CamMethod = Literal["gradcam", "hirescam", "layercam"]


def class_activation(
    model: StenosisClassifier, images: Float[Tensor, "b c h w"], target: Sequence[int]
) -> Float[np.ndarray, "b h w"]:
    """Grad-CAM: where the classifier finds evidence for a category, at the size of the images.

    ReLU, bicubic enlargement with each cell where it looks, then each image from 0 to 1 (all 0 where nothing speaks
    for the category). The trunk runs without gradients, since only those between map and logit count.
    The model is put into evaluation mode; images are in [-1, 1].
    """
    with torch.no_grad():
        maps = model.eval().maps(images).float()
    coarse = activation_from_maps(model.head, maps, target)
    return enlarge_activation(coarse, images.shape[-2], images.shape[-1], model.trunk)


def activation_from_maps(
    head: nn.Module, maps: Float[Tensor, "b f y x"], target: Sequence[int], method: CamMethod = "gradcam"
) -> Float[np.ndarray, "b y x"]:
    """Class activation on the cells of stored maps, each image from 0 to 1; leaves no gradient behind.

    ``target`` are the outputs whose logits are summed and explained, such as every category with stenosis. Methods are
    those of Selvaraju et al. 2017, Draelos and Carin 2020, and Jiang et al. 2021.
    """
    with torch.enable_grad():
        maps = maps.detach().requires_grad_()
        logits = head.eval()(maps)[:, list(target)]
        (slopes,) = torch.autograd.grad(logits.sum(), maps)
    gradient, features = slopes.cpu().numpy(), maps.detach().cpu().numpy()
    if method == "gradcam":
        gradient = gradient.mean(axis=(2, 3))[:, :, None, None]
    elif method == "layercam":
        gradient = np.maximum(gradient, 0)
    heat = np.maximum((gradient * features).sum(axis=1), 0)
    for _ in range(2):  # as pytorch-grad-cam does: the second time undoes the rounding of faint maps
        heat = heat - heat.min(axis=(1, 2), keepdims=True)
        heat = heat / (1e-7 + heat.max(axis=(1, 2), keepdims=True))
    return heat


def enlarge_activation(
    coarse: Float[np.ndarray, "b y x"], height: int, width: int, trunk: Trunk | None = None
) -> Float[np.ndarray, "b h w"]:
    """Activation on cells at the size of the image: bicubic, each image from 0 to 1.

    ``trunk`` puts each cell where its last map looks; without one the cells are stretched over the image, as
    published, although the network's convolutions are unpadded.
    """
    maps = torch.from_numpy(coarse)[:, None]
    if trunk is None:
        full = F.interpolate(maps, size=(height, width), mode="bicubic", align_corners=False)
    else:
        axes = []
        for size, cells in ((width, maps.shape[-1]), (height, maps.shape[-2])):
            place = trunk.geometry(STAGES[-1], size, cells)
            index = (torch.arange(size) + 0.5 - place.start) / place.stride
            axes.append((2 * index + 1) / cells - 1)
        grid = torch.stack(torch.meshgrid(*axes, indexing="xy"), dim=-1).expand(len(maps), -1, -1, -1)
        full = F.grid_sample(maps, grid, mode="bicubic", padding_mode="border", align_corners=False)
    low, high = full.amin(dim=(2, 3), keepdim=True), full.amax(dim=(2, 3), keepdim=True)
    return ((full - low) / (high - low).clamp(min=1e-7))[:, 0].numpy()


def boxes_from_activation(
    activation: Float[np.ndarray, "h w"], threshold: float
) -> tuple[Float[np.ndarray, "k 4"], Float[np.ndarray, " k"]]:
    """Rectangles around the connected parts of an activation map (0 to 1) at or above a threshold, and their scores.

    Boxes are x1, y1, x2, y2 in half-open pixels; the score is the largest activation inside, of equals that with the
    larger mean comes first. To compare images multiply it by the class probability. A map of zeros gives no box.
    """
    parts = regionprops(label((activation >= threshold) & (activation > 0), connectivity=2), activation)
    rows = [[*(part.bbox[side] for side in (1, 0, 3, 2)), part.intensity_max, part.intensity_mean] for part in parts]
    table = np.array(rows, dtype=np.float32).reshape(-1, 6)
    table = table[np.lexsort((-table[:, 5], -table[:, 4]))]
    return table[:, :4], table[:, 4]
