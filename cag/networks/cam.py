"""Class activation maps of the classifier at the trunk's last block, and the boxes they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

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
    model: StenosisClassifier,
    images: Float[Tensor, "b c h w"],
    target: int | Sequence[int],
    method: CamMethod = "gradcam",
    aligned: bool = False,
) -> Float[np.ndarray, "b h w"]:
    """Where the classifier finds evidence for a category, at the size of the images.

    ReLU, bicubic enlargement, then each image from 0 to 1 (all 0 where nothing speaks for the category).
    The trunk runs without gradients, since only those between map and logit count.

    Parameters
    ----------
    images : in [-1, 1]
    target : int or ints
        The output whose logit is explained, or several that are summed (every category with stenosis).
    method : {'gradcam', 'hirescam', 'layercam'}
        Selvaraju et al. 2017; Draelos and Carin 2020; Jiang et al. 2021.
    aligned : bool
        Whether cells are put where they look. As published the map is stretched over the whole image,
        although the network's convolutions are unpadded.
    """
    was_training = model.training
    with torch.no_grad():
        maps = model.eval().maps(images).float()
    coarse = activation_from_maps(model.head, maps, target, method)
    model.train(was_training)
    return enlarge_activation(coarse, images.shape[-2], images.shape[-1], model.trunk if aligned else None)


def activation_from_maps(
    head: nn.Module, maps: Float[Tensor, "b f y x"], target: int | Sequence[int], method: CamMethod = "gradcam"
) -> Float[np.ndarray, "b y x"]:
    """Class activation on the cells of stored maps, each image from 0 to 1; leaves no gradient behind."""
    was_training = head.training
    head.eval()
    with torch.enable_grad():
        maps = maps.detach().requires_grad_()
        logits = head(maps)[:, [target] if isinstance(target, int) else list(target)]
        (slopes,) = torch.autograd.grad(logits.sum(), maps)
    head.train(was_training)
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

    Parameters
    ----------
    trunk : Trunk, optional
        Puts each cell where the trunk's last map looks; without it the cells are stretched over the image.
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
    flat = full.flatten(1)
    low, high = flat.amin(dim=1, keepdim=True), flat.amax(dim=1, keepdim=True)
    return ((flat - low) / (high - low).clamp(min=1e-7)).view_as(full)[:, 0].numpy()


class ActivationBoxes(NamedTuple):
    """Boxes [k, 4] (x1, y1, x2, y2, half-open pixels), largest and mean activation [k], best first."""

    boxes: Float[np.ndarray, "k 4"]
    scores: Float[np.ndarray, " k"]
    means: Float[np.ndarray, " k"]


def boxes_from_activation(
    activation: Float[np.ndarray, "h w"], threshold: float, min_size: float = 0.0
) -> ActivationBoxes:
    """Rectangles around the connected parts of an activation map at or above a threshold.

    Parameters
    ----------
    activation : 0 to 1
        A map that is 0 everywhere gives no box.
    min_size : float
        Smaller sides are widened to this about the box's center, then the box is shifted into the image.

    Returns
    -------
    ActivationBoxes
        Scores are relative to the image's own maximum; to compare images multiply by the class probability.
    """
    parts = regionprops(label((activation >= threshold) & (activation > 0), connectivity=2), activation)
    table = np.array([[*_xyxy(part.bbox), part.intensity_max, part.intensity_mean] for part in parts], dtype=np.float32)
    table = table.reshape(-1, 6)
    table = table[np.lexsort((-table[:, 5], -table[:, 4]))]
    boxes = _at_least(table[:, :4], min_size, activation.shape[0], activation.shape[1])
    return ActivationBoxes(boxes, table[:, 4], table[:, 5])


def _xyxy(bbox: tuple[int, ...]) -> tuple[int, int, int, int]:
    top, left, bottom, right = bbox
    return left, top, right, bottom


def _at_least(boxes: np.ndarray, min_size: float, height: int, width: int) -> np.ndarray:
    extent = np.array([width, height], dtype=np.float32)
    center, side = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    side = np.minimum(np.maximum(side, min_size), extent)
    corner = np.clip(center - side / 2, 0, extent - side)
    return np.concatenate([corner, corner + side], axis=1).astype(np.float32)
