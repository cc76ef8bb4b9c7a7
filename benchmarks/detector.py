"""The study's detector against the bare torchvision RetinaNet on the same tensors, in training and in inference.

Run ``python benchmarks/detector.py --size 256 --batch 4``. Both networks have the same trunk, pyramid, heads,
anchors and losses' kind, and share their weights; torchvision's resizing and normalization are set to leave
images as they are. Printed are seconds a batch of forward, loss and backward (training), and of forward,
decoding and suppression (inference), and the study's time over torchvision's. The two take turns, so that a
busy machine slows both, and the fastest round of each counts. The aim is a ratio of at most 1.15.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated

import torch
import typer
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator

from cag.networks.backbones import build_trunk
from cag.networks.detector import FITTED_DETECTOR, DetectorSettings, StenosisDetector

AIM = 1.15


class BareBackbone(nn.Module):
    """The study's trunk and pyramid in the form that torchvision's detectors expect."""

    def __init__(self, detector: StenosisDetector) -> None:
        super().__init__()
        self.trunk, self.pyramid = detector.trunk, detector.pyramid
        self.out_channels = detector.settings.channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Maps of every level."""
        return OrderedDict(self.pyramid(self.trunk.stages(images)))


def bare_model(detector: StenosisDetector, size: int) -> RetinaNet:
    """torchvision's RetinaNet around the same modules: same weights, anchors, thresholds."""
    settings = detector.settings
    sizes = tuple(tuple(side * scale for scale in settings.scales) for side in settings.anchor_sizes)
    return RetinaNet(
        BareBackbone(detector),
        num_classes=1,
        anchor_generator=AnchorGenerator(sizes, (settings.ratios,) * len(sizes)),
        head=detector.head,
        min_size=size,
        max_size=size,
        image_mean=[0.0],
        image_std=[1.0],
        fg_iou_thresh=settings.positive_iou,
        bg_iou_thresh=settings.negative_iou,
        score_thresh=settings.score_threshold,
        nms_thresh=settings.nms_threshold or 1.0,
        detections_per_img=settings.max_detections,
    )


def seconds(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Seconds a step."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(device)
    return (time.perf_counter() - start) / steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def training_steps(
    detector: StenosisDetector, bare: RetinaNet, images: Tensor, boxes: Tensor
) -> dict[str, Callable[[], None]]:
    """Forward, loss and backward of either network on the same images and boxes."""
    targets = [{"boxes": own, "labels": torch.zeros(len(own), dtype=torch.long, device=own.device)} for own in boxes]

    def ours() -> None:
        detector.loss(detector.maps(images), boxes, images.shape[-1]).backward()
        detector.zero_grad(set_to_none=True)

    def theirs() -> None:
        sum(bare(list(images), targets).values()).backward()
        bare.zero_grad(set_to_none=True)

    return {"study": ours, "torchvision": theirs}


def inference_steps(detector: StenosisDetector, bare: RetinaNet, images: Tensor) -> dict[str, Callable[[], None]]:
    """Detections of either network on the same images."""

    @torch.no_grad()
    def ours() -> None:
        detector.detect(detector.maps(images), images.shape[-1])

    @torch.no_grad()
    def theirs() -> None:
        bare(list(images))

    return {"study": ours, "torchvision": theirs}


def fastest(steps: dict[str, Callable[[], None]], count: int, rounds: int, device: torch.device) -> dict[str, float]:
    """Seconds a step of each, taking turns."""
    for step in steps.values():
        step()
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            taken[name].append(seconds(step, count, device))
    return {name: min(values) for name, values in taken.items()}


def main(
    size: Annotated[int, typer.Option(help="height and width in pixels")] = 256,
    batch: Annotated[int, typer.Option(help="images in a batch")] = 4,
    steps: Annotated[int, typer.Option(help="batches in a round")] = 2,
    rounds: Annotated[int, typer.Option(help="rounds; the fastest of each counts")] = 4,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
) -> None:
    """Print a line for training and one for inference."""
    place, generator = torch.device(device), torch.Generator().manual_seed(0)
    settings: DetectorSettings = FITTED_DETECTOR.model_copy(update={"channels": 256})
    detector = StenosisDetector(build_trunk("xa", 0), settings).to(place)
    bare = bare_model(detector, size).to(place)
    images = (torch.rand(batch, 1, size, size, generator=generator) * 2 - 1).to(place)
    low = torch.rand(batch, 3, 2, generator=generator) * size * 0.8
    boxes = torch.cat([low, low + size * 0.1], dim=2).to(place)
    typer.echo(f"{place}, {torch.get_num_threads()} threads, batch {batch} at {size} px; aim: ratio of at most {AIM}")
    detector.train()
    bare.train()
    parts = {"training": fastest(training_steps(detector, bare, images, boxes), steps, rounds, place)}
    detector.eval()
    bare.eval()
    parts["inference"] = fastest(inference_steps(detector, bare, images), steps, rounds, place)
    for name, taken in parts.items():
        ratio = taken["study"] / taken["torchvision"]
        typer.echo(f"{name}: study {taken['study']:.3f} s, torchvision {taken['torchvision']:.3f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    typer.run(main)
