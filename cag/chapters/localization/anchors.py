"""How well a preset's anchors fit the true boxes: a lesion without a near anchor is hard to learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from cag.chapters.localization.material import FpnSettings
from cag.metrics.boxes import corners, enlarge
from cag.metrics.matching import pairwise_iou
from cag.networks.backbones import build_trunk
from cag.networks.detector import DETECTOR_PRESETS, DetectorSettings, StenosisDetector

#: The presets are meant for frames of these sizes.
PRESET_SIZES = {"published": 512, "fitted": 256}


def scaled_preset(name: str, image_size: int) -> DetectorSettings:
    """A preset with its anchors scaled from the frame size it is meant for to this one."""
    preset = DETECTOR_PRESETS[name]
    factor = image_size / PRESET_SIZES[name]
    return preset.model_copy(update={"anchor_sizes": tuple(size * factor for size in preset.anchor_sizes)})


def anchors_on(settings: FpnSettings, preset: DetectorSettings) -> Float[Tensor, "a 4"]:
    """All anchors of a preset on a frame of the working size."""
    size = settings.choice.image_size
    trunk = build_trunk("random", 0, settings.backbone).eval()
    detector = StenosisDetector(trunk, preset.model_copy(update={"channels": 8}), trainable="head").eval()
    with torch.no_grad():
        _, _, cells = detector.raw(detector.maps(torch.zeros(1, 1, size, size)))
    return detector.anchors(size, cells)


def best_overlaps(boxes: Float[np.ndarray, "n 4"], anchors: Float[np.ndarray, "a 4"]) -> Float[np.ndarray, " n"]:
    """Largest IoU of each box with any anchor."""
    return np.array([pairwise_iou(own[None], anchors).max() for own in boxes])


def anchor_table(truth: pd.DataFrame, settings: FpnSettings) -> pd.DataFrame:
    """For each preset, how the true boxes meet its anchors, at the least size that the clean arm trains with.

    Returns
    -------
    DataFrame
        Preset, Boxes, Median IoU (with the best anchor), and the share of boxes with an anchor at or
        above the preset's positive IoU.
    """
    boxes = enlarge(corners(truth), settings.box_minimum)
    rows = []
    for name in DETECTOR_PRESETS:
        preset = scaled_preset(name, settings.choice.image_size)
        overlap = best_overlaps(boxes, anchors_on(settings, preset).double().numpy())
        share = float(np.mean(overlap >= preset.positive_iou))
        rows.append((name, len(boxes), float(np.median(overlap)), share))
    return pd.DataFrame(rows, columns=["Preset", "Boxes", "Median IoU", "Share with a positive anchor"])
