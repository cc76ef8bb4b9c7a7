"""Stenosis localization: RetinaNet from torchvision's parts on the maps of the trunk."""

from __future__ import annotations

import math
from typing import NamedTuple, TypedDict

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torchvision import ops
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from cag.networks.trunk import STAGES, Trainable, Trunk, TrunkModel
from cag.settings import Settings


class DetectorSettings(Settings):
    """Anchors, losses and thresholds; the defaults are the published ones."""

    #: Side of the square anchor at each level, in pixels of the network's input.
    anchor_sizes: tuple[float, float, float, float, float] = (32, 64, 128, 256, 512)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  #: Height over width.
    scales: tuple[float, ...] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))  #: Multiples of the anchor size.
    channels: int = Field(default=256, ge=8)  #: Width of the pyramid and of the heads.
    #: Group normalization after each convolution of pyramid and heads but the last, as in torchvision's second
    #: recipe of RetinaNet; with few images the heads learn little without it.
    group_norm: bool = False
    #: Anchors at or above the first overlap are positive, below the second negative, between them ignored.
    positive_iou: float = Field(default=0.5, gt=0, le=1)
    negative_iou: float = Field(default=0.4, ge=0, le=1)
    best_anchor_counts: bool = False  #: Whether the best anchor of a box is positive even below ``positive_iou``.
    focal_alpha: float = Field(default=0.1, ge=0, le=1)
    focal_gamma: float = Field(default=4.0, ge=0)
    box_sigma: float = Field(default=3.0, gt=0)  #: Smooth L1 turns linear at 1/sigma^2.
    box_weight: float = Field(default=0.2, ge=0)  #: Of the box loss.
    box_code_scale: float = Field(default=1.0, gt=0)  #: Box offsets are multiplied by this before the loss.
    score_threshold: float = Field(default=0.35, ge=0, le=1)  #: Detections below it are dropped.
    nms_threshold: float | None = Field(default=None, ge=0, le=1)  #: Overlap that is suppressed; None keeps all.
    max_detections: int = Field(default=300, ge=1)  #: Most detections of one image, by score.


PUBLISHED_DETECTOR = DetectorSettings()

#: Anchors for the boxes of real and simulated lesions at 256 px (nine in ten have sides of 17 to 63 px, at
#: ratios of .4 to 2.6), with a usual loss and suppression. Normalization and the IoU of positives were chosen on a
#: simulated cohort that no study uses (64 patients, seed 777).
FITTED_DETECTOR = DetectorSettings(
    anchor_sizes=(18, 32, 56, 96, 160),
    group_norm=True,
    positive_iou=0.4,
    negative_iou=0.3,
    best_anchor_counts=True,
    focal_alpha=0.25,
    focal_gamma=2.0,
    box_weight=1.0,
    box_code_scale=5.0,
    score_threshold=0.05,
    nms_threshold=0.3,
    max_detections=50,
)

DETECTOR_PRESETS: dict[str, DetectorSettings] = {"published": PUBLISHED_DETECTOR, "fitted": FITTED_DETECTOR}


def _group_norm(channels: int) -> nn.GroupNorm:
    """Up to 32 equal groups as in torchvision's second RetinaNet, of at least four channels each."""
    return nn.GroupNorm(math.gcd(32, channels // 4) if channels % 4 == 0 else 1, channels)


class Detections(TypedDict):
    """Detections of one image, best first: boxes [k, 4] (x1, y1, x2, y2 in pixels) and scores [k] in 0..1."""

    boxes: Tensor
    scores: Tensor


class Assigned(NamedTuple):
    """What the losses of a batch compare: c counted anchors, p of them positive.

    Logits [c] with labels [c] (1 for a lesion); offsets [p, 4] with targets [p, 4] in the coder's units.
    """

    logits: Tensor
    labels: Tensor
    offsets: Tensor
    targets: Tensor


class StenosisDetector(TrunkModel):
    """RetinaNet with one class; images keep their size and scale (no hidden resizing).

    Anchors lie where the cells of the maps look (``Trunk.geometry``). Source: Lin et al. 2017, "Focal
    Loss for Dense Object Detection".
    """

    def __init__(self, trunk: Trunk, settings: DetectorSettings, trainable: Trainable = "all") -> None:
        super().__init__(trunk, trainable)
        self.settings = settings
        inputs = [trunk.channels[stage] for stage in STAGES]
        width, per_cell = settings.channels, len(settings.ratios) * len(settings.scales)
        norm = _group_norm if settings.group_norm else None
        self.pyramid = ops.FeaturePyramidNetwork(inputs, width, LastLevelP6P7(inputs[-1], width), norm_layer=norm)
        self.head = RetinaNetHead(width, per_cell, num_classes=1, norm_layer=norm)
        sizes = tuple(tuple(size * scale for scale in settings.scales) for size in settings.anchor_sizes)
        self._anchors = AnchorGenerator(sizes, (settings.ratios,) * len(sizes))
        self._matcher = Matcher(settings.positive_iou, settings.negative_iou, settings.best_anchor_counts)
        self._coder = BoxCoder((settings.box_code_scale,) * 4)

    def maps(self, images: Float[Tensor, "b c h w"]) -> dict[str, Tensor]:
        """The trunk's three maps for images in [-1, 1]; may be computed once where the trunk is frozen."""
        return self.trunk.stages(images)

    def raw(self, maps: dict[str, Tensor]) -> tuple[Float[Tensor, "b a"], Float[Tensor, "b a 4"], list[int]]:
        """Logit and box offsets of every anchor, in float32, and the cells along each level's side."""
        levels = list(self.pyramid(maps).values())
        outputs = self.head(levels)
        cells = [level.shape[-1] for level in levels]
        return outputs["cls_logits"][..., 0].float(), outputs["bbox_regression"].float(), cells

    def anchors(self, size: int, cells: list[int]) -> Float[Tensor, "a 4"]:
        """Anchors of all levels on an image of ``size`` x ``size`` pixels, in the order of ``raw``."""
        known = [self.trunk.geometry(stage, size, n) for stage, n in zip(STAGES, cells, strict=False)]
        places = known + [known[-1]._replace(stride=known[-1].stride * 2**k) for k in (1, 2)]
        self._anchors.set_cell_anchors(torch.float32, next(self.head.parameters()).device)
        levels = self._anchors.grid_anchors([[n, n] for n in cells], [[place.stride] * 2 for place in places])
        return torch.cat([level + place.start for level, place in zip(levels, places, strict=True)])

    def loss(self, maps: dict[str, Tensor], boxes: Float[Tensor, "b k 4"], size: int) -> Float[Tensor, ""]:
        """Focal plus weighted box loss over the number of positive anchors.

        Maps are those of images of ``size`` x ``size`` pixels; boxes are x1, y1, x2, y2, rows of NaN stand for no box.
        """
        own, config = self.assigned(maps, boxes, size), self.settings
        with torch.autocast(boxes.device.type, enabled=False):
            focal = ops.sigmoid_focal_loss(own.logits, own.labels, config.focal_alpha, config.focal_gamma, "sum")
            box = F.smooth_l1_loss(own.offsets, own.targets, reduction="sum", beta=config.box_sigma**-2)
            return (focal + config.box_weight * box) / max(len(own.offsets), 1)

    def assigned(self, maps: dict[str, Tensor], boxes: Float[Tensor, "b k 4"], size: int) -> Assigned:
        """What the network says of every anchor, and what it should say by the boxes that anchors are matched to.

        Anchors between the two overlaps of the settings count for neither loss.
        """
        logits, offsets, cells = self.raw(maps)
        anchors = self.anchors(size, cells)
        present = [own[own.isfinite().all(dim=1)] for own in boxes]
        nothing = torch.full((len(anchors),), Matcher.BELOW_LOW_THRESHOLD, device=anchors.device)
        matched = torch.stack([self._matcher(ops.box_iou(own, anchors)) if len(own) else nothing for own in present])
        positive, counted = matched >= 0, matched != Matcher.BETWEEN_THRESHOLDS
        image, anchor = positive.nonzero(as_tuple=True)
        begin = torch.tensor([0, *(len(own) for own in present)], device=boxes.device).cumsum(0)
        chosen = torch.cat(present)[matched[image, anchor] + begin[image]]
        targets = self._coder.encode_single(chosen, anchors[anchor])
        return Assigned(logits[counted], positive[counted].float(), offsets[image, anchor], targets)

    @torch.no_grad()
    def detect(self, maps: dict[str, Tensor], size: int) -> list[Detections]:
        """Detections of each image of ``size`` x ``size`` pixels, best first, by the settings' thresholds."""
        logits, offsets, cells = self.raw(maps)
        anchors = self.anchors(size, cells)
        return [self._detections(*own, anchors, size) for own in zip(logits.sigmoid(), offsets, strict=True)]

    def _detections(self, scores: Tensor, offsets: Tensor, anchors: Tensor, size: int) -> Detections:
        config = self.settings
        kept = (scores > config.score_threshold).nonzero()[:, 0]
        best = kept[scores[kept].argsort(descending=True, stable=True)[:1000]]
        boxes = ops.clip_boxes_to_image(self._coder.decode_single(offsets[best], anchors[best]), (size, size))
        whole = ops.remove_small_boxes(boxes, 1)
        boxes, scores = boxes[whole], scores[best][whole]
        if config.nms_threshold is not None:
            left = ops.nms(boxes, scores, config.nms_threshold)
            boxes, scores = boxes[left], scores[left]
        return {"boxes": boxes[: config.max_detections].cpu(), "scores": scores[: config.max_detections].cpu()}
