"""Time and peak memory of each stage against patients, frames and image size.

Run ``python -m benchmarks.scaling --out scaling.csv``. Three points an axis, the others held at their middle.
Stages: planning a cohort, rendering its frames, writing and reading a run, features of every frame, one epoch of
training. Time is the processor's, on one thread, which other work on the machine disturbs little. Memory is the
highest resident size of the process during a stage beyond that before it; every point has a process of its own, since
an allocator keeps what the point before had asked for. The slope of each line on logarithmic axes tells how a stage
grows: 1 is proportional, 2 quadratic.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from cag.data.dicom import read_frames
from cag.data.dicom_write import write_cine
from cag.data.frames import shrink
from cag.networks.backbones import build_trunk
from cag.networks.classifier import StenosisClassifier
from cag.networks.training import Batch, Batches, FitSettings, fit, predict
from cag.networks.transforms import augment, scale
from cag.simulator.phantom.cohort import CohortSettings, plan_cohort
from cag.simulator.phantom.run import RunRenderer


class Point(NamedTuple):
    """One place at which all stages are measured."""

    patients: int
    frames: int
    size: int


def points(patients: tuple[int, ...], frames: tuple[int, ...], sizes: tuple[int, ...]) -> Iterator[tuple[str, Point]]:
    """Each axis in turn, the others at their middle value."""
    middle = Point(*(values[len(values) // 2] for values in (patients, frames, sizes)))
    for axis, values in (("patients", patients), ("frames", frames), ("size", sizes)):
        for value in values:
            yield axis, middle._replace(**{axis: value})


def measure(point: Point, backbone: str = "resnet18") -> Iterator[tuple[str, float, float]]:
    """Stage, seconds, and MiB above what was there before, one run a patient."""
    settings = CohortSettings(
        patients=point.patients, runs_per_patient=1, size=point.size, min_frames=point.frames, max_frames=point.frames
    )
    plan = plan_cohort(settings)
    yield "plan", *cost(lambda: plan_cohort(settings))
    size = point.size

    def render() -> Iterator[Tensor]:
        """One run at a time, as the study reads them."""
        for run in plan.runs:
            yield RunRenderer(plan.patient(run.patient_id), run).render(None)

    yield "render", *cost(lambda: [None for _ in render()])
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{run.run_id}.dcm" for run in plan.runs]
        frames = np.random.default_rng(0).integers(0, 256, (point.frames, size, size), dtype=np.uint8)
        names = {"fps": 15.0, "primary_angle": 0.0, "secondary_angle": 0.0, "patient_id": "P"}
        yield "write", *cost(lambda: [write_cine(file, frames, run_id=file.stem, **names) for file in files])
        yield "read", *cost(lambda: [None for file in files if len(read_frames(file)) == 0])
        model = StenosisClassifier(build_trunk("random", 0, backbone), 2)
        yield "features", *cost(lambda: [_features(model, torch.from_numpy(read_frames(file))) for file in files])
    # A study trains on a few frames of each run, held in memory as bytes.
    images = torch.from_numpy(frames[:8]).repeat(point.patients, 1, 1)
    yield "train", *cost(lambda: _train(model, images))


def _features(model: nn.Module, frames: Tensor) -> int:
    return len(predict(model, shrink(frames, frames.shape[-1]), device="cpu", batch_size=16, prepare=scale))


def _train(model: nn.Module, images: Tensor) -> None:
    batches = Batches((images,), 8, prepare=lambda rows, generator: (augment(scale(rows), generator),))
    settings, generator = FitSettings(epochs=1, batch_size=8), torch.Generator().manual_seed(0)
    fit(model, batches, _loss, settings, generator=generator, device="cpu", progress=False)


def _loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]).float(), torch.arange(len(batch[0])) % 2)


def cost(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of processor time and MiB of a stage, by the kernel's record of the highest resident size (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    before, start = _resident("VmRSS"), time.process_time()
    run()
    return time.process_time() - start, max(0.0, _resident("VmHWM") - before)


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def scaling_table(
    patients: tuple[int, ...], frames: tuple[int, ...], sizes: tuple[int, ...], backbone: str
) -> pd.DataFrame:
    """A row for each axis, point and stage: ``axis, value, stage, seconds, mib``."""
    spawn = multiprocessing.get_context("spawn")
    rows = []
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as fresh:
        for axis, point in points(patients, frames, sizes):
            for stage, seconds, mib in fresh.submit(_measured, point, backbone).result():
                rows.append((axis, getattr(point, axis), stage, seconds, mib))
    return pd.DataFrame(rows, columns=["axis", "value", "stage", "seconds", "mib"])


def _measured(point: Point, backbone: str) -> list[tuple[str, float, float]]:
    """``measure`` on one thread, after what a process loads once was loaded."""
    torch.set_num_threads(1)
    list(measure(Point(1, 40, 96), backbone))
    return list(measure(point, backbone))


def main(
    patients: Annotated[str, typer.Option(help="three numbers, with commas")] = "2,4,8",
    frames: Annotated[str, typer.Option(help="three numbers of frames a run, 40 or more")] = "40,80,160",
    sizes: Annotated[str, typer.Option(help="three numbers of pixels a side")] = "96,192,384",
    backbone: Annotated[str, typer.Option(help="a network of torchvision, or inception_v3")] = "resnet18",
    out: Annotated[Path | None, typer.Option(help="CSV of the table")] = None,
    figure: Annotated[Path | None, typer.Option(help="SVG of the figure")] = None,
) -> None:
    """Print the slopes; store table and figure."""
    from benchmarks.scaling_figure import scaling_figure, slopes

    axes = (tuple(int(value) for value in values.split(",")) for values in (patients, frames, sizes))
    table = scaling_table(*axes, backbone)
    typer.echo(slopes(table).to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    if out is not None:
        table.to_csv(out, index=False, float_format="%.4g")
    if figure is not None:
        scaling_figure(table).savefig(figure, metadata={"Date": None})


if __name__ == "__main__":
    typer.run(main)
