"""How fast this machine trains and predicts, measured on a few batches through the study's own loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cag.networks.backbones import build_trunk
from cag.networks.classifier import StenosisClassifier
from cag.networks.detector import FITTED_DETECTOR, StenosisDetector
from cag.networks.training import Batch, Batches, FitSettings, Runtime, fit, predict
from cag.networks.transforms import augment_with_boxes, scale


class Work(NamedTuple):
    """What is measured: training of a classifier or of a detector, or a classifier's prediction; size in pixels."""

    kind: Literal["train", "detect", "infer"]
    size: int
    batch: int = 8
    backbone: str = "inception_v3"


def images_per_second(work: Work, device: str = "auto", steps: int = 2) -> float:
    """Measure a kind of work with random weights; the first batch, which warms up, does not count."""
    runtime = Runtime.choose(device)
    run = _predicting(work, runtime) if work.kind == "infer" else _training(work, runtime)
    run(work.batch)
    _finish(runtime)
    start = time.perf_counter()
    run(work.batch * steps)
    _finish(runtime)
    return work.batch * steps / (time.perf_counter() - start)


def _training(work: Work, runtime: Runtime) -> Callable[[int], object]:
    """A function that trains one epoch on so many samples."""
    trunk = build_trunk("random", 0, work.backbone)
    detector = work.kind == "detect"
    network = StenosisDetector(trunk, FITTED_DETECTOR) if detector else StenosisClassifier(trunk, 2)
    loss, settings = _detector_loss if detector else _classifier_loss, FitSettings(epochs=1, batch_size=work.batch)

    def run(count: int) -> None:
        batches = Batches(_pictures(count, work.size), work.batch, prepare=_augmented)
        generator = torch.Generator().manual_seed(0)
        fit(network, batches, loss, settings, generator=generator, device=runtime.device.type, progress=False)

    return run


def _predicting(work: Work, runtime: Runtime) -> Callable[[int], object]:
    model = StenosisClassifier(build_trunk("random", 0, work.backbone), 2).to(memory_format=torch.channels_last)

    def run(count: int) -> object:
        images = _pictures(count, work.size)[0]
        return predict(model, images, batch_size=work.batch, device=runtime.device.type, prepare=scale)

    return run


def _pictures(count: int, size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, size, size), generator=generator, dtype=torch.uint8)
    return images, torch.tensor([[0.4, 0.4, 0.5, 0.5]]).mul(size).expand(count, 1, 4).clone()


def _augmented(images: Tensor, boxes: Tensor, generator: torch.Generator) -> Batch:
    return augment_with_boxes(scale(images), boxes, generator)


def _classifier_loss(model: nn.Module, batch: Batch) -> Tensor:
    targets = torch.arange(len(batch[0]), device=batch[0].device) % 2
    return F.cross_entropy(model(batch[0]).float(), targets)


def _detector_loss(model: nn.Module, batch: Batch) -> Tensor:
    value: Tensor = model.loss(model.maps(batch[0]), batch[1], batch[0].shape[-1])  # type: ignore[operator]
    return value


def _finish(runtime: Runtime) -> None:
    if runtime.device.type == "cuda":
        torch.cuda.synchronize()
