"""Training throughput of the study's loop against the bare network.

Run ``python benchmarks/training.py --size 256 --batch 16``. For each network it prints images a second of
(a) forward and backward alone on random tensors of the batch's shape, with nothing around them, and
(b) ``cag.networks.training.fit``: drawing from memory-resident uint8 frames, augmentation, loss, optimizer, bar.
Both run in the same precision and memory layout and take turns, so that a busy machine slows both.
The aim is a share of at least 0.85.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from cag.networks.backbones import build_trunk
from cag.networks.classifier import StenosisClassifier
from cag.networks.detector import FITTED_DETECTOR, StenosisDetector
from cag.networks.training import Batch, Batches, FitSettings, Runtime, fit
from cag.networks.transforms import augment_with_boxes, scale

Loss = Callable[[nn.Module, Batch], Tensor]


def classifier_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy of alternating classes."""
    targets = torch.arange(len(batch[0]), device=batch[0].device) % 2
    return F.cross_entropy(model(batch[0]), targets)


def detector_loss(model: nn.Module, batch: Batch) -> Tensor:
    """The detector's own loss."""
    loss: Tensor = model.loss(model.maps(batch[0]), batch[1], batch[0].shape[-1])  # type: ignore[operator]
    return loss


def networks() -> dict[str, tuple[nn.Module, Loss]]:
    """The two networks that are trained end to end."""
    return {
        "classifier": (StenosisClassifier(build_trunk("random", 0), 2), classifier_loss),
        "detector": (StenosisDetector(build_trunk("random", 0), FITTED_DETECTOR), detector_loss),
    }


def bare_seconds(model: nn.Module, loss: Loss, batch: Batch, steps: int, runtime: Runtime) -> float:
    """Seconds of forward and backward alone."""
    model.train()
    _wait(runtime)
    start = time.perf_counter()
    for _ in range(steps):
        with runtime.autocast():
            value = loss(model, batch)
        value.backward()
        model.zero_grad(set_to_none=True)
    _wait(runtime)
    return time.perf_counter() - start


def loop_seconds(model: nn.Module, loss: Loss, batches: Batches, runtime: Runtime) -> float:
    """Seconds of one epoch of the study's loop."""
    settings = FitSettings(epochs=1, batch_size=batches.batch_size)
    _wait(runtime)
    start = time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    fit(model, batches, loss, settings, generator=generator, device=runtime.device.type, progress=False)
    _wait(runtime)
    return time.perf_counter() - start


def _wait(runtime: Runtime) -> None:
    if runtime.device.type == "cuda":
        torch.cuda.synchronize()


def _prepare(frames: Tensor, boxes: Tensor, generator: torch.Generator) -> Batch:
    return augment_with_boxes(scale(frames), boxes, generator)


def main(
    size: Annotated[int, typer.Option(help="height and width in pixels")] = 256,
    batch: Annotated[int, typer.Option(help="images in a batch")] = 16,
    steps: Annotated[int, typer.Option(help="batches in a round")] = 4,
    rounds: Annotated[int, typer.Option(help="rounds; the fastest of each counts")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Print a line for each network."""
    runtime = Runtime.choose(device)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (batch * steps, size, size), generator=generator, dtype=torch.uint8)
    boxes = torch.tensor([[0.4, 0.4, 0.5, 0.5]]).mul(size).expand(len(frames), 1, 4)
    batches = Batches((frames, boxes), batch, prepare=_prepare)
    random_batch = (scale(frames[:batch]).to(runtime.device), boxes[:batch].to(runtime.device))
    typer.echo(f"{runtime.describe()}, {torch.get_num_threads()} threads, batch {batch} at {size} px")
    for name, (model, loss) in networks().items():
        model.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        bare_seconds(model, loss, random_batch, 1, runtime)
        bare, loop = [], []
        for _ in range(rounds):
            bare.append(bare_seconds(model, loss, random_batch, steps, runtime))
            loop.append(loop_seconds(model, loss, batches, runtime))
        count = len(frames)
        typer.echo(
            f"{name}: bare {count / min(bare):.1f} img/s, loop {count / min(loop):.1f} img/s, "
            f"share {min(bare) / min(loop):.2f}"
        )


if __name__ == "__main__":
    typer.run(main)
