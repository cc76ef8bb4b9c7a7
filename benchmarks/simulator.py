"""The simulator measured against its acceptance list; ARCADE below CAG_DATA serves as the real frames.

Run ``python -m benchmarks.simulator --out results/published/simulator_acceptance.csv``: chapter 1 shows that table.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from dask.system import cpu_count as cores

from cag.simulator.acceptance import PARTS, Bench, real_angiograms, row, table
from cag.simulator.phantom.cohort import CohortPlan
from cag.simulator.phantom.plan import RunPlan
from cag.simulator.phantom.run import RunRenderer
from cag.simulator.tables import simulator_digest

#: Runs whose rendering is timed.
SPEED_RUNS = 8
LEAST_FRAMES_PER_SECOND = 50.0


def speed(plan: CohortPlan) -> pd.DataFrame:
    """Frames a second over several runs, one a core at a time, set-up included; and how time grows with frames."""
    runs = plan.runs[:SPEED_RUNS]

    def seconds(run: RunPlan, frames: list[int] | None = None) -> float:
        start = time.perf_counter()
        RunRenderer(plan.patient(run.patient_id), run).render(frames)
        return time.perf_counter() - start

    seconds(runs[0])  # fields of noise are made once a process, and the first pass warms the allocator
    start = time.perf_counter()
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(seconds, runs))
    rate = sum(run.n_frames for run in runs) / (time.perf_counter() - start)
    ratio = seconds(runs[0]) / seconds(runs[0], list(range(runs[0].n_frames // 2)))
    wanted = f"at least {LEAST_FRAMES_PER_SECOND:g}"
    return table(
        [
            row("speed", "frames a second", rate, wanted, rate >= LEAST_FRAMES_PER_SECOND),
            row("speed", "time of a run over time of its half", ratio, "at most 2.2", ratio <= 2.2),
        ]
    )


def determinism(plan: CohortPlan) -> pd.DataFrame:
    """Whether a seed gives the same bytes, and a frame alone that frame of the run."""
    run = plan.runs[0]
    patient = plan.patient(run.patient_id)
    first, second = (RunRenderer(patient, run).render([3, 20, 30]) for _ in range(2))
    alone = RunRenderer(patient, run).render([20])
    same, single = torch.equal(first, second), torch.equal(first[1:2], alone)
    return table(
        [
            row("determinism", "same seed, same bytes", float(same), "1", same),
            row("determinism", "a frame alone equals that of the run", float(single), "1", single),
        ]
    )


def main(
    part: Annotated[list[str] | None, typer.Option(help="Parts of the acceptance list; all by default")] = None,
    patients: Annotated[int, typer.Option(help="Simulated patients, a frame of each run")] = 150,
    out: Annotated[Path | None, typer.Option(help="Write the table as CSV as well")] = None,
) -> None:
    """Measure, print and store."""
    bench, own = Bench(patients=patients, real=real_angiograms()), {"speed": speed, "determinism": determinism}
    asked = part or [*own, *PARTS]
    tables = [own[name](bench.plan) if name in own else bench.measure([name]) for name in asked]
    measured = pd.concat(tables, ignore_index=True)
    typer.echo(measured.to_string(index=False))
    if out is not None:
        measured.assign(simulator=simulator_digest()).to_csv(out, index=False)


if __name__ == "__main__":
    typer.run(main)
