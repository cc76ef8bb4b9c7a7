"""How fast this machine does each kind of work, measured on a few batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cag.data.cohort import Cohort
from cag.networks.backbones import build_trunk
from cag.networks.classifier import StenosisClassifier
from cag.networks.detector import FITTED_DETECTOR, StenosisDetector
from cag.networks.training import Batch, Batches, FitSettings, Runtime, fit, predict
from cag.networks.transforms import augment_with_boxes, scale

Kind = Literal["train", "infer", "detect", "head", "frames"]


@dataclass(frozen=True)
class Work:
    """A kind of work whose speed is measured.

    Attributes
    ----------
    kind : {'train', 'infer', 'detect', 'head', 'frames'}
        Training of a whole classifier, of a detector, of a head on stored maps; prediction; reading or
        rendering frames.
    size : int
        Pixels a side; 0 for frames, which have their own.
    batch : int
    backbone : str
    """

    kind: Kind
    size: int = 0
    batch: int = 8
    backbone: str = "inception_v3"


def images_per_second(work: Work, cohort: Cohort | None, device: str = "auto", steps: int = 2) -> float:
    """Measure a kind of work with random weights; the first batch, which warms up, does not count.

    Parameters
    ----------
    cohort : Cohort, optional
        Whose frames are read, for ``frames``.
    steps : int
        Batches that are timed.
    """
    if work.kind == "frames":
        return _frames_per_second(cohort)
    runtime = Runtime.choose(device)
    count = work.batch * steps
    run = _predicting(work, runtime) if work.kind == "infer" else _training(work, runtime)
    run(work.batch)
    _finish(runtime)
    start = time.perf_counter()
    run(count)
    _finish(runtime)
    return count / (time.perf_counter() - start)


def _frames_per_second(cohort: Cohort | None) -> float:
    if cohort is None:
        raise ValueError("frames are measured on a cohort")
    chosen = cohort.manifest.iloc[:: max(1, len(cohort.manifest) // 3)].head(3)
    start, count = time.perf_counter(), 0
    for _, run in chosen.iterrows():
        count += len(cohort.frames(str(run.run_id), range(min(int(run.n_frames), 12))))
    return count / (time.perf_counter() - start)


def _training(work: Work, runtime: Runtime) -> Callable[[int], object]:
    """A function that trains one epoch on so many samples through the study's own loop."""
    trunk = build_trunk("random", 0, work.backbone)
    samples: Callable[[int], tuple[Tensor, ...]]
    prepare: Callable[..., Batch] | None
    model: nn.Module
    if work.kind == "head":
        model = StenosisClassifier(trunk, 2, trainable="head")
        shape = _map_shape(model, work.size)
        network, samples, prepare, loss = model.head, lambda n: (torch.rand(n, *shape),), None, _classifier_loss
    else:
        samples, prepare = lambda n: _pictures(n, work.size), _augmented
        detector = work.kind == "detect"
        network = StenosisDetector(trunk, FITTED_DETECTOR) if detector else StenosisClassifier(trunk, 2)
        loss = _detector_loss if detector else _classifier_loss
    settings = FitSettings(epochs=1, batch_size=work.batch)

    def run(count: int) -> None:
        batches = Batches(samples(count), work.batch, prepare=prepare)
        generator = torch.Generator().manual_seed(0)
        fit(network, batches, loss, settings, generator=generator, device=runtime.device.type, progress=False)

    return run


def _predicting(work: Work, runtime: Runtime) -> Callable[[int], object]:
    model = StenosisClassifier(build_trunk("random", 0, work.backbone), 2).to(memory_format=torch.channels_last)

    def run(count: int) -> Tensor:
        images = _pictures(count, work.size)[0]
        out: Tensor = predict(model, images, batch_size=work.batch, device=runtime.device.type, prepare=scale)
        return out

    return run


def _map_shape(model: StenosisClassifier, size: int) -> tuple[int, ...]:
    with torch.no_grad():
        return tuple(model.eval().maps(torch.zeros(1, 1, size, size)).shape[1:])


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
