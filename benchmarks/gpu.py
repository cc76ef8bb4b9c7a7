"""What a card (or a CPU) reaches: the study's loop against the bare network and against the chip's own ceiling.

Run ``python -m benchmarks.gpu --out gpu.csv`` on the machine with the card. One table comes back:
the ceiling of a large matrix product; images a second of Inception-v3, trained and predicting, bare and through
``cag.networks.training``, at each size; several trainings side by side; frames a second of the simulator; and the hours
that the published grid would take at the measured rate. Aims: loop 0.9 of bare, 2,000 images/s at 512 px,
5,000 frames/s of the simulator, the grid in an hour.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
import typer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.estimates import GRID
from benchmarks.rates import Work, images_per_second
from cag.networks.backbones import build_trunk
from cag.networks.classifier import StenosisClassifier
from cag.networks.training import Runtime
from cag.networks.transforms import scale
from cag.simulator.phantom.cohort import CohortSettings, plan_cohort
from cag.simulator.phantom.run import RunRenderer


class Row(NamedTuple):
    """One measured number."""

    what: str
    size: int
    value: float
    unit: str
    aim: float = float("nan")


def seconds(run: Callable[[], object], steps: int, runtime: Runtime) -> float:
    """Seconds of a step, after one that warms up."""
    run()
    _finish(runtime)
    start = time.perf_counter()
    for _ in range(steps):
        run()
    _finish(runtime)
    return (time.perf_counter() - start) / steps


def matmul_ceiling(runtime: Runtime, side: int, steps: int) -> float:
    """Operations a second of a square matrix product in the arithmetic of training."""
    a, b = (torch.randn(side, side, device=runtime.device, dtype=runtime.dtype) for _ in range(2))
    return 2 * side**3 / seconds(lambda: a @ b, steps, runtime)


def bare_rates(size: int, batch: int, steps: int, runtime: Runtime, backbone: str) -> tuple[float, float, float]:
    """Images a second of the network with its optimizer alone, trained and predicting; operations of an image."""
    model = StenosisClassifier(build_trunk("random", 0, backbone), 2)
    model.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    images = scale(torch.randint(0, 256, (batch, size, size), dtype=torch.uint8)).to(runtime.device)
    targets = torch.arange(batch, device=runtime.device) % 2

    def train() -> None:
        with runtime.autocast():
            loss = F.cross_entropy(model(images).float(), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def infer() -> None:
        with torch.no_grad(), runtime.autocast():
            model(images)

    operations = _operations(model, images[:1])
    model.train()
    trained = batch / seconds(train, steps, runtime)
    model.eval()
    return trained, batch / seconds(infer, steps, runtime), operations


def _operations(model: nn.Module, image: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(image)
    return float(counter.get_total_flops())


def side_by_side(work: Work, processes: int, device: str, steps: int) -> float:
    """Images a second of several trainings at once, all together, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures = [pool.submit(images_per_second, work, device, steps) for _ in range(processes)]
        return sum(future.result() for future in futures)


def simulator_rate(size: int, frames: int, device: str) -> float:
    """Frames a second of the simulator, a run's set-up included."""
    plan = plan_cohort(CohortSettings(patients=1, size=size))
    run, device = plan.runs[0], Runtime.choose(device).device.type
    chosen = list(range(min(frames, run.n_frames)))
    RunRenderer(plan.patient(run.patient_id), run, device).render(chosen[:1])
    start = time.perf_counter()
    RunRenderer(plan.patient(run.patient_id), run, device).render(chosen).cpu()
    return len(chosen) / (time.perf_counter() - start)


def grid_hours(rate: float) -> float:
    """Hours of the published grid at a training rate in images a second, no training ending early."""
    images = GRID["patients"] * GRID["runs"] * GRID["frames"] / GRID["views"] * (1 - 1 / GRID["folds"])
    return images * GRID["epochs"] * GRID["views"] * GRID["folds"] * GRID["systems"] / rate / 3600


def measure(
    sizes: tuple[int, ...], batch: int, steps: int, device: str, backbone: str, processes: int, frames: int
) -> pd.DataFrame:
    """All rows: ``what, size, value, unit, aim``, and ``machine``."""
    runtime = Runtime.choose(device)
    cuda = runtime.device.type == "cuda"
    ceiling = matmul_ceiling(runtime, 8192 if cuda else 512, steps)
    rows = [Row("matrix product", 0, ceiling / 1e12, "Tops/s")]
    for size in sizes:
        rows += _rates(size, batch, steps, runtime, backbone, ceiling)
    if processes > 1:
        together = side_by_side(Work("train", sizes[0], batch, backbone), processes, device, steps)
        rows.append(Row(f"training, {processes} side by side", sizes[0], together, "images/s"))
    rows.append(Row("simulator", 512, simulator_rate(512, frames, device), "frames/s", 5000))
    last = next(row for row in reversed(rows) if row.what == "training, loop")
    rows.append(Row("published grid, no early end", last.size, grid_hours(last.value), "hours", 1))
    return pd.DataFrame(rows).assign(machine=runtime.describe(), batch=batch, backbone=backbone)


def _rates(size: int, batch: int, steps: int, runtime: Runtime, backbone: str, ceiling: float) -> Iterator[Row]:
    detected = images_per_second(Work("detect", size, batch, backbone), runtime.device.type, steps)
    yield Row("detector training, loop", size, detected, "images/s")
    trained, inferred, operations = bare_rates(size, batch, steps, runtime, backbone)
    device, aim = runtime.device.type, 2000.0 if size == 512 else float("nan")
    for what, kind, bare, passes in (("training", "train", trained, 3), ("prediction", "infer", inferred, 1)):
        loop = images_per_second(Work(kind, size, batch, backbone), device, steps)  # type: ignore[arg-type]
        yield Row(f"{what}, bare", size, bare, "images/s")
        yield Row(f"{what}, loop", size, loop, "images/s", aim if kind == "train" else float("nan"))
        yield Row(f"{what}, loop of bare", size, loop / bare, "share", 0.9 if kind == "train" else float("nan"))
        yield Row(f"{what}, bare of matrix product", size, bare * passes * operations / ceiling, "share")


def _finish(runtime: Runtime) -> None:
    if runtime.device.type == "cuda":
        torch.cuda.synchronize()


def main(
    sizes: Annotated[str, typer.Option(help="pixels a side, with commas")] = "299,512",
    batch: Annotated[int, typer.Option(help="images in a batch")] = 64,
    steps: Annotated[int, typer.Option(help="batches that are timed")] = 20,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    backbone: Annotated[str, typer.Option(help="inception_v3, or another of torchvision")] = "inception_v3",
    processes: Annotated[int, typer.Option(help="trainings side by side; 1 leaves this out")] = 4,
    frames: Annotated[int, typer.Option(help="frames of the simulator")] = 64,
    out: Annotated[Path | None, typer.Option(help="CSV of the table")] = None,
) -> None:
    """Print the table."""
    chosen = tuple(int(size) for size in sizes.split(","))
    table = measure(chosen, batch, steps, device, backbone, processes, frames)
    typer.echo(table.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    if out is not None:
        table.to_csv(out, index=False, float_format="%.5g")


if __name__ == "__main__":
    typer.run(main)
