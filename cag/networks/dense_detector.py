"""Stenosis localization without anchors: every cell says whether a lesion is there, and where its box ends."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torchvision import ops

from cag.networks.detector import Detections
from cag.networks.trunk import STAGES, Trainable, Trunk, TrunkModel
from cag.settings import Settings


class DenseDetectorSettings(Settings):
    """Width of the network, weights of its losses, and what it reports."""

    width: int = Field(64, ge=8, multiple_of=8)  #: Channels of pyramid and tower.
    outline_weight: float = Field(2.0, ge=0)  #: Of the cross-entropy of cells inside an outline.
    center_weight: float = Field(0.3, ge=0)  #: Of the focal loss of the centers; overlap and boxes weigh 1.
    peak: float = Field(0.18, gt=0)  #: SD of the peak at a center: this share of the box's side, and two pixels more.
    score_threshold: float = Field(0.02, ge=0, le=1)  #: Detections below it are dropped.
    nms_threshold: float = Field(0.3, ge=0, le=1)  #: Overlap that is suppressed.
    max_detections: int = Field(20, ge=1)  #: Most detections of one image, by score.


class DenseOutput(NamedTuple):
    """What the cells say: logits of lesion and of its center, and the box they would give it, x1, y1, x2, y2."""

    lesion: Float[Tensor, "b y x"]
    center: Float[Tensor, "b y x"]
    boxes: Float[Tensor, "b y x 4"]


class DenseDetector(TrunkModel):
    """Three maps of a trunk, joined at the finest, and four convolutions that answer for each of its cells.

    Sources: boxes from Tian et al. 2019, "FCOS"; centers from Zhou et al. 2019, "Objects as Points".
    """

    def __init__(self, trunk: Trunk, settings: DenseDetectorSettings, trainable: Trainable = "all") -> None:
        super().__init__(trunk, trainable)
        self.settings, width, norm = settings, settings.width, partial(nn.GroupNorm, 8)
        self.pyramid = ops.FeaturePyramidNetwork([trunk.channels[stage] for stage in STAGES], width, norm_layer=norm)
        layers = [ops.Conv2dNormActivation(width, width, norm_layer=norm) for _ in range(4)]
        self.tower, self.answer = nn.Sequential(*layers), nn.Conv2d(width, 6, 1)
        start = torch.tensor([-3.0, -3.0, 0, 0, 0, 0])  # lesions are rare: start near silence
        self.answer.bias = nn.Parameter(start)

    def forward(self, images: Float[Tensor, "b c s s"]) -> DenseOutput:
        """What every cell says of images in [-1, 1]."""
        finest = self.pyramid(self.trunk.stages(images))[STAGES[0]]
        found = self.answer(self.tower(finest)).float()
        y, x = self.points(images.shape[-1], found.shape[-1])
        left, top, right, bottom = (F.softplus(found[:, 2:] + 1) * 16).unbind(1)
        return DenseOutput(found[:, 0], found[:, 1], torch.stack([x - left, y - top, x + right, y + bottom], dim=-1))

    def points(self, size: int, cells: int) -> Float[Tensor, "2 c c"]:
        """The y and x where the cells lie on an image of ``size`` x ``size`` pixels."""
        place = self.trunk.geometry(STAGES[0], size, cells)
        along = place.start + place.stride * torch.arange(cells, device=self.answer.weight.device)
        return torch.stack(torch.meshgrid(along, along, indexing="ij"))

    def loss(self, images: Float[Tensor, "b c s s"], outlines: Float[Tensor, "b k p 2"]) -> Float[Tensor, ""]:
        """Overlap and cross-entropy of the outlines, focal loss of the centers, generalized IoU of the boxes.

        Outlines are polygons (x, y in pixels of the images); a shorter one repeats its first point, NaN is no lesion.
        A lesion's box is the rectangle around its outline; those below 4 pixels are left out.
        """
        found, config = self(images), self.settings
        y, x = self.points(images.shape[-1], found.lesion.shape[-1])
        boxes = torch.cat([outlines.amin(dim=2), outlines.amax(dim=2)], dim=-1)
        present = (boxes[..., 2:] - boxes[..., :2] >= 4).all(dim=-1)[..., None, None]
        covered = inside(x, y, outlines) & present
        peaks = torch.where(present, self._peaks(x, y, boxes), 0)
        lesion, probability = covered.any(dim=1).float(), found.lesion.sigmoid()
        entropy = F.binary_cross_entropy_with_logits(found.lesion, lesion, pos_weight=lesion.new_tensor(3.0))
        common, both = (probability * lesion).sum(dim=(1, 2)), (probability + lesion).sum(dim=(1, 2))
        overlap = 1 - ((2 * common + 1) / (both + 1)).mean()
        near = covered | (peaks > 0.5)  # these cells learn the box; each lesion counts the same
        image, row, *cell = near.nonzero(as_tuple=True)
        each = ops.generalized_box_iou_loss(found.boxes[image, *cell], boxes[image, row])
        count = present.sum().clamp(min=1)
        box = (each / near.sum(dim=(2, 3))[image, row]).sum() / count
        center = center_loss(found.center, peaks.amax(dim=1)) / count
        return config.outline_weight * entropy + overlap + box + config.center_weight * center

    def _peaks(self, x: Tensor, y: Tensor, boxes: Float[Tensor, "b k 4"]) -> Float[Tensor, "b k y x"]:
        """One at the cell nearest to a box's center, falling off as a Gaussian."""
        middle, side = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
        away = (torch.stack([x, y]) - middle[..., None, None]) / (self.settings.peak * side + 2)[..., None, None]
        peaks = torch.exp(-0.5 * away.square().sum(dim=-3))
        return peaks / peaks.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-6)

    @torch.no_grad()
    def detect(self, images: Float[Tensor, "b c s s"]) -> list[Detections]:
        """Detections of each image, best first; the score is the geometric mean of a cell's two probabilities."""
        found, config = self(images), self.settings
        scores = (found.lesion.sigmoid() * found.center.sigmoid()).sqrt().flatten(1)
        detections: list[Detections] = []
        for score, boxes in zip(scores, found.boxes.flatten(1, 2), strict=True):
            best, cells = score.topk(min(400, len(score)))
            corners = ops.clip_boxes_to_image(boxes[cells], tuple(images.shape[-2:]))
            kept = ops.nms(corners, best, config.nms_threshold)[: config.max_detections]
            kept = kept[best[kept] >= config.score_threshold]
            detections.append({"boxes": corners[kept].cpu(), "scores": best[kept].cpu()})
        return detections


def inside(
    x: Float[Tensor, "y x"], y: Float[Tensor, "y x"], outlines: Float[Tensor, "b k p 2"]
) -> Bool[Tensor, "b k y x"]:
    """Which points lie inside polygons: by how often a ray to the right crosses their edges."""
    crossed = torch.zeros(*outlines.shape[:2], *x.shape, dtype=torch.bool, device=x.device)
    for start, end in zip(outlines.unbind(2), outlines.roll(-1, 2).unbind(2), strict=True):
        (x1, y1), (x2, y2) = (own[..., None, None].unbind(-3) for own in (start, end))
        crossed ^= ((y1 > y) != (y2 > y)) & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return crossed


def center_loss(logits: Float[Tensor, "b y x"], peaks: Float[Tensor, "b y x"]) -> Float[Tensor, ""]:
    """Focal loss with soft targets, summed over cells: those near a peak are punished less for saying so."""
    probability = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = (1 - probability) ** 2 * probability.log()
    missed = (1 - peaks) ** 4 * probability**2 * (1 - probability).log()
    return -torch.where(peaks > 0.97, hit, missed).sum()
